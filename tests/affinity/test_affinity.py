"""docs/method.md §1 on fixtures small enough to compute by hand, on real annotations, and on damaged files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augsynth.affinity.model import (
    DEFAULT_MEASURE,
    MEASURES,
    Affinity,
    load_affinity_file,
    save_affinity_file,
)
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.scene import Category, Dataset, Scene

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def scene(image_id: int, *category_ids: int, crowd: bool = False) -> Scene:
    n = len(category_ids)
    boxes = np.tile([1.0, 2.0, 11.0, 22.0], (n, 1)) if n else np.zeros((0, 4))
    ids, numbers = np.array(category_ids, np.int64), np.arange(1, n + 1)
    return Scene(image_id, f"{image_id}.jpg", (64, 48), boxes, ids, numbers, np.full(n, crowd))


def dataset(*scenes: tuple[int, ...], ids: tuple[int, ...] = (7, 3, 5), crowd: bool = False) -> Dataset:
    categories = tuple(Category(i, name) for i, name in zip(ids, ("cup", "lid", "shoe", "hat"), strict=False))
    found = tuple(scene(index, *objects, crowd=crowd) for index, objects in enumerate(scenes))
    return Dataset(categories, found, {}, Path("tiny.json"))


# N = 4: cup in 3 images (twice in one), lid in 2, both with a cup, shoe in 1, alone.
TINY = dataset((7, 7, 3), (7, 3), (7,), (5,))


def groups(num: int = 60) -> Dataset:
    """Cup and lid always together, shoe and hat always together, and some images mix cup and shoe."""
    kinds = [(1, 2), (3, 4), (1, 2, 2), (3, 3, 4), (1, 2), (3, 4), (1, 3)]
    return dataset(*(kinds[i % len(kinds)] for i in range(num)), ids=(1, 2, 3, 4))


def test_counts_by_hand() -> None:
    affinity = Affinity.fit(TINY, measure="npmi")
    assert affinity.category_ids.tolist() == [7, 3, 5]
    assert affinity.num_scenes == 4
    assert affinity.counts.tolist() == [3, 2, 1]
    assert affinity.pair_counts.tolist() == [[3, 2, 0], [2, 2, 0], [0, 0, 1]]
    assert affinity.instance_counts.tolist() == [4, 2, 1]
    assert affinity.cooccurrence.repeat_counts.tolist() == [1, 0, 0]
    np.testing.assert_allclose(affinity.prior, [3.5 / 5, 2.5 / 5, 1.5 / 5])


def test_crowds_count_as_presence() -> None:
    assert Affinity.fit(dataset((7, 3), crowd=True), measure="lift").counts.tolist() == [1, 1, 0]


def test_measures_by_hand() -> None:
    lift = (2 + 1) / (3 * 2 / 4 + 1)  # cup and lid, κ = 1
    joint = lift * 0.7 * 0.5
    expected = {
        "lift": (lift, lift),
        "npmi": (math.log(lift) / -math.log(joint),) * 2,
        "conditional": (joint / 0.7, joint / 0.5),
        "jaccard": (joint / (0.7 + 0.5 - joint),) * 2,
        "cosine": (joint / math.sqrt(0.35),) * 2,
    }
    for measure, (there, back) in expected.items():
        matrix = Affinity.fit(TINY, measure=measure).matrix
        np.testing.assert_allclose([matrix[0, 1], matrix[1, 0]], [there, back], err_msg=measure)
        # a second instance given one: (1 of 3 + κ·mean) / (3 + κ) where 1 of 6 presences repeats
        np.testing.assert_allclose(matrix[0, 0], (1 + 1 / 6) / 4, err_msg=measure)


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
    assert "no more than the prior" in affinity.structure.sentence()


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


@pytest.mark.parametrize("measure", [DEFAULT_MEASURE, "conditional"])
def test_file_round_trip_keeps_every_bit(tmp_path: Path, measure: str) -> None:
    affinity, layout = Affinity.fit(groups(), measure=measure), {"sizes": np.array([1.5, 2.0]), "k": {"a": 1}}
    save_affinity_file(tmp_path / "a.json", affinity, layout)
    loaded, loaded_layout = load_affinity_file(tmp_path / "a.json")
    assert loaded_layout == {"sizes": [1.5, 2.0], "k": {"a": 1}}
    assert (loaded.names, loaded.measure, loaded.structure) == (affinity.names, measure, affinity.structure)
    assert loaded.source_sha256 == affinity.source_sha256
    np.testing.assert_array_equal(loaded.pair_counts, affinity.pair_counts)
    np.testing.assert_array_equal(loaded.scores([1, 1, 3]), affinity.scores([1, 1, 3]))
    save_affinity_file(tmp_path / "b.json", loaded, loaded_layout)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_file_of_the_prior_alone(tmp_path: Path) -> None:
    save_affinity_file(tmp_path / "a.json", Affinity.fit(groups(), strength=math.inf), {})
    assert math.isinf(load_affinity_file(tmp_path / "a.json")[0].terms.strength)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.update(format="coco"), "isn't an affinity file"),
        (lambda d: d.update(version=2), "version: 2"),
        (lambda d: d.pop("layout"), "layout"),
        (lambda d: d["affinity"].pop("matrix"), r"affinity\.matrix: is missing"),
        (lambda d: d["affinity"]["matrix"].pop(), r"affinity\.matrix: must be finite numbers of shape"),
        (lambda d: d["affinity"]["matrix"].__setitem__(0, "x"), r"affinity\.matrix"),
        (lambda d: d["affinity"].update(names=[1]), r"affinity\.names"),
        (
            lambda d: d["affinity"].update(category_ids=[1, 1, 2, 3]),
            r"affinity\.category_ids: an id is given twice",
        ),
        (lambda d: d["affinity"].update(measure="pmi"), r"affinity\.measure"),
        (lambda d: d["affinity"].update(kappa="1"), r"affinity\.kappa"),
        (lambda d: d["affinity"].update(temperature=0), r"affinity\.temperature"),
        (lambda d: d["affinity"].update(counts=[0.5, 1, 1, 1]), r"affinity\.counts: must be whole"),
        (lambda d: d["affinity"]["pair_counts"][0].__setitem__(1, 0), r"affinity\.pair_counts"),
        (lambda d: d["affinity"]["structure"].pop("z"), r"affinity\.structure\.z: is missing"),
    ],
)
def test_damaged_file_names_file_and_field(tmp_path: Path, damage, message: str) -> None:
    path = tmp_path / "a.json"
    save_affinity_file(path, Affinity.fit(groups(), measure="npmi"), {})
    document = json.loads(path.read_bytes())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=rf"a\.json: {message}.*build-affinity"):
        load_affinity_file(path)


def test_cut_foreign_missing_or_unwritable_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save_affinity_file(path, Affinity.fit(TINY, measure="npmi"), {})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match="isn't JSON"):
        load_affinity_file(path)
    path.write_text("[]")
    with pytest.raises(DatasetError, match="isn't an affinity file"):
        load_affinity_file(path)
    with pytest.raises(DatasetError, match="can't be read"):
        load_affinity_file(tmp_path / "b.json")
    with pytest.raises(DatasetError, match="can't be written"):
        save_affinity_file(path / "a.json", Affinity.fit(TINY, measure="npmi"), {})


def test_matching_dataset() -> None:
    affinity = Affinity.fit(TINY, measure="npmi")
    affinity.check_matches(replace(TINY, categories=TINY.categories[::-1]))
    renamed = replace(TINY, categories=(Category(7, "mug"), *TINY.categories[1:]))
    with pytest.raises(ConfigError, match=r"category id 7 is 'cup' in the affinity and 'mug'"):
        affinity.check_matches(renamed)
    with pytest.raises(ConfigError, match=r"category id 5 is 'shoe' in the affinity and missing"):
        affinity.check_matches(replace(TINY, categories=TINY.categories[:2]))


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
