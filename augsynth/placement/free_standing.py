"""Which objects stand free: the border doesn't cut them off, and nothing may hide a side of theirs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import box_areas
from augsynth.core.scene import FloatArray

_BORDER = 0.004
_SLACK = 0.03
_LEAST_COVERED = 0.5
_MUCH_LARGER = 4.0


def is_cut(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (N,) bool: the box touches the image border, to within 0.4 % of the side."""
    far = np.array(size_wh, np.float64)
    slack = _BORDER * far
    touches = (boxes_xyxy[:, :2] <= slack) | (boxes_xyxy[:, 2:] >= far - slack)
    return np.asarray(touches.any(axis=1))


def may_be_hidden(boxes_xyxy: FloatArray) -> NDArray[np.bool_]:
    """Return (N,) bool: another object may hide what lies beyond a side of the box.

    Who is in front isn't annotated. A box may do so that touches half of the side, to within 3 % of the
    hidden box, and reaches beyond it. One that holds the whole box and is four times as large lies behind it,
    as a table does behind a cup.

    Args:
        boxes_xyxy: (N, 4) boxes of what is seen of the objects of one image.
    """
    slack = _SLACK * (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1)[:, None]
    x, y = (_compared(boxes_xyxy[:, [axis, axis + 2]], slack) for axis in (0, 1))
    hides = (y.along & (x.above | x.below)) | (x.along & (y.above | y.below))
    beyond = x.above & x.below & y.above & y.below
    areas = box_areas(boxes_xyxy)
    hides &= ~(beyond & (areas[None] >= _MUCH_LARGER * areas[:, None]))
    np.fill_diagonal(hides, False)
    return np.asarray(hides.any(axis=1))


class _Compared(NamedTuple):
    """Every box against every other along one axis: (N, N) bool, the box that may hide in the second place."""

    along: NDArray[np.bool_]  # it covers enough of the other's side
    above: NDArray[np.bool_]  # it touches the upper end and reaches beyond it
    below: NDArray[np.bool_]  # the same of the lower end


def _compared(ends: FloatArray, slack: FloatArray) -> _Compared:
    """Compare (N, 2) lower and upper ends of boxes; (N, 1) slack."""
    low, high = ends[:, 0], ends[:, 1]
    shared = np.minimum(high[:, None], high[None])
    shared -= np.maximum(low[:, None], low[None])
    shared /= (high - low)[:, None]
    top, bottom = high[:, None] + slack, low[:, None] - slack
    return _Compared(
        shared >= _LEAST_COVERED,
        (low[None] <= top) & (high[None] > top),
        (high[None] >= bottom) & (low[None] < bottom),
    )


def stand_free(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (N,) bool: neither the border nor another object takes anything from the box."""
    return ~is_cut(boxes_xyxy, size_wh) & ~may_be_hidden(boxes_xyxy)
