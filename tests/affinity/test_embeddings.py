"""Affinity from names: embeddings from files and text encoders, `clip`, `blend`, and the command line's choices."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from augsynth import cli
from augsynth.affinity.embeddings import Embeddings, encode_names, read_embeddings
from augsynth.affinity.model import Affinity, load_affinity_file, save_affinity_file
from augsynth.core.errors import BackendError, ConfigError, DatasetError
from augsynth.core.scene import Category, Dataset, Scene

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CLIP_TEXT = DATA / "clip_text" / "coco_clip_a+cname.npy"
COCO_MINI = DATA / "coco_mini" / "instances.json"
NAMES = ("cup", "lid", "shoe", "hat")
# cup is like lid, shoe is like hat
VECTORS = np.array([[1.0, 0.1, 0], [1, 0.3, 0], [0, 1, 1], [0, 1.2, 2]])


def scene(image_id: int, *category_ids: int) -> Scene:
    n = len(category_ids)
    boxes = np.tile([1.0, 2.0, 11.0, 22.0], (n, 1)) if n else np.zeros((0, 4))
    ids = np.array(category_ids, np.int64)
    return Scene(image_id, f"{image_id}.jpg", (64, 48), boxes, ids, np.arange(1, n + 1), np.zeros(n, bool))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Cup with lid, shoe with hat, as the names say; and cup with shoe, as they don't."""
    kinds = [(7, 3), (5, 9), (7, 3, 3), (5, 5, 9), (7,), (7, 5), (7, 5, 9)]
    scenes = tuple(scene(i, *kinds[i % len(kinds)]) for i in range(42))
    categories = tuple(Category(i, name) for i, name in zip((7, 3, 5, 9), NAMES, strict=True))
    return Dataset(categories, scenes, {}, Path("tiny.json"))


@pytest.fixture(scope="module")
def named(dataset: Dataset) -> Affinity:
    return Affinity.fit(dataset, source="clip", embeddings=Embeddings(VECTORS, "mine"))


def test_cosines_by_hand_whatever_the_length() -> None:
    cosines = Embeddings(VECTORS * [[1], [1e-200], [7], [1e200]]).cosines
    lengths = np.sqrt((VECTORS**2).sum(1))
    np.testing.assert_allclose(cosines, VECTORS @ VECTORS.T / np.outer(lengths, lengths), atol=1e-12)
    assert (cosines == cosines.T).all()
    assert (cosines.diagonal() == 1).all()


@pytest.mark.parametrize("vectors", [np.zeros((2, 3)), np.ones(3), np.array([[1, np.nan]]), np.ones((0, 3))])
def test_vectors_that_have_no_direction(vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match="embedding"):
        Embeddings(vectors)


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


def test_an_empty_scene_falls_back_to_the_prior(named: Affinity) -> None:
    np.testing.assert_allclose(named.probabilities([]), named.prior / named.prior.sum())


def test_the_temperature_is_fitted_to_the_data(dataset: Dataset, named: Affinity) -> None:
    """Names that say what the data does are followed; names that say nothing aren't."""
    swapped = Affinity.fit(dataset, source="clip", embeddings=Embeddings(VECTORS[[0, 2, 1, 3]]))
    assert named.terms.temperature < 1 < swapped.terms.temperature
    assert named.structure.found
    assert not swapped.structure.found
    nothing = Dataset(dataset.categories, (scene(1, 7), scene(2)), {}, Path("tiny.json"))
    few = Affinity.fit(nothing, source="clip", embeddings=Embeddings(VECTORS))
    assert few.terms.temperature == pytest.approx(0.2)
    assert "too few images" in few.structure.sentence()


def test_pairs_of_names_are_ranked_by_likeness(named: Affinity) -> None:
    assert {pair.names for pair in named.strongest_pairs(2)} == {("cup", "lid"), ("shoe", "hat")}
    assert ("cup", "hat") in {pair.names for pair in named.most_repelled_pairs(2)}


@pytest.mark.parametrize("measure", ["loglinear", "npmi", "conditional"])
def test_a_blend_lies_between_its_sources(dataset: Dataset, named: Affinity, measure: str) -> None:
    counted = Affinity.fit(dataset, measure=measure)
    options = {"source": "blend", "measure": measure, "embeddings": Embeddings(VECTORS)}
    ends = [Affinity.fit(dataset, **options, blend_weight=w) for w in (0.0, 1.0)]
    for present in ([], [7], [5, 5, 3], [7, 3, 5, 9]):
        for blend, source in zip(ends, (counted, named), strict=True):
            np.testing.assert_allclose(blend.probabilities(present), source.probabilities(present))
            shift = blend.log_odds(present) - source.log_odds(present)
            np.testing.assert_allclose(shift, shift[0], atol=1e-9)
        third = Affinity.fit(dataset, **options, blend_weight=1 / 3)
        pooled = counted.probabilities(present) ** (2 / 3) * named.probabilities(present) ** (1 / 3)
        np.testing.assert_allclose(third.probabilities(present), pooled / pooled.sum())
    assert third.source == "blend"


