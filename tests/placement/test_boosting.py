"""Boosted trees: they learn what tells the first row of a group from the others."""

import numpy as np

from augsynth.placement.boosting import BoostedTrees, fit_trees


def test_trees_learn_what_tells_the_first_row_and_ignores_what_a_group_shares():
    rng = np.random.default_rng(0)
    rows, sizes = [], np.full(200, 10)
    for _ in sizes:
        group = rng.normal(size=(10, 3))
        group[:, 2] = rng.normal()
        group[0, 0] += 2
        rows.append(group)
    model = fit_trees(np.concatenate(rows), sizes, rng=np.random.default_rng(1))
    probe = np.zeros((2, 3))
    probe[1, 0] = 2
    assert np.diff(model.scores(probe))[0] > 1.5
    shared = np.array([[1.0, 0.0, -2.0], [1.0, 0.0, 2.0]])
    assert abs(np.diff(model.scores(shared))[0]) < 0.4
    assert len(BoostedTrees.from_dict(model.to_dict()).leaves) == len(model.leaves)
    nothing = fit_trees(np.ones((20, 2)), np.array([10, 10]), rng=rng)
    np.testing.assert_array_equal(nothing.scores(probe[:, :2]), [0, 0])
