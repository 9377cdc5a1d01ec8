"""The scripts in examples/ run, told to do very little."""

import importlib.util
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_torchvision_example_prints_both_figures(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / "torchvision_detector.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "JUDGED", {"val": 2, "test": 4})
    little = ["--train-images", "8", "--steps", "2", "--batch-size", "2"]
    monkeypatch.setattr(sys, "argv", ["torchvision_detector.py", "--out", str(tmp_path / "out"), *little])
    pasted = []
    forward = example.AffinityPaste.forward

    def counted(paste, image, target):
        found = forward(paste, image, target)
        pasted.append(len(found[1]["labels"]) - len(target["labels"]))
        return found

    monkeypatch.setattr(example.AffinityPaste, "forward", counted)
    example.main()
    shown = capsys.readouterr().out
    table = shown[shown.index("test images") :].splitlines()
    assert table[0].split() == ["test", "images", "without", "with"]
    assert [line.split()[0] for line in table[1:3]] == ["AP", "AP50"] and len(table) > 6
    assert len(pasted) == 4 and sum(pasted) > 0
