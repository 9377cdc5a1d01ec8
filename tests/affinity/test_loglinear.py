"""The log-linear model on cases whose best parameters are known."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import brentq

from augsynth.affinity import loglinear
from augsynth.affinity.loglinear import (
    NO_PAIRS,
    LogLinear,
    Structure,
    cross_validate,
    features_of,
    fit_path,
    folds,
    hide_one,
    log_loss,
    log_odds,
    repeat_offset,
    summed_up,
)
from tests.affinity.tiny_data import objects

EVEN = np.zeros(4)  # log odds of four categories that are alike


def test_features_by_hand() -> None:
    found = features_of(objects((1, 3, 0), (0, 0, 0), (2, 0, 0))).toarray()
    root = 1 / math.sqrt(2)
    np.testing.assert_allclose(found[0], [root, root, 0, 0, math.log(3) * root, 0, 1, math.log(2)])
    np.testing.assert_allclose(found[1], [0] * 6 + [1, 0])
    np.testing.assert_allclose(found[2], [1, 0, 0, math.log(2), 0, 0, 1, 0])


def test_each_present_category_is_hidden_once() -> None:
    cases = hide_one(objects((1, 0, 0), (2, 1, 1), (0, 0, 0), (0, 1, 5)))
    assert cases.scene.tolist() == [1, 1, 1, 3, 3]
    assert cases.target.tolist() == [0, 1, 2, 1, 2]
    assert cases.present.toarray().tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1], [0, 1, 0]]
    np.testing.assert_allclose(cases.features.toarray()[1, 3], math.log(2) / math.sqrt(2))  # two of the first


def test_hiding_one_object_keeps_the_others_of_its_category() -> None:
    cases = hide_one(objects((1, 0), (2, 0), (2, 1)), whole=False)
    assert cases.scene.tolist() == [1, 2, 2]
    assert cases.target.tolist() == [0, 0, 1]
    assert cases.present.toarray().tolist() == [[1, 0], [1, 1], [1, 0]]


def test_large_data_are_thinned_to_evenly_spread_images() -> None:
    rows = objects(*[(1, 1)] * 100)
    assert hide_one(rows).scene.tolist() == np.repeat(np.arange(100), 2).tolist()
    assert hide_one(rows, max_cells=100).scene.tolist() == np.repeat(np.arange(0, 100, 4), 2).tolist()


def test_losses_are_over_the_absent_categories() -> None:
    cases = hide_one(objects((1, 1, 0), (0, 1, 1)))
    logits = np.tile(np.log([1.0, 2.0, 5.0]), (4, 1))
    # cup is hidden from lid: 1 of 1 + 5; lid from cup: 2 of 2 + 5; lid from shoe: 2 of 1 + 2; shoe from lid: 5 of 1 + 5
    np.testing.assert_allclose(log_loss(logits, cases), -np.log([1 / 6, 2 / 7, 2 / 3, 5 / 6]))
    np.testing.assert_allclose(log_loss(logits + 1e5, cases), log_loss(logits, cases))


def test_two_kinds_of_images_have_the_weights_worked_out() -> None:
    """a with b and c with d, n images each: W_ab = W_cd = w and all others are −w/2, where

    w = (n / strength) · (1 − p) and p = 1 / (1 + 2·exp(−3w/2)) is the chance of the right one. For p = ½ that
    means w = ⅔·ln 2 and strength = n / (2w).
    """
    n, w = 8, 2 / 3 * math.log(2)
    cases = hide_one(objects(*[(1, 1, 0, 0)] * n, *[(0, 0, 1, 1)] * n))
    model = next(fit_path(cases, EVEN, [n / (2 * w)]))
    wanted = np.full((4, 4), -w / 2)
    wanted[[0, 1, 2, 3], [1, 0, 3, 2]] = w
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(model.pairs, wanted, atol=2e-3)
    np.testing.assert_allclose(model.bias, 0, atol=2e-3)
    assert not model.counts.any()  # one object each
    np.testing.assert_allclose(log_loss(EVEN + model.evidence(cases.features), cases), math.log(2), atol=2e-3)


def test_without_pairs_only_the_bias_is_fitted() -> None:
    """a with b and a with c, one image each: a's bias x is −2 times the others', and x = 2 / (1 + exp(3x/2))."""
    cases = hide_one(objects((1, 1, 0), (1, 0, 1)))
    prior, model = fit_path(cases, np.zeros(3), [math.inf, NO_PAIRS])
    assert not (prior.pairs.any() or prior.counts.any() or prior.bias.any())
    x = brentq(lambda x: x - 2 / (1 + math.exp(1.5 * x)), 0, 2)
    np.testing.assert_allclose(model.bias[0], [x, -x / 2, -x / 2], atol=2e-3)
    np.testing.assert_allclose(model.bias[1], 0)  # log k is 0 where one category is left
    assert not (model.pairs.any() or model.counts.any())
    assert (prior.strength, model.strength) == (math.inf, NO_PAIRS)


def penalised_loss(
    model: LogLinear, rows: list[tuple[int, ...]], offset: np.ndarray, strength: float
) -> float:
    """Return what the fit minimises, written down from the module's formula case by case."""
    total = 0.0
    for row in rows:
        shown = [c for c, count in enumerate(row) if count]
        for hidden in shown if len(shown) > 1 else []:
            rest = [c for c in shown if c != hidden]
            k = len(rest)
            logits = {}
            for c in (c for c in range(len(row)) if c not in rest):
                told = sum(model.pairs[s, c] + model.counts[s, c] * math.log(row[s]) for s in rest)
                logits[c] = (
                    offset[c] + model.bias[0, c] + model.bias[1, c] * math.log(k) + told / math.sqrt(k)
                )
            total += math.log(sum(map(math.exp, logits.values()))) - logits[hidden]
    penalty = strength * (model.pairs**2).sum() + 5 * strength * (model.counts**2).sum()
    return total + float(penalty + (model.bias**2).sum()) / 2


