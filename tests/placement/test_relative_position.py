"""Offsets in log-polar cells, their counts, and what is drawn by them."""

import numpy as np
import pytest

from augsynth.placement.relative_position import (
    NUM_CELLS,
    OffsetCounts,
    OffsetSampler,
    cell_offset,
    fit_offsets,
    offset_cells,
    offsets,
)


def test_offset_cells_and_their_inverse():
    anchor, box = np.array([[10.0, 10, 30, 20]]), np.array([[40.0, 5, 60, 25]])
    offset, sides = offsets(anchor, box)
    np.testing.assert_allclose(offset[0, 0], [1.5, 0.0])
    assert sides[0] == 20
    cells = np.arange(NUM_CELLS)
    points = cell_offset(cells, np.full((NUM_CELLS, 2), 0.5))
    unit = np.array([[-0.5, -0.5, 0.5, 0.5]])
    moved = np.hstack([points - 0.5, points + 0.5])
    np.testing.assert_array_equal(offset_cells(offsets(unit, moved)[0])[:, 0], cells)


def random_groups(rng, *, num=12, num_categories=3):
    """Anchors' categories, own category and (N, M) cells of some objects; one has no random places."""
    for k in range(num):
        anchors = rng.integers(0, num_categories, size=rng.integers(1, 9))
        num_places = 1 if k == 3 else rng.integers(2, 20)
        yield anchors, int(rng.integers(num_categories)), rng.integers(0, 40, (num_places, len(anchors)))


def test_counts_are_those_of_each_pair_one_by_one():
    groups = list(random_groups(np.random.default_rng(0)))
    table = fit_offsets([OffsetCounts.of(*group) for group in groups], 3)
    real = {}
    expected = np.full((3, NUM_CELLS), 1e-4, np.float32)
    for anchors, category, cells in groups:
        for m, a in enumerate(anchors.tolist()):
            real.setdefault((a, category), np.zeros(NUM_CELLS))[cells[0, m]] += 1
            for n in range(1, len(cells)):
                expected[a, cells[n, m]] += 1 / (len(cells) - 1)
    assert table.real.keys() == real.keys()
    for pair, counts in real.items():
        np.testing.assert_array_equal(table.real[pair], counts)
    expected += 5 * expected.sum(axis=0) / expected.sum()
    expected /= expected.sum(axis=1, keepdims=True)
    quarters = (3, 44, 4, 9)
    np.testing.assert_allclose(
        table.expected.reshape(quarters).sum(axis=3), expected.reshape(quarters).sum(axis=3), rtol=1e-4
    )


def test_a_sampler_draws_as_often_as_the_chances_say():
    table = fit_offsets([OffsetCounts.of(*group) for group in random_groups(np.random.default_rng(1))], 3)
    anchors, categories = np.array([[0, 1], [2, 2]]), np.array([1, 0])
    uniform = np.random.default_rng(0).random((2, 40_000, 3))
    sampler = OffsetSampler(table, max_tables=2)
    drawn = sampler.at(anchors, categories, uniform)
    assert drawn.shape == (2, 40_000, 2)
    cells = offset_cells(drawn)
    for o, k, pair in ((0, 0, (0, 1)), (0, 1, (1, 1)), (1, 0, (2, 0))):
        chances = table.chances(*pair)
        chances = np.bincount(np.arange(NUM_CELLS) // 36, chances / chances.sum())
        found = np.bincount(cells[o, k::2] // 36, minlength=44) / len(cells[o, k::2])
        np.testing.assert_allclose(found, chances, atol=0.015)
    np.testing.assert_array_equal(sampler.at(anchors, categories, uniform), drawn)


def test_log_lifts_take_one_category_or_one_for_each_box():
    table = fit_offsets([OffsetCounts.of(*group) for group in random_groups(np.random.default_rng(2))], 3)
    anchors, cells = np.array([0, 2]), np.array([[3, 5], [30, 1], [7, 7]])
    mixed, _ = table.log_lifts(anchors, np.array([1, 0, 1]), cells)
    for row, category in enumerate((1, 0, 1)):
        alone, wide = table.log_lifts(anchors, category, cells[row : row + 1])
        np.testing.assert_array_equal(alone[0], mixed[row])
        assert wide.shape == (1, 2)
        chances = table.chances(0, category)
        assert np.log(chances[cells[row, 0]] / (table.expected[0, cells[row, 0]] + 1e-6)) == pytest.approx(
            float(alone[0, 0]), abs=1e-5
        )


def test_offsets_are_drawn_of_pairs_that_nobody_asked_for_before():
    table = fit_offsets([OffsetCounts.of(*group) for group in random_groups(np.random.default_rng(0))], 3)
    assert len(table.real) > 3, "the tables don't grow here"
    for anchor, category in table.real:
        chance = table.chances(anchor, category)
        assert chance.shape == (NUM_CELLS,) and chance.sum() > 0
