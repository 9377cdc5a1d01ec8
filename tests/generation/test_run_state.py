"""What a directory says of its run: damaged and foreign states are named in a line that can be read."""

from pathlib import Path

import pytest

from augsynth.core.errors import ResumeError
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.run_state import check_output, finished_state, shortened
from tests.generation.test_run_folder import NO_PICTURES, shards_of, three

STATES = ["", "[]", "{", "null", "[" * 100_000, '{"status": "tired", "fingerprint": {}}', '{"status": "running"}',
          '{"status": "running", "fingerprint": []}', '{"status": "running", "fingerprint": {}, "format": 2}',
          '{"status": 1, "fingerprint": {}}', "\udcff"]  # fmt: skip


@pytest.mark.parametrize("text", STATES)
def test_a_state_that_says_something_else_is_named(tmp_path: Path, text: str) -> None:
    three(tmp_path)
    (tmp_path / "run.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ResumeError, match=r"run\.json: damaged \(.*; choose another --out"):
        shards_of(tmp_path)


def test_a_difference_is_said_in_a_line_that_can_be_read(tmp_path: Path) -> None:
    three(tmp_path)
    another = RunFolder(tmp_path, {"model": "x" * 10_000}, NO_PICTURES)
    with pytest.raises(ResumeError, match="model = 'one', not 'xxx") as raised, another:
        pass
    assert len(str(raised.value)) < 500


def test_what_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="holds no run"):
        finished_state(tmp_path)
    three(tmp_path)
    with pytest.raises(ResumeError, match="isn't finished; repeat its command"):
        finished_state(tmp_path)
    check_output(tmp_path)
    with pytest.raises(ResumeError, match="is a file"):
        check_output(tmp_path / "run.json")


def test_long_values_are_cut() -> None:
    assert shortened("a") == "'a'" and len(shortened("b" * 500)) < 100
