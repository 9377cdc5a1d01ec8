"""Fitting the size model: from objects that stand free, with back-off where a category has few.

Where a category has few that stand free, its others are corrected by what being hidden or cut off takes from
objects of this dataset. Where it has hardly any objects, noise and aspects are those of all categories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augsynth.core.scene import FloatArray, IntArray
from augsynth.placement.free_standing import stand_free
from augsynth.placement.size import Sizes, log_sides, vertical_positions

_KAPPA = 5.0
_MAX_SUPPORT = 300
_ENOUGH = 8
_NUM_OTHERS = 60  # of other categories, where a category has hardly any; they count as `_KAPPA` of its own
_TAIL = 0.025

SceneBoxes = tuple[FloatArray, IntArray, tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredObjects:
    """The objects of all scenes, one after another.

    Attributes:
        kinds: (K,) category indices; sides: (K,) of `log_sides`; heights: (K,) of `vertical_positions`.
        aspects: (K,) log(width / height); free: (K,) of `stand_free`.
        scenes: (K,) number of the scene.
    """

    kinds: IntArray
    sides: FloatArray
    heights: FloatArray
    aspects: FloatArray
    free: NDArray[np.bool_]
    scenes: IntArray

    @classmethod
    def of(cls, scenes: list[SceneBoxes]) -> MeasuredObjects:
        """Measure the objects of (boxes_xyxy, category indices, size_wh)."""
        rows = [np.zeros((6, 0))]
        for number, (boxes, kinds, size) in enumerate(scenes):
            if len(boxes):
                wh = np.log(boxes[:, 2:] - boxes[:, :2])
                look = [log_sides(boxes, size), vertical_positions(boxes, size), wh[:, 0] - wh[:, 1]]
                where = np.full(len(boxes), number)
                rows.append(np.stack([kinds, *look, stand_free(boxes, size), where]))
        kinds, sides, heights, aspects, free, where = np.concatenate(rows, axis=1)
        return cls(kinds.astype(np.int64), sides, heights, aspects, free > 0, where.astype(np.int64))

    def of_scenes(self, wanted: NDArray[np.bool_]) -> MeasuredObjects:
        """Return the objects of some scenes, given as (S,) bool."""
        keep = wanted[self.scenes]
        return MeasuredObjects(
            self.kinds[keep],
            self.sides[keep],
            self.heights[keep],
            self.aspects[keep],
            self.free[keep],
            self.scenes[keep],
        )

    def corrected(self) -> tuple[MeasuredObjects, float]:
        """Return the objects as if all stood free, and what not standing free adds to the log side.

        Compared are medians of the categories that have enough of both.
        """
        changes, weights = [np.zeros(2)], [0.0]
        for kind in np.unique(self.kinds):
            own = self.kinds == kind
            both = [own & self.free, own & ~self.free]
            least = min(int(part.sum()) for part in both)
            if least >= _ENOUGH:
                free, taken = (
                    np.array([np.median(self.sides[part]), np.median(np.abs(self.aspects[part]))])
                    for part in both
                )
                changes.append(taken - free)
                weights.append(float(least))
        loss, stretch = np.average(changes, axis=0, weights=weights) if sum(weights) else np.zeros(2)
        sides = self.sides - loss * ~self.free
        aspects = np.sign(self.aspects) * np.maximum(np.abs(self.aspects) - stretch * ~self.free, 0)
        return MeasuredObjects(self.kinds, sides, self.heights, aspects, self.free, self.scenes), float(loss)

    def telling(self, num_categories: int) -> NDArray[np.bool_]:
        """Return (K,) bool: the object stands free, or its category has too few that do."""
        number = np.bincount(self.kinds[self.free], minlength=num_categories)
        return np.asarray(self.free | (number < _ENOUGH)[self.kinds])

    def weights(self, telling: NDArray[np.bool_]) -> FloatArray:
        """Return (K,) how many objects of its category and scene each telling one stands for.

        In a scene that is seen close up fewer stand free, and they would count for less.
        """
        _, group = np.unique(np.stack([self.scenes, self.kinds]), axis=1, return_inverse=True)
        group = group.reshape(-1)
        tells = np.bincount(group, telling)[group]
        return np.asarray(np.bincount(group)[group] / np.maximum(tells, 1))


def fit_sizes(measured: MeasuredObjects, num_categories: int, *, rng: np.random.Generator) -> Sizes:
    """Fit the size model to the objects of scenes."""
    objects, loss = measured.corrected()
    telling = objects.telling(num_categories)
    kinds, weights = objects.kinds[telling], objects.weights(telling)[telling]
    sides, heights = objects.sides[telling], objects.heights[telling]
    ends = np.cumsum(np.bincount(kinds, minlength=num_categories))
    of_category = np.split(np.argsort(kinds, kind="stable"), ends)[:num_categories]
    centre = _weighted_median(sides, weights) if len(sides) else float(np.log(0.15))
    centres = np.full(num_categories, centre)
    slopes, scales, aspect_scales = np.zeros((3, num_categories))
    for _ in range(4):
        rest = sides - slopes[kinds] * heights
        centres = np.array([_shrunk_median(rest[own], weights[own], centre) for own in of_category])
        rest = np.clip(sides - centres[kinds], -1.5, 1.5)
        pooled = _slope(heights, rest, 0.0, 2.0)
        slopes = np.array([_slope(heights[own], rest[own], pooled, 2.0) for own in of_category])
    residuals = objects.sides - centres[objects.kinds] - slopes[objects.kinds] * objects.heights
    share, noise = _scene_share(residuals, objects.scenes, telling)
    spread, aspect_spread = _spread(noise[telling], 0.4), _spread(objects.aspects[telling], 0.2)
    everything = np.column_stack([noise, objects.aspects, objects.sides])[telling]
    support, bounds = [], np.zeros((num_categories, 4, 2))
    for c in range(num_categories):
        own = everything[of_category[c]]
        scales[c] = _spread(own[:, 0], spread)
        aspect_scales[c] = _spread(own[:, 1], aspect_spread)
        rows = _with_others(own, everything, float(centres[c]), rng)
        bounds[c] = _bounds(rows, len(own))
        chosen = rng.permutation(len(rows))[:_MAX_SUPPORT]
        support.append(rows[np.sort(chosen)][:, :2])
    return Sizes(centres, slopes, scales, aspect_scales, share, loss, tuple(support), bounds)


def _with_others(
    own: FloatArray, everything: FloatArray, centre: float, rng: np.random.Generator
) -> FloatArray:
    """Return (K, 3) noise, log aspect and log side: a category's own, with those of all where it has hardly any."""
    if len(own) >= _ENOUGH:
        return own
    if not len(everything):
        return np.array([[0.0, 0.0, centre]])
    others = everything[rng.integers(len(everything), size=_NUM_OTHERS)]
    others[:, 2] = centre + others[:, 0]
    return np.concatenate([np.repeat(own, round(_NUM_OTHERS / _KAPPA), axis=0), others])


