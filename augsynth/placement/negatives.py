"""Random places for comparison, and scenes with one object taken out: how placement is learned and judged."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import intersections
from augsynth.core.scene import FloatArray, IntArray, Scene

CROWDED = 200
_MAX_PAIRS, _MIN_COMPARED = 25_000, 10
COMPARED: Mapping[str, float] = MappingProxyType({"max_avoid": 0.3, "free_share": 0.05})
"""How real places are compared with random ones in fitting.

Few random places may overlap objects, as few proposals may: the ratio learned is that of real places to
proposals, so both must be drawn alike.
"""


def random_places(
    scene: Scene,
    size_wh: FloatArray,
    *,
    num: int,
    rng: np.random.Generator,
    avoid_xyxy: FloatArray | None = None,
    max_avoid: float = 0.1,
    free_share: float = 0.0,
) -> FloatArray:
    """Draw boxes of one size, uniform over the image or over the places that overlap no object.

    Args:
        scene: Its objects, crowds included, are not overlapped, see `free_share`.
        size_wh: (2,) width and height in pixels.
        num: Number of boxes asked for.
        rng: Where the draws come from.
        avoid_xyxy: (4,) one more box that may be covered by at most `max_avoid` of the drawn box's area.
        max_avoid: See `avoid_xyxy`.
        free_share: Share of the boxes, in [0, 1], that may overlap annotated objects.

    Returns:
        (K, 4) boxes, K ≤ num: a crowded image has fewer places, or none.
    """
    free = np.array(scene.size_wh, np.float64) - size_wh
    if (free < 0).any():
        return np.zeros((0, 4))
    area = float(size_wh.prod())
    found: list[FloatArray] = []
    for _ in range(12):
        low = rng.random((2 * num, 2)) * free
        boxes = np.hstack([low, low + size_wh])
        keep = np.ones(len(boxes), bool)
        if len(scene):
            free_of_others = intersections(boxes, scene.boxes_xyxy).max(axis=1) <= 1e-6 * area
            keep &= free_of_others | (rng.random(len(boxes)) < free_share)
        if avoid_xyxy is not None:
            keep &= intersections(boxes, avoid_xyxy[None])[:, 0] <= max_avoid * area
        found.append(boxes[keep])
        if sum(map(len, found)) >= num:
            break
    return np.concatenate(found)[:num]


def compared_objects(scene: Scene, drawn: NDArray[np.bool_], *, rng: np.random.Generator) -> IntArray:
    """Return which objects of a scene are compared with random places.

    Each is compared with all others, so that a scene would cost the square of its number of objects: of more than
    CROWDED objects so many are drawn that the pairs stay below a limit.

    Args:
        scene: Crowds and ignore regions are left out.
        drawn: (N,) bool, the objects that were drawn to be.
        rng: Where the draws come from.
    """
    chosen = np.flatnonzero(~scene.is_crowd & drawn)
    limit = max(_MIN_COMPARED, _MAX_PAIRS // max(len(scene), 1))
    if len(scene) <= CROWDED or len(chosen) <= limit:
        return chosen
    return np.sort(rng.choice(chosen, limit, replace=False))


def without_object(scene: Scene, index: int) -> Scene:
    """Return the scene with one object taken out of its annotation."""
    return scene.keeping(np.arange(len(scene)) != index)
