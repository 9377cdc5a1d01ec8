"""Evidence: a log density ratio of real against random places, learned by boosting small trees.

Each group is one real place (first row) and the random places it is compared with. Trees are oblivious (one
split a level for all nodes) and grown on the conditional likelihood that the real place is the one chosen,
so whatever all places of a group share carries no weight: the sum of trees is log p(place) - log p(random
place) up to a constant a group (McFadden 1974; gradient boosting: Friedman 2001).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.scene import FloatArray, IntArray

_MIN_COLUMNS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """An additive model of oblivious trees over feature columns.

    Attributes:
        features: (T, D) int64 column that level d of tree t looks at.
        thresholds: (T, D) float64; a row goes right where its value is above.
        leaves: (T, 2^D) float64 contributions, level 0 is the lowest bit.
    """

    features: IntArray
    thresholds: FloatArray
    leaves: FloatArray

    @classmethod
    def empty(cls) -> Evidence:
        """Return the model that knows nothing: every row scores 0."""
        return cls(np.zeros((0, 1), np.int64), np.zeros((0, 1)), np.zeros((0, 2)))

    def scores(self, rows: FloatArray) -> FloatArray:
        """Return (N,) scores of (N, F) feature rows."""
        if not len(self.leaves) or not len(rows):
            return np.zeros(len(rows))
        right = rows[:, self.features] > self.thresholds
        leaf = right @ (1 << np.arange(self.features.shape[1]))
        return np.asarray(self.leaves[np.arange(len(self.leaves)), leaf].sum(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form; numbers are rounded to six digits."""
        return {
            "features": self.features.tolist(),
            "thresholds": [[float(f"{v:.6g}") for v in row] for row in self.thresholds],
            "leaves": [[float(f"{v:.6g}") for v in row] for row in self.leaves],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evidence:
        """Return the model of `to_dict`."""
        leaves = np.asarray(data["leaves"], np.float64)
        if not leaves.size:
            return cls.empty()
        return cls(np.asarray(data["features"], np.int64), np.asarray(data["thresholds"], np.float64), leaves)


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees are grown; the defaults are those that won across data sets in the placement judge.

    Attributes:
        num_trees: Number of trees.
        depth: Levels of a tree.
        rate: Shrinkage of each tree.
        ridge: Added to a leaf's curvature: the number of groups' worth of doubt.
        row_share: Share of the groups that each tree sees.
        column_share: Share of the columns that each tree may split on.
        num_bins: Number of quantile bins a column is cut into.
    """

    num_trees: int = 200
    depth: int = 3
    rate: float = 0.08
    ridge: float = 3.0
    row_share: float = 0.5
    column_share: float = 0.4
    num_bins: int = 24


def fit_evidence(
    rows: FloatArray, group_sizes: IntArray, *, rng: np.random.Generator, growth: Growth | None = None
) -> Evidence:
    """Fit the trees to groups of rows whose first row is the real one.

    Args:
        rows: (N, F) finite features, group after group.
        group_sizes: (G,) rows of each group, ≥ 1; they sum to N.
        rng: Draws the groups and columns that each tree sees.
        growth: How trees are grown.
    """
    growth = growth or Growth()
    edges = [_edges(column, growth.num_bins) for column in rows.T]
    usable = np.array([f for f, cuts in enumerate(edges) if len(cuts)], np.int64)
    if not len(usable) or len(group_sizes) < 2:
        return Evidence.empty()
    bins = np.stack([np.searchsorted(cuts, rows[:, f]) for f, cuts in enumerate(edges)]).astype(np.int32)
    num_cuts = [len(cuts) for cuts in edges]
    starts = np.concatenate([[0], np.cumsum(group_sizes)[:-1]])
    group = np.repeat(np.arange(len(group_sizes)), group_sizes)
    score = np.zeros(len(rows))
    num_columns = min(len(usable), max(_MIN_COLUMNS, round(growth.column_share * len(usable))))
    trees = []
    for _ in range(growth.num_trees):
        seen = rng.random(len(group_sizes)) < growth.row_share
        columns = np.sort(rng.choice(usable, num_columns, replace=False))
        chance = _softmax(score, starts, group)
        pull = -chance
        pull[starts] += 1
        index = np.flatnonzero(seen[group])
        if not len(index):
            continue
        tree = _grow(bins, num_cuts, index, pull, chance * (1 - chance), columns, growth)
        leaf = _leaf_of(bins, tree[0], tree[1])
        score += tree[2][leaf]
        trees.append((tree[0], [edges[f][b] for f, b in zip(tree[0], tree[1], strict=True)], tree[2]))
    if not trees:
        return Evidence.empty()
    features, thresholds, leaves = (np.array(part) for part in zip(*trees, strict=True))
    return Evidence(features.astype(np.int64), thresholds.astype(np.float64), leaves)


def _edges(column: FloatArray, num_bins: int) -> FloatArray:
    """Return where a column can be split: halfway between an inner quantile and the next larger value."""
    values = np.unique(column)
    cuts = np.unique(np.quantile(column, np.linspace(0, 1, num_bins + 1)[1:-1], method="inverted_cdf"))
    cuts = cuts[cuts < values[-1]]
    return np.asarray((cuts + values[np.searchsorted(values, cuts, side="right")]) / 2)


def _softmax(score: FloatArray, starts: IntArray, group: IntArray) -> FloatArray:
    """Return each row's share of its group."""
    weight = np.exp(score - np.maximum.reduceat(score, starts)[group])
    return np.asarray(weight / np.add.reduceat(weight, starts)[group])


def _leaf_of(bins: NDArray[np.int32], features: list[int], cuts: list[int]) -> IntArray:
    """Return the leaf of every row."""
    leaf = np.zeros(bins.shape[1], np.int64)
    for level, (feature, cut) in enumerate(zip(features, cuts, strict=True)):
        leaf |= (bins[feature] > cut).astype(np.int64) << level
    return leaf


def _grow(
    bins: NDArray[np.int32],
    num_cuts: list[int],
    index: IntArray,
    pull: FloatArray,
    curvature: FloatArray,
    columns: IntArray,
    growth: Growth,
) -> tuple[list[int], list[int], FloatArray]:
    """Grow one oblivious tree on the rows of `index`: its columns, bin cuts and leaf values."""
    num_bins, pull, curvature = growth.num_bins, pull[index], curvature[index]
    seen = bins[np.ix_(columns, index)]
    leaf = np.zeros(len(index), np.int64)
    features: list[int] = []
    cuts: list[int] = []
    for level in range(growth.depth):
        offset = leaf * num_bins
        shape = (1 << level, num_bins)
        size = shape[0] * num_bins
        best = (-1.0, 0, 0)
        for k in range(len(columns)):
            cell = offset + seen[k]
            g = np.bincount(cell, pull, size).reshape(shape).cumsum(axis=1)
            h = np.bincount(cell, curvature, size).reshape(shape).cumsum(axis=1)
            left = g[:, :-1] ** 2 / (h[:, :-1] + growth.ridge)
            right = (g[:, -1:] - g[:, :-1]) ** 2 / (h[:, -1:] - h[:, :-1] + growth.ridge)
            gain = (left + right).sum(axis=0)[: num_cuts[columns[k]]]
            cut = int(gain.argmax())
            if gain[cut] > best[0]:
                best = (float(gain[cut]), k, cut)
        features.append(int(columns[best[1]]))
        cuts.append(best[2])
        leaf |= (seen[best[1]] > best[2]).astype(np.int64) << level
    size = 1 << growth.depth
    g = np.bincount(leaf, pull, size)
    h = np.bincount(leaf, curvature, size)
    return features, cuts, growth.rate * g / (h + growth.ridge)
