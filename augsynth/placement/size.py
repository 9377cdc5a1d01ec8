"""How large an object is and of what shape, given its category, its height in the image and its scene.

log(longer side / sqrt(image area)) = category + slope * vertical position + share * (what the scene's other
objects exceed their own expectation by) + noise. Noise and log aspect of a new object are those of one real
object, smoothed a little, so that size and shape go together.

Draws stay in the central 95 % of widths, heights, areas and aspects of the objects that stand free: the region that
directional quantiles enclose (Kong & Mizera, Statistica Sinica 2012), in four directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.arrays import floats
from augsynth.core.scene import FloatArray, IntArray
from augsynth.placement.free_standing import stand_free

_FREEDOM = 4.0
_SMOOTH, _MAX_ASPECT_SMOOTH = 0.15, 0.02  # of the spread, when a real object's noise and log aspect are drawn
_TRIES = 6
_LARGEST, _LEAST_SCALE = 2000.0, 1e-5  # in logs of a size, of numbers that are read


def log_sides(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Return (N,) log of the longer side over the square root of the image's area."""
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1)
    return np.asarray(np.log(sides) - 0.5 * np.log(size_wh[0] * size_wh[1]))


def vertical_positions(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Return (N,) vertical centre positions, -0.5 at the image's top and 0.5 at its bottom."""
    return np.asarray((boxes_xyxy[:, 1] + boxes_xyxy[:, 3]) / 2 / size_wh[1] - 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """The size model.

    Attributes:
        centres: (C,) category medians at mid height.
        slopes: (C,) change from the image's top to its bottom.
        scales: (C,) robust standard deviations of the noise.
        aspect_scales: (C,) the same of log aspect.
        share: Share of the scene's own deviation that carries over.
        loss: What being hidden or cut off adds to the log of the longer side; mostly below 0.
        support: Per category (K, 2): noise and log(width / height) of real objects.
        bounds: (C, 4, 2) least and most log width, log height, log area and log aspect; lengths as in `log_sides`.
    """

    centres: FloatArray
    slopes: FloatArray
    scales: FloatArray
    aspect_scales: FloatArray
    share: float
    loss: float
    support: tuple[FloatArray, ...]
    bounds: FloatArray
    _support_sides: tuple[tuple[FloatArray, FloatArray], ...] = field(init=False)

    def __post_init__(self) -> None:
        sides = []  # of the rows of support: what `_sides_between` says, nothing where an aspect is out of bounds
        for category, rows in enumerate(self.support):
            low, high = self._sides_between(category, rows[:, 1])
            least, most = self.bounds[category, 3]
            sides.append((low, np.where((least <= rows[:, 1]) & (rows[:, 1] <= most), high, -np.inf)))
        object.__setattr__(self, "_support_sides", tuple(sides))

    def deviation(
        self,
        boxes_xyxy: FloatArray,
        categories: IntArray,
        size_wh: tuple[int, int],
        *,
        free: NDArray[np.bool_] | None = None,
    ) -> float:
        """Return the scene's expected deviation from its categories' sizes; 0 without objects.

        Args:
            boxes_xyxy: (M, 4) boxes of the scene.
            categories: (M,) category indices.
            size_wh: Size of the image.
            free: (M,) of `stand_free`, where it is known.
        """
        if not len(boxes_xyxy):
            return 0.0
        free = stand_free(boxes_xyxy, size_wh) if free is None else free
        rest = np.sort(self._residuals(boxes_xyxy, categories, size_wh) - self.loss * ~free)
        median = (rest[(len(rest) - 1) // 2] + rest[len(rest) // 2]) / 2
        return float(self.share * median * len(rest) / (len(rest) + 1))

    def _residuals(
        self, boxes_xyxy: FloatArray, categories: IntArray, size_wh: tuple[int, int]
    ) -> FloatArray:
        tilt = self.slopes[categories] * vertical_positions(boxes_xyxy, size_wh)
        return np.asarray(log_sides(boxes_xyxy, size_wh) - self.centres[categories] - tilt)

    def log_densities(
        self,
        boxes_xyxy: FloatArray,
        categories: IntArray | int,
        size_wh: tuple[int, int],
        *,
        deviation: float,
    ) -> FloatArray:
        """Return (N,) log p(size | category, position, scene) of boxes, per unit of log size.

        Args:
            boxes_xyxy: (N, 4) pixels.
            categories: (N,) category indices, or the one of all.
            size_wh: Size of the image.
            deviation: Of the scene.
        """
        kinds = np.broadcast_to(categories, len(boxes_xyxy))
        scales = self.scales[kinds]
        z = (self._residuals(boxes_xyxy, kinds, size_wh) - deviation) / scales
        return np.asarray(-(_FREEDOM + 1) / 2 * np.log1p(z**2 / _FREEDOM) - np.log(scales))

    def draw(
        self,
        positions: FloatArray,
        category: int,
        size_wh: tuple[int, int],
        *,
        deviation: float,
        rng: np.random.Generator,
        alike: bool = False,
    ) -> FloatArray:
        """Draw (N, 2) widths and heights in pixels for objects at vertical positions `positions`.

        Args:
            positions: (N,) of `vertical_positions`.
            category: Category index.
            size_wh: Size of the image.
            deviation: Of the scene.
            rng: Where the draws come from.
            alike: All are one draw, seen at these positions.
        """
        level = self.centres[category] + deviation
        noise, aspect, low, high = self._shapes(level, category, 1 if alike else len(positions), rng)
        log_side = np.minimum(np.maximum(level + noise + self.slopes[category] * positions, low), high)
        side = np.exp(log_side) * np.sqrt(size_wh[0] * size_wh[1])
        return np.stack([side * np.exp(np.minimum(aspect, 0)), side * np.exp(-np.maximum(aspect, 0))], axis=1)

    def _shapes(
        self, level: float, category: int, num: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Draw (num,) noise and log aspect, and the least and most log side that go with the latter.

        Those that lie outside the bounds at a log side are drawn again.
        """
        rows, (least, most) = self.support[category], self.bounds[category, 3].tolist()
        low, high = self._support_sides[category]
        at = level + rows[:, 0]
        inside = (low <= at) & (at <= high)
        rows = rows[inside] if inside.any() else rows
        smooth_aspect = min(_SMOOTH * self.aspect_scales[category], _MAX_ASPECT_SMOOTH)
        width = np.array([_SMOOTH * self.scales[category], smooth_aspect])
        shapes = np.empty((4, num))
        todo = np.arange(num)
        for _ in range(_TRIES):
            picked = rows[rng.integers(len(rows), size=len(todo))]
            noise, aspect = (picked + rng.standard_normal((len(todo), 2)) * width).T
            low, high = self._sides_between(category, aspect)
            shapes[:, todo] = noise, aspect, low, high
            at = level + noise
            todo = todo[(at < low) | (at > high) | (aspect < least) | (aspect > most)]
            if not len(todo):
                break
        else:
            aspect = np.minimum(np.maximum(shapes[1, todo], least), most)
            shapes[1:, todo] = aspect, *self._sides_between(category, aspect)
        noise, aspect, low, high = shapes
        return noise, aspect, low, high

    def _sides_between(self, category: int, aspect: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the (N,) least and most log of the longer side at log aspects; the most is never below the least."""
        (width, height, area, _), magnitude = self.bounds[category].tolist(), np.abs(aspect)
        tall, wide = np.minimum(aspect, 0), np.maximum(aspect, 0)
        low = np.maximum(np.maximum(width[0] - tall, height[0] + wide), (area[0] + magnitude) / 2)
        high = np.minimum(np.minimum(width[1] - tall, height[1] + wide), (area[1] + magnitude) / 2)
        return low, np.maximum(high, low)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {
            "centres": np.round(self.centres, 5).tolist(),
            "slopes": np.round(self.slopes, 5).tolist(),
            "scales": np.round(self.scales, 5).tolist(),
            "aspect_scales": np.round(self.aspect_scales, 5).tolist(),
            "share": round(self.share, 5),
            "loss": round(self.loss, 5),
            "support": [np.round(rows, 4).tolist() for rows in self.support],
            "bounds": np.round(self.bounds, 5).tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sizes:
        """Return the model of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: Something is missing, or isn't what `to_dict` writes.
        """

        def read(values: Any, name: str, shape: tuple[int, ...], low: float = -_LARGEST) -> FloatArray:
            return floats(values, name, shape, low=low, high=_LARGEST)

        centres = read(data["centres"], "centres", (-1,))
        num = len(centres)
        support = tuple(read(rows, "support", (-1, 2)) for rows in data["support"])
        if len(support) != num or not all(map(len, support)):
            raise ValueError(f"support: must have rows for each of the {num} categories")
        return cls(
            centres,
            read(data["slopes"], "slopes", (num,)),
            read(data["scales"], "scales", (num,), _LEAST_SCALE),
            read(data["aspect_scales"], "aspect_scales", (num,), 0.0),
            float(read(data["share"], "share", ())),
            float(read(data["loss"], "loss", ())),
            support,
            read(data["bounds"], "bounds", (num, 4, 2)) if num else np.zeros((0, 4, 2)),
        )
