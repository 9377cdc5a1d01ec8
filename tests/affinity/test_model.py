"""An affinity as a whole: scores, chances and pairs on small datasets and on real annotations."""

import math
from dataclasses import replace

import numpy as np
import pytest

from augsynth.affinity.embeddings import Embeddings
from augsynth.affinity.model import DEFAULT_MEASURE, MEASURES, Affinity
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.scene import Category
from tests.affinity.tiny_data import DATA, TINY, VECTORS, dataset, groups, named_groups


@pytest.fixture(scope="module")
def named() -> Affinity:
    return Affinity.fit(named_groups(), source="clip", embeddings=Embeddings(VECTORS, "mine"))


def test_unseen_pair_of_rare_is_unknown_and_of_frequent_is_repelled() -> None:
    scenes = [(7,)] * 50 + [(3,)] * 50 + [(5,)]
    affinity = Affinity.fit(dataset(*scenes), measure="lift", kappa=1.0)
    np.testing.assert_allclose(affinity.matrix[0, 1], 1 / (2500 / 101 + 1))
    np.testing.assert_allclose(affinity.matrix[0, 2], 1 / (50 / 101 + 1))
    assert [pair.names for pair in affinity.most_repelled_pairs()] == [("cup", "lid")]
    assert affinity.strongest_pairs() == []


def test_matrix_scores_are_the_mean_over_present_categories() -> None:
    affinity = Affinity.fit(TINY, measure="lift")
    expected = (affinity.matrix[0] + affinity.matrix[2]) / 2
    np.testing.assert_allclose(affinity.scores([5, 7, 7]), expected)


def test_probabilities_by_hand() -> None:
    affinity = Affinity.fit(TINY, measure="lift")
    objects = affinity.instance_counts + 0.5
    weights = np.exp(affinity.matrix[1] / 0.5) * (objects.sum() / objects) ** 0.3 * [2, 1, 4]
    found = affinity.probabilities([3], tau=0.5, gamma=0.3, quotas={7: 2, 3: 1, 5: 4})
    np.testing.assert_allclose(found, weights / weights.sum())


@pytest.mark.parametrize("measure", MEASURES)
def test_empty_scene_falls_back_to_the_prior(measure: str) -> None:
    affinity = Affinity.fit(TINY, measure=measure)
    np.testing.assert_allclose(affinity.probabilities([], tau=0.3), np.array([3.5, 2.5, 1.5]) / 7.5)


def test_categories_with_many_objects_are_not_rare() -> None:
    few = Affinity.fit(TINY)
    many = Affinity.fit(dataset(*[(7, 3)] * 400, *[(7, 5)] * 200))
    assert np.ptp(many.log_rarity(saturation=20)) < 1e-3 < np.ptp(many.log_rarity())
    np.testing.assert_allclose(few.log_rarity(saturation=1e6), few.log_rarity(), atol=1e-4)
    worth = 20 * (1 - 0.95 ** (few.instance_counts + 0.5))
    np.testing.assert_allclose(few.log_rarity(saturation=20), np.log(worth.sum() / worth))
    chances = many.probabilities([], gamma=1.0, saturation=20)
    np.testing.assert_allclose(chances, many.probabilities([]), atol=1e-3)
    with pytest.raises(ConfigError, match="saturation"):
        few.log_rarity(saturation=1.0)


def test_rarity_and_quotas_steer() -> None:
    affinity = Affinity.fit(groups())
    assert affinity.probabilities([1], gamma=0.8)[3] > affinity.probabilities([1])[3]
    only_hat = affinity.probabilities([1], quotas={4: 1})
    np.testing.assert_allclose(only_hat, [0, 0, 0, 1])
    assert not affinity.probabilities([1], quotas={4: 0}).any()


def test_loglinear_learns_what_belongs_together() -> None:
    affinity = Affinity.fit(groups())
    assert affinity.has_structure()
    assert affinity.probabilities([1])[1] > affinity.probabilities([1])[3]
    assert affinity.probabilities([4])[2] > affinity.probabilities([4])[0]
    off_diagonal = affinity.matrix - np.diag(affinity.matrix.diagonal())
    np.testing.assert_allclose(off_diagonal, off_diagonal.T)
    assert {pair.names for pair in affinity.strongest_pairs(2)} == {("cup", "lid"), ("shoe", "hat")}
    assert ("lid", "hat") in {pair.names for pair in affinity.most_repelled_pairs()}
    assert all(pair.count > pair.expected for pair in affinity.strongest_pairs(2))


def test_loglinear_scores_are_its_published_terms() -> None:
    affinity = Affinity.fit(groups())
    prior, bias, pairs, counts = affinity.prior, affinity.terms.bias, affinity.matrix, affinity.terms.counts
    expected = math.log(prior[3] / (1 - prior[3])) + bias[0, 3] + bias[1, 3] * math.log(2)
    expected += (pairs[0, 3] + counts[0, 3] * math.log(3) + pairs[1, 3]) / math.sqrt(2)
    np.testing.assert_allclose(affinity.scores([1, 2, 1, 1])[3], expected)


def test_loglinear_repeats_as_often_as_the_data() -> None:
    """Averaged over hidden objects, the chance of one more of a present category is the observed share."""
    rng = np.random.default_rng(3)
    data = dataset(*(tuple(rng.choice([7, 7, 7, 3, 5], size=3)) for _ in range(120)))
    affinity = Affinity.fit(data)
    seen, foreseen = [], []
    for each in data.scenes:
        for index in range(3):
            rest = np.delete(each.category_ids, index)
            seen.append(each.category_ids[index] in rest)
            foreseen.append(affinity.probabilities(rest)[np.isin(affinity.category_ids, rest)].sum())
    assert np.mean(foreseen) == pytest.approx(np.mean(seen), abs=0.01)


