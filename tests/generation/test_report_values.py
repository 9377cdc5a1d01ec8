"""What a report takes from a run: places of real objects, the command that repeats it, models."""

import shlex
from pathlib import Path

import numpy as np

from augsynth.cli import app
from augsynth.core.scene import Category, Dataset, Scene
from augsynth.generation.config import GenerateConfig
from augsynth.generation.report_values import command_line, describe, licences_of, real_places


def dataset(*scenes: Scene, **document: object) -> Dataset:
    return Dataset((Category(3, "cup"), Category(5, "can")), scenes, document, Path("a.json"))


def test_real_objects_are_counted_by_the_cell_of_their_centre() -> None:
    boxes = np.array([[0, 0, 10, 10], [230, 90, 240, 100], [230, 90, 240, 100], [0, 0, 240, 100]], float)
    crowd = np.array([False, False, False, True])
    scene = Scene(1, "a.png", (240, 100), boxes, np.array([3, 3, 5, 5]), np.arange(4), crowd)
    found = real_places(dataset(scene, Scene(2, "b.png", (10, 10))))
    assert found.keys() == {3, 5} and found[3].shape == (24, 24)
    assert found[3].sum() == 2 and found[3][1, 0] == 1 and found[3][22, 23] == 1
    assert found[5].sum() == 1 and found[5][22, 23] == 1
    assert real_places(dataset(Scene(2, "b.png", (10, 10)))) == {}


def test_the_command_gives_back_the_options() -> None:
    config = GenerateConfig.of(
        n=7, annotations="my data/a.json", images="i", categories=["cup", "a can"], decoys=0.5, bank=True
    )
    line = command_line(config)
    assert line.endswith(" --out NEW_FOLDER") and "--seed" not in line
    words = shlex.split(line)
    assert words[:2] == ["augsynth", "generate"] and "my data/a.json" in words and "--bank" in words
    assert [words[k + 1] for k, word in enumerate(words) if word == "--categories"] == ["cup", "a can"]
    command = next(each for each in app.registered_commands if each.name == "generate")
    assert command.callback is not None
    known = {f"--{name.replace('_', '-')}" for name in command.callback.__annotations__}
    assert {word for word in words if word.startswith("--")} <= known | {"--out"}


def test_options_that_have_no_flag_are_named() -> None:
    line = command_line(GenerateConfig.of(n=7, quotas={"cup": 3}))
    assert line == "augsynth generate --n 7 --out NEW_FOLDER  # and from its config.yaml: quotas"


def test_models_are_named_with_what_they_did() -> None:
    models = {
        "model": "embedded",
        "model_licence": "apache-2.0",
        "model_sha256": "4b",
        "lora": None,
        "detector": "x",
    }
    found = describe(models)
    assert [(model.part, model.name, model.licence) for model in found] == [
        ("paints", "embedded", "apache-2.0"),
        ("finds and judges", "x", ""),
    ]


def test_licences_of_the_images_come_from_the_file() -> None:
    licences = [{"name": "CC BY 4.0"}, {"name": "CC BY 4.0"}, {"name": 7}, {"url": "x"}, "MIT"]
    assert licences_of(dataset(licenses=licences)) == ["CC BY 4.0"]
    assert licences_of(dataset(licenses="MIT")) == [] == licences_of(dataset())
