"""From a seed and an index to a picture with exact boxes and masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from augsynth.core.scene import FloatArray, Image, IntArray
from augsynth.core.seeding import derive_rng
from augsynth.sample import world
from augsynth.sample.arrange import Item, arrange, category_id
from augsynth.sample.drawing.backgrounds import draw_ground
from augsynth.sample.drawing.clutter import strew
from augsynth.sample.drawing.common_objects import (
    Array,
    Drawn,
    Easel,
    draw_battery,
    draw_bottle,
    draw_can,
    draw_cup,
    draw_lid,
)
from augsynth.sample.drawing.paper_objects import draw_bag, draw_carton, draw_paper
from augsynth.sample.drawing.rare_containers import draw_jar, draw_tube
from augsynth.sample.drawing.rare_objects import draw_bulb, draw_glove, draw_lighter

_SUPERSAMPLING = 3
_PEN: dict[str, Callable[[Easel], Drawn]] = {
    "bottle": draw_bottle, "can": draw_can, "cup": draw_cup, "carton": draw_carton, "paper": draw_paper,
    "bag": draw_bag, "lid": draw_lid, "battery": draw_battery,
    "jar": draw_jar, "tube": draw_tube, "lighter": draw_lighter, "glove": draw_glove, "bulb": draw_bulb,
}  # fmt: skip
_HEIGHT = {
    "paper": 0.10, "lid": 0.06, "battery": 0.16, "bottle": 0.2, "can": 0.3,
    "jar": 0.3, "tube": 0.10, "lighter": 0.13, "glove": 0.07, "bulb": 0.25,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class RenderedScene:
    """A drawn scene and what is known about it.

    Attributes:
        image: HWC uint8 RGB.
        boxes_xyxy: (N, 4) float64, tight around the visible pixels of each object, shadows excluded.
        category_ids: (N,) int64 COCO ids.
        masks: (N, H, W) bool, the visible pixels.
        forbidden: (H, W) bool, where nothing ever lies.
        background: Name of the ground.
        group: Name of the co-occurrence group.
        items: The objects as they were placed; `parent` counts in this tuple, -1 for none.
    """

    image: Image
    boxes_xyxy: FloatArray
    category_ids: IntArray
    masks: NDArray[np.bool_]
    forbidden: NDArray[np.bool_]
    background: str
    group: str
    items: tuple[Item, ...]

    @property
    def areas(self) -> IntArray:
        """Number of visible pixels of each object, (N,) int64."""
        return np.asarray(self.masks.sum((1, 2)), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """A drawn object: colour times alpha and alpha, with its upper left corner in the image."""

    x: int
    y: int
    rgb: Array
    alpha: Array


def _draw_item(item: Item, light: Array, rng: np.random.Generator) -> _Patch:
    half_w, half_h = item.half_wh
    cx, cy = item.centre_xy
    x, y = math.floor(cx - half_w * 1.06) - 2, math.floor(cy - half_h * 1.06) - 2
    w, h = math.ceil(cx + half_w * 1.06) + 2 - x, math.ceil(cy + half_h * 1.06) + 2 - y
    k = _SUPERSAMPLING
    px = ((np.arange(w * k, dtype=np.float32) + 0.5) / k + np.float32(x - cx)) / np.float32(item.size)
    py = ((np.arange(h * k, dtype=np.float32) + 0.5) / k + np.float32(y - cy)) / np.float32(item.size)
    c, s = (
        np.float32(math.cos(math.radians(item.angle_deg))),
        np.float32(math.sin(math.radians(item.angle_deg))),
    )
    u = px[None] * c + py[:, None] * s
    v = -px[None] * s + py[:, None] * c
    local = np.array((light[0] * c + light[1] * s, -light[0] * s + light[1] * c, light[2]), np.float32)
    rgb, alpha = _PEN[item.category](Easel(u, v, local, rng))
    alpha = alpha.astype(np.float32)
    rgb = np.clip(rgb, 0, 1).astype(np.float32) * alpha[..., None]
    return _Patch(x, y, _shrink(rgb), _shrink(alpha))


def _shrink(fine: Array) -> Array:
    """Return the box-filtered picture at image resolution (slices add faster than a 5-D mean)."""
    rows = fine[0::3] + fine[1::3] + fine[2::3]
    return np.asarray((rows[:, 0::3] + rows[:, 1::3] + rows[:, 2::3]) * np.float32(1 / 9))


def _cut(
    patch_x: int, patch_y: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the image's and the patch's slices of their common part."""
    w, h = world.SIZE_WH
    x1, y1 = max(patch_x, 0), max(patch_y, 0)
    x2, y2 = max(min(patch_x + shape[1], w), x1), max(min(patch_y + shape[0], h), y1)
    return (slice(y1, y2), slice(x1, x2)), (
        slice(y1 - patch_y, y2 - patch_y),
        slice(x1 - patch_x, x2 - patch_x),
    )


def _visible(patches: list[_Patch], order: list[int]) -> NDArray[np.bool_]:
    """Return (N, H, W) visible pixels of the patches drawn in `order`; those left out stay empty."""
    w, h = world.SIZE_WH
    owner = np.full((h, w), -1, np.int16)
    for i in order:
        on, of = _cut(patches[i].x, patches[i].y, patches[i].alpha.shape)
        owner[on][patches[i].alpha[of] >= 0.4] = i
    return np.asarray(owner[None] == np.arange(len(patches), dtype=np.int16)[:, None, None])