ROWS = [(1, 2, 0), (3, 1, 1), (0, 1, 4), (1, 0, 1), (2, 2, 0), (1, 0, 0), (1, 1, 2)]


def test_the_fit_is_the_minimum_of_the_published_formula() -> None:
    """The loss is convex: where no step to either side makes it smaller is the minimum."""
    offset, strength = np.array([0.5, 0.2, -0.4]), 0.3
    model = list(fit_path(hide_one(objects(*ROWS)), offset, [1.0, strength]))[-1]
    assert np.array_equal(model.pairs, model.pairs.T)
    assert not (model.pairs.diagonal().any() or model.counts.diagonal().any())
    for name, pairs in (("pairs", True), ("counts", False), ("bias", False)):
        values = getattr(model, name)
        for i, j in np.ndindex(*values.shape):
            if name != "bias" and (i == j or (pairs and i > j)):
                continue
            sides = []
            for step in (1e-3, -1e-3):
                moved = values.copy()
                moved[i, j] += step
                if pairs:
                    moved[j, i] = moved[i, j]
                parts = {"pairs": model.pairs, "counts": model.counts, "bias": model.bias, name: moved}
                sides.append(penalised_loss(LogLinear(**parts, strength=strength), ROWS, offset, strength))
            assert abs(sides[0] - sides[1]) / 2e-3 < 0.02, (name, i, j)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(2).integers(0, 3, size=(1500, 4))
    cases = hide_one(objects(*drawn))
    monkeypatch.setattr(loglinear, "_MIN_THREADED_CHUNKS", 7)
    assert len(cases.target) > 7 * 512
    models = []
    for threads in (1, 3):
        monkeypatch.setattr(loglinear, "_THREADS", threads)
        models.append(next(fit_path(cases, EVEN, [1.0])))
    for name in ("pairs", "counts", "bias"):
        np.testing.assert_array_equal(getattr(models[0], name), getattr(models[1], name))
    assert models[0].pairs.any()


