"""Datasets small enough to count by hand."""

from pathlib import Path

import numpy as np
from scipy import sparse

from augsynth.core.scene import Category, Dataset, Scene

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
NAMES = ("cup", "lid", "shoe", "hat")
# cup is like lid, shoe is like hat
VECTORS = np.array([[1.0, 0.1, 0], [1, 0.3, 0], [0, 1, 1], [0, 1.2, 2]])


def scene(image_id: int, *category_ids: int, crowd: bool = False) -> Scene:
    n = len(category_ids)
    boxes = np.tile([1.0, 2.0, 11.0, 22.0], (n, 1)) if n else np.zeros((0, 4))
    ids, numbers = np.array(category_ids, np.int64), np.arange(1, n + 1)
    return Scene(image_id, f"{image_id}.jpg", (64, 48), boxes, ids, numbers, np.full(n, crowd))


def dataset(*scenes: tuple[int, ...], ids: tuple[int, ...] = (7, 3, 5), crowd: bool = False) -> Dataset:
    categories = tuple(Category(i, name) for i, name in zip(ids, NAMES, strict=False))
    found = tuple(scene(index, *objects, crowd=crowd) for index, objects in enumerate(scenes))
    return Dataset(categories, found, {}, Path("tiny.json"))


# N = 4: cup in 3 images (twice in one), lid in 2, both with a cup, shoe in 1, alone.
TINY = dataset((7, 7, 3), (7, 3), (7,), (5,))


def groups(num: int = 60) -> Dataset:
    """Cup and lid always together, shoe and hat always together, and some images mix cup and shoe."""
    kinds = [(1, 2), (3, 4), (1, 2, 2), (3, 3, 4), (1, 2), (3, 4), (1, 3)]
    return dataset(*(kinds[i % len(kinds)] for i in range(num)), ids=(1, 2, 3, 4))


def named_groups() -> Dataset:
    """Cup with lid, shoe with hat, as the names say; and cup with shoe, as they don't."""
    kinds = [(7, 3), (5, 9), (7, 3, 3), (5, 5, 9), (7,), (7, 5), (7, 5, 9)]
    return dataset(*(kinds[i % len(kinds)] for i in range(42)), ids=(7, 3, 5, 9))


def objects(*rows: tuple[int, ...]) -> sparse.csr_matrix:
    """Return images × categories, the objects of each category in each image."""
    return sparse.csr_matrix(np.array(rows, np.float64))
