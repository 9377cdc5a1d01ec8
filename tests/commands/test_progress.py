"""Time left, in a log too; what a preview and a training say."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from augsynth.commands import progress
from augsynth.commands.progress import Pace, RunDisplay, TrainingDisplay, duration_text, preview_lines
from augsynth.generation.statistics import Tally


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def log() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_time_left_is_told_from_what_was_done_since_the_first_look() -> None:
    pace = Pace()
    assert pace.left_s(10, 50, now=0) is None and pace.left_s(10, 50, now=30) is None
    assert pace.left_s(20, 50, now=60) == 180
    assert pace.left_s(50, 50, now=80) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.4, "8 s"), (89, "89 s"), (720, "12 min"), (5370, "1 h 30 min"), (12_000, "3 h 20 min")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_log_has_the_time_left(clock: list[float]) -> None:
    console = log()
    with RunDisplay(console) as display:
        tally = Tally(10, accepted=2, attempts=4)
        display.update("painting", tally)
        clock[0], tally.accepted, tally.attempts = 60.0, 6, 10
        display.update("painting", tally)
    assert said(console)[-1] == "painting: 6/10 accepted, 10 attempts, yield 0%, about 60 s left"
    assert display.left_s == 60


def test_a_log_says_what_a_run_is_at_before_it_paints(clock: list[float]) -> None:
    console = log()
    with RunDisplay(console) as display:
        for stage in ("reading", "loading", "judging", "learning", "painting"):
            display.update(stage, Tally(10))
    assert said(console) == [
        "loading models",
        "asking the filter about real objects",
        "learning what belongs where",
        "painting",
    ]


def test_a_preview_says_what_all_will_take(tmp_path: Path) -> None:
    tally = Tally(100, accepted=8, attempts=16)
    tally.reasons.update(accepted=8, low_iou=8)
    (tmp_path / "contact_sheet_accepted.png").touch()
    lines = preview_lines(tally, tmp_path, left_s=1380)
    assert lines[0] == "preview: 8 of 16 attempts accepted, yield 50%"
    assert lines[2] == f"look at {tmp_path / 'contact_sheet_accepted.png'}"
    assert lines[3] == "23 min more are expected for 100 objects" and "--preview" in lines[4]
    assert "isn't known" in preview_lines(Tally(5, attempts=16), tmp_path, left_s=None)[2]


def test_a_training_says_what_a_stage_is_for_and_how_long_it_takes(clock: list[float]) -> None:
    console = log()
    with TrainingDisplay(console) as display:
        display.update("autoencoder", 10, 1010, 0.5)
        for step, now in ((20, 2.0), (30, 4.0)):
            clock[0] = now
            display.update("autoencoder", step, 1010, 0.4)
        clock[0] = 200.0
        display.update("autoencoder", 1010, 1010, 0.1)
    lines = said(console)
    assert lines[0].startswith("autoencoder: learns to turn windows into latents and back")
    assert lines[1] == "autoencoder: 3 min expected for 990 steps more"
    assert lines[2:] == ["autoencoder 1010/1010 loss 0.1000"], "the time is told once, then each half minute"