def _settle(patches: list[_Patch], order: list[int]) -> tuple[list[int], NDArray[np.bool_]]:
    """Leave out what would be hidden too much; return what is drawn, in order, and its masks."""
    order = list(order)
    full = np.array([(p.alpha >= 0.4).sum() for p in patches])
    while True:
        masks = _visible(patches, order)
        share = masks.sum((1, 2)) / np.maximum(full, 1)
        worst = min(order, key=lambda i: float(share[i]), default=None)
        if worst is None or share[worst] >= world.MIN_VISIBILITY:
            return order, masks
        order.remove(worst)


def _compose(
    canvas: Array, patches: list[_Patch], items: tuple[Item, ...], order: list[int], light: Array
) -> None:
    """Draw the patches with their shadows onto the canvas, in place."""
    for i in order:
        patch, item = patches[i], items[i]
        height = item.size * _HEIGHT.get(item.category, 0.34)
        pad = 8
        shadow = np.pad(patch.alpha, pad)
        near = ndimage.gaussian_filter(shadow, 1.2)
        far = ndimage.gaussian_filter(shadow, 1.0 + 0.09 * height)
        for soft, reach, strength in ((near, 0.25, 0.30), (far, 0.9, 0.42)):
            dx, dy = (-light[:2] / light[2] * height * reach).round().astype(int)
            on, of = _cut(patch.x - pad + int(dx), patch.y - pad + int(dy) + 1, soft.shape)
            canvas[on] *= (1 - strength * soft[of])[..., None]
        on, of = _cut(patch.x, patch.y, patch.alpha.shape)
        canvas[on] = canvas[on] * (1 - patch.alpha[of])[..., None] + patch.rgb[of]


def _expose(canvas: Array, rng: np.random.Generator, variety: float) -> Image:
    """Return the picture as a camera takes it: lens, exposure, white balance, noise; uses up `canvas`."""
    h, w = canvas.shape[:2]
    side = np.float32(rng.uniform(0.03, 0.10) * variety)
    canvas[1:-1] += side * (canvas[:-2] + canvas[2:] - 2 * canvas[1:-1])
    canvas[:, 1:-1] += side * (canvas[:, :-2] + canvas[:, 2:] - 2 * canvas[:, 1:-1])
    gain = math.exp(rng.normal(0, 0.10) * variety) * (1 + rng.normal(0, 0.025, 3) * variety)
    yy = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    xx = np.linspace(-1, 1, w, dtype=np.float32)[None]
    fall = 1 - np.float32(rng.uniform(0.0, 0.13) * variety) * (xx * xx + yy * yy)
    canvas *= (gain * 255).astype(np.float32)
    canvas *= fall[..., None]
    sigma = 1.0 + float(rng.uniform(0, 1.8)) * variety
    grain = rng.standard_normal((h, w, 3), np.float32) * np.float32(sigma)
    canvas += grain[..., :1]
    canvas[..., 0] += 0.5 * grain[..., 1]
    canvas[..., 2] += 0.5 * grain[..., 2]
    canvas += np.float32(0.5)
    return np.asarray(np.clip(canvas, 0, 255, out=canvas).astype(np.uint8))


def _light(rng: np.random.Generator) -> Array:
    azimuth = math.radians(float(rng.choice([-135.0, -45.0]) + rng.uniform(-35, 35)))
    height = math.radians(float(rng.uniform(40, 62)))
    flat = math.cos(height)
    return np.array((flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(height)), np.float32)


def render_scene(seed: int, index: int, *, variety: float = 1.0) -> RenderedScene:
    """Draw scene `index` of a seed.

    Args:
        seed: The run's seed.
        index: Number of the scene; the same seed and index give the same bytes, whatever else is drawn.
        variety: How much blur, exposure, white balance and noise vary, in [0, 1].

    Raises:
        ValueError: `variety` lies outside [0, 1].
    """
    if not 0.0 <= variety <= 1.0:
        raise ValueError(f"variety must lie in [0, 1], got {variety}")
    rng = derive_rng(seed, "sample", index, "scene")
    background = list(world.BACKGROUNDS)[int(rng.integers(len(world.BACKGROUNDS)))]
    ground = draw_ground(background, derive_rng(seed, "sample", index, "ground"))
    group, items = arrange(background, ground.forbidden, derive_rng(seed, "sample", index, "items"))
    light = _light(rng)
    patches = [
        _draw_item(item, light, derive_rng(seed, "sample", index, "look", i)) for i, item in enumerate(items)
    ]
    depth = sorted(range(len(items)), key=lambda i: items[i].centre_xy[1] + items[i].half_wh[1])
    order, masks = _settle(patches, depth)
    canvas = ground.picture.copy()
    strew(canvas, background, ground.forbidden, light, derive_rng(seed, "sample", index, "strewn"))
    _compose(canvas, patches, items, order, light)
    image = _expose(canvas, derive_rng(seed, "sample", index, "camera"), variety)
    kept = sorted(order)
    return RenderedScene(
        image, _boxes(masks[kept]), np.array([category_id(items[i]) for i in kept], np.int64), masks[kept],
        ground.forbidden, background, group, _renumber(items, kept),
    )  # fmt: skip


def _boxes(masks: NDArray[np.bool_]) -> FloatArray:
    boxes = np.zeros((len(masks), 4))
    for i, mask in enumerate(masks):
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes[i] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
    return boxes


def _renumber(items: tuple[Item, ...], kept: list[int]) -> tuple[Item, ...]:
    new = {old: i for i, old in enumerate(kept)}
    return tuple(
        Item(
            t.category,
            t.centre_xy,
            t.size,
            t.angle_deg,
            new.get(t.parent, -1),
            t.relation if t.parent in new else -1,
        )
        for t in (items[i] for i in kept)
    )
