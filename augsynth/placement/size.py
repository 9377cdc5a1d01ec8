"""How large an object is, given its category, its height in the image and how large its scene is drawn.

log(longer side / sqrt(image area)) = category + slope * vertical position + share * (what the scene's other
objects exceed their own expectation by) + Student-t noise. Medians and shrinkage keep it robust; objects cut
by the image border say little about size and count only where a category has no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from augsynth.core.scene import FloatArray, IntArray

_KAPPA = 5.0
_FREEDOM = 4.0
_MAX_SUPPORT = 300


def log_sides(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Return (N,) log of the longer side over the square root of the image's area."""
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1)
    return np.asarray(np.log(sides) - 0.5 * np.log(size_wh[0] * size_wh[1]))


def vertical_positions(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Return (N,) vertical centre positions, -0.5 at the image's top and 0.5 at its bottom."""
    return np.asarray((boxes_xyxy[:, 1] + boxes_xyxy[:, 3]) / 2 / size_wh[1] - 0.5)


def is_cut(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> Any:
    """Return (N,) bool: the box touches the image border, to within 0.4 % of the side."""
    far = np.array(size_wh, np.float64)
    slack = 0.004 * far
    touches = (boxes_xyxy[:, :2] <= slack) | (boxes_xyxy[:, 2:] >= far - slack)
    return np.asarray(touches.any(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """The size model.

    Attributes:
        centres: (C,) category medians at mid height.
        slopes: (C,) change from the image's top to its bottom.
        scales: (C,) robust standard deviations of the noise.
        share: Share of the scene's own deviation that carries over.
        support: Per category (K, 2): noise and log(width / height) of real objects.
    """

    centres: FloatArray
    slopes: FloatArray
    scales: FloatArray
    share: float
    support: tuple[FloatArray, ...]

    def deviation(self, boxes_xyxy: FloatArray, categories: IntArray, size_wh: tuple[int, int]) -> float:
        """Return the scene's expected deviation from its categories' sizes; 0 without objects."""
        if not len(boxes_xyxy):
            return 0.0
        rest = self._residuals(boxes_xyxy, categories, size_wh)
        return float(self.share * np.median(rest) * len(rest) / (len(rest) + 1))

    def _residuals(
        self, boxes_xyxy: FloatArray, categories: IntArray, size_wh: tuple[int, int]
    ) -> FloatArray:
        tilt = self.slopes[categories] * vertical_positions(boxes_xyxy, size_wh)
        return np.asarray(log_sides(boxes_xyxy, size_wh) - self.centres[categories] - tilt)

    def log_densities(
        self, boxes_xyxy: FloatArray, category: int, size_wh: tuple[int, int], *, deviation: float
    ) -> FloatArray:
        """Return (N,) log p(size | category, position, scene) of boxes, per unit of log size."""
        kinds = np.full(len(boxes_xyxy), category)
        z = (self._residuals(boxes_xyxy, kinds, size_wh) - deviation) / self.scales[category]
        return np.asarray(-(_FREEDOM + 1) / 2 * np.log1p(z**2 / _FREEDOM) - np.log(self.scales[category]))

    def draw(
        self,
        positions: FloatArray,
        category: int,
        size_wh: tuple[int, int],
        *,
        deviation: float,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Draw (N, 2) widths and heights in pixels for objects at vertical positions `positions`."""
        support = self.support[category]
        rows = support[rng.integers(len(support), size=len(positions))]
        noise = rows[:, 0] + rng.normal(0, 0.15 * self.scales[category], len(rows))
        log_side = self.centres[category] + self.slopes[category] * positions + deviation + noise
        side = np.exp(log_side) * np.sqrt(size_wh[0] * size_wh[1])
        aspect = rows[:, 1] + rng.normal(0, 0.03, len(rows))
        return np.stack([side * np.exp(np.minimum(aspect, 0)), side * np.exp(-np.maximum(aspect, 0))], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {
            "centres": np.round(self.centres, 5).tolist(),
            "slopes": np.round(self.slopes, 5).tolist(),
            "scales": np.round(self.scales, 5).tolist(),
            "share": round(self.share, 5),
            "support": [np.round(rows, 4).tolist() for rows in self.support],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sizes:
        """Return the model of `to_dict`."""
        centres, slopes, scales = (np.asarray(data[k], np.float64) for k in ("centres", "slopes", "scales"))
        support = tuple(np.asarray(rows, np.float64).reshape(-1, 2) for rows in data["support"])
        return cls(centres, slopes, scales, float(data["share"]), support)


def fit_sizes(
    scenes: list[tuple[FloatArray, IntArray, tuple[int, int]]],
    num_categories: int,
    *,
    rng: np.random.Generator,
) -> Sizes:
    """Fit the size model to (boxes_xyxy, category indices, size_wh) of scenes."""
    rows = _rows(scenes, num_categories)
    kinds, sides, height = rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2]
    centre = float(np.median(sides)) if len(rows) else float(np.log(0.15))
    centres = np.full(num_categories, centre)
    slopes, scales = np.zeros(num_categories), np.full(num_categories, 0.5)
    for _ in range(4):
        rest = sides - slopes[kinds] * height
        centres = np.array([_shrunk_median(rest[kinds == c], centre) for c in range(num_categories)])
        rest = np.clip(sides - centres[kinds], -1.5, 1.5)
        pooled = _slope(height, rest, 0.0, 2.0)
        slopes = np.array(
            [_slope(height[kinds == c], rest[kinds == c], pooled, 2.0) for c in range(num_categories)]
        )
    share, noise = _scene_share(scenes, centres, slopes)
    spread = _spread(noise[:, 1], 0.4)
    support = []
    for c in range(num_categories):
        own = noise[noise[:, 0] == c]
        scales[c] = _spread(own[:, 1], spread)
        own = own if len(own) else noise
        own = own if len(own) else np.zeros((1, 4))
        whole = own[own[:, 3] == 0]
        own = whole if len(whole) >= 5 else own
        chosen = rng.permutation(len(own))[:_MAX_SUPPORT]
        support.append(own[np.sort(chosen)][:, 1:3])
    return Sizes(centres, slopes, scales, share, tuple(support))


def _rows(scenes: list[tuple[FloatArray, IntArray, tuple[int, int]]], num_categories: int) -> FloatArray:
    """Return (K, 3) category, log side, height of the objects that say how large a category is."""
    parts = [
        np.stack(
            [kinds, log_sides(boxes, size), vertical_positions(boxes, size), is_cut(boxes, size)], axis=1
        )
        for boxes, kinds, size in scenes
        if len(boxes)
    ]
    rows = np.concatenate(parts) if parts else np.zeros((0, 4))
    whole = np.bincount(rows[rows[:, 3] == 0, 0].astype(np.int64), minlength=num_categories)
    few = whole[rows[:, 0].astype(np.int64)] < 5
    return np.asarray(rows[(rows[:, 3] == 0) | few][:, :3])


def _shrunk_median(values: FloatArray, parent: float) -> float:
    if not len(values):
        return parent
    return float((np.median(values) * len(values) + parent * _KAPPA / 2) / (len(values) + _KAPPA / 2))


def _slope(height: FloatArray, rest: FloatArray, parent: float, ridge: float) -> float:
    """Return the ridge slope of `rest` over `height`, shrunk to the parent's."""
    if len(height) < 3:
        return parent
    centred = height - height.mean()
    return float((centred @ (rest - rest.mean()) + ridge * parent) / (centred @ centred + ridge))


def _spread(values: FloatArray, parent: float) -> float:
    """Return the robust standard deviation (interquartile range / 1.349), shrunk to the parent's."""
    if not len(values):
        return parent
    low, high = np.quantile(values, [0.25, 0.75])
    own = max(float(high - low) / 1.349, 0.02)
    return float(np.exp((np.log(own) * len(values) + np.log(parent) * _KAPPA) / (len(values) + _KAPPA)))


def _scene_share(
    scenes: list[tuple[FloatArray, IntArray, tuple[int, int]]], centres: FloatArray, slopes: FloatArray
) -> tuple[float, FloatArray]:
    """Return the share of the others' deviation that carries over, and (K, 4) rows of what then remains.

    A row is category, noise, log(width / height), cut by the border.
    """
    kinds_all, own, others, looks = [], [], [], []
    for boxes, kinds, size in scenes:
        if not len(boxes):
            continue
        rest = log_sides(boxes, size) - centres[kinds] - slopes[kinds] * vertical_positions(boxes, size)
        others.append(_median_of_others(rest) * (len(rest) - 1) / len(rest))
        kinds_all.append(kinds)
        own.append(rest)
        wh = boxes[:, 2:] - boxes[:, :2]
        looks.append(np.stack([np.log(wh[:, 0] / wh[:, 1]), is_cut(boxes, size)], axis=1))
    if not own:
        return 0.0, np.zeros((0, 4))
    y, x = np.concatenate(own), np.concatenate(others)
    share = float(np.clip((np.clip(y, -1.5, 1.5) @ x) / (x @ x + 1.0), 0.0, 1.2))
    noise = y - share * x
    return share, np.column_stack([np.concatenate(kinds_all), noise, np.concatenate(looks)])


def _median_of_others(values: FloatArray) -> FloatArray:
    """Return (N,) for each of (N,) values the median of the others; 0 for a single one."""
    num = len(values) - 1
    if not num:
        return np.zeros(1)
    order = np.argsort(values, kind="stable")
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values))
    low, high = (num - 1) // 2, num // 2
    ordered = values[order]
    return np.asarray((ordered[low + (rank <= low)] + ordered[high + (rank <= high)]) / 2)
