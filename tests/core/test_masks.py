"""Outlines: a mask becomes polygons or RLE and is read back; what covers what; which masks are believed."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from augsynth.coco.segmentation import usable_mask
from augsynth.core.masks import (
    as_rle,
    bounds_of,
    decoded,
    fitted,
    recut,
    to_rle,
    to_segmentation,
    visible,
)
from augsynth.masking.matting import soften


def disc(shape_hw, centre_xy, radius):
    y, x = np.indices(shape_hw) + 0.5
    return np.hypot(x - centre_xy[0], y - centre_xy[1]) < radius


def read_back(segmentation, mask):
    return decoded(as_rle(segmentation, (mask.shape[1], mask.shape[0])))


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def blob(seed, size=64):
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.random((size, size + 9)), 5) > 0.502


@pytest.mark.parametrize("seed", range(4))
def test_polygons_and_rle_are_read_back_as_the_mask(seed):
    mask = blob(seed)
    polygons, rle = to_segmentation(mask, form="polygon"), to_segmentation(mask, form="rle")
    size_wh = mask.shape[::-1]
    assert all(usable_mask(found, size_wh) is found for found in (polygons, rle))
    assert isinstance(rle["counts"], str)
    assert (read_back(rle, mask) == mask).all()
    assert iou(read_back(polygons, mask), mask) >= 0.97
    points = np.concatenate([np.reshape(p, (-1, 2)) for p in polygons])
    assert (points >= 0).all() and (points <= [73, 64]).all()
    assert rle["counts"].encode() == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


def test_a_hole_stays_a_hole_in_polygons():
    mask = disc((60, 60), (30, 30), 25) & ~disc((60, 60), (24, 30), 6) & ~disc((60, 60), (40, 33), 5)
    polygons = to_segmentation(mask, form="polygon")
    assert len(polygons) >= 2
    assert iou(read_back(polygons, mask), mask) >= 0.97


def test_small_and_empty_masks():
    tiny = np.zeros((9, 9), bool)
    tiny[4, 4] = tiny[4, 5] = tiny[5, 4] = True
    assert (read_back(to_segmentation(tiny, form="polygon"), tiny) == tiny).all()
    assert to_segmentation(np.zeros((5, 5), bool), form="polygon") is None
    assert bounds_of(np.zeros((5, 5), bool)) is None


def test_a_mask_that_does_not_fit_its_box_is_not_believed():
    mask = disc((80, 80), (40, 40), 15)
    box = np.array([25.3, 25.2, 54.6, 54.9])
    assert (fitted(mask, box) == mask).all()
    assert fitted(mask, np.array([25.0, 25, 70, 70])) is None  # the box is much larger
    assert fitted(mask, np.array([33.0, 33, 47, 47])) is None  # the mask is, it isn't just cut
    assert fitted(np.zeros_like(mask), box) is None
    mask[10, 40] = mask[60:62, 60:62] = True  # specks in the picture
    assert (fitted(mask, box) == disc((80, 80), (40, 40), 15)).all()


def test_later_objects_cover_earlier_ones():
    first, second = disc((50, 50), (20, 20), 12), disc((50, 50), (30, 20), 8)
    third = disc((50, 50), (30, 20), 9)
    seen = visible([first, None, second])
    assert (seen[0] == (first & ~second)).all() and seen[1] is None and (seen[2] == second).all()
    assert visible([second, third])[0] is None


@pytest.mark.parametrize("form", ["polygon", "rle", "counts"])
def test_neighbours_lose_what_is_covered_and_keep_their_form_and_box(form):
    shape, size = (50, 60), (60, 50)
    mine, new = disc(shape, (20, 25), 15), disc(shape, (36, 25), 6)
    segmentation = to_segmentation(mine, form="rle" if form == "rle" else "polygon")
    if form == "counts":
        codes = coco_mask.encode(np.asfortranarray(mine.astype(np.uint8)))
        runs = np.diff(np.flatnonzero(np.diff(np.r_[2, mine.ravel(order="F"), 2])))
        segmentation = {"size": codes["size"], "counts": runs.tolist()}
    record = {"id": 3, "bbox": [5, 10, 30, 30], "area": 1.0, "iscrowd": 0, "segmentation": segmentation}
    cut = recut(record, [to_rle(new)], size)
    left = read_back(cut["segmentation"], mine)
    assert iou(left, mine & ~new) > 0.96 and (left & new).sum() <= 2
    assert cut["area"] == left.sum() and cut["bbox"] == record["bbox"] and record["area"] == 1.0
    assert type(cut["segmentation"]) is type(segmentation)
    if form == "counts":
        assert isinstance(cut["segmentation"]["counts"], list)
    far = disc(shape, (55, 5), 3)
    assert recut(record, [to_rle(far)], size) == record
    assert recut({**record, "iscrowd": 1}, [to_rle(new)], size) == {**record, "iscrowd": 1}
    boxed = {k: v for k, v in record.items() if k != "segmentation"}
    assert recut(boxed, [to_rle(new)], size) == boxed
    gone = recut(record, [to_rle(np.ones(shape, bool))], size)
    assert "segmentation" not in gone and gone["area"] == 900


def test_the_soft_edge_stays_on_the_mask():
    rng = np.random.default_rng(0)
    mask = disc((40, 40), (20, 20), 11)
    alpha = soften(mask, rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    assert ((alpha >= 0.5) == mask).all()
    assert alpha[20, 20] == 1 and alpha[:5].max() == 0 and 0 < ((alpha > 0) & (alpha < 1)).sum() < 250
