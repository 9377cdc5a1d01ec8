"""The outline of a painted object, from what painting changed.

Source and result are both known, and so is the painted rectangle. Background that was painted anew differs
from the source too, but less than the object does: how much is measured in the painted pixels outside of the
detected box. What differs clearly more is object, what doesn't is not, and a guided filter (He, Sun, Tang,
"Guided image filtering", TPAMI 2013) with the result as guide settles what lies between.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from augsynth.core.boxes import ious
from augsynth.core.masks import bounds_of
from augsynth.core.scene import FloatArray, Image

# Judged on the contact sheets of runs on the rendered sample and on blood cells; see `benchmarks/cost/bank.py`.
_LOW_QUANTILE, _MIN_STEP = 0.9, 10.0
_MIN_RING_PIXELS = 24
_MIN_SHARE, _MAX_SHARE = 0.25, 0.97
_MIN_FIT = 0.7
_MIN_CONTRAST = 2.5
_MIN_SOLIDITY = 0.82
_OPAQUE = 0.5


def matte(
    before: Image,
    after: Image,
    *,
    box_xyxy: FloatArray,
    painted_xyxy: FloatArray,
) -> FloatArray | None:
    """Return the (h, w) opacity in [0, 1] of a painted object, or None where the pixels don't tell it.

    It is not trusted when too little background was painted to compare with, when object and repainted
    background differ from the source alike, or when what differs doesn't fill the detected box.

    Args:
        before: (h, w, 3) uint8 crop of the source.
        after: (h, w, 3) uint8 the same crop of the result.
        box_xyxy: (4,) detected box in pixels of the crop.
        painted_xyxy: (4,) rectangle that was painted, in pixels of the crop; may reach outside.
    """
    change = _change(before, after)
    inside = _rectangle(change.shape, box_xyxy)
    ring = _rectangle(change.shape, painted_xyxy) & ~_rectangle(change.shape, box_xyxy, pad=1.0)
    if ring.sum() < _MIN_RING_PIXELS or inside.sum() < _MIN_RING_PIXELS:
        return None
    background = float(np.quantile(change[ring], _LOW_QUANTILE))
    level = float(np.quantile(change[inside], 0.75))
    if level < max(_MIN_CONTRAST * background, background + _MIN_STEP):
        return None
    low = background + 0.1 * (level - background)
    high = background + 0.45 * (level - background)
    rough = np.clip((change - low) / (high - low), 0, 1)
    longest = float((box_xyxy[2:] - box_xyxy[:2]).max())
    body = _body(rough >= _OPAQUE, inside, gap=max(2, round(0.06 * longest)))
    near, deep = ndimage.binary_dilation(body, iterations=2), ndimage.binary_erosion(body, iterations=2)
    rough = np.where(deep, 1.0, np.maximum(rough, 0.5 * body) * near)
    alpha = _guided(rough, after, radius=max(1, round(0.03 * longest)), strength=1e-3)
    alpha = np.where(_rectangle(change.shape, box_xyxy, pad=2.0), alpha, 0.0)
    return alpha if _trusted(alpha >= _OPAQUE, box_xyxy) else None


def soften(mask: NDArray[np.bool_], image: Image) -> FloatArray:
    """Return the (h, w) opacity in [0, 1] of an object with a known mask: its edge follows the picture's.

    Opacity is 0.5 or more exactly where the mask is, and 0 or 1 further than two pixels from its edge.

    Args:
        mask: (h, w).
        image: (h, w, 3) uint8 crop.
    """
    near, deep = ndimage.binary_dilation(mask, iterations=2), ndimage.binary_erosion(mask, iterations=2)
    alpha = _guided(mask.astype(np.float64), image, radius=1, strength=1e-3)
    alpha = np.where(mask, np.maximum(alpha, _OPAQUE), np.minimum(alpha, _OPAQUE - 0.01))
    return np.asarray(np.where(deep, 1.0, alpha * near))


def _change(before: Image, after: Image) -> FloatArray:
    """Return how much each pixel changed, 0 to about 255, smoothed over a pixel."""
    difference = after.astype(np.float64) - before
    smooth = ndimage.gaussian_filter(difference, (0.7, 0.7, 0))
    return np.asarray(np.sqrt((smooth**2).mean(axis=2)))


def _rectangle(shape_hw: tuple[int, ...], box_xyxy: FloatArray, *, pad: float = 0.0) -> NDArray[np.bool_]:
    x1, y1 = np.floor(box_xyxy[:2] - pad).astype(int)
    x2, y2 = np.ceil(box_xyxy[2:] + pad).astype(int)
    inside = np.zeros(shape_hw, np.bool_)
    inside[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = True
    return inside


def _body(object_: NDArray[np.bool_], inside: NDArray[np.bool_], *, gap: int) -> NDArray[np.bool_]:
    """Return the object without specks, holes and inlets of up to twice `gap` pixels."""
    padded = np.pad(object_ & inside, gap + 1)
    spread = ndimage.distance_transform_edt(~padded) <= gap
    closed = (ndimage.distance_transform_edt(spread) > gap)[gap + 1 : -gap - 1, gap + 1 : -gap - 1] & inside
    labels, count = ndimage.label(closed)
    if not count:
        return np.asarray(closed, np.bool_)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = sizes >= 0.15 * sizes.max()
    return np.asarray(ndimage.binary_fill_holes(kept[labels]), np.bool_)


def _guided(rough: FloatArray, guide: Image, *, radius: int, strength: float) -> FloatArray:
    """Return the guided filter of an opacity with the three colours as guide (He et al. 2013, equations 19-21)."""
    size = 2 * radius + 1

    def mean(values: FloatArray) -> FloatArray:
        return np.asarray(ndimage.uniform_filter(values, (size, size, *[1] * (values.ndim - 2))))

    colour = guide.astype(np.float64) / 255
    mean_colour, mean_rough = mean(colour), mean(rough)
    outer = mean(colour[..., :, None] * colour[..., None, :])
    covariance = outer - mean_colour[..., :, None] * mean_colour[..., None, :] + strength * np.eye(3)
    cross = mean(colour * rough[..., None]) - mean_colour * mean_rough[..., None]
    slope = np.asarray(np.linalg.solve(covariance, cross[..., None])[..., 0], np.float64)
    offset = np.asarray(mean_rough - (slope * mean_colour).sum(axis=2), np.float64)
    return np.asarray(np.clip((mean(slope) * colour).sum(axis=2) + mean(offset), 0, 1))


def _trusted(object_: NDArray[np.bool_], box_xyxy: FloatArray) -> bool:
    """Say whether an outline fills the detected box as an object does."""
    found = bounds_of(object_)
    if found is None:
        return False
    box_area = float((box_xyxy[2:] - box_xyxy[:2]).prod())
    fit = float(ious(found[None], box_xyxy[None])[0, 0])
    share = float(object_.sum()) / box_area
    return fit >= _MIN_FIT and _MIN_SHARE <= share <= _MAX_SHARE and _solidity(object_) >= _MIN_SOLIDITY


def _solidity(object_: NDArray[np.bool_]) -> float:
    """Return the share of its convex hull that an outline fills: where it has bites, matting has failed."""
    from scipy.spatial import ConvexHull, QhullError

    rows, columns = np.nonzero(object_)
    corners = np.concatenate([np.stack([columns + dx, rows + dy], axis=1) for dx in (0, 1) for dy in (0, 1)])
    try:
        return float(len(rows) / ConvexHull(corners).volume)
    except QhullError:
        return 0.0
