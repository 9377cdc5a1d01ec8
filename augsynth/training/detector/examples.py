"""What a training step sees: which images, at what scale, as a function of the step alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from augsynth.core.scene import Dataset, Image, IntArray, Scene
from augsynth.core.seeding import derive_rng
from augsynth.detectors.torchvision import resize_image, scaled_size
from augsynth.training.detector.augment import Example, apply_view, draw_view

SCALES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.125)


def choose_image_scale(dataset: Dataset, *, object_px: float = 48.0, least_px: float = 12.0) -> float:
    """Return the largest scale of `SCALES` that brings the median object to about `object_px`.

    The smallest category's median object keeps at least `least_px`. Sides are √(w·h) in pixels.
    """
    sides: dict[int, list[float]] = {}
    for scene in dataset.scenes:
        wh = scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]
        for category, (w, h) in zip(scene.category_ids, wh, strict=True):
            sides.setdefault(int(category), []).append(float(np.sqrt(w * h)))
    median = float(np.median([side for group in sides.values() for side in group]))
    smallest = min(float(np.median(group)) for group in sides.values())
    for scale in SCALES:
        if median * scale <= object_px * 1.1:
            break
    while smallest * scale < least_px and scale < 1:
        scale = SCALES[SCALES.index(scale) - 1]
    return scale


def training_canvas(dataset: Dataset, *, image_scale: float, max_px: int) -> tuple[int, int]:
    """Return (width, height) of the training views: the most common image size, scaled and capped."""
    sizes = Counter(scaled_size(scene.size_wh, image_scale) for scene in dataset.scenes)
    width, height = max(sizes, key=lambda size: (sizes[size], size))
    return min(width, max_px), min(height, max_px)


def hold_out(dataset: Dataset, *, seed: int, share: float = 0.1) -> tuple[Dataset, Dataset, bool]:
    """Split off a seeded share of the images.

    Returns:
        The rest, the share, and whether they differ: fewer than 10 images are judged on themselves.
    """
    count = round(len(dataset.scenes) * share)
    if len(dataset.scenes) < 10 or count < 1:
        return dataset, dataset, False
    order = derive_rng(seed, "detector", "hold_out").permutation(len(dataset.scenes))
    judged = set(order[:count].tolist())
    kept = tuple(scene for k, scene in enumerate(dataset.scenes) if k not in judged)
    held = tuple(scene for k, scene in enumerate(dataset.scenes) if k in judged)
    return replace(dataset, scenes=kept), replace(dataset, scenes=held), True


def dataset_fingerprint(dataset: Dataset) -> str:
    """Return a hex digest of the categories, file names and objects."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr([(c.id, c.name) for c in dataset.categories]).encode())
    for scene in dataset.scenes:
        digest.update(f"\x1e{scene.file_name}\x1f{scene.size_wh}".encode())
        for array in (scene.boxes_xyxy, scene.category_ids, scene.is_crowd):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def repeated_indices(presence: IntArray, *, threshold: float, rng: np.random.Generator) -> IntArray:
    """Return image indices with images of rare categories repeated.

    Repeat-factor sampling of Gupta et al. 2019 (arXiv 1908.03195): r = max over the image's categories of
    max(1, √(threshold / share of images with it)); fractions are rounded at random.

    Args:
        presence: (images, categories) counts.
        threshold: Share of images below which a category counts as rare.
        rng: Decides the rounding.
    """
    has = presence > 0
    share = np.maximum(has.mean(0), 1e-9)
    factor = np.where(has, np.sqrt(threshold / share)[None], 1.0)
    repeats = np.maximum(factor.max(1, initial=1.0), 1.0)
    whole = np.floor(repeats + rng.random(len(repeats))).astype(np.int64)
    return np.repeat(np.arange(len(repeats)), whole)


class ExampleStream:
    """Batches of training views; a batch depends on the seed and its step, not on what came before."""

    def __init__(
        self,
        dataset: Dataset,
        read_image: Callable[[Scene], Image],
        *,
        canvas_wh: tuple[int, int],
        image_scale: float,
        batch_size: int,
        seed: int,
        vertical_flip: bool,
        repeat_threshold: float,
        cache_mb: int,
        pasting: Callable[[Example, np.random.Generator], Example] | None = None,
    ) -> None:
        self._pasting = pasting
        self._scenes = dataset.scenes
        self._read_image = read_image
        self._canvas_wh = canvas_wh
        self._image_scale = image_scale
        self._batch_size = batch_size
        self._seed = seed
        self._vertical_flip = vertical_flip
        self._label_of = {category.id: k for k, category in enumerate(dataset.categories, start=1)}
        self._cache: dict[int, Image] = {}
        self._cache_left = cache_mb * 1_000_000
        presence = np.zeros((len(self._scenes), len(dataset.categories)), np.int64)
        for row, scene in zip(presence, self._scenes, strict=True):
            for category_id in scene.category_ids:
                row[self._label_of[int(category_id)] - 1] += 1
        rng = derive_rng(seed, "detector", "repeats")
        self._indices = repeated_indices(presence, threshold=repeat_threshold, rng=rng)
        self._order: tuple[int, IntArray] = (-1, self._indices)

    def batch(self, step: int) -> list[Example]:
        """Return the training views of a step."""
        start = step * self._batch_size
        return [self._view(position) for position in range(start, start + self._batch_size)]

    def _view(self, position: int) -> Example:
        epoch, place = divmod(position, len(self._indices))
        if self._order[0] != epoch:
            shuffled = derive_rng(self._seed, "detector", "epoch", epoch).permutation(self._indices)
            self._order = (epoch, shuffled)
        rng = derive_rng(self._seed, "detector", "view", position)
        view = draw_view(rng, vertical_flip=self._vertical_flip)
        example = self._example(int(self._order[1][place]))
        if self._pasting is not None:
            example = self._pasting(example, derive_rng(self._seed, "detector", "paste", position))
        return apply_view(example, view, canvas_wh=self._canvas_wh)

    def _example(self, index: int) -> Example:
        scene = self._scenes[index]
        size_wh = scaled_size(scene.size_wh, self._image_scale)
        image = self._cache.get(index)
        if image is None:
            image = resize_image(self._read_image(scene), size_wh)
            if image.nbytes <= self._cache_left:
                self._cache[index] = image
                self._cache_left -= image.nbytes
        factor = np.array([size_wh[0] / scene.size_wh[0], size_wh[1] / scene.size_wh[1]] * 2)
        labels = np.array([self._label_of[int(c)] for c in scene.category_ids], np.int64)
        labels[scene.is_crowd] = -1
        return Example(image, scene.boxes_xyxy * factor, labels)
