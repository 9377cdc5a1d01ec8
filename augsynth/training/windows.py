"""Training windows: what the model will see when it paints, cut from a dataset's real objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from augsynth.core.boxes import clip_boxes, grow_box, intersections, least_window, square_window
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, FloatArray, Image, IntArray, Scene
from augsynth.core.seeding import derive_rng
from augsynth.inpainting.stitching import cut_window, mask_cells

SYMMETRIES = {"none": 1, "mirror": 2, "dihedral": 8}


@dataclass(frozen=True, slots=True, eq=False)
class WindowRules:
    """How training windows are drawn.

    Attributes:
        size: Side of the model's window in pixels.
        cell: Pixels per latent cell.
        num_windows: How many windows to cut.
        background_share: Share of windows whose mask holds no object, in [0, 1).
        min_context: Least side of a window over the longer side of its object.
        max_context: Greatest.
        max_zoom: How much a small object's window is enlarged, at most: the model then paints it with more detail
            than the source has pixels, and it is as sharp as its surroundings when it is stitched.
        balance: Exponent b of the weight n_c^-b that an object of a category with n_c objects gets;
            0 draws objects as they come, 1 draws categories evenly.
        symmetry: `none`, `mirror` (left and right) or `dihedral` (all eight flips and quarter turns).
        favoured_ids: COCO ids of categories that get `favoured_share` of the objects drawn; empty favours none.
    """

    size: int
    cell: int
    num_windows: int
    background_share: float = 0.12
    min_context: float = 1.4
    max_context: float = 2.1
    max_zoom: float = 4.0
    balance: float = 0.6
    symmetry: str = "mirror"
    favoured_ids: tuple[int, ...] = ()
    favoured_share: float = 0.6

    def __post_init__(self) -> None:
        if self.symmetry not in SYMMETRIES:
            raise ConfigError(f"symmetry is {self.symmetry!r}; choose one of {', '.join(SYMMETRIES)}")
        if self.num_windows < 1:
            raise ConfigError(f"num_windows is {self.num_windows}; it must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows as arrays.

    Attributes:
        images: (N, size, size, 3) uint8.
        cells: (N, size // cell, size // cell) bool, true where the mask is.
        labels: (N,) int64, 0 for background, i + 1 for the dataset's i-th category.
    """

    images: NDArray[np.uint8]
    cells: NDArray[np.bool_]
    labels: IntArray


def cut_windows(
    dataset: Dataset, read_image: Callable[[Scene], Image], *, rules: WindowRules, seed: int
) -> Windows:
    """Cut windows around real objects, and some around nothing.

    Raises:
        DatasetError: The dataset has no object that a window can hold.
    """
    rng = derive_rng(seed, "windows")
    owners, objects = _draw_objects(dataset, rules, rng)
    num_cells = rules.size // rules.cell
    index_of = {category.id: i + 1 for i, category in enumerate(dataset.categories)}
    images, cells, labels = [], [], []
    for s in np.unique(owners):
        scene = dataset.scenes[s]
        image = read_image(scene)
        for k in objects[owners == s]:
            background = rng.random() < rules.background_share
            box = _free_box(scene, scene.boxes_xyxy[k], rng) if background else scene.boxes_xyxy[k]
            if box is None:
                continue
            drawn = _draw_window(box, scene.size_wh, rules, rng)
            if drawn is None:
                continue
            window, mask_xyxy = drawn
            turn = int(rng.integers(SYMMETRIES[rules.symmetry]))
            picture = cut_window(image, window, size=rules.size)
            images.append(_turn(picture, turn))
            cells.append(_turn(mask_cells(mask_xyxy, window, num_cells=num_cells), turn))
            labels.append(0 if background else index_of[int(scene.category_ids[k])])
    if not images:
        raise DatasetError(
            f"{dataset.source}: no object fits a training window; add larger images or objects"
        )
    order = rng.permutation(len(images))
    return Windows(np.stack(images)[order], np.stack(cells)[order], np.array(labels, np.int64)[order])


