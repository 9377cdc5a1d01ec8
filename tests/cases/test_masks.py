"""Masks that can't be used are dropped and counted, and the box stays."""

import time

import numpy as np
import pytest

from augsynth.bank.cutting import segmentations_of
from augsynth.coco.faults import repair_lines
from augsynth.coco.segmentation import usable_mask
from augsynth.core.masks import as_rle, recut, to_rle
from tests.cases.small import HEIGHT, NUM_IMAGES, WIDTH, counts, read, small_dataset

PIXELS = WIDTH * HEIGHT
UNUSABLE = {
    "runs that don't sum": {"size": [HEIGHT, WIDTH], "counts": [10, 20]},
    "runs beyond the image": {"size": [HEIGHT, WIDTH], "counts": [0, 999_999_999]},
    "a negative run": {"size": [HEIGHT, WIDTH], "counts": [PIXELS + 5, -5]},
    "a run of 400 digits": {"size": [HEIGHT, WIDTH], "counts": [0, int("9" * 400)]},
    "runs of text": {"size": [HEIGHT, WIDTH], "counts": ["0", str(PIXELS)]},
    "runs of fractions": {"size": [HEIGHT, WIDTH], "counts": [0.5, PIXELS - 0.5]},
    "no pixel covered": {"size": [HEIGHT, WIDTH], "counts": [PIXELS]},
    "a text that ends early": {"size": [HEIGHT, WIDTH], "counts": "a"},
    "a text of strange characters": {"size": [HEIGHT, WIDTH], "counts": "図~\x01"},
    "a text of endless numbers": {"size": [HEIGHT, WIDTH], "counts": "o" * 500 + "0"},
    "an empty text": {"size": [HEIGHT, WIDTH], "counts": ""},
    "turned size": {"size": [WIDTH, HEIGHT], "counts": [0, PIXELS]},
    "size as one number": {"size": 5, "counts": "abc"},
    "size of text": {"size": ["48", "64"], "counts": [0, PIXELS]},
    "no size": {"counts": [0, PIXELS]},
    "far away": [[0, 0, 1e12, 0, 1e12, 1e12]],
    "far enough to end pycocotools": [[0, 0, 1e8, 0, 1e8, 1e8]],
    "far to the left": [[-1e9, 0, 5, 0, 5, 5]],
    "400 digits": [[0, 0, int("9" * 400), 0, 5, 5]],
    "an endless outline": [[0, 0, 600, 400] * 4000],
    "pairs": [[[1, 2], [3, 4], [5, 6]]],
    "six pairs": [[[1, 2], [3, 4], [5, 6], [7, 8], [9, 9], [2, 3]]],
    "text": [["1", "2", "3", "4", "5", "6"]],
    "yes and no": [[True, False, True, True, False, True]],
    "an odd number": [[1, 2, 3, 4, 5, 6, 7]],
    "too few": [[1, 2, 3, 4]],
    "a flat list": [1, 2, 3, 4, 5, 6],
    "nothing": [],
    "null": None,
    "a word": "mask",
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_mask_that_cannot_be_used_is_dropped_and_counted_and_the_box_stays(case, root):
    document = small_dataset()
    for annotation in document["annotations"][::2]:
        annotation["segmentation"] = UNUSABLE[case]
    start = time.monotonic()
    dataset = read(root, document)
    assert counts(dataset) == {"unusable_segmentation": NUM_IMAGES}
    (line,) = repair_lines(dataset)
    assert f"{NUM_IMAGES} (1, 3, 5, 7)" in line and "dropped" in line
    assert all(len(scene) == 2 for scene in dataset.scenes)
    assert sorted(segmentations_of(dataset)) == [2, 4, 6, 8]
    cover = to_rle(np.ones((HEIGHT, WIDTH), np.bool_))
    for record in dataset.document["annotations"]:
        recut(record, [cover], (WIDTH, HEIGHT))
    assert time.monotonic() - start < 20
    again = read(root, dataset.document)
    assert counts(again) == {"missing_segmentation": NUM_IMAGES} and again.document == dataset.document


def test_polygons_of_under_three_points_leave_the_others(root):
    document = small_dataset()
    good = document["annotations"][0]["segmentation"][0]
    document["annotations"][0]["segmentation"] = [[3, 3, 4, 4], good, []]
    dataset = read(root, document)
    assert counts(dataset) == {"short_polygons": 1}
    assert dataset.document["annotations"][0]["segmentation"] == [good]


@pytest.mark.parametrize("seed", range(5))
def test_every_rle_of_pycocotools_is_usable_and_every_cut_of_it_is_not(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(2, 90, 2)
    mask = rng.random(shape) < rng.choice([0.02, 0.5, 0.98])
    mask[0, 0] = True
    rle, size_wh = to_rle(mask), (int(shape[1]), int(shape[0]))
    assert usable_mask(rle, size_wh) is rle and as_rle(rle, size_wh) is not None
    for cut in range(1, len(rle["counts"]), 7):
        assert usable_mask({**rle, "counts": rle["counts"][:cut]}, size_wh) is None


def test_a_mask_that_reaches_a_little_outside_is_kept(root):
    document = small_dataset()
    document["annotations"][0]["segmentation"] = [[-30, -5, 70, -5, 90, 60.5]]
    assert counts(read(root, document)) == {}