def test_the_share_is_chosen_on_held_out_images(dataset: Dataset) -> None:
    helpful = Affinity.fit(dataset, source="blend", embeddings=Embeddings(VECTORS))
    shares = [part.weight for part in helpful.parts]
    assert sum(shares) == pytest.approx(1)
    assert 0 <= shares[1] < 0.9
    assert helpful.structure.log_loss <= Affinity.fit(dataset).structure.log_loss * 1.02


@pytest.mark.parametrize("source", ["clip", "blend"])
def test_the_file_is_all_it_takes(tmp_path: Path, dataset: Dataset, source: str) -> None:
    affinity = Affinity.fit(dataset, source=source, embeddings=Embeddings(VECTORS, "mine"))
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
def test_damaged_blends_are_named(tmp_path: Path, dataset: Dataset, damage, message: str) -> None:
    path = tmp_path / "a.json"
    embeddings = Embeddings(VECTORS, "mine")
    blend = Affinity.fit(dataset, source="blend", measure="npmi", embeddings=embeddings, blend_weight=0.5)
    save_affinity_file(path, blend, {})
    document = json.loads(path.read_bytes())
    damage(document["affinity"])
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=rf"a\.json: {message}"):
        load_affinity_file(path)


def test_options_that_do_not_go_together(dataset: Dataset) -> None:
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
            Affinity.fit(dataset, **options)


def test_embeddings_from_every_kind_of_file(tmp_path: Path) -> None:
    by_name = {name.upper(): row for name, row in zip(NAMES[::-1], VECTORS[::-1], strict=True)}
    by_name["extra"] = VECTORS[0]
    np.save(tmp_path / "e.npy", VECTORS.astype(np.float16))
    np.savez(tmp_path / "e.npz", **by_name)
    (tmp_path / "e.json").write_text(json.dumps({k: v.tolist() for k, v in by_name.items()}))
    for name in ("e.npy", "e.npz", "e.json"):
        found = read_embeddings(tmp_path / name, NAMES)
        np.testing.assert_allclose(found.vectors, VECTORS, rtol=1e-3)
        assert found.origin.startswith(f"{name} (sha256 ")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("e.npy", b"", "no embeddings"),
        ("e.npy", VECTORS[:3], "3 rows for 4 categories"),
        ("e.npy", VECTORS * 0, "zero"),
        ("e.npy", VECTORS * np.nan, "finite"),
        ("e.npy", np.array([{"cup": 1}]), "no embeddings"),
        ("e.npz", b"PK", "no embeddings"),
        ("e.json", b"{", "no embeddings"),
        ("e.json", b"[[1, 2]]", "a vector a category name"),
        ("e.json", b'{"cup": [1, 2]}', "no embedding of lid, shoe, hat"),
        ("e.json", b'{"cup": [1], "lid": [1], "shoe": [1, 2], "hat": [1]}', "no embeddings"),
        ("e.json", b'{"cup": ["x"], "lid": [1], "shoe": [1], "hat": [1]}', "no embeddings"),
        ("e.txt", b"1 2 3", ".npz, .json"),
    ],
)
def test_files_without_embeddings(tmp_path: Path, name: str, content, says: str) -> None:
    if isinstance(content, np.ndarray):
        np.save(tmp_path / name, content, allow_pickle=True)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=name) as error:
        read_embeddings(tmp_path / name, NAMES)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_diffusers_checkpoint_embeds_names(tiny_checkpoint: Path) -> None:
    found = encode_names(str(tiny_checkpoint), ["can", "bottle", "Flasche", "can"], title="tiny")
    assert found.origin == "tiny"
    cosines = found.cosines
    assert cosines[0, 3] == pytest.approx(1)
    assert cosines[0, 1] < 0.9999
    assert found.vectors.shape == (4, found.vectors.shape[1])