def _bounds(rows: FloatArray, num: int) -> FloatArray:
    """Return (4, 2) central 95 % of log width, height, area and aspect; wider where few objects tell them."""
    _, aspect, side = rows.T
    width, height = side + np.minimum(aspect, 0), side - np.maximum(aspect, 0)
    looks = np.stack([width, height, width + height, aspect], axis=1)
    low, high = np.quantile(looks, [_TAIL, 1 - _TAIL], axis=0)
    room = (high - low) / max(num, 1) * (num < _ENOUGH)
    return np.stack([low - room, high + room], axis=1)


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum() - weights[order] / weights.sum() / 2
    return float(np.interp(0.5, reached, values[order]))


def _shrunk_median(values: FloatArray, weights: FloatArray, parent: float) -> float:
    if not len(values):
        return parent
    own = _weighted_median(values, weights)
    return float((own * len(values) + parent * _KAPPA / 2) / (len(values) + _KAPPA / 2))


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
    residuals: FloatArray, scenes: IntArray, telling: NDArray[np.bool_]
) -> tuple[float, FloatArray]:
    """Return the share of the others' deviation that carries over, and (K,) the noise that then remains."""
    if not len(residuals):
        return 0.0, residuals
    starts = np.flatnonzero(np.diff(scenes)) + 1
    others = np.concatenate(
        [_median_of_others(part) * (len(part) - 1) / len(part) for part in np.split(residuals, starts)]
    )
    y, x = np.clip(residuals[telling], -1.5, 1.5), others[telling]
    share = float(np.clip((y @ x) / (x @ x + 1.0), 0.0, 1.2))
    return share, residuals - share * others


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
