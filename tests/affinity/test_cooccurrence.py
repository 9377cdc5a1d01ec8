"""Counts and formulas against numbers worked out by hand, and what tells a pair from chance against exact tests."""

import math

import numpy as np
import pytest
from scipy import stats

from augsynth.affinity.cooccurrence import (
    FORMULAS,
    UNKNOWN_TEMPERATURE,
    Cooccurrence,
    HeldOut,
    best_temperature,
    cooccurrence,
    held_out,
    instance_matrix,
    ranked_pairs,
)
from augsynth.affinity.loglinear import hide_one
from augsynth.affinity.model import Affinity
from tests.affinity.tiny_data import TINY, dataset, objects, scene

IDS = np.array([7, 3, 5])
COUNTED = cooccurrence(objects((2, 1, 0), (1, 1, 0), (1, 0, 0), (0, 0, 1)))  # TINY


def counts_of(
    num: int, counts: tuple[int, ...], pairs: dict[tuple[int, int], int], **options
) -> Cooccurrence:
    """Return counts of N images with the given pairs; all other pairs are never seen."""
    table = np.diag(counts)
    for (i, j), count in pairs.items():
        table[i, j] = table[j, i] = count
    nothing = np.zeros(len(counts), np.int64)
    return Cooccurrence(num, np.array(counts), table, nothing, np.array(counts), **options)


