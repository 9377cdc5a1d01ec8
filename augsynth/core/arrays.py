"""Arrays from JSON values that may be anything: of one shape, in one range, or a ValueError that says what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_EXACT = 2**53  # beyond it float64 skips whole numbers


def floats(
    values: Any, name: str, shape: tuple[int, ...], *, low: float = -1e9, high: float = 1e9
) -> NDArray[np.float64]:
    """Return a float64 array.

    Args:
        values: JSON values.
        name: Of the field, for errors.
        shape: -1 stands for any length.
        low, high: Least and greatest value.

    Raises:
        ValueError: They aren't finite numbers of that shape and range.
    """
    try:
        plain = np.array(values)
        if plain.dtype.kind not in "iuf":  # texts become numbers, too
            raise TypeError
        found = plain.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: must be numbers of shape {_shape_text(shape)}") from None
    if values == [] and shape[:1] == (-1,):
        found = found.reshape([max(side, 0) for side in shape])
    fits = found.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, found.shape, strict=True)
    )
    if not fits or not np.isfinite(found).all():
        raise ValueError(
            f"{name}: must be finite numbers of shape {_shape_text(shape)}, not {_shape_text(found.shape)}"
        )
    if found.size and not (found.min() >= low and found.max() <= high):
        raise ValueError(f"{name}: must lie in [{low:g}, {high:g}]")
    return found


def wholes(
    values: Any, name: str, shape: tuple[int, ...], *, low: int = 0, high: int = MAX_EXACT
) -> NDArray[np.int64]:
    """Return an int64 array; arguments as of `floats`.

    Raises:
        ValueError: They aren't whole numbers of that shape and range.
    """
    found = floats(values, name, shape, low=low, high=high)
    if (found != np.rint(found)).any():
        raise ValueError(f"{name}: must be whole numbers")
    return found.astype(np.int64)


def unique_ids(values: Any, name: str) -> NDArray[np.int64]:
    """Return (N,) ids, exact up to 64 bits.

    Raises:
        ValueError: They aren't integers of at most 64 bits, or one is given twice.
    """
    if not isinstance(values, list) or not all(type(v) is int and -(2**63) <= v < 2**63 for v in values):
        raise ValueError(f"{name}: must be a list of integers of at most 64 bits")
    if len(set(values)) < len(values):
        raise ValueError(f"{name}: an id is given twice")
    return np.array(values, np.int64)


def _shape_text(shape: tuple[int, ...]) -> str:
    return " × ".join("any" if side == -1 else str(side) for side in shape) or "one number"
