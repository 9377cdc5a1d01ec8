"""How far each pixel is repainted where painting starts from a picture.

A change map holds a strength for each pixel, as in Differential Diffusion (Levin and Fried, arXiv 2306.00950): 0 keeps
the pixel, 1 paints it from noise, and c lets the last share c of the steps change it. A constant map is SDEdit (Meng et
al., arXiv 2108.01073).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from augsynth.core.scene import FloatArray

EDGE_SHARE = 0.12  # of the root of the object's area, at least two pixels: how deep the edge reaches into it
KEEPS_CORE = 0.5  # the greatest strength that leaves the object's core as it is
FADE_SHARE = 0.5  # of the room around the object: over it the change falls to 0


def object_change(
    shown: NDArray[np.bool_],
    hole_xyxy: FloatArray,
    *,
    strength: float,
    keep: NDArray[np.bool_],
    gone: NDArray[np.bool_],
) -> FloatArray:
    """Return how far each pixel around an object that was put into a picture is repainted.

    Up to a strength of 1/2 the object's core stays as it is, while its edge and the ring around it change by twice the
    strength; from there on edge and ring are painted from noise and the core follows, until at 1 nothing is left.

    Args:
        shown: (H, W) bool pixels of the object; without any, all of the hole changes as the ring does.
        hole_xyxy: (4,) rectangle in these pixels outside of which nothing changes.
        strength: In [0, 1].
        keep: (H, W) bool pixels that don't change, such as other objects.
        gone: (H, W) bool pixels of what makes way for the object; they are painted from noise.

    Returns:
        (H, W) in [0, 1].
    """
    from scipy.ndimage import distance_transform_edt

    core = max(0.0, (strength - KEEPS_CORE) / (1 - KEEPS_CORE))
    edge = min(1.0, strength / KEEPS_CORE)
    ring = _hole_opacity(shown, hole_xyxy)
    if keep.any():
        gap = distance_transform_edt(~keep | shown)
        ring = ring * np.clip(gap / max(2.0, _edge_width(shown)), 0, 1)
    around = np.where(gone, 1.0, edge) * ring
    if not shown.any():
        return np.asarray(around)
    depth = np.clip(distance_transform_edt(shown) / _edge_width(shown), 0, 1)
    inside = core + (edge - core) * (1 - _smooth(depth))
    # What hangs out of the hole is left alone, as everything else out there.
    return np.asarray(np.where(shown, inside * (ring > 0), around))


def replaced_share(change: FloatArray) -> FloatArray:
    """Return how far fine detail gives way to what was painted, in [0, 1]: up to a change of 1/2 not at all."""
    return np.asarray(np.clip(2 * change - 1, 0, 1))


def to_cells(change: FloatArray, num_cells: int) -> NDArray[np.float32]:
    """Return the (n, n) strength of latent cells: of each the largest of its pixels.

    Args:
        change: (size, size), a multiple of n.
        num_cells: n.
    """
    side = change.shape[0] // num_cells
    blocks = change.reshape(num_cells, side, num_cells, side)
    return np.asarray(blocks.max(axis=(1, 3)), np.float32)


def _edge_width(shown: NDArray[np.bool_]) -> float:
    return max(2.0, EDGE_SHARE * float(np.sqrt(np.count_nonzero(shown))))


def _hole_opacity(shown: NDArray[np.bool_], hole_xyxy: FloatArray) -> FloatArray:
    """Return (H, W) 1 next to the object, falling to 0 at the sides of the hole, but for those of the picture."""
    height, width = shown.shape
    x1, y1, x2, y2 = hole_xyxy.tolist()
    columns, rows = np.flatnonzero(shown.any(axis=0)), np.flatnonzero(shown.any(axis=1))
    inner = (
        (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        if len(columns)
        else ((x1 + x2) / 2, (y1 + y2) / 2) * 2
    )
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    left = _ramp(x - x1, inner[0] - x1) if x1 > 0 else np.ones(width)
    right = _ramp(x2 - x, x2 - inner[2]) if x2 < width else np.ones(width)
    above = _ramp(y - y1, inner[1] - y1) if y1 > 0 else np.ones(height)
    below = _ramp(y2 - y, y2 - inner[3]) if y2 < height else np.ones(height)
    return np.asarray(np.minimum(above, below)[:, None] * np.minimum(left, right)[None])


def _ramp(distance: FloatArray, room: float) -> FloatArray:
    """Return opacity that rises from 0 at distance 0 to 1 where `FADE_SHARE` of the room is crossed."""
    return _smooth(np.clip(distance / max(1.0, FADE_SHARE * room), 0, 1))


def _smooth(values: FloatArray) -> FloatArray:
    return np.asarray(values * values * (3 - 2 * values))
