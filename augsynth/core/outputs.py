"""May an output be written here? Asked before any work: nothing foreign is replaced, and no input."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from augsynth.core.errors import ConfigError

Owned = Callable[[Path], bool]
_DRAFT_BYTES = 24  # what the name of a draft beside the output has more


def check_output_file(path: Path, *, inputs: Iterable[Path] = (), is_own: Owned | None = None) -> None:
    """Raise unless a file may be written: the place is free or holds an earlier output of the same kind.

    Nothing is left behind; missing parents are made by whoever writes.

    Args:
        path: The file to be written.
        inputs: Files that are read; none of them is ever written over, by whatever name.
        is_own: Tells whether an existing regular file is an earlier output; without it none may exist.

    Raises:
        ConfigError: Something else is there, it is an input, or the place can't be written.
    """
    try:
        _check_writable(path)
        if not os.path.lexists(path):
            return
        if any(source.exists() and path.exists() and path.samefile(source) for source in inputs):
            raise _refusal(path, "is an input of this command")
        if path.is_dir():
            raise _refusal(path, "is a directory, not a file")
        if not (path.is_file() and is_own is not None and is_own(path)):
            raise _refusal(path, "is there already and isn't an earlier output of this command")
    except OSError as error:
        raise _refusal(path, f"can't be written ({error.strerror or error})") from None


def check_output_folder(path: Path, *, inputs: Iterable[Path] = (), is_own: Owned | None = None) -> None:
    """Raise unless a folder may be filled: it isn't there, is empty, or holds an earlier output of the kind.

    Args:
        path: The folder to be made or filled.
        inputs: Files and folders that are read; the output is none of them and doesn't hold one.
        is_own: Tells whether a folder that holds something is an earlier output; without it none may.

    Raises:
        ConfigError: The folder holds something else or an input, or the place can't be written.
    """
    try:
        _check_writable(path)
        if not os.path.lexists(path):
            return
        if not path.is_dir():
            raise _refusal(path, "is a file, not a folder" if path.is_file() else "isn't a folder")
        for source in inputs:
            if path.resolve() in (source.resolve(), *source.resolve().parents):
                raise _refusal(path, f"holds an input of this command, {source}")
        held = sorted(each.name for each in path.iterdir())
        if held and not (is_own is not None and is_own(path)):
            raise _refusal(path, f"isn't an empty folder (it holds {held[0]})")
    except OSError as error:
        raise _refusal(path, f"can't be written ({error.strerror or error})") from None


def _check_writable(path: Path) -> None:
    """Raise OSError unless a file can be made in the nearest folder that exists, path itself or above it."""
    place = path.absolute()
    folder = place
    while not folder.is_dir():
        if folder != place and os.path.lexists(folder):
            raise NotADirectoryError(None, f"{folder} isn't a folder")
        folder = folder.parent
    if len(os.fsencode(path.name)) > os.pathconf(folder, "PC_NAME_MAX") - _DRAFT_BYTES:
        raise OSError(None, "its name is too long")
    with tempfile.TemporaryFile(dir=folder):
        pass


def _refusal(path: Path, problem: str) -> ConfigError:
    return ConfigError(f"{path}: {problem}; nothing was changed; choose another --out")
