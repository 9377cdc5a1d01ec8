"""Scores of a hand-made model, what its matrix says of a pair, and the fingerprint of what was counted."""

import math
from dataclasses import replace

import numpy as np
import pytest

from augsynth.affinity.cooccurrence import FORMULAS, cooccurrence
from augsynth.affinity.embeddings import Embeddings
from augsynth.affinity.scoring import (
    CLIP,
    Part,
    Terms,
    check_cosines,
    check_options,
    check_source,
    fingerprint,
    fit_terms,
    plain_terms,
)
from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category
from tests.affinity.tiny_data import TINY, objects

PRIOR = np.array([0.5, -0.5, -1.0])
MATRIX = np.array([[0.1, 1.0, 2.0], [3.0, 0.2, -1.0], [0.0, 0.5, 0.3]])
NONE = np.zeros(0, np.int64)


def test_a_matrix_scores_by_the_mean_of_its_rows() -> None:
    part = Part("lift", MATRIX, plain_terms(0.5, 3))
    scores = part.scores(PRIOR, np.array([0, 2]), np.array([5.0, 1.0]))
    np.testing.assert_allclose(scores, [0.05, 0.75, 1.15])
    np.testing.assert_allclose(part.log_odds(PRIOR, scores), PRIOR + 2 * scores)
    np.testing.assert_allclose(part.scores(PRIOR, NONE, np.zeros(0)), 0)


def test_the_log_linear_model_adds_its_terms_and_knows_repeats_apart() -> None:
    bias, counts = np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]]), np.full((3, 3), 0.7)
    part = Part("loglinear", MATRIX, Terms(1.0, 1.0, bias, counts))
    one = part.scores(PRIOR, np.array([1]), np.array([1.0]))
    np.testing.assert_allclose(
        one, [0.5 + 0.1 + 3.0, -0.5 + 0.2, -1.0 + 0.3 - 1.0]
    )  # its own: the diagonal alone
    two = part.scores(PRIOR, np.array([0, 1]), np.array([1.0, 4.0]))
    third = -1.0 + 0.3 + 3.0 * math.log(2) + (2.0 - 1.0 + 0.7 * math.log(4)) / math.sqrt(2)
    np.testing.assert_allclose(two, [0.5 + 0.1, -0.5 + 0.2, third])
    np.testing.assert_array_equal(part.log_odds(PRIOR, two), two)
    np.testing.assert_array_equal(part.scores(PRIOR, NONE, np.zeros(0)), PRIOR)


def test_neutral_is_what_says_nothing() -> None:
    neutral = {
        measure: Part(measure, MATRIX, plain_terms(1, 3)).neutral for measure in ("loglinear", *FORMULAS)
    }
    assert neutral == {
        "loglinear": 0.0,
        "lift": 1.0,
        "npmi": 0.0,
        "conditional": None,
        "jaccard": None,
        "cosine": None,
    }
    assert Part(CLIP, MATRIX, plain_terms(1, 3)).neutral == pytest.approx(0.75)  # median of 0 −1 0.5 1 2 3
    assert Part(CLIP, np.ones((1, 1)), plain_terms(1, 1)).neutral == 0


def test_pull_is_above_0_where_a_pair_attracts() -> None:
    lift = np.array([[1.0, 2.0], [2.0, 0.5]])
    values = np.array([[0.2, 0.4], [0.6, 0.8]])
    for measure in (
        "lift",
        "conditional",
        "jaccard",
        "cosine",
    ):  # their values follow popularity; lift doesn't
        np.testing.assert_allclose(Part(measure, values, plain_terms(1, 2)).pull(lift), np.log(lift))
    for measure, neutral in (("npmi", 0.0), ("loglinear", 0.0), (CLIP, 0.5)):
        np.testing.assert_allclose(Part(measure, values, plain_terms(1, 2)).pull(lift), values - neutral)


