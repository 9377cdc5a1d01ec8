"""Training a detector: what comes out, stopping, judged images of another file, and what is refused."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import ConfigError, DatasetError, ResumeError
from augsynth.core.scene import Category, Dataset, Image, Scene
from augsynth.training.detector.options import DetectorTraining
from augsynth.training.detector.train import TrainingReport, train_detector
from tests.tiny_kills import check_every_kill
from tests.tiny_shapes import CATEGORIES, QUICK_DETECTOR, shapes_dataset


def test_training_learns_and_reports(trained):
    report, stages = trained
    assert report.held_out and report.steps == 120
    assert report.evaluation.ap50 > 0.8
    assert set(report.evaluation.category_ap50) == {"dark_square", "bright bar"}
    assert stages[-1][:3] == ("detector", 120, 120)
    document = json.loads((report.out / "config.json").read_text())
    assert document["training"]["evaluation"]["ap50"] == round(report.evaluation.ap50, 4)
    assert document["training"]["seed"] == 42 and document["view_px"] == 96
    assert not report.out.with_name("detector.training").exists()


@pytest.mark.parametrize("paste", [0.0, 0.8])
def test_interrupted_training_ends_with_the_same_bytes(shapes, tmp_path, paste):
    dataset, images = shapes
    options = replace(QUICK_DETECTOR, steps=9, checkpoint_every=4, paste=paste)

    def run(out: Path, options: DetectorTraining = options) -> bytes:
        train_detector(dataset, lambda s: images[s.file_name], out=out, options=options)
        return (out / "model.safetensors").read_bytes() + (out / "config.json").read_bytes()

    whole = run(tmp_path / "whole")
    reads = 0

    def read_until_interrupted(scene: Scene) -> Image:
        nonlocal reads
        reads += 1
        if reads > 52 + (36 if paste else 0):  # the objects of the 36 training images are cut out first
            raise KeyboardInterrupt
        return images[scene.file_name]

    uncached = replace(options, cache_mb=0)
    with pytest.raises(KeyboardInterrupt):
        train_detector(dataset, read_until_interrupted, out=tmp_path / "parts", options=uncached)
    with pytest.raises(ResumeError, match="another model, dataset or configuration"):
        run(tmp_path / "parts", replace(options, lr=1e-3, steps=9))
    assert not (tmp_path / "parts").exists()
    assert run(tmp_path / "parts") == whole
    with pytest.raises(ConfigError, match="isn't an empty folder"):
        run(tmp_path / "parts")


def test_training_needs_objects(tmp_path):
    empty = Dataset(CATEGORIES, (Scene(1, "a.png", (8, 8)),), {}, Path("a.json"))
    with pytest.raises(DatasetError, match=r"a\.json: no annotated objects"):
        train_detector(empty, lambda s: np.zeros((8, 8, 3), np.uint8), out=tmp_path / "x")


def test_unknown_preset_lists_the_known_ones(shapes, tmp_path):
    with pytest.raises(ConfigError, match=r"fcos_small.*fasterrcnn_resnet50_fpn"):
        train_detector(shapes[0], lambda s: s, out=tmp_path / "x", options=DetectorTraining(preset="yolo"))


def test_a_training_that_was_killed_at_any_write_ends_with_the_same_bytes(tmp_path, monkeypatch):
    dataset, images = shapes_dataset(12)
    options = replace(QUICK_DETECTOR, steps=2, batch_size=2, checkpoint_every=1)

    def train(folder: Path) -> None:
        with contextlib.suppress(ConfigError):  # it is there, whole: the files are compared
            train_detector(dataset, lambda s: images[s.file_name], out=folder / "out", options=options)

    check_every_kill(train, tmp_path, monkeypatch, results=["out/"])


def test_judged_images_are_matched_by_name_and_what_is_missing_is_said(shapes, tmp_path):
    dataset, images = shapes
    few = replace(dataset, scenes=dataset.scenes[:6])
    other, said = (Category(1, "Bright-Bar"), Category(2, "teapot")), []
    judged = replace(
        dataset,
        categories=other,
        scenes=tuple(
            replace(s, category_ids=np.where(s.category_ids == 7, 1, 2)) for s in dataset.scenes[:3]
        ),
    )

    def train(val: Dataset, out: Path) -> TrainingReport:
        return train_detector(
            few,
            lambda s: images[s.file_name],
            out=out,
            options=replace(QUICK_DETECTOR, steps=1, batch_size=1),
            val=val,
            notice=said.append,
        )

    report = train(judged, tmp_path / "a")
    assert set(report.evaluation.category_ap50) <= {"bright bar"}
    assert ["teapot" in line for line in said] == [True, False] and "dark_square" in said[1]
    strangers = replace(judged, categories=(Category(1, "cup"), Category(2, "teapot")))
    with pytest.raises(ConfigError, match=r"shapes\.json has none of the categories .*dark_square.*cup"):
        train(strangers, tmp_path / "b")
    assert not (tmp_path / "b").exists() and not (tmp_path / "b.training").exists()


@pytest.mark.parametrize("held", ["out/photo.jpg", "out.training/photo.jpg"])
def test_foreign_folders_are_refused_before_any_work(shapes, tmp_path, held):
    (tmp_path / held).parent.mkdir()
    (tmp_path / held).write_bytes(b"mine")

    def read(scene: Scene) -> Image:
        pytest.fail("it works")

    with pytest.raises(ConfigError, match=r"isn't an empty folder.*nothing was changed"):
        train_detector(shapes[0], read, out=tmp_path / "out", options=QUICK_DETECTOR)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["photo.jpg"]
