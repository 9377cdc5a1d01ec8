"""An outline for a cut-out that has only a box: which pixels differ from what surrounds the box.

Colours of the margin and of the box's middle are each summed up by a few means; a pixel belongs to the object
as far as it is nearer to the latter, weighed by its place in the box. On a coarse grid, so that it costs about
a millisecond. Kept only where what is found fills the box, which a wrong outline rarely does.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from augsynth.core.masks import bounds_of
from augsynth.core.scene import FloatArray
from augsynth.pasting.patch import Patch

_SIDE, _MAX_SAMPLES = 36, 240
_NUM_BEHIND, _NUM_FRONT = 5, 4
_MIN_MARGIN = 40
_MIN_EXTENT, _MIN_SHARE, _MIN_SOLID, _BITE = 0.85, 0.3, 0.92, 4
_RIM, _MIN_CHANGE = 1.5, 0.045
_NOISE = 0.03
_Colours = NDArray[np.float32]


def with_outline(patch: Patch) -> Patch | None:
    """Return the patch with an estimated outline as its opacity, or None where none can be told.

    Args:
        patch: A cut-out with a margin around its box and no outline.
    """
    height, width = patch.alpha.shape
    factor = min(1.0, _SIDE / max(height, width))
    size = max(4, round(width * factor)), max(4, round(height * factor))
    small = cv2.resize(np.ascontiguousarray(patch.image), size, interpolation=cv2.INTER_AREA)
    colours = small.astype(np.float32) / np.float32(255)
    box = patch.box_xyxy * np.tile([size[0] / width, size[1] / height], 2)
    half = np.maximum((box[2:] - box[:2]) / 2, 0.5)
    x = (np.arange(size[0], dtype=np.float32) + 0.5 - (box[0] + box[2]) / 2) / half[0]
    y = ((np.arange(size[1], dtype=np.float32) + 0.5 - (box[1] + box[3]) / 2) / half[1])[:, None]
    outside = np.maximum(np.abs(x), np.abs(y)) > 1
    radius = np.hypot(x, y)
    if int(outside.sum()) < _MIN_MARGIN or half.min() < 2:
        return None
    front = _nearness(colours, colours[radius < 0.7], _NUM_FRONT)
    behind = _nearness(colours, colours[outside], _NUM_BEHIND)
    evidence = (behind - front) / (behind + front + _NOISE) + 0.35 * (1 - np.clip(radius, 0, 1.4) ** 2)
    found = _whole(cv2.GaussianBlur(evidence.astype(np.float32), (0, 0), 1.1) > 0, outside)
    if found is None or not _fills(found, box) or not _follows_edge(colours, found):
        return None
    soft = cv2.GaussianBlur(found.astype(np.float32) * 255, (0, 0), 0.6)
    alpha = cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC)
    alpha = np.clip((alpha - 128) * max(1.0, 0.7 / factor) + 128, 0, 255).astype(np.uint8)
    return Patch(patch.image, alpha, patch.box_xyxy, True, True)


def _nearness(colours: _Colours, samples: _Colours, num: int) -> _Colours:
    """Return (h, w) distances of colours to the nearest of a few means of the samples."""
    samples = samples[:: -(-len(samples) // _MAX_SAMPLES)]
    order = np.argsort(samples.sum(axis=1), kind="stable")
    means = samples[order[np.linspace(0, len(order) - 1, num).round().astype(int)]]
    count = np.zeros(num)
    for _ in range(3):
        member = np.eye(num, dtype=np.float32)[_squares(samples, means).argmin(axis=1)]
        count = member.sum(axis=0)
        means = np.where(count[:, None] > 0, member.T @ samples / np.maximum(count, 1)[:, None], means)
    distance = _squares(colours.reshape(-1, 3), means[count > 0.04 * len(samples)]).min(axis=1)
    return np.asarray(np.sqrt(np.maximum(distance, 0)).reshape(colours.shape[:2]))


def _squares(colours: _Colours, means: _Colours) -> _Colours:
    """Return (N, K) squared distances of (N, 3) colours to (K, 3) means."""
    return np.asarray((colours**2).sum(axis=1)[:, None] - 2 * colours @ means.T + (means**2).sum(axis=1))


def _whole(mask: NDArray[np.bool_], outside: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return the largest connected part inside the box, its holes filled; None when there is nothing."""
    outlines, _ = cv2.findContours(
        (mask & ~outside).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    if not outlines:
        return None
    whole = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(whole, [max(outlines, key=cv2.contourArea)], 0, 1, cv2.FILLED)
    return whole > 0


def _follows_edge(colours: _Colours, mask: NDArray[np.bool_]) -> bool:
    """Return whether colours change across the outline along most of it: a guess in plain ground has no edge."""
    inner = mask.astype(np.float32)
    rim = mask & (cv2.erode(inner, np.ones((3, 3)), borderValue=0) == 0)
    sides = []
    for part in (inner, 1 - inner):
        weighted = np.concatenate([colours * part[..., None], part[..., None]], axis=2)
        sums = cv2.GaussianBlur(weighted, (0, 0), _RIM)[rim]
        sides.append(sums[:, :3] / np.maximum(sums[:, 3:], 1e-3))
    change = np.sqrt(((sides[0] - sides[1]) ** 2).sum(axis=1))
    return bool(np.quantile(change, 0.25) >= _MIN_CHANGE)


def _fills(mask: NDArray[np.bool_], box: FloatArray) -> bool:
    """Return whether a mask reaches the sides of its box and covers enough of it."""
    found = bounds_of(mask)
    if found is None:
        return False
    wh = box[2:] - box[:2]
    extent = (found[2:] - found[:2]) / wh
    padded = np.pad(mask.astype(np.uint8), _BITE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((2 * _BITE - 1,) * 2, np.uint8))
    solid = mask.sum() >= _MIN_SOLID * closed.sum()
    return bool(solid and (extent >= _MIN_EXTENT).all() and mask.sum() >= _MIN_SHARE * wh.prod())