@pytest.mark.parametrize("measure", FORMULAS)
def test_the_terms_of_a_formula_are_its_temperature(measure: str) -> None:
    rows = objects(*[(1, 1, 0), (0, 1, 1)] * 6)
    counts = cooccurrence(rows, kappa=2.0)
    matrix, terms = fit_terms(rows, counts, measure, 1.0)
    np.testing.assert_array_equal(matrix, counts.matrix(measure))
    assert 0.02 <= terms.temperature <= 100
    assert terms.strength == 0
    assert not (terms.bias.any() or terms.counts.any())


def test_the_diagonal_of_the_log_linear_model_is_that_of_a_second_object() -> None:
    """prior + diagonal are the log odds of repeating, up to one number that all categories share."""
    rows = objects(*[(3, 1, 0), (1, 0, 2), (0, 1, 1)] * 4)
    counts = cooccurrence(rows)
    matrix, terms = fit_terms(rows, counts, "loglinear", 4.0)
    repeat = counts.repeat_prob
    shift = counts.log_odds + matrix.diagonal() - np.log(repeat / (1 - repeat))
    np.testing.assert_allclose(shift, shift[0])
    assert terms.temperature == 1
    assert terms.strength == 4


def test_wrong_choices_are_refused() -> None:
    for measure, kappa, strength in (
        ("pmi", 1, None),
        ("npmi", 0, None),
        ("npmi", math.inf, None),
        ("npmi", 1, 0),
    ):
        with pytest.raises(ConfigError):
            check_options(measure, kappa, strength)
    check_options("npmi", 0.5, math.inf)
    wrong = [
        ("glove", "npmi", None),
        ("clip", "npmi", None),
        ("clip", "loglinear", 0.5),
        ("blend", "npmi", 1.1),
    ]
    for source, measure, weight in wrong:
        with pytest.raises(ConfigError):
            check_source(source, measure, weight)
    for weight in (None, 0.0, 1.0):
        check_source("blend", "npmi", weight)


def test_cosines_are_there_where_they_are_needed_and_fit() -> None:
    cosines = Embeddings(np.eye(3)).cosines
    check_cosines("clip", cosines, 3)
    check_cosines("cooccurrence", None, 3)
    for source, given, size in (("clip", None, 3), ("cooccurrence", cosines, 3), ("blend", cosines, 4)):
        with pytest.raises(ConfigError, match="embeddings"):
            check_cosines(source, given, size)


def test_the_fingerprint_tells_all_that_statistics_are_built_from() -> None:
    first = TINY.scenes[0]
    changed = {
        "as it is": TINY,
        "name": replace(TINY, categories=(Category(7, "mug"), *TINY.categories[1:])),
        "order": replace(TINY, scenes=TINY.scenes[::-1]),
        "fewer": replace(TINY, scenes=TINY.scenes[:-1]),
        "id": replace(TINY, scenes=(replace(first, image_id=9), *TINY.scenes[1:])),
        "size": replace(TINY, scenes=(replace(first, size_wh=(64, 49)), *TINY.scenes[1:])),
        "box": replace(TINY, scenes=(replace(first, boxes_xyxy=first.boxes_xyxy + 0.25), *TINY.scenes[1:])),
        "crowd": replace(TINY, scenes=(replace(first, is_crowd=~first.is_crowd), *TINY.scenes[1:])),
        "label": replace(
            TINY, scenes=(replace(first, category_ids=first.category_ids[::-1].copy()), *TINY.scenes[1:])
        ),
    }
    prints = {name: fingerprint(data) for name, data in changed.items()}
    assert len(set(prints.values())) == len(prints)
    assert (
        fingerprint(replace(TINY, scenes=(replace(first, file_name="b.jpg"), *TINY.scenes[1:])))
        == prints["as it is"]
    )
    assert prints["as it is"] == fingerprint(TINY)
    assert len(prints["as it is"]) == 64