def test_independent_categories_have_no_structure() -> None:
    rng = np.random.default_rng(0)
    drawn = [tuple(i for i in (7, 3, 5) if rng.random() < 0.6) for _ in range(300)]
    affinity = Affinity.fit(dataset(*drawn))
    assert not affinity.has_structure()
    assert affinity.structure.sentence().startswith("No structure found: ")


def test_few_images_say_so_and_do_not_fail() -> None:
    affinity = Affinity.fit(dataset((7, 3), (5,), ()))
    assert not affinity.has_structure()
    assert "too few images" in affinity.structure.sentence()
    assert Affinity.fit(dataset((), ())).probabilities([]).tolist() == [1 / 3] * 3


def test_fit_is_deterministic_and_takes_ids_as_they_are() -> None:
    again = Affinity.fit(groups())
    np.testing.assert_array_equal(Affinity.fit(groups()).matrix, again.matrix)
    assert again.source_sha256 != Affinity.fit(groups(61)).source_sha256
    zero = Affinity.fit(dataset((0, 9), ids=(0, 9)), measure="npmi")
    assert zero.scores([0]).shape == (2,)


def test_bad_options_and_ids_are_named() -> None:
    for options in ({"measure": "pmi"}, {"kappa": 0.0}, {"kappa": math.nan}, {"strength": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Affinity.fit(TINY, **options)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=r"tiny.json: .*category id 99"):
        Affinity.fit(dataset((99,)))
    with pytest.raises(DatasetError, match="no images"):
        Affinity.fit(dataset())
    affinity = Affinity.fit(TINY, measure="npmi")
    for options in ({"tau": 0}, {"gamma": math.inf}, {"quotas": {8: 1}}, {"quotas": {7: -1}}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            affinity.probabilities([7], **options)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="category id 8"):
        affinity.scores([8])


def test_matching_dataset() -> None:
    affinity = Affinity.fit(TINY, measure="npmi")
    affinity.check_matches(replace(TINY, categories=TINY.categories[::-1]))
    renamed = replace(TINY, categories=(Category(7, "mug"), *TINY.categories[1:]))
    with pytest.raises(ConfigError, match=r"category id 7 is 'cup' in the affinity and 'mug'"):
        affinity.check_matches(renamed)
    with pytest.raises(ConfigError, match=r"category id 5 is 'shoe' in the affinity and missing"):
        affinity.check_matches(replace(TINY, categories=TINY.categories[:2]))


def test_clip_scores_are_mean_cosines(named: Affinity) -> None:
    cosines = Embeddings(VECTORS).cosines
    assert (named.source, named.measure, named.embeddings) == ("clip", "clip", "mine")
    np.testing.assert_array_equal(named.matrix, cosines)
    np.testing.assert_allclose(named.scores([7, 5, 5]), (cosines[0] + cosines[2]) / 2)
    np.testing.assert_allclose(named.scores([]), 0)
    found = named.probabilities([5], tau=0.3, gamma=0.5, quotas={7: 1, 3: 2, 9: 3})
    objects = named.instance_counts + 0.5
    weights = np.exp(cosines[2] / 0.3) * (objects.sum() / objects) ** 0.5 * [1, 2, 0, 3]
    np.testing.assert_allclose(found, weights / weights.sum())


def test_names_fall_back_to_the_prior_in_an_empty_scene(named: Affinity) -> None:
    np.testing.assert_allclose(named.probabilities([]), named.prior / named.prior.sum())


def test_pairs_of_names_are_ranked_by_likeness(named: Affinity) -> None:
    assert {pair.names for pair in named.strongest_pairs(2)} == {("cup", "lid"), ("shoe", "hat")}
    assert ("cup", "hat") in {pair.names for pair in named.most_repelled_pairs(2)}


def test_options_that_do_not_go_together() -> None:
    some = Embeddings(VECTORS)
    for options in (
        {"source": "glove"},
        {"source": "clip"},
        {"embeddings": some},
        {"source": "clip", "embeddings": Embeddings(VECTORS[:3])},
        {"source": "clip", "embeddings": some, "measure": "npmi"},
        {"source": "clip", "embeddings": some, "blend_weight": 0.5},
        {"source": "blend", "embeddings": some, "blend_weight": 1.5},
        {"source": "blend", "embeddings": some, "blend_weight": math.nan},
    ):
        with pytest.raises(ConfigError):
            Affinity.fit(named_groups(), **options)


@pytest.mark.skipif(not (DATA / "taco").exists(), reason="the real annotations of shared/data aren't here")
def test_real_pairs_make_sense() -> None:
    from augsynth.coco.reader import read_dataset

    affinity = Affinity.fit(read_dataset(DATA / "taco" / "annotations_all.json"))
    assert affinity.has_structure()
    assert ("Drink can", "Pop tab") in {pair.names for pair in affinity.strongest_pairs(3)}
    cells = Affinity.fit(read_dataset(DATA / "blood_cells" / "instances_train.json"))
    assert not cells.has_structure()


@pytest.mark.skipif(not (DATA / "trash_annotations").exists(), reason="the real annotations aren't here")
def test_default_beats_the_formulas_on_held_out_images() -> None:
    from benchmarks.judges import affinity as judge

    folds = [DATA / "trash_annotations" / f"fold_{i}.json" for i in (1, 2, 3)]
    table, _ = judge.evaluate(judge.read(*folds[:2]), judge.read(folds[2]))
    ratios = {name: figures[1] for name, figures in table.items()}
    assert ratios["prior"] == 1
    assert ratios[DEFAULT_MEASURE] == min(ratios.values())
    assert ratios[DEFAULT_MEASURE] < 0.967
