"""What names say, alone and mixed with the counts, against shares worked out by hand."""

import math

import numpy as np
import pytest

from augsynth.affinity.blend import best_weight, fit_names, mixed, structure_of
from augsynth.affinity.cooccurrence import HeldOut
from augsynth.affinity.embeddings import Embeddings
from augsynth.affinity.loglinear import hide_one
from augsynth.affinity.model import Affinity
from augsynth.affinity.scoring import Part, plain_terms
from tests.affinity.tiny_data import VECTORS, dataset, named_groups, objects

# One partner of three is right in 6 of 8 cases.
PARTNERS = np.eye(4)[[1, 0, 3, 2]]
ROWS = objects(*[(1, 1, 0, 0), (0, 0, 1, 1)] * 6, *[(1, 0, 1, 0), (0, 1, 0, 1)] * 2)
CASES = hide_one(ROWS)
HELD = HeldOut(CASES, np.zeros(4), CASES.present @ PARTNERS, ROWS)


@pytest.mark.parametrize(
    ("sharpness", "share"), [(2.0, 0.5), (4.0, 0.25), (1.0, 1.0), (0.5, 1.0), (-1.0, 0.0)]
)
def test_the_share_is_the_likeliest_one(sharpness: float, share: float) -> None:
    """Against logits that say nothing, the names' count as much as makes their partner right in ¾ of the cases."""
    logits = np.zeros((32, 4)), sharpness * math.log(6) * HELD.scores
    assert best_weight([HELD], [logits]) == pytest.approx(share, abs=0.011)


def test_without_cases_both_have_half() -> None:
    cases = hide_one(objects((1, 0), (0, 0)))
    nothing = np.zeros((0, 2))
    assert best_weight([HeldOut(cases, np.zeros(2), nothing, None)], [(nothing, nothing)]) == 0.5
    assert structure_of([HeldOut(cases, np.zeros(2), nothing, None)], [np.zeros(0)]).num_cases == 0


def test_images_of_different_folds_are_different_images() -> None:
    """Two folds of one image with two cases each: gains are summed up by image, then compared."""
    cases = hide_one(objects((1, 1, 0)))
    folds = [HeldOut(cases, np.zeros(3), np.zeros((2, 3)), None)] * 2
    prior = math.log(2)  # of two absent ones
    found = structure_of(folds, [np.full(2, prior - 0.1), np.full(2, prior - 0.3)])
    assert found.num_cases == 4
    assert found.prior_log_loss == pytest.approx(prior)
    assert found.log_loss == pytest.approx(prior - 0.2)
    gains = np.array([0.2, 0.6])
    assert found.z == pytest.approx(gains.mean() / (gains.std() / math.sqrt(2)))


def test_a_mixed_matrix_is_in_natural_logs_with_0_as_neutral() -> None:
    lift = Part("lift", np.array([[1.0, 3], [3, 1]]), plain_terms(2.0, 2), weight=0.75)
    share = Part("conditional", np.array([[0.1, 0.2], [0.4, 0.1]]), plain_terms(0.5, 2), weight=0.25)
    found = mixed((lift, share))
    wanted = 0.75 * (lift.matrix - 1) / 2 + 0.25 * share.matrix / 0.5
    np.testing.assert_allclose(found.matrix, wanted)
    assert (found.measure, found.terms.temperature, found.neutral) == ("blend", 1.0, None)


def test_names_are_scored_in_every_fold_by_the_same_cosines() -> None:
    cosines = Embeddings(VECTORS).cosines
    part, cases = fit_names(ROWS, cosines)
    np.testing.assert_array_equal(part.matrix, cosines)
    assert len(cases) == 5
    assert sum(len(each.cases.target) for each in cases) == 2 * ROWS.shape[0]
    for each in cases:
        np.testing.assert_allclose(each.scores, each.cases.present @ cosines)


def test_the_temperature_is_fitted_to_the_data() -> None:
    """Names that say what the data does are followed; names that say nothing aren't."""
    named = Affinity.fit(named_groups(), source="clip", embeddings=Embeddings(VECTORS))
    swapped = Affinity.fit(named_groups(), source="clip", embeddings=Embeddings(VECTORS[[0, 2, 1, 3]]))
    assert named.terms.temperature < 1 < swapped.terms.temperature
    assert named.structure.found
    assert not swapped.structure.found
    nothing = dataset((7,), (), ids=(7, 3, 5, 9))
    few = Affinity.fit(nothing, source="clip", embeddings=Embeddings(VECTORS))
    assert few.terms.temperature == pytest.approx(0.2)
    assert "too few images" in few.structure.sentence()


@pytest.mark.parametrize("measure", ["loglinear", "conditional"])
def test_a_blend_lies_between_its_sources(measure: str) -> None:
    data = named_groups()
    named = Affinity.fit(data, source="clip", embeddings=Embeddings(VECTORS))
    counted = Affinity.fit(data, measure=measure)
    options = {"source": "blend", "measure": measure, "embeddings": Embeddings(VECTORS)}
    *ends, third = (Affinity.fit(data, **options, blend_weight=w) for w in (0.0, 1.0, 1 / 3))
    for present in ([], [7], [5, 5, 3], [7, 3, 5, 9]):
        for blend, source in zip(ends, (counted, named), strict=True):
            np.testing.assert_allclose(blend.probabilities(present), source.probabilities(present))
            shift = blend.log_odds(present) - source.log_odds(present)
            np.testing.assert_allclose(shift, shift[0], atol=1e-9)
        pooled = counted.probabilities(present) ** (2 / 3) * named.probabilities(present) ** (1 / 3)
        np.testing.assert_allclose(third.probabilities(present), pooled / pooled.sum())
    assert third.source == "blend"


def test_the_share_is_chosen_on_held_out_images() -> None:
    helpful = Affinity.fit(named_groups(), source="blend", embeddings=Embeddings(VECTORS))
    shares = [part.weight for part in helpful.parts]
    assert sum(shares) == pytest.approx(1)
    assert 0 <= shares[1] < 0.9
    assert helpful.structure.log_loss <= Affinity.fit(named_groups()).structure.log_loss * 1.02