def _draw_objects(
    dataset: Dataset, rules: WindowRules, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    owners = np.concatenate([np.full(len(s), i) for i, s in enumerate(dataset.scenes)] or [np.zeros(0, int)])
    objects = np.concatenate([np.arange(len(s)) for s in dataset.scenes] or [np.zeros(0, int)])
    usable = np.concatenate([~s.is_crowd for s in dataset.scenes] or [np.zeros(0, bool)]).astype(bool)
    if not usable.any():
        raise DatasetError(f"{dataset.source}: no annotated object to learn from; annotate some first")
    kinds = np.concatenate([s.category_ids for s in dataset.scenes])
    owners, objects, kinds = owners[usable], objects[usable], kinds[usable]
    _, inverse, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    weights = counts[inverse] ** -rules.balance
    favoured = np.isin(kinds, rules.favoured_ids)
    if favoured.any() and not favoured.all():
        weights[favoured] *= rules.favoured_share / weights[favoured].sum()
        weights[~favoured] *= (1 - rules.favoured_share) / weights[~favoured].sum()
    # Systematic sampling: every object is drawn as often as its weight says, up to rounding.
    edges = np.cumsum(weights) / weights.sum()
    draws = np.searchsorted(edges, (np.arange(rules.num_windows) + rng.random()) / rules.num_windows)
    draws = np.minimum(draws, len(owners) - 1)
    return owners[draws].astype(np.int64), objects[draws].astype(np.int64)


def _draw_window(
    box_xyxy: FloatArray, size_wh: tuple[int, int], rules: WindowRules, rng: np.random.Generator
) -> tuple[IntArray, FloatArray] | None:
    mask = grow_box(box_xyxy, factor=rng.uniform(1.02, 1.3), pad=rng.uniform(0, 1.5))
    mask = clip_boxes(mask[None], size_wh)[0]
    side = (mask[2:] - mask[:2]).max()
    if side < 2:
        return None
    context = rng.uniform(rules.min_context, rules.max_context)
    longest = (box_xyxy[2:] - box_xyxy[:2]).max()
    least = min(least_window(rules.size, max_zoom=rules.max_zoom), *size_wh)
    window = square_window(mask, size_wh, context=max(1.0, context * longest / side), min_side=least)
    if window is None:
        return None
    slack = (window[2] - window[0] - side) / 2
    shift = np.round(rng.uniform(-0.5, 0.5, 2) * slack).astype(np.int64)
    low = window[:2] + shift
    width = window[2] - window[0]
    low = np.clip(low, np.ceil(mask[2:]).astype(np.int64) - width, np.floor(mask[:2]).astype(np.int64))
    low = np.clip(low, 0, np.array(size_wh) - width)
    return np.concatenate([low, low + width]), mask


def _free_box(scene: Scene, like_xyxy: FloatArray, rng: np.random.Generator) -> FloatArray | None:
    wh = like_xyxy[2:] - like_xyxy[:2]
    room = np.array(scene.size_wh) - wh
    if (room <= 0).any():
        return None
    for _ in range(8):
        low = rng.random(2) * room
        box = np.concatenate([low, low + wh])
        if intersections(box[None], scene.boxes_xyxy).max(initial=0) < 0.02 * wh.prod():
            return box
    return None


def _turn(array: NDArray[np.generic], turn: int) -> NDArray[np.generic]:
    """Apply one of the eight symmetries of the square: bit 0 mirrors, the rest are quarter turns."""
    array = array[:, ::-1] if turn & 1 else array
    return np.ascontiguousarray(np.rot90(array, turn >> 1))


def scale_images(dataset: Dataset, image_scale: float) -> tuple[Dataset, Callable[[Scene], Image]]:
    """Return a dataset whose scenes and images are resized, and the function that reads its images.

    Raises:
        ConfigError: The scale isn't in (0, 4].
    """
    if not 0 < image_scale <= 4:
        raise ConfigError(f"image_scale is {image_scale}; it must lie in (0, 4]")
    if image_scale == 1:
        return dataset, partial(read_image, dataset)
    scenes = []
    originals = {scene.image_id: scene for scene in dataset.scenes}
    for scene in dataset.scenes:
        width, height = (max(1, round(side * image_scale)) for side in scene.size_wh)
        factor = np.tile([width / scene.size_wh[0], height / scene.size_wh[1]], 2)
        scenes.append(replace(scene, size_wh=(width, height), boxes_xyxy=scene.boxes_xyxy * factor))

    def read_scaled(scene: Scene) -> Image:
        picture = PilImage.fromarray(read_image(dataset, originals[scene.image_id]))
        return np.asarray(picture.resize(scene.size_wh, PilImage.Resampling.LANCZOS))

    return replace(dataset, scenes=tuple(scenes)), read_scaled