def test_objects_are_counted_in_file_order_whatever_the_ids() -> None:
    found = instance_matrix((scene(4, 5, 7, 7), scene(2), scene(9, 3)), IDS)
    assert found.toarray().tolist() == [[2, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert instance_matrix((scene(1, 0),), np.array([0])).toarray().tolist() == [[1]]
    assert instance_matrix((scene(1), scene(2)), IDS).shape == (2, 3)


@pytest.mark.parametrize("strange", [1, 4, 99])
def test_an_unknown_category_is_named(strange: int) -> None:
    with pytest.raises(KeyError) as error:
        instance_matrix((scene(1, 7, strange),), IDS)
    assert error.value.args == (strange,)


def test_counts_by_hand() -> None:
    assert COUNTED.num_scenes == 4
    assert COUNTED.counts.tolist() == [3, 2, 1]
    assert COUNTED.pair_counts.tolist() == [[3, 2, 0], [2, 2, 0], [0, 0, 1]]
    assert COUNTED.repeat_counts.tolist() == [1, 0, 0]
    assert COUNTED.instance_counts.tolist() == [4, 2, 1]
    np.testing.assert_allclose(COUNTED.prior, [3.5 / 5, 2.5 / 5, 1.5 / 5])
    np.testing.assert_allclose(COUNTED.log_odds, np.log([3.5 / 1.5, 1, 1.5 / 3.5]))
    np.testing.assert_allclose(COUNTED.expected, np.outer([3, 2, 1], [3, 2, 1]) / 4)


def test_crowds_count_as_presence() -> None:
    counts = Affinity.fit(dataset((7, 3), (), crowd=True), measure="lift").cooccurrence
    assert counts.counts.tolist() == [1, 1, 0]
    assert counts.pair_counts[0, 1] == 1


def test_images_without_objects_count_as_images() -> None:
    counts = cooccurrence(objects((1, 1), (0, 0), (0, 0), (0, 0)))
    assert counts.num_scenes == 4
    np.testing.assert_allclose(counts.prior, 1.5 / 5)
    np.testing.assert_allclose(counts.lift[0, 1], 2 / 1.25)  # one seen, a quarter expected
    empty = cooccurrence(objects((0, 0), (0, 0)))
    assert not empty.beyond_chance.any()
    for measure in FORMULAS:
        assert np.isfinite(empty.matrix(measure)).all(), measure
    np.testing.assert_allclose(empty.lift, 1)


@pytest.mark.parametrize("measure", FORMULAS)
def test_one_category_has_its_repeats_alone(measure: str) -> None:
    counts = cooccurrence(objects((3,), (1,), (1,), (0,)))
    np.testing.assert_allclose(counts.matrix(measure), [[(1 + 1 / 3) / 4]])  # κ images at the mean, a third
    assert counts.beyond_chance.tolist() == [[False]]


def test_formulas_by_hand() -> None:
    lift = (2 + 1) / (3 * 2 / 4 + 1)  # cup and lid, κ = 1
    joint = lift * 0.7 * 0.5
    expected = {
        "lift": (lift, lift),
        "npmi": (math.log(lift) / -math.log(joint),) * 2,
        "conditional": (joint / 0.7, joint / 0.5),
        "jaccard": (joint / (0.7 + 0.5 - joint),) * 2,
        "cosine": (joint / math.sqrt(0.35),) * 2,
    }
    assert set(expected) == set(FORMULAS)
    for measure, (there, back) in expected.items():
        matrix = COUNTED.matrix(measure)
        np.testing.assert_allclose([matrix[0, 1], matrix[1, 0]], [there, back], err_msg=measure)
        # a second object given one: (1 of 3 + κ·mean) / (3 + κ) where 1 of 6 presences repeats
        np.testing.assert_allclose(matrix[0, 0], (1 + 1 / 6) / 4, err_msg=measure)
    with pytest.raises(ValueError, match="'pmi' isn't one of npmi, lift"):
        COUNTED.matrix("pmi")


@pytest.mark.parametrize(("kappa", "lift"), [(0.5, 2.5 / 2), (1.0, 3 / 2.5), (4.0, 6 / 5.5), (1e9, 1.0)])
def test_shrinkage_draws_the_lift_to_independence(kappa: float, lift: float) -> None:
    counts = counts_of(4, (3, 2, 1), {(0, 1): 2}, kappa=kappa)
    np.testing.assert_allclose(counts.lift[0, 1], lift)


def test_always_together_is_the_most_that_a_measure_says() -> None:
    """p_ij is at most the smaller of p_i and p_j, so that no chance exceeds 1."""
    counts = counts_of(1000, (1, 1), {(0, 1): 1}, kappa=1e-6)
    np.testing.assert_allclose(counts.joint[0, 1], counts.prior[0])
    assert counts.matrix("npmi")[0, 1] == 1
    for measure in ("conditional", "jaccard", "cosine"):
        assert counts.matrix(measure)[0, 1] == pytest.approx(1), measure


def test_a_pair_never_seen_is_unknown_of_two_rare_ones_and_repelled_of_two_frequent_ones() -> None:
    counts = counts_of(101, (50, 50, 1, 1), {})
    np.testing.assert_allclose(counts.lift[0, 1], 1 / (2500 / 101 + 1))
    np.testing.assert_allclose(counts.lift[0, 2], 1 / (50 / 101 + 1))
    np.testing.assert_allclose(counts.lift[2, 3], 1, atol=0.01)
    beyond = counts.beyond_chance
    assert beyond[0, 1]
    assert beyond[1, 0]
    assert beyond.sum() == 2


def test_beyond_chance_agrees_with_the_exact_test() -> None:
    """Where one pair is tested its verdict is that of the hypergeometric distribution at 5 %, but near the border."""
    for seen in range(21):
        counts = counts_of(100, (50, 20), {(0, 1): seen})
        law = stats.hypergeom(100, 50, 20)
        exact = min(1.0, 2 * min(law.cdf(seen), law.sf(seen - 1)))
        if not 0.03 < exact < 0.08:
            assert counts.beyond_chance[0, 1] == (exact <= 0.05), (seen, exact)


@pytest.mark.parametrize(("seen", "beyond"), [(0, False), (1, False), (2, True), (3, True)])
def test_few_images_are_judged_by_poisson_tails(seen: int, beyond: bool) -> None:
    """0.1 images are expected: P(≥ 1) = 0.095 and P(≥ 2) = 0.0047, both doubled."""
    assert counts_of(1000, (10, 10), {(0, 1): seen}).beyond_chance[0, 1] == beyond


@pytest.mark.parametrize(("other", "beyond"), [(20, True), (31, False)])
def test_the_rate_of_false_discoveries_is_5_percent(other: int, beyond: bool) -> None:
    """Two seen where 0.2 or 0.31 are expected: p = 0.035 and 0.078."""
    assert counts_of(1000, (10, other), {(0, 1): 2}).beyond_chance[0, 1] == beyond


def test_many_pairs_need_more_evidence() -> None:
    """A pair at p = 0.0094 is beyond chance alone, not as the best of 45 (Benjamini and Hochberg: 0.05 / 45)."""
    seen = {(0, 1): 2}
    assert counts_of(1000, (10, 10), seen).beyond_chance[0, 1]
    assert not counts_of(1000, (10,) * 10, seen).beyond_chance.any()
    several = {(i, i + 1): 2 for i in range(9)}  # nine of 45 may have p up to 9 · 0.05 / 45
    found = counts_of(1000, (10,) * 10, several).beyond_chance
    assert {(i, j) for i, j in np.argwhere(np.triu(found)).tolist()} == set(several)


def test_independent_categories_are_seldom_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.random((400, 12)) < np.linspace(0.02, 0.6, 12)
    assert cooccurrence(objects(*drawn.astype(int))).beyond_chance.sum() <= 2


def test_folds_are_scored_by_the_rest_of_the_image() -> None:
    rows = objects(*[(1, 1, 0), (0, 2, 1), (1, 1, 1)] * 5)
    matrix = np.arange(9.0).reshape(3, 3)
    seen = []
    for part in held_out(rows, lambda train: seen.append(train.shape[0]) or matrix):
        present = part.cases.present.toarray()
        np.testing.assert_allclose(part.scores, present @ matrix / present.sum(1, keepdims=True))
        shares = (np.asarray((part.train > 0).sum(0)).ravel() + 0.5) / (part.train.shape[0] + 1)
        np.testing.assert_allclose(part.prior, np.log(shares / (1 - shares)))
    assert seen == [12] * 5


def test_the_temperature_is_the_likeliest_one() -> None:
    """The matrix names one partner of three, who is right in 6 of 8 cases: exp(1/τ) / (exp(1/τ) + 2) = ¾."""
    rows = objects(*[(1, 1, 0, 0), (0, 0, 1, 1)] * 6, *[(1, 0, 1, 0), (0, 1, 0, 1)] * 2)
    cases = hide_one(rows)
    part = HeldOut(cases, np.zeros(4), cases.present @ np.eye(4)[[1, 0, 3, 2]], rows)
    assert best_temperature([part]) == pytest.approx(1 / math.log(6), rel=1e-3)
    assert best_temperature(held_out(objects((1, 0), (0, 2)), lambda train: np.eye(2))) == UNKNOWN_TEMPERATURE


def test_pairs_are_ranked_by_pull_in_file_order() -> None:
    matrix = np.array([[0, 1.0, 2], [3, 0, 4], [2, 4, 0]])
    known = np.ones((3, 3), bool)
    found = ranked_pairs(IDS, ("cup", "lid", "shoe"), COUNTED, matrix, matrix, known, 5)
    assert [pair.names for pair in found] == [("lid", "shoe"), ("cup", "shoe"), ("cup", "lid")]
    assert found[2].category_ids == (7, 3)
    assert (found[2].value, found[2].count, found[2].expected) == (
        3.0,
        2,
        1.5,
    )  # the larger of both directions
    assert len(ranked_pairs(IDS, ("cup", "lid", "shoe"), COUNTED, matrix, matrix, known, 1)) == 1
    assert ranked_pairs(IDS, ("cup", "lid", "shoe"), COUNTED, matrix, -matrix, known, 5) == []
    assert ranked_pairs(IDS, ("cup", "lid", "shoe"), COUNTED, matrix, matrix, ~known, 5) == []


def test_the_tiny_dataset_is_the_one_counted_here() -> None:
    rows = instance_matrix(TINY.scenes, IDS)
    assert cooccurrence(rows).pair_counts.tolist() == COUNTED.pair_counts.tolist()
