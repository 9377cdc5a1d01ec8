"""The columns of the layout's trees, on boxes whose distances can be told by hand."""

import numpy as np
import pytest

from augsynth.core.scene import Scene
from augsynth.placement.layout_features import Comparison, Pairs, near_columns, place_columns

SCENE = Scene(7, "a.png", (200, 100))


def comparison(anchors: list[list[float]], boxes: list[list[float]]) -> Comparison:
    there = np.array(anchors, np.float64).reshape(-1, 4)
    kinds, free = np.zeros(len(there), np.int64), np.ones(len(there), np.bool_)
    return Comparison.of(SCENE, there, kinds, free, 0, np.array(boxes, np.float64))


def test_pairs_are_measured_in_the_sides_of_the_anchor() -> None:
    at = comparison([[10, 40, 30, 50]], [[50, 40, 90, 60], [20, 40, 40, 50]])
    pairs = Pairs.of(at)
    assert at.image_id == 7 and at.cells.shape == (2, 1)
    assert pairs.offset[0, 0] == pytest.approx([2.5, 0.25])  # 50 and 5 pixels, in sides of 20
    assert pairs.distance[0, 0] == pytest.approx(np.hypot(2.5, 0.25))
    assert pairs.gaps[:, 0] == pytest.approx([20 / np.sqrt(20 * 40), 0])
    assert pairs.larger[:, 0] == pytest.approx([2, 1])
    assert pairs.inside[:, 0] == pytest.approx([0, 0.5])
    assert pairs.covered[:, 0] == pytest.approx([0, 0.5])


def test_pairs_with_some_of_the_anchors() -> None:
    pairs = Pairs.of(comparison([[0, 0, 10, 10], [50, 0, 60, 10]], [[20, 0, 30, 10]]))
    second = pairs.of_anchors(np.array([False, True]))
    assert second.offset.shape == (1, 1, 2)
    assert second.distance[0, 0] == pairs.distance[0, 1] == pytest.approx(3)


def test_places_are_told_by_position_size_and_company() -> None:
    at = comparison([[0, 0, 10, 10]], [[90, 40, 130, 60]])
    height, across, gap, gap_across, size, aspect, company, same = (c[0] for c in place_columns(at))
    assert (height, across) == pytest.approx((0, 0.05))
    assert (gap, gap_across) == pytest.approx((40 / 40, 70 / 40))
    assert size == pytest.approx(np.log(40 / np.sqrt(200 * 100)))
    assert aspect == pytest.approx(np.log(2))
    assert company == same == pytest.approx(np.log(2))


def test_with_nothing_near_everything_is_far() -> None:
    columns = near_columns(Pairs.of(comparison([], [[0, 0, 10, 10], [5, 5, 9, 9]])), 2)
    assert all(column.shape == (2,) and len(set(column.tolist())) == 1 for column in columns)
    near = near_columns(Pairs.of(comparison([[0, 0, 10, 10]], [[20, 0, 30, 10]])), 1)
    assert len(near) == len(columns)
    assert [near[1][0], near[2][0]] == pytest.approx([2, 1])
    assert near[1][0] < columns[1][0] and near[2][0] < columns[2][0]
