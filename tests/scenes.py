"""Small scenes for tests: cups with lids right of them, and boxes anywhere."""

from pathlib import Path

import numpy as np

from augsynth.core.scene import Category, Dataset, Scene

CUP, LID, BOX = 7, 3, 40
CATEGORIES = tuple(Category(i, n) for i, n in ((CUP, "cup"), (LID, "lid"), (BOX, "box")))


def scene_of(boxes, ids, *, size_wh=(320, 240), image_id=1, crowd=None):
    """Return a scene of (N, 4) boxes with COCO ids, annotated from 1 on."""
    count = len(boxes)
    return Scene(
        image_id,
        f"{image_id}.png",
        size_wh,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(ids, np.int64),
        np.arange(1, count + 1),
        np.zeros(count, bool) if crowd is None else np.array(crowd, bool),
    )


def dataset_of(scenes, categories=CATEGORIES):
    """Return a dataset of scenes, from no file."""
    return Dataset(categories, tuple(scenes), {}, Path("made.json"))


def cups_with_lids(count, *, seed=0, scale=1.0):
    """Each lid lies 1.3 cup sizes right of its cup; boxes lie anywhere; sizes grow down the image."""
    rng = np.random.default_rng(seed)
    scenes = []
    for i in range(count):
        boxes, ids = [], []
        for _ in range(rng.integers(1, 3)):
            x, y = rng.uniform((30, 40), (200, 190))
            side = 18 * (1 + y / 240) * rng.uniform(0.95, 1.05)
            boxes += [around(x, y, side), around(x + 1.3 * side, y, side * 0.6)]
            ids += [CUP, LID]
        boxes.append(around(*rng.uniform((30, 30), (290, 210)), 24))
        ids.append(BOX)
        size = (round(320 * scale), round(240 * scale))
        scenes.append(scene_of(np.array(boxes) * scale, ids, size_wh=size, image_id=i))
    return dataset_of(scenes)


def around(x, y, side):
    """Return the square box about a centre."""
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]
