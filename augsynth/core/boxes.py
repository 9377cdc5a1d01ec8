"""Boxes as arrays: xyxy in pixels unless a name says otherwise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from augsynth.core.scene import FloatArray, IntArray


def box_areas(boxes_xyxy: FloatArray) -> FloatArray:
    """Return (N,) areas of (N, 4) boxes; inverted boxes have area 0."""
    wh = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    return np.asarray(wh[:, 0] * wh[:, 1])


def intersections(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Return the (N, M) intersection areas of (N, 4) and (M, 4) boxes."""
    sides: list[FloatArray] = []
    for low, high in ((0, 2), (1, 3)):
        side = np.minimum(a_xyxy[:, None, high], b_xyxy[None, :, high])
        side -= np.maximum(a_xyxy[:, None, low], b_xyxy[None, :, low])
        sides.append(np.maximum(side, 0, out=side))
    width, height = sides
    return np.multiply(width, height, out=width)


def intersection_boxes(boxes_xyxy: FloatArray, box_xyxy: FloatArray) -> FloatArray:
    """Return the (N, 4) parts of boxes inside another box (4,), for boxes that overlap it."""
    low = np.maximum(boxes_xyxy[:, :2], box_xyxy[:2])
    return np.concatenate([low, np.minimum(boxes_xyxy[:, 2:], box_xyxy[2:])], axis=1)


def ious(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Return the (N, M) intersections over union of (N, 4) and (M, 4) boxes."""
    inter = intersections(a_xyxy, b_xyxy)
    union = box_areas(a_xyxy)[:, None] + box_areas(b_xyxy)[None] - inter
    return np.asarray(inter / np.maximum(union, 1e-12))


def shown_along(boxes_xyxy: FloatArray, k: int, *, least: float = 0.3) -> IntArray:
    """Return the positions of the boxes, other than the k-th, of which the k-th shows at least a share.

    Args:
        boxes_xyxy: (N, 4) boxes; an empty one is never shown.
        k: Which box is looked into.
        least: Share of another box's area in (0, 1].
    """
    seen = intersections(boxes_xyxy, boxes_xyxy[k][None])[:, 0]
    seen[k] = 0
    return np.flatnonzero((seen > 0) & (seen >= least * box_areas(boxes_xyxy)))


def fit_inside(boxes_xyxy: FloatArray, size_wh: tuple[int, int], *, min_side: float) -> NDArray[np.bool_]:
    """Return (N,) bool: the box lies inside the image and is at least `min_side` wide and high."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    fine = np.asarray(np.minimum(low, size_wh - high) >= 0)
    fine &= high - low >= min_side
    return np.asarray(fine[:, 0] & fine[:, 1])


def clip_boxes(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Return the boxes cut to the image."""
    return np.minimum(np.maximum(boxes_xyxy, 0.0), np.array([*size_wh, *size_wh], np.float64))


def grow_box(box_xyxy: FloatArray, *, factor: float = 1.0, pad: float = 0.0) -> FloatArray:
    """Return the box scaled about its centre by `factor`, then widened by `pad` pixels a side."""
    centre = (box_xyxy[:2] + box_xyxy[2:]) / 2
    half = (box_xyxy[2:] - box_xyxy[:2]) / 2 * factor + pad
    return np.concatenate([centre - half, centre + half])


def least_window(size: int, *, max_zoom: float) -> int:
    """Return the least side in source pixels of a window that a model of `size` pixels enlarges `max_zoom` times."""
    return max(8, int(np.ceil(size / max(1.0, max_zoom))))


def square_window(
    box_xyxy: FloatArray, size_wh: tuple[int, int], *, context: float, min_side: int
) -> IntArray | None:
    """Return the square integer window around a box, moved inside the image.

    Args:
        box_xyxy: (4,) box that the window must hold.
        size_wh: Size of the image.
        context: Side of the window over the longer side of the box, ≥ 1.
        min_side: Least side in pixels.

    Returns:
        (4,) xyxy of the window, or None when the image can't hold a square around the box.
    """
    longest = float((box_xyxy[2:] - box_xyxy[:2]).max())
    side = max(int(np.ceil(longest * context)), min_side)
    side = min(side, *size_wh)
    if side < np.ceil(longest):
        return None
    centre = (box_xyxy[:2] + box_xyxy[2:]) / 2
    low = np.clip(np.round(centre - side / 2), 0, np.array(size_wh) - side).astype(np.int64)
    low = np.clip(low, np.ceil(box_xyxy[2:]).astype(np.int64) - side, np.floor(box_xyxy[:2]).astype(np.int64))
    low = np.clip(low, 0, np.array(size_wh) - side)
    return np.concatenate([low, low + side])


def hold_a_window(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (N,) bool: `square_window` finds a window around the box, for the image isn't too narrow for a square."""
    longest = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1)
    return np.asarray(np.ceil(longest) <= min(size_wh))


def view_around(window_xyxy: IntArray, size_wh: tuple[int, int], *, side: int) -> IntArray:
    """Return the part of an image that a detector looks at: about `side` pixels around a window.

    The whole image when it is at most half as large again, so that nothing is cut that needn't be.

    Args:
        window_xyxy: (4,) window; a view is at least twice as wide.
        size_wh: Size of the image.
        side: Side in pixels that the detector works best at.

    Returns:
        (4,) int64 xyxy inside the image.
    """
    side = max(side, 2 * int(window_xyxy[2] - window_xyxy[0]))
    if max(size_wh) <= 1.5 * side:
        return np.array([0, 0, *size_wh], np.int64)
    extent = np.minimum(side, size_wh)
    centre = (window_xyxy[:2] + window_xyxy[2:]) / 2
    low = np.clip(np.round(centre - extent / 2), 0, np.array(size_wh) - extent).astype(np.int64)
    return np.concatenate([low, low + extent])
