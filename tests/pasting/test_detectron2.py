"""AffinityPaste on Detectron2's standard dataset dicts. Detectron2 isn't on PyPI: its own mapper isn't run here."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from augsynth.core.errors import ConfigError
from augsynth.core.masks import bounds_of, fill_polygons, to_rle
from augsynth.pasting.detectron2 import AffinityPasteMapper
from tests.pasting.discs import SIZE_WH, disc_polygon, write_all

XYXY, XYWH = 0, 1
DISCS = ((30, 40, 10, 0), (81, 51, 11, 1))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


def build(data, *, masks=True, **options):
    mapper = SimpleNamespace(image_format="BGR", use_instance_mask=masks)
    return AffinityPasteMapper(mapper, data / "bank", data / "affinity.json", **dict(prob=1.0) | options)


def disc_mask(x, y, r):
    rows, columns = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]] + 0.5
    return np.hypot(columns - x, rows - y) <= r


def dataset_dict(*, form="polygon", mode=XYWH, crowd=False):
    """One image in the format of Detectron2's page "Use Custom Datasets"."""
    annotations = []
    for x, y, r, label in DISCS:
        box = [x - r, y - r, x + r, y + r] if mode == XYXY else [x - r, y - r, 2 * r, 2 * r]
        annotation = dict(bbox=[float(v) for v in box], bbox_mode=mode, category_id=label, iscrowd=0)
        if form == "polygon":
            annotation["segmentation"] = [disc_polygon(x, y, r)]
        elif form == "rle":
            annotation["segmentation"] = to_rle(disc_mask(x, y, r))
        annotations.append(annotation)
    if crowd:
        rle = to_rle(disc_mask(20, 100, 15))
        box = [5.0, 85.0, 30.0, 30.0]
        annotations.append(dict(bbox=box, bbox_mode=XYWH, category_id=2, iscrowd=1, segmentation=rle))
    return dict(file_name="0.png", height=SIZE_WH[1], width=SIZE_WH[0], image_id=1, annotations=annotations)


def picture(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(105, 125, (SIZE_WH[1], SIZE_WH[0], 3)).astype(np.uint8)


def mask_of(annotation):
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict):
        return coco_mask.decode(segmentation) > 0
    whole = np.array([0, 0, *SIZE_WH])
    return fill_polygons([np.array(part, np.float32) for part in segmentation], whole)


@pytest.mark.parametrize("form", ["polygon", "rle", "none"])
@pytest.mark.parametrize("crowd", [False, True])
def test_annotations_come_out_in_step(data, form, crowd):
    paste = build(data, max_objects=5, rules=dict(max_overlap=0.6))
    new = 0
    for seed in range(8):
        given = dataset_dict(form=form, crowd=crowd and form != "none")
        kept, image = copy.deepcopy(given), picture(seed)
        np.random.seed(seed)
        pixels, found = paste.paste(image, given)
        assert given == kept and (image == picture(seed)).all()
        assert pixels.dtype == np.uint8 and found.keys() == given.keys()
        for annotation in found["annotations"]:
            assert {"bbox", "bbox_mode", "category_id", "iscrowd"} <= annotation.keys()
            assert annotation["category_id"] in (0, 1, 2)
            if form != "none" and not annotation["iscrowd"]:
                x1, y1, *far = annotation["bbox"]
                box = (
                    [x1, y1, *far] if annotation["bbox_mode"] == XYXY else [x1, y1, x1 + far[0], y1 + far[1]]
                )
                assert np.abs(bounds_of(mask_of(annotation)) - box).max() <= 1.5
        assert all("segmentation" in a for a in found["annotations"]) == (form != "none")
        assert sum(a["iscrowd"] for a in found["annotations"]) == (crowd and form != "none")
        new += len(found["annotations"]) - len(given["annotations"])
    assert new >= 8


