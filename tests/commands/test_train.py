"""Trainings say what was repaired before they work."""

import json

import pytest

STOPS = {
    "train-inpainter": "augsynth.training.painter.train.train_inpainter",
    "train-lora": "augsynth.training.lora.train.train_lora",
    "train-detector": "augsynth.training.detector.train.train_detector",
}


class StoppedError(Exception):
    """The training would begin now."""


@pytest.mark.parametrize("command", STOPS)
def test_repairs_are_named_before_a_training(command, dataset, tmp_path, monkeypatch, capsys):
    from augsynth import cli

    document = json.loads((dataset / "instances.json").read_text())
    document["images"].append({"id": 99, "file_name": "gone.png", "width": 96, "height": 64})
    (tmp_path / "a.json").write_text(json.dumps(document))

    def stop(*_, **__):
        raise StoppedError

    monkeypatch.setattr(STOPS[command], stop)
    words = ["--annotations", tmp_path / "a.json", "--images", dataset / "images", "--out", tmp_path / "out"]
    if command == "train-lora":
        words += ["--model", "embedded"]
    if command == "train-detector":
        words += ["--val-annotations", tmp_path / "a.json"]
    monkeypatch.setattr("sys.argv", ["augsynth", command, *map(str, words)])
    with pytest.raises(StoppedError):
        cli.main()
    told = capsys.readouterr().err
    assert told.count("file_name: images without a file, dropped: 1 (gone.png)") == (
        2 if command == "train-detector" else 1
    )
