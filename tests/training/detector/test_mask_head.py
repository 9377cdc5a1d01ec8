"""Training of the mask head: what it learns from, that it learns, and that its figure can be low."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from augsynth.coco.reader import read_dataset
from augsynth.core.images import read_image
from augsynth.core.seeding import derive_rng
from augsynth.sample import write_sample
from augsynth.training.detector.mask_head import (
    WIDE_PX,
    Outlined,
    cut_outlined,
    drawn_views,
    outlined_share,
    train_mask_head,
)
from augsynth.training.detector.train import train_detector
from augsynth.training.loop import silent
from tests.tiny_shapes import QUICK_DETECTOR


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("outlined")
    return read_dataset(write_sample(root, num_images=8, seed=11, workers=1), images=root / "images")


def ellipses(count):
    """Bright ellipses on dark ground, their boxes in the middle of the crops."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:WIDE_PX, :WIDE_PX] + 0.5) / WIDE_PX * 2 - 1
    crops = np.zeros((count, 4, WIDE_PX, WIDE_PX), np.uint8)
    for crop in crops:
        inside = (x * 1.7) ** 2 + (y * 1.7) ** 2 < 1
        crop[:3] = np.where(inside, rng.integers(150, 256, (3, 1, 1)), rng.integers(0, 100, (3, 1, 1)))
        crop[3] = inside * 255
    return Outlined(torch.from_numpy(crops))


def test_objects_with_a_mask_are_cut_with_it(dataset):
    assert outlined_share(dataset) == 1.0
    objects = cut_outlined(dataset, partial(read_image, dataset), seed=1)
    assert 20 < len(objects) <= sum(len(s) for s in dataset.scenes)
    covered = (objects.crops[:, 3] > 127).float().mean((1, 2))
    assert ((covered > 0.02) & (covered < 0.7)).all()


@pytest.mark.parametrize(("num", "mask_steps", "heads"), [(8, 2, True), (8, 0, False), (2, 2, False)])
def test_that_a_mask_head_follows_is_said_before(dataset, tmp_path, num, mask_steps, heads):
    few = replace(dataset, scenes=dataset.scenes[:num])
    options = replace(QUICK_DETECTOR, steps=1, batch_size=1, mask_steps=mask_steps)
    told, stages = [], []
    train_detector(
        few,
        partial(read_image, dataset),
        out=tmp_path / "out",
        options=options,
        progress=lambda stage, step, of, loss: stages.append((stage, of, len(told))),
        notice=told.append,
    )
    assert {(stage, of) for stage, of, _ in stages} == {
        ("detector", 1),
        *([("mask head", 2)] if heads else []),
    }
    assert all(before == heads for _, _, before in stages)
    line = "two stages: the detector with 1 step, then its mask head with 2 (without it: --mask-steps 0)"
    assert told == [line] * heads


def test_a_dataset_of_boxes_has_nothing_to_learn_from(dataset):
    boxes = [{k: v for k, v in a.items() if k != "segmentation"} for a in dataset.document["annotations"]]
    plain = replace(dataset, document={**dataset.document, "annotations": boxes})
    assert outlined_share(plain) == 0.0
    assert len(cut_outlined(plain, partial(read_image, plain), seed=1)) == 0


def test_views_follow_the_mask_and_are_drawn_from_the_seed():
    crops = ellipses(6).crops
    first = drawn_views(crops, derive_rng(1, "v"), jitter=0.05, pale=True)
    again = drawn_views(crops, derive_rng(1, "v"), jitter=0.05, pale=True)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert first[0].shape == (6, 5, 64, 64) and first[1].shape == (6, 64, 64)
    inputs, truth = drawn_views(crops, derive_rng(1, "v"), jitter=0.0, pale=False)
    inside, outside = inputs[:, 0][truth > 0.9], inputs[:, 0][truth < 0.1]
    assert inside.min() > outside.max()


def test_a_head_learns_a_shape_and_goes_on_where_it_was_stopped(tmp_path):
    objects = ellipses(40)
    told = {"key": "k", "seed": 3, "device": "cpu", "progress": silent}
    _, before = train_mask_head(objects, file=tmp_path / "one", steps=1, **told)
    network, after = train_mask_head(objects, file=tmp_path / "many", steps=14, **told)
    assert before < 0.8 and after > before + 0.08
    again, figure = train_mask_head(objects, file=tmp_path / "many", steps=14, **told)
    assert figure == after
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
