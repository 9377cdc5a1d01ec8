"""The folders of a training: whose they are, and results in them that appear whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from augsynth.core.errors import ResumeError
from augsynth.core.files import make_folder, sync_folder, sync_tree, write_atomically, writing
from augsynth.core.outputs import check_output_folder

WORK = "training"  # folder beside the results
MARK = "training.json"


def check_out(out: Path, *, verb: str, inputs: Iterable[Path] = ()) -> None:
    """Raise unless a training may write to a folder: it is free, or holds an earlier training of the same verb.

    Args:
        out: Folder of results, with the working folder in it.
        verb: Command that trains.
        inputs: Files and folders that are read.

    Raises:
        ConfigError: The folder holds something else, or can't be written.
    """
    check_output_folder(out, inputs=inputs, is_own=lambda folder: _is_own(folder, verb))


def check_work(work: Path, *, verb: str) -> None:
    """Raise unless a working folder beside the results may be used.

    Args:
        work: The working folder.
        verb: Command that trains.

    Raises:
        ConfigError: It holds something else, or can't be written.
    """
    check_output_folder(work, is_own=lambda folder: _is_verbs(folder, verb) or is_blank(folder))


def _is_own(out: Path, verb: str) -> bool:
    held = {path.name for path in out.iterdir()}
    return _is_verbs(out / WORK, verb) or (held <= {WORK} and is_blank(out / WORK))


def _is_verbs(work: Path, verb: str) -> bool:
    return (_marked(work) or {}).get("verb") == verb


def is_blank(work: Path) -> bool:
    """Tell whether a working folder holds nothing, or only the draft of its mark."""
    return work.is_dir() and {path.name for path in work.iterdir()} <= {f".{MARK}.part"}


def _marked(work: Path) -> dict[str, str] | None:
    try:
        document = json.loads((work / MARK).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def claim(work: Path, *, verb: str, key: str) -> None:
    """Take a working folder for a training, or go on with that training.

    Args:
        work: The folder; it is made.
        verb: Command that trains.
        key: Identifies data, options and seed.

    Raises:
        ResumeError: It holds something else.
    """
    mark = {"verb": verb, "key": key}
    if _marked(work) == mark:
        return
    if work.exists() and not is_blank(work):
        raise ResumeError(
            f"{work}: holds the training of another model, dataset or configuration; choose another --out or remove it"
        )
    text = json.dumps(mark, indent=1) + "\n"
    write_atomically(work / MARK, lambda file: file.write(text.encode()))


def release(work: Path) -> None:
    """Remove the working folder of a finished training, its mark last."""
    for path in sorted(work.iterdir(), key=lambda path: path.name == MARK):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    work.rmdir()


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` make a folder beside this one, and put it in its place when it is whole and on the disk."""
    fresh, old = _beside(folder)
    settle_folder(folder)
    with writing(folder):
        make_folder(folder.parent)
        fill(fresh)
        sync_tree(fresh)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def settle_folder(folder: Path) -> None:
    """Clear what a `replace_folder` that was stopped left: the folder is the old one or the new, and alone."""
    fresh, old = _beside(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    for path in (fresh, old):
        if path.exists():
            shutil.rmtree(path)


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(folder.name + ".next"), folder.with_name(folder.name + ".previous")
