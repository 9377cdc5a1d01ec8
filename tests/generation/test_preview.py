"""A preview is the beginning of the run: it stops unpublished, and the run goes on from there."""

from dataclasses import replace
from pathlib import Path

import pytest

from augsynth.generation import run
from augsynth.generation.run_state import read_state
from tests.generation.fake_run import NUM, generate, without_models, write_source
from tests.generation.run_files import files_of, ignore


def test_a_preview_and_the_rest_equal_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_source(tmp_path)
    painted = without_models(monkeypatch, config)
    generate(config, tmp_path / "whole")
    painted.clear()
    begun = replace(config, output=replace(config.output, out=str(tmp_path / "begun")))
    tally = run.generate(begun, progress=ignore, preview=1)
    assert painted == [0] and not tally.finished and tally.ended is None and tally.attempts == 1
    state = read_state(tmp_path / "begun")
    assert state is not None and state.status == "running"
    assert (tmp_path / "begun" / "contact_sheet_accepted.png").is_file()
    assert not (tmp_path / "begun" / "annotations").exists()
    again = run.generate(begun, progress=ignore, preview=1)
    assert painted == [0] and again.attempts == 1, "what was looked at isn't painted again"
    assert generate(config, tmp_path / "begun").finished and painted == list(range(NUM))
    assert files_of(tmp_path / "begun") == files_of(tmp_path / "whole")


def test_a_run_that_ends_within_the_preview_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_source(tmp_path)
    without_models(monkeypatch, config)
    tally = run.generate(config, progress=ignore, preview=100)
    assert tally.finished and (tmp_path / "out" / "annotations").exists()
