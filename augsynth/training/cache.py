"""Files of a training: each holds a value and the key of what it depends on, and is whole or absent.

A training that was stopped at any point, by a signal or a full disk, finds only whole files when it is started again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augsynth.core.errors import ResumeError
from augsynth.core.files import write_atomically
from augsynth.core.hub import first_line


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What a file holds.

    Attributes:
        key: Identifies what the value was made of.
        value: Tensors and plain values, in lists, tuples and dicts; tensors are on the CPU.
    """

    key: str
    value: Any


def store(path: Path, entry: Entry) -> None:
    """Write a file, on the disk before it takes the place of an earlier one."""
    import torch

    write_atomically(path, lambda file: torch.save({"key": entry.key, "value": entry.value}, file))


def load(path: Path) -> Entry | None:
    """Return what a file holds, None where there is none.

    Raises:
        ResumeError: It is damaged.
    """
    import torch

    if not path.exists():
        return None
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        return Entry(str(document["key"]), document["value"])
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ResumeError(f"{path}: can't be read ({first_line(error)}); remove it to start again") from None


def cached(path: Path, key: str, make: Callable[[], Any]) -> Any:
    """Return the value that a file holds for a key; made and written where there is none, or a damaged one."""
    try:
        found = load(path)
    except ResumeError:
        found = None
    if found is None or found.key != key:
        found = Entry(key, make())
        store(path, found)
    return found.value