def test_a_clip_model_gives_the_projected_text(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTextConfig

    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint, subfolder="tokenizer")
    text = CLIPTextConfig.from_pretrained(tiny_checkpoint, subfolder="text_encoder")
    torch.manual_seed(1)
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    parts = text.to_dict() | {"projection_dim": 12}
    sizes = {"image_size": 32, "patch_size": 16, "projection_dim": 12}
    model = CLIPModel(CLIPConfig(text_config=parts, vision_config=vision | sizes, projection_dim=12)).eval()
    model.save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    found = encode_names(str(tmp_path / "clip"), ["can", "bottle"])
    tokens = tokenizer(["a can", "a bottle"], padding="max_length", return_tensors="pt")
    with torch.no_grad():
        wanted = model.get_text_features(**tokens)
    wanted = getattr(wanted, "pooler_output", wanted).numpy()
    np.testing.assert_allclose(found.vectors, wanted, atol=1e-5)


def test_checkpoints_that_cannot_embed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text('{"model_type": "t5", "architectures": ["T5EncoderModel"]}')
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"model_type": "clip", "architectures": ["CLIPModel"]}')
    (tmp_path / "file").write_text("x")
    for model, says in (
        ("empty", "neither a CLIP model"),
        ("t5", "t5 model, not CLIP"),
        ("bare", "safetensors"),
        ("file", "neither a CLIP model"),
        ("gone", "no such folder"),
    ):
        with pytest.raises(BackendError, match=model) as error:
            encode_names(str(tmp_path / model), ["can"])
        assert says in str(error.value)
        assert "\n" not in str(error.value)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path: Path):
    """Run `augsynth build-affinity …` on a small file; return exit code, output and error lines."""
    monkeypatch.chdir(tmp_path)
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in range(12)]
    pairs = [(i, c) for i in range(12) for c in ((1, 2) if i % 2 else (3, 4))]
    annotations = [
        {"id": k + 1, "image_id": i, "category_id": c, "bbox": [3, 4, 20, 20], "area": 400, "iscrowd": 0}
        for k, (i, c) in enumerate(pairs)
    ]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "d.json").write_text(json.dumps(document))
    np.save(tmp_path / "e.npy", VECTORS)

    def call(*words: str):
        line = ["augsynth", "build-affinity", "--annotations", "d.json", "--out", "a.json", *words]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err.strip().splitlines()

    return call


def test_build_affinity_from_names(run, tmp_path: Path) -> None:
    code, out, _ = run("--source", "clip", "--embeddings", "e.npy")
    assert code == 0
    assert "cosines of the names' embeddings, e.npy" in out
    assert "shoe + hat" in out.split("least alike")[0]
    assert load_affinity_file(tmp_path / "a.json")[0].source == "clip"
    code, out, _ = run("--source", "blend", "--embeddings", "e.npy", "--blend-weight", "0.25")
    assert code == 0
    assert "0.75 loglinear" in out
    assert "0.25 clip" in out
    code, out, _ = run("--source", "clip", "--clip-model", "embedded")
    assert code == 0
    assert load_affinity_file(tmp_path / "a.json")[0].embeddings == "embedded"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--source", "glove"], "glove"),
        (["--source", "clip"], "--clip-model"),
        (["--source", "blend", "--embeddings", "e.npy", "--clip-model", "embedded"], "not both"),
        (["--embeddings", "e.npy"], "--source"),
        (["--clip-model", "embedded"], "--source"),
        (["--source", "clip", "--embeddings", "e.npy", "--blend-weight", "0.5"], "blend"),
        (["--source", "blend", "--embeddings", "e.npy", "--blend-weight", "2"], "[0, 1]"),
        (["--source", "clip", "--embeddings", "e.npy", "--measure", "npmi"], "measure"),
        (["--source", "clip", "--embeddings", "gone.npy"], "gone.npy"),
        (["--source", "clip", "--embeddings", "e.npy", "--clip-revision", "main"], "--clip-model"),
        (["--source", "clip", "--clip-model", "gone"], "gone"),
    ],
)
def test_wrong_sources_are_one_line(run, tmp_path: Path, words: list[str], says: str) -> None:
    code, _, lines = run(*words)
    assert code == 2
    assert len(lines) == 1
    assert says in lines[0]
    assert not (tmp_path / "a.json").exists()


@pytest.mark.skipif(not CLIP_TEXT.exists(), reason="the CLIP embeddings of shared/data aren't here")
def test_fork_belongs_with_knife_and_spoon() -> None:
    from augsynth.coco.reader import read_dataset

    coco = read_dataset(COCO_MINI)
    names = [category.name for category in coco.categories]
    affinity = Affinity.fit(coco, source="clip", embeddings=read_embeddings(CLIP_TEXT, names))
    fork = coco.categories[names.index("fork")].id
    chances = affinity.probabilities([fork])
    nearest = [affinity.names[i] for i in np.argsort(-chances)[:3]]
    assert nearest[0] == "fork"
    assert set(nearest[1:]) == {"knife", "spoon"}
