"""The classifier of the filter, on tiny random checkpoints in the layout of transformers."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
import yaml

from augsynth import cli
from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.records import ShardRecord
from augsynth.core.scene import Category, Image, Reason, Standing, Verdict
from augsynth.filtering.class_labels import Vocabulary
from augsynth.filtering.classifiers import (
    Classifier,
    check_classifier,
    crop_object,
    load_classifier,
    stand,
)
from augsynth.filtering.judge import FilterRules, judge_class
from augsynth.generation.config import GenerateConfig, read_config
from augsynth.generation.context import RunContext
from augsynth.generation.engine import paint_shard
from augsynth.generation.loading import open_context, open_dataset
from augsynth.generation.run import Tally, generate
from augsynth.generation.statistics import CategoryYields
from augsynth.sample import write_sample
from tests.generation.run_files import written_to

CATEGORIES = (Category(3, "dark_square"), Category(7, "bright bar"), Category(9, "Zebra"))
LABELS = ("tench, Tinca tinca", "Dark Square", "zebra", "bar, bright bar", "crane", "crane", "sorrel")
VOCABULARY = Vocabulary(CATEGORIES, frozenset({3, 7, 9}))


def crops(count: int = 5) -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (20 + 9 * k, 60 - 7 * k, 3)).astype(np.uint8) for k in range(count)]


def labelled(folder: Path, labels: tuple[str, ...] = LABELS, **changes: object) -> Path:
    """A tiny ResNet with a head, whose labels all have a chance."""
    torch.manual_seed(0)
    names = dict(enumerate(labels))
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        id2label=names,
        label2id={v: k for k, v in names.items()},
        **changes,
    )
    network = transformers.ResNetForImageClassification(config)
    torch.nn.init.normal_(network.classifier[1].weight, std=2.0)
    network.save_pretrained(folder)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 32}).save_pretrained(folder)
    return folder


def letters_tokenizer() -> transformers.CLIPTokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["!", *letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: k for k, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[], pad_token="!", model_max_length=48)


def reading(folder: Path, kind: str = "CLIP") -> Path:
    """A tiny CLIP or SigLIP with a tokenizer of letters."""
    torch.manual_seed(0)
    tokenizer = letters_tokenizer()
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 48,
        "bos_token_id": len(tokenizer) - 2,
        "eos_token_id": len(tokenizer) - 1,
        "pad_token_id": 0,
    }
    config = getattr(transformers, f"{kind}Config")(
        text_config={**text, **size}, vision_config={"image_size": 32, "patch_size": 16, **size}
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    options = {"size": {"shortest_edge": 32}, "crop_size": square} if kind == "CLIP" else {"size": square}
    images = getattr(transformers, f"{kind}ImageProcessor")(**options)
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def of_transformers(folder: Path, texts: list[str] | None = None, **options: object) -> torch.Tensor:
    """The logits of the crops, straight from the library, one at a time."""
    if texts is None:
        network = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
        reader = transformers.AutoImageProcessor.from_pretrained(folder)
    else:
        network = transformers.AutoModel.from_pretrained(folder).eval()
        reader = transformers.AutoProcessor.from_pretrained(folder)
        options["text"] = texts
    found = []
    with torch.no_grad():
        for crop in crops():
            output = network(**reader(images=PIL.Image.fromarray(crop), return_tensors="pt", **options))
            found.append((output.logits if texts is None else output.logits_per_image)[0])
    return torch.stack(found)


def compare(classifier: Classifier, logits: torch.Tensor, chances: torch.Tensor, labels_of: dict) -> None:
    for category_id, labels in labels_of.items():
        found = classifier.standings(crops(), [category_id] * len(logits))
        for k, standing in enumerate(found):
            order = logits[k].argsort(descending=True).tolist()
            others = [
                label
                for label in order
                if label not in labels or label == max(labels, key=lambda j: logits[k, j])
            ]
            best = max(labels, key=lambda label: float(logits[k, label]))
            assert standing.rank == 1 + others.index(best)
            assert standing.probability == pytest.approx(float(chances[k, best]), abs=2e-5)


def test_a_classifier_with_labels_ranks_as_transformers_does(tmp_path: Path) -> None:
    classifier = load_classifier(str(labelled(tmp_path)), VOCABULARY, batch_size=2)
    logits = of_transformers(tmp_path)
    compare(classifier, logits, logits.softmax(-1), {3: [1], 7: [3], 9: [2]})
    ranks = {s.rank for c in (3, 7, 9) for s in classifier.standings(crops(), [c] * 5)}
    assert len(ranks) > 2, "the test would prove nothing"


def test_a_vit_that_tells_several_labels_at_once(tmp_path: Path) -> None:
    torch.manual_seed(1)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=16,
        id2label=dict(enumerate(LABELS)),
        problem_type="multi_label_classification",
        initializer_range=1.0,
        **size,
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    vocabulary = replace(VOCABULARY, class_map={"bright bar": ["crane", "SORREL"]})
    classifier = load_classifier(str(tmp_path), vocabulary)
    logits = of_transformers(tmp_path)
    compare(classifier, logits, logits.sigmoid(), {3: [1], 7: [4, 5, 6], 9: [2]})


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_a_model_that_reads_the_names_ranks_as_transformers_does(tmp_path: Path, kind: str) -> None:
    classifier = load_classifier(str(reading(tmp_path, kind)), VOCABULARY, batch_size=3)
    texts = ["a photo of a dark square", "a photo of a bright bar", "a photo of a Zebra"]
    padding = {"padding": True} if kind == "CLIP" else {"padding": "max_length"}
    logits = of_transformers(tmp_path, texts, **padding)
    chances = logits.softmax(-1) if kind == "CLIP" else logits.sigmoid()
    compare(classifier, logits, chances, {3: [0], 7: [1], 9: [2]})


def test_of_several_words_for_a_category_the_best_counts(tmp_path: Path) -> None:
    words = {3: ("dark square", "black tile"), 7: ("bright bar",), 9: ("Zebra",)}
    vocabulary = replace(VOCABULARY, synonyms=words, class_map={"Zebra": ("horse", "striped horse")})
    classifier = load_classifier(str(reading(tmp_path)), vocabulary)
    said = ["dark square", "black tile", "bright bar", "horse", "striped horse"]
    logits = of_transformers(tmp_path, [f"a photo of a {word}" for word in said], padding=True)
    folded = torch.stack([logits[:, :2].amax(1), logits[:, 2], logits[:, 3:].amax(1)], 1)
    compare(classifier, folded, folded.softmax(-1), {3: [0], 7: [1], 9: [2]})


def test_a_result_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    together = load_classifier(str(labelled(tmp_path)), VOCABULARY)
    alone = [together.standings([crop], [7])[0] for crop in crops()]
    for one, other in zip(together.standings(crops(), [7] * 5), alone, strict=True):
        assert one.rank == other.rank and one.probability == pytest.approx(other.probability, abs=2e-6)
    assert together.standings([], []) == []


def test_ranks() -> None:
    fit = np.array([3.0, 1.0, 2.0, 1.0])
    assert stand(fit, fit, [0]).rank == 1
    assert stand(fit, fit, [2]).rank == 2
    assert stand(fit, fit, [1]).rank == 4, "what fits as well is before it"
    assert stand(fit, fit, [1, 3]).rank == 3, "labels of one category don't compete"
    assert stand(fit, fit, [2], "abcd").best == stand(fit, fit, [0], "abcd").best == "a"
    assert stand(np.full(4, np.nan), np.full(4, np.nan), [1]) == Standing(4, 0.0)
    assert stand(np.zeros(4), np.zeros(4), [1]).rank == 4


def test_the_rule() -> None:
    verdict = Verdict(Reason.ACCEPTED, np.array([1.0, 2, 3, 4]), 0.5, 0.8)
    rules = FilterRules(top_k=2)
    passed = judge_class(verdict, Standing(2, 0.2), rules=rules)
    assert passed.accepted and passed.standing == Standing(2, 0.2) and passed.score == 0.5
    failed = judge_class(verdict, Standing(3, 0.1), rules=rules)
    assert failed.reason is Reason.NOT_IN_TOP_K and failed.iou == 0.8


def test_the_crop_is_the_square_around_the_object() -> None:
    image = np.arange(40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8)
    np.testing.assert_array_equal(crop_object(image, np.array([20.0, 10, 30, 20])), image[10:20, 20:30])
    assert crop_object(image, np.array([0.0, 5, 8, 35])).shape == (30, 30, 3)
    assert crop_object(image, np.array([2.5, 5, 57.5, 15])).shape == (10, 56, 3), "no square fits"
    assert crop_object(image, np.array([59.6, 39.6, 60, 40])).size
    assert crop_object(image, np.array([-3.0, -3, 2, 2])).size


def write_config_json(folder: Path, **values: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def test_what_is_no_classifier_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    write_config_json(tmp_path / "headless", model_type="vit", architectures=["ViTModel"])
    write_config_json(tmp_path / "other", model_type="bert", architectures=["BertModel"])
    write_config_json(tmp_path / "align", model_type="align", architectures=["AlignModel"])
    damaged = write_config_json(tmp_path / "damaged")
    (damaged / "config.json").write_text("{")
    for model, says in (
        ("empty", "no config.json"),
        ("file", "no config.json"),
        ("gone", "no such folder"),
        ("headless", "neither an image classifier"),
        ("other", "neither an image classifier"),
        ("align", "neither an image classifier"),
        ("damaged", "can't load the classifier"),
    ):
        with pytest.raises(BackendError, match=says) as error:
            check_classifier(str(tmp_path / model), VOCABULARY, revision=None, top_k=1)
        assert "\n" not in str(error.value) and model in str(error.value)
    with pytest.raises(BackendError, match="someone/some-classifier"):
        check_classifier("someone/some-classifier", VOCABULARY, revision=None, top_k=1)


def test_weights_are_safetensors_and_complete(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "pickled")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackendError, match="safetensors"):
        load_classifier(str(folder), VOCABULARY)
    folder = labelled(tmp_path / "bare")
    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.ResNetModel(config).save_pretrained(folder)
    document = json.loads((folder / "config.json").read_text())
    document["architectures"] = ["ResNetForImageClassification"]
    (folder / "config.json").write_text(json.dumps(document))
    with pytest.raises(BackendError, match="lack classifier"):
        load_classifier(str(folder), VOCABULARY)


# --- within a run -------------------------------------------------------------------------------------------


def ignore(stage: str, tally: Tally) -> None:
    pass


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GenerateConfig:
    root = tmp_path_factory.mktemp("classified")
    write_sample(root, num_images=12, seed=5, workers=1)
    names = [
        c["name"] for c in json.loads((root / "annotations" / "instances.json").read_text())["categories"]
    ]
    return GenerateConfig.of(
        n=5,
        annotations=str(root / "annotations" / "instances.json"),
        images=str(root / "images"),
        model="embedded",
        detector="embedded",
        classifier=str(labelled(root / "classifier", (*names, "nothing", "something"))),
        top_k=6,
        guidance=2.0,
        objects_per_image=2,
        steps=2,
        min_score=0.01,
        min_iou=0.05,
        max_attempts=60,
        filter="both",
        masks="off",
    )


def lines_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "provenance.jsonl").read_text().splitlines()]


def test_a_run_with_a_classifier_alone(config: GenerateConfig, tmp_path: Path) -> None:
    told = [config.but(filter="classifier", detector="gone", out=str(tmp_path / k)) for k in "ab"]
    tally = generate(told[0], progress=ignore)
    generate(told[1], progress=ignore)
    assert (tmp_path / "a" / "provenance.jsonl").read_bytes() == (
        tmp_path / "b" / "provenance.jsonl"
    ).read_bytes()
    lines = lines_of(tmp_path / "a")
    judged = [line for line in lines if "class_rank" in line]
    assert tally.accepted == 5 and {"accepted", "not_in_top_k"} <= set(tally.reasons)
    for line in judged:
        assert (line["reason"] == "accepted") == (line["class_rank"] <= 6)
        assert line["box_xyxy"] == line["planned_xyxy"] and line["detector"] is None
        assert line["score"] == line["class_probability"] and line["iou"] == 1.0
        assert (line.get("class_found") is None) == (line["class_rank"] == 1)
        assert line["classifier"] == config.filter_models.classifier and len(line["classifier_sha256"]) == 64
    written = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    assert written["detector"] is None and written["filter"] == "classifier"
    real = json.loads((tmp_path / "a" / "summary.json").read_text())["real_objects"]
    assert 0 < sum(row["accepted"] for row in real) < sum(row["objects"] for row in real)
    assert {row["threshold"] for row in real} == {None}
    assert {reason for row in real for reason in row["rejected"]} == {"not_in_top_k"}
    assert (tmp_path / "a" / "contact_sheet_rejected.png").is_file()


@pytest.fixture(scope="module")
def context(config: GenerateConfig) -> RunContext:
    return open_context(*open_dataset(config))


class Knowing:
    """A classifier that gives every crop one rank, and keeps what it was shown."""

    name = "knowing"

    def __init__(self, rank: int) -> None:
        self.rank, self.shown = rank, []

    def standings(self, crops: list[Image], category_ids: list[int]) -> list[Standing]:
        self.shown += list(crops)
        return [Standing(self.rank, 0.25)] * len(crops)


def judged_by(context: RunContext, classifier: Knowing | None, out: Path) -> ShardRecord:
    jobs = list(enumerate(context.dataset.scenes[:4]))
    asked = replace(context, judging=replace(context.judging, classifier=classifier))
    return paint_shard(
        asked, jobs, wanted=9, budget=12, before=CategoryYields(), write_image=written_to(out)
    ).record


def test_with_both_the_classifier_sees_what_the_detector_accepts(context: RunContext, tmp_path: Path) -> None:
    shards, asked = {}, {}
    for rank in (1, 7):
        knowing = Knowing(rank)
        shards[rank] = judged_by(context, knowing, tmp_path / str(rank))
        asked[rank] = [a for a in shards[rank].attempts if a.judgement and a.judgement.class_rank == rank]
        assert len(knowing.shown) == len(asked[rank]) > 0
    assert {a.reason for a in asked[1]} == {Reason.ACCEPTED}
    assert {a.reason for a in asked[7]} == {Reason.NOT_IN_TOP_K}
    alone = judged_by(context, None, tmp_path / "none")
    bare = [
        a.judged(class_rank=None, class_probability=None) if a.judgement else a for a in shards[1].attempts
    ]
    assert bare == list(alone.attempts), "a classifier that agrees changes nothing"
    assert not shards[7].images, "what is turned down leaves no image"
    assert all(a.painted.judgement.score < 1 and a.painted.label_xyxy for a in asked[7])


def test_options_that_do_not_go_together(config: GenerateConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no classifier is given"):
        config.but(classifier=None)
    with pytest.raises(ConfigError, match="set filter to classifier or both"):
        config.but(filter="detector")
    assert open_dataset(config.but(filter="off"))[0].filter_models.classifier is None
    with pytest.raises(ConfigError, match="'teapot' isn't in"):
        open_dataset(config.but(class_map={"teapot": ("pot",)}))
    with pytest.raises(ConfigError, match="every object would pass"):
        open_dataset(config.but(top_k=99))
    path = tmp_path / "options.yaml"
    for values in ("class_map: cup", "class_map: {cup: 3}", "class_map: {cup: []}", "class_map: {1: [a]}"):
        path.write_text(values)
        with pytest.raises(ConfigError, match="class_map"):
            read_config(path)
    path.write_text("class_map: {cup: mug, lid: [cover, cap]}\nfilter: off")
    assert read_config(path).filter_models.class_map == {"cup": ("mug",), "lid": ("cover", "cap")}


def test_a_category_without_a_label_stops_in_one_line_before_any_work(
    config: GenerateConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out = labelled(tmp_path / "model"), tmp_path / "out"
    words = ["--annotations", config.data.annotations, "--images", config.data.images, "--model", "embedded"]
    words += ["--detector", "embedded", "--filter", "both", "--classifier", str(folder), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["augsynth", "generate", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("augsynth:")]
    assert ended.value.code == 2 and len(lines) == 1
    assert "has no label for" in lines[0] and "class_map" in lines[0] and not out.exists()
