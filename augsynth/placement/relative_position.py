"""Where objects lie relative to one another: log-polar lifts of real over random offsets, with back-off.

An offset is the vector from an anchor's centre to an object's centre in units of the anchor's longer side
(stable under rotation of the anchor, and free of the image's resolution). For a pair of categories

    lift(offset) = (real pairs there + kappa * lift of the parent) / (pairs expected there at random + kappa),

the shrinkage that the affinity matrix uses for counts. Parents: pair, narrow kernel -> pair, wide kernel ->
the object's category next to its own or to other kinds -> all pairs of the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from augsynth.core.arrays import floats, wholes
from augsynth.core.scene import FloatArray, IntArray

NUM_RADII, NUM_ANGLES = 44, 36
_LOG_RADIUS = (np.log(0.1), np.log(14.0))
_NARROW, _WIDE = 0.7, 3.0
_KAPPA_NARROW, _KAPPA_WIDE = 0.75, 4.0
NUM_CELLS = NUM_RADII * NUM_ANGLES


def offset_cells(offset: FloatArray) -> IntArray:
    """Return the (N, M) log-polar cells of the (N, M, 2) offsets of N boxes from M anchors."""
    low, high = _LOG_RADIUS
    log_radius = np.log(np.hypot(offset[..., 0], offset[..., 1]) + 1e-9)
    ring = np.clip((log_radius - low) / (high - low) * NUM_RADII, 0, NUM_RADII - 1).astype(np.int64)
    turn = np.arctan2(offset[..., 1], offset[..., 0]) / (2 * np.pi) % 1.0
    return np.asarray(ring * NUM_ANGLES + (turn * NUM_ANGLES).astype(np.int64) % NUM_ANGLES)


def offsets(anchors_xyxy: FloatArray, boxes_xyxy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (N, M, 2) offsets of boxes in anchors' longer sides, and the (M,) longer sides in pixels."""
    sides = (anchors_xyxy[:, 2:] - anchors_xyxy[:, :2]).max(axis=1)
    centres = (boxes_xyxy[:, None, :2] + boxes_xyxy[:, None, 2:]) / 2
    delta = centres - (anchors_xyxy[:, :2] + anchors_xyxy[:, 2:]) / 2
    return np.asarray(delta / sides[:, None]), np.asarray(sides)


