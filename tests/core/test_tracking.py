"""Trackers: what they are sent, how much of it, and what is said where one can't be had."""

import importlib.util
from pathlib import Path
from typing import Any

import accelerate.tracking
import numpy as np
import pytest
from PIL import Image

from augsynth.core.errors import ConfigError
from augsynth.core.tracking import LAST_PICTURES, MOST_PICTURES, Tracking


class Recorder:
    """What accelerate's trackers have, writing down its calls."""

    calls: list[tuple[Any, ...]]

    def __init__(self, project: str, **given: Any) -> None:
        self.calls.append(("new", project, given))

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: self.calls.append((name, *given, named))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    Recorder.calls = []
    kinds = dict.fromkeys(("wandb", "tensorboard"), Recorder)
    monkeypatch.setattr(accelerate.tracking, "LOGGER_TYPE_TO_CLASS", kinds)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return Recorder.calls


def picture(path: Path) -> Path:
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(path)
    return path


def test_a_run_begins_with_its_first_figures(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    config = {"n": 3, "names": ["a"], "seed": None, "bank": True}
    with Tracking("wandb", out=tmp_path / "out", config=config) as tracking:
        assert not calls and not list(tmp_path.iterdir())
        tracking.log({"loss": 0.5}, step=4)
    place = {"dir": str(tmp_path / "out-tracking"), "name": "out"}
    assert calls[0] == ("new", "augsynth", place) and calls[1][0] == "start"
    assert calls[2][1] == {"n": 3, "names": "['a']", "seed": "None", "bank": True}
    assert calls[3:] == [("log", {"loss": 0.5}, {"step": 4}), ("finish", {})]


def test_pictures_are_bounded_and_some_are_left_for_the_end(
    calls: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    with Tracking("tensorboard", out=tmp_path / "out", config={}) as tracking:
        paths = [picture(tmp_path / f"{k:02d}.png") for k in range(30)]
        for step in range(3):
            tracking.show(paths, step=step)
        sent = [next(iter(call[1])) for call in calls if call[0] == "log_images"]
        assert sent == [f"{k:02d}" for k in range(MOST_PICTURES - LAST_PICTURES)], "each is sent once"
        tracking.show(paths, step=9, last=True)
    images = [call for call in calls if call[0] == "log_images"]
    assert len(images) == MOST_PICTURES
    assert {next(iter(call[1])) for call in images[-LAST_PICTURES:]} == {"26", "27", "28", "29"}
    assert images[0][1]["00"].shape == (1, 3, 4, 3) and images[0][2] == {"step": 0, "dataformats": "NHWC"}


def test_nothing_is_tracked_unless_it_is_asked_for(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    with Tracking(None, out=tmp_path / "out", config={}) as tracking:
        tracking.log({"loss": 1.0}, step=0)
        tracking.show([tmp_path / "absent.png"], step=0)
    assert not calls and not list(tmp_path.iterdir())


def test_a_tracker_that_cant_be_had_is_one_line(
    calls: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(project: str, **given: Any) -> None:
        raise RuntimeError("no key")

    monkeypatch.setattr(accelerate.tracking, "LOGGER_TYPE_TO_CLASS", {"wandb": refuse})
    with pytest.raises(ConfigError, match=r"track wandb: can't be started \(no key\)"):
        Tracking("wandb", out=tmp_path / "out", config={}).log({"loss": 1.0}, step=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="package isn't installed; run `pip install mlflow`"):
        Tracking("mlflow", out=tmp_path / "out", config={})
