"""Labels after pasting: what is still visible of each object, re-cut boxes, bitmaps and polygons."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import intersections
from augsynth.core.masks import FlatPolygons, bounds_of, fill_polygons, trace_outer
from augsynth.core.scene import FloatArray, IntArray


class Cover:
    """Which pasted object covers each pixel of an image.

    Objects are numbered by layer: 0 for what the image held, 1, 2, … for what was pasted, in order.

    Attributes:
        layers: (H, W) int16, the last layer that was pasted over the pixel.
        regions_xyxy: Regions of the pasted objects, in order.
    """

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.layers = np.zeros((size_wh[1], size_wh[0]), np.int16)
        self.regions_xyxy: list[IntArray] = []

    def add(self, region_xyxy: IntArray, covered: NDArray[np.bool_]) -> None:
        """Put a pasted object on top: its region of the image and the (h, w) pixels it covers there."""
        self.regions_xyxy.append(region_xyxy)
        self.layers[_window(region_xyxy)][covered] = len(self.regions_xyxy)

    def hidden(self, region_xyxy: IntArray, layer: int) -> NDArray[np.bool_]:
        """Return the (h, w) pixels of a region where something lies over a layer."""
        return np.asarray(self.layers[_window(region_xyxy)] > layer)

    def touched(self, boxes_xyxy: FloatArray, layers: IntArray) -> IntArray:
        """Return the indices of boxes that a later object's region reaches into."""
        if not len(boxes_xyxy) or not self.regions_xyxy:
            return np.zeros(0, np.int64)
        regions = np.array(self.regions_xyxy, np.float64)
        above = np.arange(1, len(regions) + 1)[None] > layers[:, None]
        return np.flatnonzero(((intersections(boxes_xyxy, regions) > 0) & above).any(axis=1))


def _window(region_xyxy: IntArray) -> tuple[slice, slice]:
    x1, y1, x2, y2 = (int(v) for v in region_xyxy)
    return slice(y1, y2), slice(x1, x2)


def pixel_region(box_xyxy: FloatArray, size_wh: tuple[int, int]) -> IntArray:
    """Return the (4,) int64 pixels that a box touches, inside the image and at least one."""
    (left, top, right, bottom), (width, height) = box_xyxy.tolist(), size_wh
    x1, y1 = min(max(math.floor(left), 0), width - 1), min(max(math.floor(top), 0), height - 1)
    x2, y2 = min(max(math.ceil(right), x1 + 1), width), min(max(math.ceil(bottom), y1 + 1), height)
    return np.array([x1, y1, x2, y2], np.int64)


def recut_box(
    box_xyxy: FloatArray, hidden: NDArray[np.bool_], region_xyxy: IntArray
) -> tuple[FloatArray, float]:
    """Return the box of what is left of an object without an outline, and the share that is left.

    Args:
        box_xyxy: (4,) the whole object.
        hidden: (h, w) covered pixels of its `pixel_region`.
        region_xyxy: That region.

    Returns:
        The (4,) box, never larger than before, and the visible share of its pixels in [0, 1].
    """
    left = bounds_of(~hidden)
    if left is None:
        return box_xyxy, 0.0
    shifted = left + region_xyxy[[0, 1, 0, 1]]
    shrunk = np.concatenate([np.maximum(box_xyxy[:2], shifted[:2]), np.minimum(box_xyxy[2:], shifted[2:])])
    return shrunk, 1.0 - float(hidden.mean())


def recut_mask(
    mask: NDArray[np.uint8], box_xyxy: FloatArray, hidden: NDArray[np.bool_], region_xyxy: IntArray
) -> tuple[FloatArray, float]:
    """Take hidden pixels out of a bitmap, in place; return its box and the share that is left.

    Args:
        mask: (H, W) uint8, of the image's size.
        box_xyxy: (4,) the whole object; kept where nothing of the mask is hidden.
        hidden: (h, w) covered pixels of the region.
        region_xyxy: Where those pixels lie.
    """
    part = mask[_window(region_xyxy)]
    before = int(np.count_nonzero(mask))
    lost = int(np.count_nonzero(part[hidden]))
    if not lost:
        return box_xyxy, 1.0
    part[hidden] = 0
    left = bounds_of(mask > 0)
    return (box_xyxy, 0.0) if left is None else (left, 1.0 - lost / before)


def recut_polygons(
    polygons: FlatPolygons, box_xyxy: FloatArray, hidden: NDArray[np.bool_], region_xyxy: IntArray
) -> tuple[FlatPolygons, FloatArray, float]:
    """Return the polygons without hidden pixels, their box and the share that is left.

    Args:
        polygons: x, y, x, y, … in image pixels.
        box_xyxy: (4,) the whole object; polygons and box are kept where nothing is hidden.
        hidden: (h, w) covered pixels of the object's `pixel_region`.
        region_xyxy: That region.
    """
    inside = fill_polygons(polygons, region_xyxy)
    before, lost = int(inside.sum()), int((inside & hidden).sum())
    if not lost:
        return polygons, box_xyxy, 1.0
    visible = inside & ~hidden
    outlines = trace_outer(visible, low_xy=region_xyxy[:2])
    left = bounds_of(visible)
    if left is None or not outlines:
        return polygons, box_xyxy, 0.0
    return outlines, left + region_xyxy[[0, 1, 0, 1]], 1.0 - lost / before