def test_annotations_that_nothing_covers_are_the_same(data):
    given = dataset_dict()
    _, found = build(data, seed=1).paste(picture(), given)
    assert found["annotations"][:2] == given["annotations"] and len(found["annotations"]) > 2


@pytest.mark.parametrize("mode", [XYXY, XYWH])
def test_both_box_modes_are_read(data, mode):
    _, found = build(data, seed=1, masks=False).paste(picture(), dataset_dict(mode=mode))
    assert [a["bbox_mode"] for a in found["annotations"][:2]] == [mode] * 2
    assert all(a["bbox_mode"] == XYXY for a in found["annotations"][2:])


def test_colours_are_in_the_mappers_order(data):
    """The bank is RGB: a red ball is blue first in BGR."""
    options = dict(blends=["hard"], quotas=dict(cube=0.0, plate=0.0), seed=3)
    pixels, found = build(data, **options).paste(picture(), dataset_dict())
    x1, y1, x2, y2 = found["annotations"][-1]["bbox"]
    assert pixels[int((y1 + y2) / 2), int((x1 + x2) / 2)].tolist() == [60, 60, 200]


def test_new_objects_have_unlabelled_key_points_where_others_have_some(data):
    given = dataset_dict()
    given["annotations"][0]["keypoints"] = [1.0, 2.0, 2.0] * 4
    _, found = build(data, seed=1).paste(picture(), given)
    assert found["annotations"][-1]["keypoints"] == [0.0] * 12


def test_a_seed_and_pickling(data):
    paste = build(data, seed=4)
    first = paste.paste(picture(), dataset_dict())[0]
    assert (pickle.loads(pickle.dumps(paste)).paste(picture(), dataset_dict())[0] == first).all()
    assert (paste.paste(picture(), dataset_dict())[0] == first).all()


class Pasted(torch.utils.data.Dataset):
    def __init__(self, paste):
        self.paste = paste

    def __len__(self):
        return 4

    def __getitem__(self, index):
        pixels, found = self.paste.paste(picture(index), dataset_dict())
        return pixels.tobytes(), found["annotations"]


def test_the_number_of_workers_changes_nothing_with_a_seed(data):
    dataset = Pasted(build(data, seed=42))
    found = [list(torch.utils.data.DataLoader(dataset, None, num_workers=num)) for num in (0, 1, 4)]
    assert found[0] == found[1] == found[2] and dataset.paste.counters["images"] == 4


def test_images_without_annotations_pass(data):
    given = dict(file_name="0.png", height=120, width=160, image_id=1)
    for listed in ({}, {"annotations": []}):
        pixels, found = build(data).paste(picture(), given | listed)
        assert found == given | listed and (pixels == picture()).all()


@pytest.mark.parametrize("masks", [False, True])
def test_images_without_annotations_are_pasted_into_on_request(data, masks):
    given = dict(file_name="0.png", height=120, width=160, image_id=1, annotations=[])
    _, found = build(data, masks=masks, into_empty=True).paste(picture(), given)
    assert found["annotations"]
    for annotation in found["annotations"]:
        assert ("segmentation" in annotation) == masks
        if masks:
            assert np.abs(bounds_of(mask_of(annotation)) - annotation["bbox"]).max() <= 1.5


def wrong(given, case):
    if case == "mode":
        given["annotations"][0]["bbox_mode"] = 4
    elif case == "category":
        given["annotations"][0]["category_id"] = 9
    elif case == "no segmentation":
        del given["annotations"][0]["segmentation"]
    else:
        given["sem_seg_file_name"] = "x.png"
    return given


@pytest.mark.parametrize("case", ["mode", "category", "no segmentation", "sem_seg_file_name"])
def test_what_cannot_be_kept_up_is_told(data, case):
    said = {"mode": "bbox_mode", "category": "label 9"}.get(case, case)
    with pytest.raises(ConfigError, match=said):
        build(data).paste(picture(), wrong(dataset_dict(), case))
