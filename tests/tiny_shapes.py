"""A dataset whose objects any small detector learns: dark squares and bright bars."""

from pathlib import Path

import numpy as np

from augsynth.core.scene import Category, Dataset, Image, Scene
from augsynth.training.detector.options import DetectorTraining

CATEGORIES = (Category(3, "dark_square"), Category(7, "bright bar"))
QUICK_DETECTOR = DetectorTraining(
    preset="fcos_tiny", steps=120, batch_size=8, lr=1e-2, checkpoint_every=40, threads=1, image_scale=1.0
)


def draw_shapes(seed: int) -> tuple[Image, np.ndarray, np.ndarray]:
    """Dark squares and bright bars on a noisy ground."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 140, (64, 96, 3)).astype(np.uint8)
    boxes, ids = [], []
    for cell in rng.permutation(3)[: rng.integers(1, 4)]:
        kind = int(rng.integers(2))
        w, h = (16, 16) if kind == 0 else (26, 10)
        x, y = 32 * cell + int(rng.integers(0, 33 - w)), int(rng.integers(0, 64 - h))
        image[y : y + h, x : x + w] = (20, 25, 60) if kind == 0 else (240, 220, 200)
        boxes.append([x, y, x + w, y + h])
        ids.append(CATEGORIES[kind].id)
    return image, np.array(boxes, np.float64), np.array(ids)


def shapes_dataset(count: int, *, first: int = 0) -> tuple[Dataset, dict[str, Image]]:
    scenes, images = [], {}
    for k in range(first, first + count):
        image, boxes, ids = draw_shapes(k)
        name = f"{k}.png"
        crowd = np.zeros(len(ids), np.bool_)
        scenes.append(Scene(k, name, (96, 64), boxes, ids, np.arange(len(ids)) + 10 * k, crowd))
        images[name] = image
    return Dataset(CATEGORIES, tuple(scenes), {}, Path("shapes.json")), images