def test_evidence_follows_the_published_formula() -> None:
    rng = np.random.default_rng(1)
    pairs, counts, bias = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), rng.normal(size=(2, 3))
    found = LogLinear(pairs, counts, bias, 1.0).evidence(features_of(objects((2, 1, 0))))[0, 2]
    wanted = bias[0, 2] + bias[1, 2] * math.log(2)
    wanted += (pairs[0, 2] + counts[0, 2] * math.log(2) + pairs[1, 2]) / math.sqrt(2)
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize(("twice", "mixed"), [(3, 1), (1, 1), (1, 4)])
def test_repeats_are_as_likely_as_they_are_frequent(twice: int, mixed: int) -> None:
    """Where a second object is as likely as a new one, what is missing is the log of how often it repeats."""
    rows = objects(*[(2, 0)] * twice, *[(1, 1)] * mixed)
    nothing = LogLinear(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2)), math.inf)
    even = np.zeros(2)
    found = repeat_offset(nothing, instances=rows, offset=even, repeats=even)
    assert found == pytest.approx(math.log(twice / mixed), abs=1e-3)
    assert repeat_offset(nothing, instances=objects((1, 0), (0, 0)), offset=even, repeats=even) == 0


def test_folds_deal_out_every_image_once() -> None:
    rows = objects(*[(i + 1, 0) for i in range(12)])
    parts = folds(rows)
    assert [held.shape[0] for _, held in parts] == [3, 3, 2, 2, 2]
    dealt = Counter(value for _, held in parts for value in held.toarray()[:, 0].tolist())
    assert dealt == Counter(float(i + 1) for i in range(12))
    for train, held in parts:
        assert not set(train.toarray()[:, 0]) & set(held.toarray()[:, 0])
    assert [train.toarray().tolist() for train, _ in folds(rows)] == [t.toarray().tolist() for t, _ in parts]


def test_the_prior_is_never_certain() -> None:
    np.testing.assert_allclose(log_odds(objects((1, 0), (4, 0), (1, 0))), np.log([7, 1 / 7]))


def test_cross_validation_finds_the_strength_and_the_gain() -> None:
    pairs = objects(*[(1, 1, 0, 0), (0, 0, 1, 1)] * 15)
    strength, structure = cross_validate(pairs)
    assert strength < NO_PAIRS
    assert structure.num_cases == 60
    assert structure.prior_log_loss > 1  # one of three; without counts of its own even more
    assert structure.log_loss < 0.3
    assert structure.found


def test_cross_validation_of_what_is_independent_gains_nothing() -> None:
    drawn = np.random.default_rng(0).random((120, 3)) < 0.6
    _, structure = cross_validate(objects(*drawn.astype(int)))
    assert structure.prior_log_loss - structure.log_loss < 0.01
    assert not structure.found


@pytest.mark.parametrize("rows", [[(0, 0)] * 30, [(1, 0)] * 30, [(1, 1)] * 9, [(3,)] * 30])
def test_too_few_images_with_two_categories_are_not_cross_validated(rows: list[tuple[int, ...]]) -> None:
    strength, structure = cross_validate(objects(*rows))
    assert strength == 1
    assert structure.num_cases == 0
    assert "too few images" in structure.sentence()


def test_figures_are_means_over_cases_and_their_error_one_over_images() -> None:
    prior, paired = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.5, 1.0])
    found = summed_up(prior, prior - 0.25, paired, np.array([4, 4, 9]))
    gain = np.array([1.0, 2.0])  # an image each
    assert found == Structure(3, 2.0, 1.75, 1.0, pytest.approx(gain.mean() / (gain.std() / math.sqrt(2))))
    assert summed_up(prior, prior, prior, np.arange(3)).z == 0


@pytest.mark.parametrize(
    ("structure", "found", "says"),
    [
        (Structure(1234, 2.0, 1.9, 1.5, 3.21), True, "Structure: what else"),
        (Structure(1234, 2.0, 1.9, 1.5, 1.9), False, "No structure found"),
        (Structure(1234, 2.0, 2.0, 1.995, 9.0), False, "No structure found"),
    ],
)
def test_structure_needs_certainty_and_size(structure: Structure, found: bool, says: str) -> None:
    assert structure.found is found
    assert str(structure).startswith(says)
    assert f"{structure.log_loss:.3f} against the prior's 2.000 on 1,234 cases, z = {structure.z:.1f}" in str(
        structure
    )
