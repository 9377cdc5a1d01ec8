"""The affinity file: what is written is read back bit by bit, and damage is named."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from augsynth.affinity.embeddings import Embeddings
from augsynth.affinity.file import is_affinity_file
from augsynth.affinity.model import DEFAULT_MEASURE, Affinity, load_affinity_file, save_affinity_file
from augsynth.core.errors import DatasetError, OutputError
from tests.affinity.tiny_data import TINY, VECTORS, groups, named_groups


def written(affinity: Affinity, folder: Path) -> bytes:
    save_affinity_file(folder / "a.json", affinity, {})
    return (folder / "a.json").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(Affinity.fit(groups(14), measure="npmi"), tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def blended(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    names = Embeddings(VECTORS, "mine")
    blend = Affinity.fit(named_groups(), source="blend", measure="npmi", embeddings=names, blend_weight=0.5)
    return written(blend, tmp_path_factory.mktemp("blended"))


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


@pytest.mark.parametrize("source", ["clip", "blend"])
def test_a_file_of_names_is_all_it_takes(tmp_path: Path, source: str) -> None:
    affinity = Affinity.fit(named_groups(), source=source, embeddings=Embeddings(VECTORS, "mine"))
    save_affinity_file(tmp_path / "a.json", affinity, {})
    loaded, _ = load_affinity_file(tmp_path / "a.json")
    assert (loaded.source, loaded.embeddings) == (source, "mine")
    for present in ([], [7, 5, 5]):
        np.testing.assert_array_equal(loaded.scores(present), affinity.scores(present))
        np.testing.assert_array_equal(loaded.log_odds(present), affinity.log_odds(present))
    assert loaded.strongest_pairs() == affinity.strongest_pairs()
    save_affinity_file(tmp_path / "b.json", loaded, {})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    ("content", "own"),
    [
        (None, True),
        (b"", False),
        (b"{}", False),
        (b'{"format": "augsynth-affinity"}', False),  # not as it is written: perhaps edited by hand
        (b'{"images": [], "annotations": []}', False),
    ],
)
def test_only_what_was_written_here_is_known_as_such(
    tmp_path: Path, content: bytes | None, own: bool
) -> None:
    path = tmp_path / "a.json"
    if content is None:
        save_affinity_file(path, Affinity.fit(TINY, measure="npmi"), {})
    else:
        path.write_bytes(content)
    assert is_affinity_file(path) is own


def test_a_layout_that_is_no_json_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="set can't be written"):
        save_affinity_file(tmp_path / "a.json", Affinity.fit(TINY, measure="npmi"), {"k": {1}})
    with pytest.raises(ValueError):
        save_affinity_file(tmp_path / "a.json", Affinity.fit(TINY, measure="npmi"), {"k": math.nan})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.update(format="coco"), "isn't an affinity file"),
        (lambda d: d.update(version=1), "version: 1 can't be read, 2 is expected; build it again"),
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
def test_damaged_file_names_file_and_field(tmp_path: Path, whole: bytes, damage, message: str) -> None:
    path = tmp_path / "a.json"
    document = json.loads(whole)
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=rf"a\.json: {message}.*build-affinity"):
        load_affinity_file(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda a: a.pop("parts"), r"affinity\.parts: is missing"),
        (lambda a: a.update(parts=[]), r"affinity\.parts: must have weights"),
        (lambda a: a["parts"][0].update(weight=2), r"affinity\.parts: must have weights"),
        (lambda a: a["parts"][1].update(measure="blend"), r"affinity\.parts\[1\]\.measure"),
        (lambda a: a["parts"][1]["matrix"].pop(), r"affinity\.parts\[1\]\.matrix"),
        (lambda a: a.update(embeddings=3), r"affinity\.embeddings"),
    ],
)
def test_damaged_blends_are_named(tmp_path: Path, blended: bytes, damage, message: str) -> None:
    path = tmp_path / "a.json"
    document = json.loads(blended)
    damage(document["affinity"])
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=rf"a\.json: {message}"):
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
    with pytest.raises(OutputError, match="can't be written"):
        save_affinity_file(path / "a.json", Affinity.fit(TINY, measure="npmi"), {})
