"""Whether a directory holds a run, and what state it is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from augsynth.core.errors import ResumeError
from augsynth.core.records import RunState
from augsynth.generation.shard_files import SHARDS

RUN_FILE = "run.json"
PLANNED_SHEET = "planned_boxes.png"  # of a dry run
_LONGEST_VALUE = 80  # characters of a value in a message


def finished_state(out: Path) -> RunState:
    """Return the state of a finished run.

    Raises:
        ResumeError: The folder holds no run, or one that isn't finished.
    """
    state = read_state(out)
    if state is None:
        raise ResumeError(f"{out}: holds no run; give the --out of `augsynth generate`")
    if state.status != "finished":
        raise ResumeError(f"{out}: the run isn't finished; repeat its command to go on")
    return state


def read_state(out: Path) -> RunState | None:
    """Return the run's state, or None when the directory holds no run.

    Raises:
        ResumeError: The state file is damaged.
    """
    path = out / RUN_FILE
    if not path.is_file():
        return None
    try:
        return decode_state(path.read_bytes(), path)
    except OSError as error:
        raise ResumeError(f"{path}: damaged ({error}); choose another --out") from error


def decode_state(text: bytes, path: object) -> RunState:
    """Return the state that a run's file holds; `path` names it in the message.

    Raises:
        ResumeError: It is damaged.
    """
    try:
        return msgspec.json.decode(text, type=RunState)
    except (ValueError, RecursionError) as error:
        raise ResumeError(f"{path}: damaged ({error}); choose another --out") from error


def shortened(value: Any) -> str:
    """Return a value short enough for a message."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def check_output(out: Path) -> None:
    """Refuse a path that is no directory, or a directory that holds anything but a run.

    Raises:
        ResumeError: It does.
    """
    if out.exists() and not out.is_dir():
        raise ResumeError(f"{out}: is a file; choose a directory for --out")
    if out.is_dir() and not (out / RUN_FILE).is_file():
        foreign = sorted(
            p.name
            for p in out.iterdir()
            if p.name not in (SHARDS, "sample", PLANNED_SHEET, f".{RUN_FILE}.part")
        )
        if foreign:
            raise ResumeError(f"{out}: isn't empty and holds no run ({foreign[0]}, …); choose another --out")
