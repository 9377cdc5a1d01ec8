"""What a detector lacks, read from each kind of file that evaluations leave."""

import json
from pathlib import Path

import pytest

from augsynth.affinity.focus import LEAST, read_missing
from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category

CATEGORIES = [Category(3, "can"), Category(5, "Glass bottle"), Category(9, "lid"), Category(11, "bag")]


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.mark.parametrize(
    "document",
    [
        {"can": 0.9, "glass_bottle": 0.4, "lid": 1.0},
        {"category_ap50": {"can": 0.9, "glass-bottle": 0.4, "lid": 1, "bag": None}},
        {"category_ap": {"can": 0.9, "glass bottle": 0.4, "lid": 1.0, "tree": 0.2}},
        {
            "training": {
                "evaluation": {"ap": 0.3, "category_ap50": {"can": 0.9, "Glass bottle": 0.4, "lid": 1.0}}
            }
        },
        {
            "coco/bbox_mAP": 0.5,
            "coco/can_precision": 0.9,
            "coco/Glass bottle_precision": 0.4,
            "coco/lid_precision": 1,
        },
    ],
)
def test_each_form_says_what_is_missing(tmp_path: Path, document: object) -> None:
    missing = read_missing(write(tmp_path / "ap.json", document), CATEGORIES)
    mean = (0.1 + 0.6 + LEAST) / 3
    assert missing == pytest.approx({3: 0.1, 5: 0.6, 9: LEAST, 11: mean})


def test_the_last_validation_of_a_log_counts(tmp_path: Path) -> None:
    lines = [
        {"loss": 3.0, "step": 1},
        {"coco/can_precision": 0.1, "step": 2},
        {"coco/can_precision": 0.7, "coco/lid_precision": float("nan"), "step": 4},
        {"loss": 2.0, "step": 5},
    ]
    file = write(tmp_path / "scalars.json", "\n".join(json.dumps(line) for line in lines))
    assert read_missing(file, CATEGORIES) == pytest.approx(dict.fromkeys((3, 5, 9, 11), 0.3))


def test_a_detector_folder_is_one(tmp_path: Path) -> None:
    write(tmp_path / "config.json", {"training": {"evaluation": {"category_ap50": {"can": 0.25}}}})
    assert read_missing(tmp_path, CATEGORIES)[3] == 0.75


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "no AP by category"),
        ("{}", "no AP by category"),
        ("{", "isn't JSON"),
        ('{"can": 45.0}', "'can' is 45.0"),
        ('{"can": true}', "'can' is True"),
        ('{"can": "high"}', "'can' is 'high'"),
        ('{"tree": 0.5}', "none of the dataset's categories .it has tree"),
        ('{"can": -1}', "no AP by category"),
        ("[" * 100_000, "isn't JSON"),
    ],
)
def test_what_is_none_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        read_missing(write(tmp_path / "ap.json", text), CATEGORIES)
    assert "\n" not in str(error.value) and "ap.json" in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.json can't be read"):
        read_missing(tmp_path / "gone.json", CATEGORIES)
