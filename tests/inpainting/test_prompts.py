"""Prompts: templates, the file of words, neighbours, length, and names that can't be told apart."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from augsynth import cli
from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category, Scene
from augsynth.generation.config import config_from, plain_config
from augsynth.inpainting.prompts.book import PromptBook, PromptRules, category_prompt, nearest_categories
from augsynth.training.painter.presets import build_tokenizer

CATEGORIES = (Category(1, "can"), Category(2, "bottle"), Category(5, "Müllsack"), Category(7, "空き缶"))


def written(tmp_path: Path, words: object) -> str:
    path = tmp_path / "words.yaml"
    path.write_text(yaml.safe_dump(words, allow_unicode=True), encoding="utf-8")
    return str(path)


def book(**options: object) -> PromptBook:
    return PromptBook.open(PromptRules(**options), CATEGORIES)


def test_a_name_alone() -> None:
    assert category_prompt("can") == "a photo of a can"
    assert book().prompt(1, seed=3) == "a photo of a can"
    assert book().prompt(7, neighbour_ids=[1, 2], seed=3) == "a photo of a 空き缶"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("apple", "an apple"),
        ("Umbrella", "an Umbrella"),
        ("unicycle", "a unicycle"),
        ("unit", "a unit"),
        ("uninflated ball", "an uninflated ball"),
        ("euro", "a euro"),
        ("one-way sign", "a one-way sign"),
        ("onesie", "a onesie"),
        ("ukulele", "a ukulele"),
        ("hourglass", "an hourglass"),
        ("horse", "a horse"),
        ("urn", "an urn"),
        ("urinal", "a urinal"),
        ("8-track", "an 8-track"),
        ("7up", "a 7up"),
        ("RBC", "an RBC"),
        ("WBC", "a WBC"),
        ("UAV", "a UAV"),
        ("SUV_black", "an SUV_black"),
        ("F-16", "an F-16"),
        ("TRUCK", "a TRUCK"),
        ("T-shirt", "a T-shirt"),
        ("空き缶", "a 空き缶"),
    ],
)
def test_the_article_fits_the_name(name: str, said: str) -> None:
    assert category_prompt(name) == f"a photo of {said}"
    assert category_prompt(name, template="photo of an {category}") == f"photo of {said}"
    assert (
        category_prompt(name, template="{category}, A  {category}")
        == f"{name}, A{said[1:].replace(' ', '  ', 1)}"
    )


def test_only_an_article_directly_before_a_name_changes() -> None:
    assert category_prompt("apple", template="a very red {category}") == "a very red apple"
    assert category_prompt("apple", template="pizza {category}, USA {category}") == "pizza apple, USA apple"


def test_braces_in_names_and_templates_are_text() -> None:
    odd = PromptBook.open(PromptRules(template="{{a}} {category}"), [Category(1, "{category} {0}")])
    assert odd.prompt(1, seed=0) == "{a} {category} {0}"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("a photo", "no {category}"),
        ("{category} in {place}", "unknown placeholder {place}"),
        ("{category} {}", "unknown placeholder {}"),
        ("{category!r}", "unknown placeholder {category!r}"),
        ("{category:>9}", "unknown placeholder {category:>9}"),
        ("{category.__class__}", "unknown placeholder {category.__class__}"),
        ("{category", "expected '}'"),
        ("{category} }", "Single '}'"),
        ("{neighbours}", "no {category}"),
        ("", "no {category}"),
        ([], "empty list"),
        (["a {category}", "a photo"], "no {category}"),
        (["a {category}", 3], "list of texts"),
        (3, "a text or a list"),
    ],
)
def test_wrong_templates(template: object, says: str) -> None:
    with pytest.raises(ConfigError, match="template") as error:
        config_from({"template": template}, source="options.yaml")
    assert says in str(error.value)


def test_templates_survive_the_configuration_file() -> None:
    config = config_from({"template": ["a {category}", "one {category}"]}, source="options.yaml")
    values = json.loads(json.dumps(plain_config(config)))
    assert values["template"] == ["a {category}", "one {category}"]
    assert config_from(values, source="options.yaml") == config


def test_templates_and_synonyms_are_drawn_by_the_seed(tmp_path: Path) -> None:
    words = {"can": ["tin", "soda can", "tin"], "bottle": {"synonyms": "flask"}}
    found = book(template=("a {category}", "one {category}"), prompts=written(tmp_path, words))
    drawn = Counter(found.prompt(1, seed=seed) for seed in range(200))
    assert set(drawn) == {"a tin", "one tin", "a soda can", "one soda can"}
    assert min(drawn.values()) > 25
    assert [found.prompt(1, seed=s) for s in range(9)] == [found.prompt(1, seed=s) for s in range(9)]
    assert found.prompt(2, seed=0).split(" ")[1] == "flask"


def test_descriptions_have_their_place_or_follow(tmp_path: Path) -> None:
    file = written(tmp_path, {"can": "dented,  silver", "bottle": {"description": "half full"}})
    assert book(prompts=file).prompt(1, seed=0) == "a photo of a can, dented, silver"
    placed = book(prompts=file, template="a {description} {category} on grass")
    assert placed.prompt(2, seed=0) == "a half full bottle on grass"
    assert placed.prompt(5, seed=0) == "a photo of a Müllsack"


def test_neighbours_are_named_where_there_are_any(tmp_path: Path) -> None:
    file = written(tmp_path, {"bottle": ["glass bottle", "flask"]})
    found = book(prompts=file, template=["a {category} by {neighbours}", "only a {category}"])
    prompts = {found.prompt(1, neighbour_ids=[2, 7], seed=s) for s in range(40)}
    assert prompts == {"a can by glass bottle, 空き缶", "only a can"}
    assert {found.prompt(1, seed=s) for s in range(40)} == {"only a can"}
    assert book(template="a {category} by {neighbours}").prompt(1, seed=1) == "a photo of a can"


def test_the_nearest_objects_that_the_window_shows() -> None:
    boxes = np.array([[60, 0, 70, 10], [22, 0, 30, 10], [0, 30, 10, 40], [11, 0, 18, 9], [0, 12, 9, 20.0]])
    ids = np.array([7, 2, 5, 2, 1])
    scene = Scene(1, "a.png", (99, 99), boxes, ids, np.arange(5), np.zeros(5, bool))
    box, window = np.array([0, 0, 10, 10.0]), np.array([0, 0, 50, 50])
    found = nearest_categories(scene, box, category_id=1, window_xyxy=window)
    assert found == [2, 5]
    crowded = replace(scene, is_crowd=ids == 2)
    assert nearest_categories(crowded, box, category_id=7, window_xyxy=window) == [1, 5]
    assert nearest_categories(Scene(1, "a.png", (9, 9)), box, category_id=1, window_xyxy=window) == []


def test_negative_prompts_add_up(tmp_path: Path) -> None:
    file = written(tmp_path, {"can": {"negative": "toy"}})
    found = book(prompts=file, negative_prompt="blurry")
    assert (found.negative(1), found.negative(2)) == ("blurry, toy", None)
    assert book(prompts=file).negative(1) == "toy"


def test_names_are_composed_and_found_in_any_form(tmp_path: Path) -> None:
    """A file from another system may spell ü as u and two dots."""
    decomposed = "Mu\u0308llsack"
    file = written(tmp_path, {decomposed: [f"{decomposed}  aus Plastik"]})
    assert book(prompts=file).prompt(5, seed=0) == "a photo of a Müllsack aus Plastik"
    names = [Category(1, decomposed)]
    assert PromptBook.open(PromptRules(), names).prompt(1, seed=0) == "a photo of a Müllsack"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"bottel": ["flask"]}, "did you mean 'bottle'"),
        ({"zebra": ["horse"]}, "it has can, bottle"),
        ({3: ["flask"]}, "the name 3 is no text"),
        ({"can": 3}, "list of synonyms"),
        ({"can": []}, "at least one"),
        ({"can": ["tin", ""]}, "a synonym is ''"),
        ({"can": ["tin", True]}, "in quotes"),
        ({"can": {}}, "list of synonyms"),
        ({"can": {"synonym": ["tin"]}}, "did you mean synonyms"),
        ({"can": {"description": 3}}, "description is '3'"),
        ({"can": {"negative": ["toy"]}}, "negative is"),
        ({"Müllsack": ["a"], "Mu\u0308llsack": ["b"]}, "given twice"),
        (["can"], "name: words"),
        ({}, "name: words"),
    ],
)
def test_wrong_files_are_named_with_the_entry(tmp_path: Path, words: object, says: str) -> None:
    with pytest.raises(ConfigError, match=r"words\.yaml") as error:
        book(prompts=written(tmp_path, words))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    for content in (b"a: [", "can: caf\u00e9".encode("latin-1")):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="neither YAML nor JSON"):
            book(prompts=str(path))
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        book(prompts=str(tmp_path / "gone.yaml"))
    (tmp_path / "words.json").write_text('\ufeff{"can": ["tin"]}', encoding="utf-8")
    assert book(prompts=str(tmp_path / "words.json")).prompt(1, seed=0) == "a photo of a tin"


ALIKE = (Category(1, "paper_bag"), Category(2, "Paper  bag"), Category(3, "can"))


def test_names_that_no_prompt_tells_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"categories 1 \('paper_bag'\) and 2 \('Paper  bag'\)"):
        PromptBook.open(PromptRules(), ALIKE)
    PromptBook.open(PromptRules(), ALIKE, wanted=("paper_bag", "can"))
    for words in ({"paper_bag": ["carrier bag"]}, {"paper_bag": "with handles"}):
        PromptBook.open(PromptRules(prompts=written(tmp_path, words)), ALIKE)
    with pytest.raises(ConfigError, match="share the word 'can'"):
        PromptBook.open(PromptRules(prompts=written(tmp_path, {"paper_bag": ["bag", "CAN"]})), ALIKE[::2])


def test_what_the_model_does_not_read_is_cut_but_never_the_name(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(["a photo of a can bottle by the sea on sand and under trees, near"])
    most = tokenizer.model_max_length
    words = {"can": {"description": " ".join(["sand and sea"] * 9)}}
    found = book(prompts=written(tmp_path, words)).limited_to(tokenizer, CATEGORIES[:2])
    text = found.prompt(1, seed=0)
    assert text.startswith("a photo of a can, sand and sea")
    assert most - 3 <= len(tokenizer(text).input_ids) <= most
    found = book(template="by the sea on {category} near {neighbours}").limited_to(tokenizer, CATEGORIES[:1])
    assert found.prompt(1, neighbour_ids=[2], seed=0) == "by the sea on can near bottle"
    assert found.prompt(1, neighbour_ids=[2, 5, 7], seed=0) == "by the sea on can near bottle"
    long = book(template="by the sea on sand and under the trees by the sea a {category} near")
    assert long.limited_to(tokenizer, CATEGORIES[:1]).prompt(1, seed=0) == "can"


def test_of_a_long_name_the_model_reads_the_beginning(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(["a photo of a can"])
    can, ship = names = [Category(1, "can"), Category(4, "Donaudampfschifffahrtsgesellschaft")]
    found = PromptBook.open(PromptRules(), names).limited_to(tokenizer, names)
    read = found.prompt(4, seed=0)
    assert ship.name.startswith(read) and len(tokenizer(read).input_ids) == tokenizer.model_max_length
    assert len(tokenizer(ship.name[: len(read) + 1]).input_ids) > tokenizer.model_max_length
    (line,) = found.notices()
    assert line.endswith(f"'{ship.name}' as '{read}'")
    assert not PromptBook.open(PromptRules(), names).limited_to(tokenizer, [can]).notices()
    shorter = PromptRules(prompts=written(tmp_path, {ship.name: ["ship"]}))
    found = PromptBook.open(shorter, names).limited_to(tokenizer, names)
    assert found.prompt(4, seed=0) == "a photo of a ship" and not found.notices()
    assert book().limited_to(None, [can]).limit is None


def test_long_names_that_begin_alike_are_refused() -> None:
    tokenizer = build_tokenizer(["a photo of a can"])
    names = [Category(n, f"Donaudampfschifffahrtsgesellschaft{n}") for n in (1, 4)]
    with pytest.raises(ConfigError, match=r"categories 1 .* and 4 .*the model reads 16 tokens: give shorter"):
        PromptBook.open(PromptRules(), names).limited_to(tokenizer, names)
    shown = PromptBook.open(PromptRules(), names).limited_to(tokenizer, names, is_shown=True)
    assert not shown.notices()
    assert len(tokenizer(shown.prompt(1, seed=0)).input_ids) <= tokenizer.model_max_length


@pytest.fixture
def generate(monkeypatch, capsys, tmp_path: Path, tiny_checkpoint: Path):
    """Run `augsynth generate` with a tiny random model and no filter, on four pictures with two objects each."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(1)
    images, annotations = [], []
    for i in range(1, 5):
        Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)).save(tmp_path / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 96, "height": 64})
        for k, category_id in enumerate((1, 2)):
            box = {"bbox": [10 + 24 * k, 20, 20, 16], "area": 320, "iscrowd": 0}
            annotations.append({"id": 2 * i + k, "image_id": i, "category_id": category_id, **box})
    categories = [{"id": 1, "name": "can"}, {"id": 2, "name": "bottle"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(document))

    def call(out: str, **options: object):
        values = {
            "annotations": "instances.json",
            "images": "images",
            "model": str(tiny_checkpoint),
            "filter": "off",
            "n": 4,
            "steps": 2,
            "placement": "uniform",
            "context": 3.0,
            "originals": "omit",
            "out": out,
            **options,
        }
        (tmp_path / "options.yaml").write_text(yaml.safe_dump(values))
        monkeypatch.setattr(sys, "argv", ["augsynth", "generate", "--config", "options.yaml"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.err.strip().splitlines()

    return call


def provenance(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "provenance.jsonl").read_text().splitlines()]


def test_a_run_records_its_prompts_and_repeats_them(generate, tmp_path: Path) -> None:
    words = {"can": {"synonyms": ["tin", "beer can"], "negative": "toy"}, "bottle": "green"}
    (tmp_path / "words.yaml").write_text(yaml.safe_dump(words))
    options = {
        "prompts": "words.yaml",
        "template": ["a {category} by {neighbours}", "a {category}"],
        "negative_prompt": "blurry",
    }
    for out in ("one", "two"):
        code, lines = generate(out, **options)
        assert code == 0, lines
    one, two = provenance(tmp_path / "one"), provenance(tmp_path / "two")
    assert [a.get("prompt") for a in one] == [a.get("prompt") for a in two]
    painted = [a for a in one if "prompt" in a]
    assert len(painted) >= 4
    for attempt in painted:
        if attempt["category_id"] == 1:
            assert "tin" in attempt["prompt"] or "beer can" in attempt["prompt"]
            assert attempt["negative_prompt"] == "blurry, toy"
        else:
            assert attempt["prompt"].endswith(", green")
            assert "negative_prompt" not in attempt
    (tmp_path / "words.yaml").write_text(yaml.safe_dump({"can": ["tin"]}))
    code, lines = generate("one", **options)
    assert code == 2, "a finished run isn't continued"
    assert len(lines) == 1


def test_a_run_cuts_what_its_model_does_not_read(generate, tmp_path: Path, tiny_checkpoint: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(tiny_checkpoint / "tokenizer")
    most = tokenizer.model_max_length
    code, lines = generate("out", template="a {category} " + "zebra " * most)
    assert code == 0, lines
    prompts = {a["prompt"] for a in provenance(tmp_path / "out") if "prompt" in a}
    assert prompts
    assert all(len(tokenizer(prompt).input_ids) <= most for prompt in prompts)
    (tmp_path / "words.yaml").write_text(yaml.safe_dump({"can": ["zyxwvutsrqponmlkjihgfedcba"]}))
    code, lines = generate("other", prompts="words.yaml")
    assert code == 0, lines
    read = {a["prompt"].split()[0] for a in provenance(tmp_path / "other") if "prompt" in a}
    assert any(
        "reads no more of long names" in line and "'zyxwvutsrqponmlkjihgfedcba'" in line for line in lines
    )
    assert all(len(tokenizer(name).input_ids) <= most for name in read)


@pytest.mark.parametrize(
    ("options", "words", "says"),
    [
        ({"template": "a photo"}, None, "{category}"),
        ({"template": "{category} at {place}"}, None, "unknown placeholder {place}"),
        ({"prompts": "words.yaml"}, {"cann": ["tin"]}, "did you mean 'can'"),
        ({"prompts": "words.yaml"}, {"can": ["bottle"]}, "share the word"),
        ({"prompts": "gone.yaml"}, None, "gone.yaml"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(generate, tmp_path, options, words, says) -> None:
    if words is not None:
        (tmp_path / "words.yaml").write_text(yaml.safe_dump(words))
    code, lines = generate("out", **options)
    assert code == 2
    assert len(lines) == 1
    assert says in lines[0]
    assert not (tmp_path / "out").exists()
