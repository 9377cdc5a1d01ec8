"""Fits of the log-linear model whose best parameters are known."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.optimize import brentq

from augsynth.affinity import loglinear_fit, loglinear_loss
from augsynth.affinity.loglinear import (
    NO_PAIRS,
    LogLinear,
    hide_one,
    log_loss,
    log_odds,
)
from augsynth.affinity.loglinear_fit import cross_validate, fit, fit_path
from tests.affinity.tiny_data import objects

EVEN = np.zeros(4)  # log odds of four categories that are alike


def test_two_kinds_of_images_have_the_weights_worked_out() -> None:
    """a with b and c with d, n images each: W_ab = W_cd = w and all others are −w/2, where

    w = (n / strength) · (1 − p) and p = 1 / (1 + 2·exp(−3w/2)) is the chance of the right one. For p = ½ that
    means w = ⅔·ln 2 and strength = n / (2w).
    """
    n, w = 8, 2 / 3 * math.log(2)
    images = objects(*[(1, 1, 0, 0)] * n, *[(0, 0, 1, 1)] * n)
    cases = hide_one(images)
    model = next(fit_path(images, EVEN, [n / (2 * w)]))
    wanted = np.full((4, 4), -w / 2)
    wanted[[0, 1, 2, 3], [1, 0, 3, 2]] = w
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(model.pairs, wanted, atol=2e-3)
    np.testing.assert_allclose(model.bias, 0, atol=2e-3)
    assert not model.counts.any()  # one object each
    np.testing.assert_allclose(log_loss(EVEN + model.evidence(cases.features), cases), math.log(2), atol=2e-3)


def test_without_pairs_only_the_bias_is_fitted() -> None:
    """a with b and a with c, one image each: a's bias x is −2 times the others', and x = 2 / (1 + exp(3x/2))."""
    images = objects((1, 1, 0), (1, 0, 1))
    prior, model = fit_path(images, np.zeros(3), [math.inf, NO_PAIRS])
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
    model = list(fit_path(objects(*ROWS), offset, [1.0, strength]))[-1]
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
    images = objects(*drawn)
    monkeypatch.setattr(loglinear_loss, "_CHUNK_CELLS", 2000)
    models = [next(fit_path(images, EVEN, [1.0]))]
    with ThreadPoolExecutor(3) as pool:
        models.append(next(fit_path(images, EVEN, [1.0], pool=pool)))
    for name in ("pairs", "counts", "bias"):
        np.testing.assert_array_equal(getattr(models[0], name), getattr(models[1], name))
    assert models[0].pairs.any()


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


def test_many_categories_in_few_images_forecast_better_than_the_prior() -> None:
    """There are a hundred times as many pairs as cases; groups of twenty categories belong together."""
    rng = np.random.default_rng(5)
    groups, popular = rng.integers(20, size=(1500, 1)), rng.random(400)
    shown = rng.random((1500, 400)) < np.where(groups == np.arange(400) // 20, 0.3, 0.004) * popular
    rows = objects(*(shown * rng.integers(1, 4, size=shown.shape)))
    train, held = rows[:1000], hide_one(rows[1000:])
    odds = log_odds(train)
    for strength in (4.0, 0.25):
        model = fit(train, odds, strength)
        for cases in (hide_one(train), held):
            evidence = model.evidence(cases.features)
            prior, found = (log_loss(odds + each, cases).mean() for each in (0 * evidence, evidence))
            assert found < prior - 0.2
        assert np.array_equal(model.pairs, model.pairs.T)


def test_categories_that_no_image_shows_are_fitted_as_one_to_the_same_model() -> None:
    rng = np.random.default_rng(3)
    shown = (rng.random((60, 5)) < 0.4) * rng.integers(1, 4, (60, 5))
    instances = objects(*np.insert(shown, [1, 3, 3, 5], 0, axis=1).tolist())
    offset = log_odds(instances)
    grouped = list(loglinear_fit._grouped_path(instances, offset, tolerance=1e-10))
    whole = list(fit_path(instances, offset, loglinear_fit.STRENGTHS, tolerance=1e-10))
    for one, other in zip(grouped, whole, strict=True):
        for name in ("pairs", "counts", "bias"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=0.002, err_msg=name)
    assert np.abs(whole[-1].pairs[:, 1]).max() > 0.1  # those that nothing shows have weights, too


def test_three_hundred_categories_in_eighty_images_have_structure() -> None:
    """Images have a topic. Terms that know no pairs mustn't fit the mistakes of a prior from as few images."""
    rng = np.random.default_rng(0)
    topics = rng.gamma(0.15, size=(24, 300)) / (np.arange(300) + 4.0)
    topics /= topics.sum(axis=1, keepdims=True)
    drawn = [rng.choice(300, size=12, p=topics[rng.integers(24)]) for _ in range(80)]
    _, structure = cross_validate(objects(*[np.bincount(each, minlength=300) for each in drawn]))
    assert structure.found
    assert structure.pairless_log_loss < structure.prior_log_loss + 0.05


def test_one_part_of_many_images_is_forecast_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loglinear_fit, "MAX_CV_CELLS", 0)  # then 2,000 cases are enough
    rng = np.random.default_rng(4)
    group = rng.integers(2, size=(4000, 1))
    images = objects(*((rng.random((4000, 6)) < np.where(group == np.arange(6) // 3, 0.8, 0.1)).astype(int)))
    cases = int(np.diff(images.indptr)[np.diff(images.indptr) >= 2].sum())
    strength, structure = cross_validate(images)
    assert structure.num_cases == pytest.approx(cases / (cases // 2000), rel=0.1)
    assert structure.found
    assert strength < NO_PAIRS
