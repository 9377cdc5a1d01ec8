"""Boosted trees: a log density ratio of real against random places, learned by boosting small trees.

Each group is one real place (first row) and the random places it is compared with. Trees are oblivious (one
split a level for all nodes) and grown on the conditional likelihood that the real place is the one chosen,
so whatever all places of a group share carries no weight: the sum of trees is log p(place) - log p(random
place) up to a constant a group (McFadden 1974; gradient boosting: Friedman 2001).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.arrays import floats, wholes
from augsynth.core.scene import FloatArray, IntArray

_MIN_COLUMNS = 6
_NUM_FOLDS = 3
_FEW_TREES = 20
_PATIENCE = 30  # trees without a better likelihood before no more are tried
_LARGEST = 1e9  # number of a tree; more than any place in an image is away
_MOST_LEVELS, _MOST_COLUMNS = 16, 10_000  # of a tree that is read


@dataclass(frozen=True, slots=True, eq=False)
class BoostedTrees:
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
    def empty(cls) -> BoostedTrees:
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
            "thresholds": _rounded(self.thresholds),
            "leaves": _rounded(self.leaves),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BoostedTrees:
        """Return the model of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: Something is missing, or isn't what `to_dict` writes.
        """
        if not data["leaves"]:
            return cls.empty()
        leaves = floats(data["leaves"], "leaves", (-1, -1))
        features = wholes(data["features"], "features", (len(leaves), -1), high=_MOST_COLUMNS)
        if leaves.shape[1] != 1 << min(features.shape[1], _MOST_LEVELS):
            raise ValueError("leaves: must have two for each way through the levels of a tree")
        return cls(features, floats(data["thresholds"], "thresholds", features.shape), leaves)

    def check_columns(self, count: int) -> None:
        """Raise ValueError where a tree looks at a column beyond `count`."""
        if self.features.size and self.features.max() >= count:
            raise ValueError(f"features: must be below {count}, the number of columns")


def _rounded(values: FloatArray) -> list[list[float]]:
    return [[float(f"{v:.6g}") for v in row] for row in np.clip(values, -_LARGEST, _LARGEST)]


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees are grown; the defaults are half as dear as those that won in the placement judge, and no worse there.

    Attributes:
        num_trees: Number of trees.
        depth: Levels of a tree.
        rate: Shrinkage of each tree.
        ridge: Added to a leaf's curvature: the number of groups' worth of doubt.
        row_share: Share of the groups that each tree sees.
        column_share: Share of the columns that each tree may split on.
        num_bins: Number of quantile bins a column is cut into, ≤ 256.
    """

    num_trees: int = 200
    depth: int = 3
    rate: float = 0.16
    ridge: float = 3.0
    row_share: float = 0.35
    column_share: float = 0.25
    num_bins: int = 24


def fit_trees(
    rows: FloatArray,
    group_sizes: IntArray,
    *,
    rng: np.random.Generator,
    clusters: IntArray | None = None,
) -> BoostedTrees:
    """Fit the trees to groups of rows whose first row is the real one.

    Args:
        rows: (N, F) finite features, group after group.
        group_sizes: (G,) rows of each group, ≥ 1; they sum to N.
        rng: Draws the groups and columns that each tree sees.
        clusters: (G,) image of each group. With it, the number of trees is the one with the best likelihood on
            held-out images, none at all where nothing can be learned.
    """
    growth = Growth()
    edges = [_edges(column, growth.num_bins) for column in rows.T]
    usable = np.array([f for f, cuts in enumerate(edges) if len(cuts)], np.int64)
    if not len(usable) or len(group_sizes) < 2:
        return BoostedTrees.empty()
    boosting = _Boosting(
        np.stack([np.searchsorted(cuts, rows[:, f]).astype(np.uint8) for f, cuts in enumerate(edges)]),
        [len(cuts) for cuts in edges],
        usable,
        np.concatenate([[0], np.cumsum(group_sizes)[:-1]]),
        np.repeat(np.arange(len(group_sizes)), group_sizes),
        growth,
    )
    num_trees = growth.num_trees if clusters is None else _best_num_trees(boosting, clusters, rng)
    everything = boosting.grow(np.ones(len(group_sizes), bool), rng)
    trees = [tree for tree, _ in itertools.islice(everything, num_trees)]
    if not trees:
        return BoostedTrees.empty()
    features = np.array([tree[0] for tree in trees], np.int64)
    thresholds = np.array([[edges[f][b] for f, b in zip(tree[0], tree[1], strict=True)] for tree in trees])
    return BoostedTrees(features, thresholds, np.array([tree[2] for tree in trees]))


