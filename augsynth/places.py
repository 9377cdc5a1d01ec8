"""Random places for comparison, and scenes with one object taken out: how placement is learned and judged."""

from __future__ import annotations

import numpy as np

from augsynth.geometry import intersections
from augsynth.scene import FloatArray, Scene


def random_places(
    scene: Scene,
    size_wh: FloatArray,
    *,
    num: int,
    rng: np.random.Generator,
    avoid_xyxy: FloatArray | None = None,
    max_avoid: float = 0.1,
) -> FloatArray:
    """Draw boxes of one size, uniform over the places that overlap no annotated object.

    Args:
        scene: Its objects, crowds included, must not be overlapped.
        size_wh: (2,) width and height in pixels.
        num: Number of boxes asked for.
        rng: Where the draws come from.
        avoid_xyxy: (4,) one more box that may be covered by at most `max_avoid` of the drawn box's area.
        max_avoid: See `avoid_xyxy`.

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
            keep &= intersections(boxes, scene.boxes_xyxy).max(axis=1) <= 1e-6 * area
        if avoid_xyxy is not None:
            keep &= intersections(boxes, avoid_xyxy[None])[:, 0] <= max_avoid * area
        found.append(boxes[keep])
        if sum(map(len, found)) >= num:
            break
    return np.concatenate(found)[:num]


def without_object(scene: Scene, index: int) -> Scene:
    """Return the scene with one object taken out of its annotation."""
    keep = np.arange(len(scene)) != index
    return Scene(
        scene.image_id,
        scene.file_name,
        scene.size_wh,
        scene.boxes_xyxy[keep],
        scene.category_ids[keep],
        scene.annotation_ids[keep],
        scene.is_crowd[keep],
    )
