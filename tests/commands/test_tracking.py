"""What a tracker is told of runs and trainings."""

from pathlib import Path
from typing import Any

import pytest

from augsynth.commands.tracking import TrainingFollower, follow_run
from augsynth.core.tracking import Tracking
from augsynth.generation.statistics import Tally


class Told(Tracking):
    """Write down what is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def log(self, values: Any, *, step: int) -> None:
        self.told.append((dict(values), step))

    def show(self, paths: Any, *, step: int, last: bool = False) -> None:
        self.told.append(([path.name for path in paths], step, last))


def ignore(*_: object) -> None:
    pass


def test_a_run_tells_its_figures_and_in_the_end_its_sheets(tmp_path: Path) -> None:
    told, tally = Told(), Tally(4)
    update = follow_run(told, ignore, tmp_path)
    update("painting", tally)
    assert not told.told, "nothing was tried yet"
    tally.attempts, tally.accepted, tally.images = 8, 2, 1
    tally.reasons.update(accepted=2, low_score=6)
    update("painting", tally)
    (tmp_path / "contact_sheet_accepted.png").touch()
    update("done", tally)
    figures, sheets = told.told
    assert figures == ({"accepted": 2, "images": 1, "yield": 0.25, "rejected/low_score": 6}, 8)
    assert sheets == (["contact_sheet_accepted.png"], 8, True)


def test_a_training_counts_its_steps_through_the_stages(tmp_path: Path) -> None:
    told, heard = Told(), []
    follower = TrainingFollower(told, lambda *given: heard.append(given), tmp_path)
    follower.update("encoding", 5, 10, 0.0)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "samples-000002.png").touch()
    follower.update("denoiser", 2, 20, 0.5)
    follower.end({"AP": 0.4})
    assert heard == [("encoding", 5, 10, 0.0), ("denoiser", 2, 20, 0.5)]
    figures = [each for each in told.told if isinstance(each[0], dict)]
    assert figures == [
        ({"encoding/loss": 0.0, "encoding/step": 5}, 5),
        ({"denoiser/loss": 0.5, "denoiser/step": 2}, 12),
        ({"AP": 0.4}, 13),
    ]
    assert told.told[-1] == (["samples-000002.png"], 13, True)


def test_without_a_tracker_no_folder_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[str] = []

    def rglob(self: Path, pattern: str) -> list[Path]:
        walked.append(pattern)
        return []

    monkeypatch.setattr(Path, "rglob", rglob)
    follower = TrainingFollower(Tracking(None, out=tmp_path, config={}), ignore, tmp_path)
    follower.update("denoiser", 2, 20, 0.5)
    follower.end()
    assert not walked
