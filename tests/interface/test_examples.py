"""The scripts in examples/ run, told to do very little."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from augsynth.pasting.affinity_paste import AffinityPaste

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Load an example as a module, with few images to judge on; its command line is `--out` and the words given."""

    def call(name, *words):
        monkeypatch.syspath_prepend(str(EXAMPLES))
        common = importlib.import_module("common")
        monkeypatch.setattr(common, "JUDGED", {"val": 2, "test": 4})
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
        little = ["--out", str(tmp_path / "out"), "--train-images", "8", *words]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *little])
        return example

    yield call
    sys.modules.pop("common", None)


def table_of(shown):
    """Check the printed table's head and its first rows; return the names of its rows."""
    table = shown[shown.index("test images") :].splitlines()
    assert table[0].split() == ["test", "images", "without", "with"]
    assert [line.split()[0] for line in table[1:3]] == ["AP", "AP50"]
    for line in table[1:]:
        assert all(0 <= float(figure) <= 100 for figure in line.split()[-2:])
    return table[1:]


def counted(monkeypatch, owner, name, number):
    """Count the objects that each call of a method adds."""
    added, method = [], getattr(owner, name)

    def call(paste, *given, **options):
        found = method(paste, *given, **options)
        added.append(number(found, *given))
        return found

    monkeypatch.setattr(owner, name, call)
    return added


def test_the_torchvision_example_prints_both_figures(load, monkeypatch, capsys):
    example = load("torchvision_detector", "--steps", "2", "--batch-size", "2")
    added = counted(
        monkeypatch,
        example.AffinityPaste,
        "forward",
        lambda found, image, target: len(found[1]["labels"]) - len(target["labels"]),
    )
    example.main()
    assert len(table_of(capsys.readouterr().out)) > 6
    assert len(added) == 4 and sum(added) > 0


def test_the_ultralytics_example_prints_both_figures(load, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    pytest.importorskip("ultralytics", reason="needs ultralytics, which is AGPL and no dependency")
    example = load("ultralytics_yolo", "--epochs", "1", "--image-size", "64", "--batch-size", "4")
    added = counted(monkeypatch, AffinityPaste, "__call__", lambda found, *given: found.num_pasted)
    example.main()
    assert len(table_of(capsys.readouterr().out)) >= 2
    listed = (tmp_path / "out" / "yolo" / "train.txt").read_text().split()
    assert len(added) == len(listed) > len(set(listed)) and sum(added) > 0


def test_scores_are_those_of_pycocotools_and_rare_categories_are_seen_more(load, tmp_path):
    load("torchvision_detector")
    import common

    common.prepare(tmp_path / "out", 8)
    document = common.read(tmp_path / "out", "test")
    rows = [
        dict(image_id=a["image_id"], category_id=a["category_id"], bbox=a["bbox"], score=0.9)
        for a in document["annotations"]
    ]
    perfect = common.judge(tmp_path / "out", "test", rows)
    assert perfect.ap == pytest.approx(1) and min(perfect.by_category.values()) == pytest.approx(1)
    assert common.judge(tmp_path / "out", "test", []).ap == 0
    factors = common.repeat_factors(common.read(tmp_path / "out", "train"))
    assert len(factors) == 8 and min(factors) >= 1 and max(factors) > 1