def _best_num_trees(boosting: _Boosting, clusters: IntArray, rng: np.random.Generator) -> int:
    """Return the number of trees with the best likelihood of held-out clusters, by cross-validation."""
    images, member = np.unique(clusters, return_inverse=True)
    if len(images) < _NUM_FOLDS:
        return _FEW_TREES
    fold = rng.permutation(len(images))[member] % _NUM_FOLDS
    folds = [boosting.grow(fold != f, own) for f, own in enumerate(rng.spawn(_NUM_FOLDS))]
    best, most = 0, -np.inf
    for number in range(boosting.growth.num_trees + 1):
        gain = sum(chance for _, chance in map(next, folds))
        if gain > most:
            best, most = number, gain
        if number >= best + _PATIENCE:
            break
    return best


_Bins = NDArray[np.uint8]
_Tree = tuple[list[int], list[int], FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class _Boosting:
    """Binned rows, ready to be boosted on any of their groups.

    Attributes:
        bins: (F, N) uint8 bin of each value; num_cuts: possible cuts of each column; usable: columns with any.
        starts: (G,) first row of each group; group: (N,) group of each row.
    """

    bins: _Bins
    num_cuts: list[int]
    usable: IntArray
    starts: IntArray
    group: IntArray
    growth: Growth

    def grow(self, taught: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[tuple[_Tree, float]]:
        """Yield trees without end, grown on the groups `taught`.

        With each comes the summed log chance of the other groups' real rows before it.
        """
        growth, score = self.growth, np.zeros(self.bins.shape[1])
        num_columns = min(len(self.usable), max(_MIN_COLUMNS, round(growth.column_share * len(self.usable))))
        while True:
            chance = _softmax(score, self.starts, self.group)
            held_out = float(np.log(chance[self.starts][~taught]).sum())
            columns = np.sort(rng.choice(self.usable, num_columns, replace=False))
            seen = taught & (rng.random(len(taught)) < growth.row_share)
            index = np.flatnonzero((seen if seen.any() else taught)[self.group])
            pull = -chance
            pull[self.starts] += 1
            tree = _grow(self.bins, self.num_cuts, index, pull, chance * (1 - chance), columns, growth)
            score += tree[2][_leaf_of(self.bins, tree[0], tree[1])]
            yield tree, held_out


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


def _leaf_of(bins: _Bins, features: list[int], cuts: list[int]) -> IntArray:
    """Return the leaf of every row."""
    leaf = np.zeros(bins.shape[1], np.int64)
    for level, (feature, cut) in enumerate(zip(features, cuts, strict=True)):
        leaf |= (bins[feature] > cut).astype(np.int64) << level
    return leaf


def _grow(
    bins: _Bins,
    num_cuts: list[int],
    index: IntArray,
    pull: FloatArray,
    curvature: FloatArray,
    columns: IntArray,
    growth: Growth,
) -> _Tree:
    """Grow one oblivious tree on the rows of `index`: its columns, bin cuts and leaf values."""
    pull, curvature = pull[index], curvature[index]
    seen = bins[columns].take(index, axis=1)
    valid = np.arange(growth.num_bins - 1) < np.array(num_cuts)[columns, None]
    leaf = np.zeros(len(index), np.int64)
    features: list[int] = []
    cuts: list[int] = []
    for level in range(growth.depth):
        gain = np.where(valid, _gains(seen, leaf, pull, curvature, 1 << level, growth), -1.0)
        best, cut = np.unravel_index(int(gain.argmax()), gain.shape)
        features.append(int(columns[best]))
        cuts.append(int(cut))
        leaf |= (seen[best] > cut).astype(np.int64) << level
    size = 1 << growth.depth
    g = np.bincount(leaf, pull, size)
    h = np.bincount(leaf, curvature, size)
    return features, cuts, growth.rate * g / (h + growth.ridge)


def _gains(
    seen: _Bins, leaf: IntArray, pull: FloatArray, curvature: FloatArray, num_leaves: int, growth: Growth
) -> FloatArray:
    """Return (K, num_bins - 1) gains of splitting every leaf at a bin of a column."""
    shape = (len(seen), num_leaves, growth.num_bins)
    sums = np.empty((2, *shape))
    offset = leaf * growth.num_bins
    for k in range(len(seen)):
        cell = seen[k] + offset
        for part, weight in zip(sums, (pull, curvature), strict=True):
            part[k] = np.bincount(cell, weight, num_leaves * growth.num_bins).reshape(shape[1:])
    g, h = sums.cumsum(axis=3)
    rest, bend = g[..., -1:] - g[..., :-1], h[..., -1:] - h[..., :-1]
    gains = g[..., :-1] ** 2 / (h[..., :-1] + growth.ridge) + rest**2 / (bend + growth.ridge)
    return np.asarray(gains.sum(axis=1))
