"""The log-linear model on cases whose best parameters are known."""

import math
from collections import Counter

import numpy as np
import pytest

from augsynth.affinity.loglinear import (
    LogLinear,
    Structure,
    features_of,
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
    assert f"log loss {structure.log_loss:.3f} against 2.000 in 1,234 guesses" in str(structure)
    assert f"held-out images, z = {structure.z:.1f}" in str(structure)
    assert ("1.65 times" in str(structure)) is found  # exp(0.5)
