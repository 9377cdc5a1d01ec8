"""Which objects stand free: the border doesn't cut them off, and nothing may hide a side of theirs."""

from __future__ import annotations

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
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    wh = high - low
    slack = (_SLACK * wh.max(axis=1))[:, None, None]
    shared = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    along = (shared / wh[:, None])[
        ..., ::-1
    ] >= _LEAST_COVERED  # of the sides that x and y bound: their other axis
    above = (low[None] <= high[:, None] + slack) & (high[None] > high[:, None] + slack)
    below = (high[None] >= low[:, None] - slack) & (low[None] < low[:, None] - slack)
    hides = (along & (above | below)).any(axis=2)
    beyond = ((high[None] > high[:, None] + slack) & (low[None] < low[:, None] - slack)).all(axis=2)
    areas = box_areas(boxes_xyxy)
    hides &= ~(beyond & (areas[None] >= _MUCH_LARGER * areas[:, None]))
    np.fill_diagonal(hides, False)
    return np.asarray(hides.any(axis=1))


def stand_free(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (N,) bool: neither the border nor another object takes anything from the box."""
    return ~is_cut(boxes_xyxy, size_wh) & ~may_be_hidden(boxes_xyxy)
