"""Masks of COCO annotations, checked here because pycocotools trusts what it is given.

Run lengths that don't sum to the image make it loop for ever or write past its buffers, coordinates of 1e8 and more
end the interpreter. What passes here is safe to hand to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

MAX_PIXELS = 2**31  # of an image with masks: pycocotools counts in 32 bits
MAX_OUTLINE_PX = 4_000_000  # length of all polygons of a mask; each pixel of it costs a step
FAR_OUTSIDE = 10  # image sides that a polygon may reach beyond the border
_MOST_GROUPS = 7  # of five bits, in one number of a compressed RLE


def usable_mask(segmentation: object, size_wh: tuple[int, int]) -> Any | None:
    """Return a mask as it can be used: as it is, or without polygons of under three points; None where it can't be.

    Usable are polygons with an even count of at least 6 finite numbers, none of them far outside the image, and an
    RLE of the image's size whose runs sum to its pixels and cover at least one.

    Args:
        segmentation: The `segmentation` of an annotation, as decoded.
        size_wh: Size of its image.
    """
    if size_wh[0] * size_wh[1] >= MAX_PIXELS:
        return None
    if isinstance(segmentation, Mapping):
        return segmentation if _is_rle(segmentation, size_wh) else None
    if not isinstance(segmentation, list | tuple):
        return None
    kept = [polygon for polygon in segmentation if not _is_short(polygon)]
    if not kept or not all(_is_polygon(polygon, size_wh) for polygon in kept):
        return None
    reach = (2 * FAR_OUTSIDE + 1) * max(size_wh)
    if sum(map(len, kept)) * reach > MAX_OUTLINE_PX and sum(map(_length, kept)) > MAX_OUTLINE_PX:
        return None
    return segmentation if len(kept) == len(segmentation) else kept


def _is_short(polygon: object) -> bool:
    return isinstance(polygon, list | tuple) and len(polygon) in (0, 2, 4)


def _is_polygon(polygon: object, size_wh: tuple[int, int]) -> bool:
    if not isinstance(polygon, list | tuple) or len(polygon) < 6 or len(polygon) % 2:
        return False
    if not set(map(type, polygon)) <= {int, float}:
        return False
    reach = FAR_OUTSIDE * max(size_wh)
    for values, side in zip((polygon[::2], polygon[1::2]), size_wh, strict=True):
        if not (-reach <= min(values) and max(values) <= side + reach):
            return False
    return math.isfinite(sum(polygon))


def _length(polygon: Sequence[float]) -> float:
    """Return the length of a closed polygon, each edge counted along its longer axis."""
    points = [*zip(polygon[::2], polygon[1::2], strict=True), (polygon[0], polygon[1])]
    return float(sum(max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a, b in pairwise(points)))


def _is_rle(rle: Mapping[str, Any], size_wh: tuple[int, int]) -> bool:
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, list | tuple) or not all(type(side) is int for side in size):
        return False
    if list(size) != [size_wh[1], size_wh[0]]:
        return False
    if isinstance(counts, str | bytes):
        counts = _run_lengths(counts)
    elif not isinstance(counts, list | tuple) or not set(map(type, counts)) <= {int}:
        return False
    if not counts or min(counts) < 0 or sum(counts) != size_wh[0] * size_wh[1]:
        return False
    return sum(counts[1::2]) > 0


def _run_lengths(text: str | bytes) -> list[int]:
    """Return the run lengths in the text of a compressed RLE, none where it isn't such a text.

    Every character holds five bits and whether more follow; the last one's fifth bit is the sign. From the fourth
    number on, each is the difference from the last but one (the format of pycocotools' `rleToString`).
    """
    data = text if isinstance(text, bytes) else text.encode("ascii", "replace")
    groups = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if not len(groups) or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        return []
    ends = np.flatnonzero(groups & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _MOST_GROUPS:
        return []
    place = 5 * (np.arange(len(groups)) - np.repeat(starts, ends - starts + 1))
    values = np.add.reduceat((groups & 31) << place, starts)
    negative = groups[ends] & 16 != 0
    values[negative] -= np.int64(1) << (place[ends[negative]] + 5)
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return [int(value) for value in values]
