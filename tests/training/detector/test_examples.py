"""What a training step sees."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from augsynth.core.scene import Category, Dataset, Scene
from augsynth.training.detector.examples import (
    choose_image_scale,
    hold_out,
    repeated_indices,
    training_canvas,
)


def test_images_of_rare_categories_are_repeated():
    presence = np.ones((100, 2), np.int64)
    presence[:, 1] = 0
    presence[7, 1] = 1
    indices = repeated_indices(presence, threshold=0.16, rng=np.random.default_rng(0))
    assert (indices == 7).sum() == 4 and len(indices) == 103


def test_image_scale_fits_the_objects():
    def scaled(*sides: float) -> float:
        boxes = np.array([[0, 0, s, s] for s in sides])
        ids = np.arange(len(sides))
        scene = Scene(1, "a", (900, 600), boxes, ids, ids, np.zeros(len(ids), np.bool_))
        categories = tuple(Category(int(k), str(k)) for k in ids)
        return choose_image_scale(Dataset(categories, (scene,), {}, Path("a")))

    assert scaled(20, 30) == 1.0
    assert scaled(100, 102, 104) == 0.5
    assert scaled(100, 102, 104, 14) == 1.0  # the smallest would vanish


def test_canvas_and_hold_out(shapes):
    dataset, _ = shapes
    assert training_canvas(dataset, image_scale=0.5, max_px=40) == (40, 32)
    rest, held, differ = hold_out(dataset, seed=42)
    assert differ and (len(rest.scenes), len(held.scenes)) == (36, 4)
    assert not {s.image_id for s in rest.scenes} & {s.image_id for s in held.scenes}
    assert hold_out(replace(dataset, scenes=dataset.scenes[:5]), seed=42)[2] is False