def cell_offset(cells: IntArray, jitter: FloatArray) -> FloatArray:
    """Return (N, 2) offsets inside log-polar cells; `jitter` (N, 2) in [0, 1) is the place in the cell."""
    low, high = _LOG_RADIUS
    radius = np.exp(low + (cells // NUM_ANGLES + jitter[:, 0]) / NUM_RADII * (high - low))
    angle = (cells % NUM_ANGLES + jitter[:, 1]) / NUM_ANGLES * 2 * np.pi
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


class _Tables:
    """The log lifts that are computed, a row for each of them.

    Attributes:
        row_of: (C, C) row of each pair, -1 where it isn't computed yet.
        narrow, wide: (R, NUM_CELLS) log lifts of both kernels; the last rows may be empty.
    """

    def __init__(self, row_of: IntArray, log_lifts: FloatArray) -> None:
        self.row_of = row_of
        self.narrow = log_lifts.astype(np.float32)
        self.wide = self.narrow.copy()
        self._used = len(log_lifts)

    def add(self, pair: tuple[int, int], log_lifts: FloatArray) -> None:
        """Keep the (2, NUM_CELLS) log lifts of a pair."""
        if self._used == len(self.narrow):
            room = np.empty((self._used // 2 + 1, NUM_CELLS), np.float32)
            self.narrow, self.wide = (np.concatenate([rows, room]) for rows in (self.narrow, self.wide))
        self.narrow[self._used], self.wide[self._used] = log_lifts
        self.row_of[pair] = self._used
        self._used += 1


@dataclass(frozen=True, slots=True, eq=False)
class Offsets:
    """Counts of real and of random offsets, and the log lifts that follow from them.

    The lifts of a pair are computed when they are first asked for: a dataset of a thousand categories has tens of
    thousands of pairs, and a scene asks for a few.

    Attributes:
        num_categories: Number of categories C; pairs are (anchor index, object index).
        real: Pair -> (NUM_CELLS,) counts of real offsets.
        expected: (C, NUM_CELLS) offsets a random object has from an anchor of the category; a row sums to 1.
    """

    num_categories: int
    real: Mapping[tuple[int, int], NDArray[np.float32]]
    expected: NDArray[np.float32]
    _backed: FloatArray = field(init=False)
    _tables: _Tables = field(init=False)

    def __post_init__(self) -> None:
        count, backed = self.num_categories, self._backed_off()
        row_of = np.where(np.eye(count, dtype=bool), 0, count) + np.arange(count)[None]
        if self.real:
            row_of[tuple(np.array(list(self.real)).T)] = -1
        object.__setattr__(self, "_backed", backed)
        object.__setattr__(self, "_tables", _Tables(row_of, np.log(backed)))

    def _backed_off(self) -> FloatArray:
        """Return (2C, NUM_CELLS) lifts of each category next to its own kind, then next to any other."""
        num, shape = self.num_categories, (self.num_categories, NUM_CELLS)
        counts = {True: np.zeros((2, *shape)), False: np.zeros((2, *shape))}
        anchors, kinds = np.array(list(self.real), np.int64).reshape(-1, 2).T
        real = np.concatenate([np.zeros(0, np.float32), *self.real.values()]).reshape(-1, NUM_CELLS)
        totals = real.sum(axis=1, dtype=np.float64)
        for same, sums in counts.items():
            of = np.flatnonzero((anchors == kinds) == same)
            ones = np.ones(len(of), np.float32)
            sums[0] = sparse.csr_matrix((ones, (kinds[of], of)), (num, len(real))) @ real
            by_chance = sparse.csr_matrix((totals[of], (kinds[of], anchors[of])), (num, num))
            sums[1] = by_chance @ self.expected.astype(np.float64)
        own, other = (_blurred(counts[same], _WIDE) for same in (True, False))
        everything = (own + other).sum(axis=1)
        root = _lift(everything[0], everything[1], np.ones(NUM_CELLS), _KAPPA_WIDE)
        lifts = []
        for real_by_kind, expected_by_kind in (own, other):
            pooled = _lift(real_by_kind.sum(axis=0), expected_by_kind.sum(axis=0), root, _KAPPA_WIDE)
            lifts.append(_lift(real_by_kind, expected_by_kind, pooled, _KAPPA_WIDE))
        return np.concatenate(lifts)

    def _rows(self, anchors: IntArray, kinds: IntArray | int) -> IntArray:
        """Return the rows of the pairs' lifts in the tables, after computing those that aren't there."""
        tables = self._tables
        rows = tables.row_of[anchors, kinds]
        if (rows < 0).any():
            missing = np.broadcast_arrays(anchors, kinds)
            keys = np.unique(missing[0][rows < 0] * self.num_categories + missing[1][rows < 0])
            pairs = np.stack(np.divmod(keys, self.num_categories), axis=1)
            for pair, lifts in zip(pairs.tolist(), self._log_lifts_of(*pairs.T), strict=True):
                tables.add((pair[0], pair[1]), lifts)
            rows = tables.row_of[anchors, kinds]
        return np.asarray(rows)

    def _log_lifts_of(self, anchors: IntArray, kinds: IntArray) -> FloatArray:
        """Return the (P, 2, NUM_CELLS) log lifts of P pairs that occur: narrow kernel, wide kernel."""
        pairs = zip(anchors.tolist(), kinds.tolist(), strict=True)
        real = np.concatenate([self.real[pair] for pair in pairs]).reshape(-1, NUM_CELLS).astype(np.float64)
        by_chance = real.sum(axis=1, keepdims=True) * self.expected[anchors].astype(np.float64)
        parent = self._backed[np.where(anchors == kinds, kinds, self.num_categories + kinds)]
        seen = np.stack([real, by_chance])
        blurred_wide, blurred = _blurred(seen, _WIDE), _blurred(seen, _NARROW)
        wide = _lift(blurred_wide[0], blurred_wide[1], parent, _KAPPA_WIDE)
        narrow = _lift(blurred[0], blurred[1], wide, _KAPPA_NARROW)
        return np.log(np.stack([narrow, wide], axis=1))

    def log_lifts(
        self, anchors: IntArray, categories: IntArray | int, cells: IntArray
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (N, M) narrow and wide log lifts of N boxes next to M anchors.

        Args:
            anchors: (M,) category indices.
            categories: (N,) category indices of the boxes, or the one of all.
            cells: (N, M) of `offset_cells`.
        """
        rows = self._rows(anchors[None], np.reshape(categories, (-1, 1)))
        return self._tables.narrow[rows, cells], self._tables.wide[rows, cells]

    def chances(self, anchor: int, category: int) -> FloatArray:
        """Return (NUM_CELLS,) how often an object lies in each cell next to an anchor; they sum to any number."""
        row = self._rows(np.array([anchor]), category)[0]  # first: the tables may grow
        narrow = self._tables.narrow[row]
        return np.asarray(np.exp(narrow.astype(np.float64)) * (self.expected[anchor] + 1e-6))

    def draw(self, anchor: int, category: int, *, num: int, rng: np.random.Generator) -> FloatArray:
        """Draw (num, 2) offsets for an object next to an anchor, in the anchor's longer sides."""
        chance = self.chances(anchor, category)
        cells = rng.choice(NUM_CELLS, num, p=chance / chance.sum())
        return cell_offset(cells, rng.random((num, 2)))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form: sparse counts of real pairs, expectations on a coarse grid."""
        pairs = []
        for (a, c), real in sorted(self.real.items()):
            cells = np.flatnonzero(real)
            pairs.append(
                {"anchor": a, "category": c, "cells": cells.tolist(), "counts": real[cells].tolist()}
            )
        rows = [[float(f"{v:.5g}") for v in row] for row in _coarse(self.expected).tolist()]
        return {"num_categories": self.num_categories, "pairs": pairs, "expected": rows}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Offsets:
        """Return the counts of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: Something is missing, or isn't what `to_dict` writes.
        """
        coarse = floats(data["expected"], "expected", (-1, NUM_RADII * 4), low=0)
        count = int(wholes(data["num_categories"], "num_categories", ()))
        if count != len(coarse):
            raise ValueError(f"num_categories: must be {len(coarse)}, the rows of expected")
        real = {}
        for pair in data["pairs"]:
            cells = wholes(pair["cells"], "cells", (-1,), high=NUM_CELLS - 1)
            anchor, category = (
                int(wholes(pair[name], name, (), high=count - 1)) for name in ("anchor", "category")
            )
            counts = np.zeros(NUM_CELLS, np.float32)
            counts[cells] = floats(pair["counts"], "counts", cells.shape, low=0)
            real[anchor, category] = counts
        return cls(count, real, _fine(coarse.astype(np.float32)))


class OffsetSampler:
    """Draws offsets for many pairs at once; the running sums that it draws by are kept between calls.

    Args:
        offsets: What is drawn from.
        max_tables: Pairs whose sums are kept, about 13 kB each.
    """

    def __init__(self, offsets: Offsets, *, max_tables: int = 2000) -> None:
        self._offsets = offsets
        self._max_tables = max_tables
        self._tables: dict[tuple[int, int], FloatArray] = {}

    def at(self, anchors: IntArray, categories: IntArray, uniform: FloatArray) -> FloatArray:
        """Return the (O, S, 2) offsets that uniform numbers stand for, in the anchors' longer sides.

        Args:
            anchors: (O, A) category indices of the anchors of each object, which take turns.
            categories: (O,) category indices of the objects.
            uniform: (O, S, 3) in [0, 1): the cell, and the place in it.
        """
        cells, period = np.empty(uniform.shape[:2], np.int64), anchors.shape[1]
        for o, category in enumerate(categories.tolist()):
            for k, anchor in enumerate(anchors[o].tolist()):
                table = self._table(anchor, category)
                cells[o, k::period] = table.searchsorted(uniform[o, k::period, 0] * table[-1])
        offset = cell_offset(np.minimum(cells.ravel(), NUM_CELLS - 1), uniform.reshape(-1, 3)[:, 1:])
        return offset.reshape(*cells.shape, 2)

    def _table(self, anchor: int, category: int) -> FloatArray:
        table = self._tables.get((anchor, category))
        if table is None:
            table = np.cumsum(self._offsets.chances(anchor, category))
            if len(self._tables) >= self._max_tables:
                self._tables.clear()
            self._tables[anchor, category] = table
        return table


@dataclass(frozen=True, slots=True, eq=False)
class OffsetCounts:
    """The offsets of one object's place, and of the random places it is compared with.

    Attributes:
        anchors: (M,) category indices of the anchors.
        category: Category index of the object.
        real: (M,) cells of the object.
        places: (K,) anchor's category index * NUM_CELLS + cell of the random places, anchor after anchor.
        shares: (K,) share of the random places that are seen there by one anchor.
    """

    anchors: IntArray
    category: int
    real: IntArray
    places: IntArray
    shares: NDArray[np.float32]

    @classmethod
    def of(cls, anchors: IntArray, category: int, cells: IntArray) -> OffsetCounts:
        """Count (N, M) cells, the object's own place in the first row."""
        keys = np.arange(len(anchors)) * NUM_CELLS + cells[1:]
        found, times = np.unique(keys, return_counts=True)
        shares = (times / max(len(cells) - 1, 1)).astype(np.float32)
        places = anchors[found // NUM_CELLS] * NUM_CELLS + found % NUM_CELLS
        return cls(anchors, category, cells[0], places, shares)


def fit_offsets(counts: Sequence[OffsetCounts], num_categories: int) -> Offsets:
    """Sum up the offsets of real and random places.

    Args:
        counts: One for each real object.
        num_categories: Number of categories.
    """
    empty = np.zeros(0, np.int64)
    anchors = np.concatenate([empty, *(each.anchors for each in counts)])
    kinds = np.repeat([each.category for each in counts], [len(each.anchors) for each in counts])
    pairs, row = np.unique(anchors * num_categories + kinds.astype(np.int64), return_inverse=True)
    rows = np.zeros((len(pairs), NUM_CELLS), np.float32)
    cells = np.concatenate([empty, *(each.real for each in counts)])
    np.add.at(rows.reshape(-1), row * NUM_CELLS + cells, np.float32(1))
    real = {divmod(pair, num_categories): found for pair, found in zip(pairs.tolist(), rows, strict=True)}
    expected = np.full((num_categories, NUM_CELLS), 1e-4, np.float32)
    places = np.concatenate([empty, *(each.places for each in counts)])
    shares = np.concatenate([np.zeros(0, np.float32), *(each.shares for each in counts)])
    np.add.at(expected.reshape(-1), places, shares)
    pooled = expected.sum(axis=0)
    expected += 5 * pooled / max(float(pooled.sum()), 1e-9)
    expected /= expected.sum(axis=1, keepdims=True)
    return Offsets(num_categories, real, _fine(_coarse(expected)))


def _coarse(expected: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (C, rings * 4) sums of expectations over quarters of a turn."""
    grid = expected.reshape(len(expected), NUM_RADII, 4, NUM_ANGLES // 4)
    return np.asarray(grid.sum(axis=3).reshape(len(expected), NUM_RADII * 4))


def _fine(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (C, NUM_CELLS) expectations, each quarter of a turn spread evenly."""
    spread = np.repeat(coarse.reshape(len(coarse), NUM_RADII, 4), NUM_ANGLES // 4, axis=2)
    return np.asarray(spread.reshape(len(coarse), NUM_CELLS) / (NUM_ANGLES // 4), np.float32)


def _lift(real: FloatArray, expected: FloatArray, parent: FloatArray, kappa: float) -> FloatArray:
    """Return lifts of blurred counts, shrunk towards the parent's by `kappa` counts."""
    return np.asarray((real + kappa * parent) / (expected + kappa))


def _blurred(counts: Any, bandwidth: float) -> FloatArray:
    """Return (..., NUM_CELLS) counts blurred by a Gaussian kernel of peak 1: sums are effective counts."""
    rings, turns = _kernel(NUM_RADII, bandwidth, "nearest"), _kernel(NUM_ANGLES, bandwidth, "wrap")
    grid = counts.reshape(-1, NUM_ANGLES) @ turns.T
    grid = rings @ grid.reshape(-1, NUM_RADII, NUM_ANGLES)
    return np.asarray(grid.reshape(counts.shape) * (2 * np.pi * bandwidth**2))


@cache
def _kernel(size: int, bandwidth: float, mode: str) -> FloatArray:
    """Return the (size, size) matrix that blurs a vector of cells."""
    return np.asarray(ndimage.gaussian_filter1d(np.eye(size), bandwidth, axis=0, mode=mode), np.float64)
