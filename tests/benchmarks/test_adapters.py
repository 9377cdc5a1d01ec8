"""The judge of the adapters: each kind of fault that it is there to find, made on purpose."""

from dataclasses import replace

import numpy as np
import pytest

from augsynth.pasting.affinity_paste import AffinityPaste
from benchmarks.judges import adapters
from tests.pasting.discs import SIZE_WH, write_all

IDS = [3, 7, 12]
LOST = "an object that nothing was pasted near is lost, or has another box, label or mask"
STRANGE = "an object that nothing was pasted onto is none that was there"
TWICE = "an object is there twice"
AWAY = "pixels changed away from new objects"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


def picture(*, masks):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]] + 0.5
    image = rng.integers(105, 125, (SIZE_WH[1], SIZE_WH[0], 3)).astype(np.uint8)
    discs = np.stack([np.hypot(x - a, y - b) <= r for a, b, r in ((30, 40, 10), (81, 51, 11))])
    boxes = np.array([[20.0, 30, 40, 50], [70, 40, 92, 62]])
    shown = discs.astype(np.uint8) if masks else None
    return adapters.Picture(image, boxes, np.array([3, 7]), np.zeros(2, bool), shown)


def pasted(data, before, **options):
    paste = AffinityPaste(data / "bank", data / "affinity.json", prob=1.0, **options)
    found = paste(before.image, before.boxes, before.labels, before.masks, rng=1)
    assert found.num_pasted
    return replace(found, before=np.zeros(0, np.int64))


def rows(after, chosen):
    masks = None if after.masks is None else after.masks[chosen]
    return replace(after, boxes_xyxy=after.boxes_xyxy[chosen], labels=after.labels[chosen], masks=masks)


def swapped(after):
    labels = after.labels.copy()
    labels[:2] = labels[1::-1]
    return replace(after, labels=labels)


def shifted(after):
    return replace(
        after, boxes_xyxy=after.boxes_xyxy + [0.5, 0, 0.5, 0] * (np.arange(len(after.labels)) == 0)[:, None]
    )


def exchanged(after):
    masks = after.masks.copy()
    masks[:2] = masks[1::-1]
    return replace(after, masks=masks)


@pytest.mark.parametrize("masks", [False, True])
def test_what_the_adapters_give_is_in_step(data, masks):
    before = picture(masks=masks)
    for seed in range(12):
        paste = AffinityPaste(data / "bank", data / "affinity.json", prob=1.0, rules=dict(max_overlap=0.6))
        found = paste(before.image, before.boxes, before.labels, before.masks, rng=seed)
        assert found.num_pasted and adapters.faults(before, found, IDS) == []


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swapped, {LOST, STRANGE}),
        (lambda after: rows(after, np.arange(1, len(after.labels))), {LOST}),
        (lambda after: rows(after, np.array([0, *range(len(after.labels))])), {TWICE}),
        (shifted, {LOST}),
        (lambda after: rows(after, np.arange(2)), {AWAY}),
        (lambda after: replace(after, labels=np.append(after.labels[:-1], 99)), {"a label is no category"}),
    ],
)
def test_what_is_out_of_step_is_found(data, masks, change, said):
    before = picture(masks=masks)
    assert said <= set(adapters.faults(before, change(pasted(data, before)), IDS))


def test_exchanged_masks_are_found(data):
    before = picture(masks=True)
    found = adapters.faults(before, exchanged(pasted(data, before)), IDS)
    assert {LOST, "a mask doesn't fit its box"} <= set(found)


def test_the_label_of_a_partly_covered_object_is_looked_at(data):
    """Its box or mask is another one now; what is left of it must have its label."""
    before = picture(masks=True)
    after = pasted(data, before)
    masks, labels = after.masks.copy(), after.labels.copy()
    masks[0, :, :26] = 0
    image, boxes = after.image.copy(), after.boxes_xyxy.copy()
    image[30:50, 20:26] += 1
    boxes[0, 0] = 26
    covered = replace(after, masks=masks, boxes_xyxy=boxes, image=image)
    assert STRANGE not in adapters.faults(before, covered, IDS)
    labels[0] = 12
    assert STRANGE in adapters.faults(before, replace(covered, labels=labels), IDS)
