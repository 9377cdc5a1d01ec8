"""Files that outlast a kill and a power cut: each is whole and on the disk before its name is there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from augsynth.core.errors import OutputError

DRAFT = ".part"  # folder in an output folder that isn't whole yet
_LONGEST_NAME = 255  # bytes of a file name that file systems take
# What the machine lacks for a while, which says nothing about a file.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # of a folder, on file systems that can't


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what the system refuses while a file or folder is written.

    Raises:
        OutputError: It is full or read-only, a limit is reached, or a folder is gone.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: can't be written ({error.strerror or error}); make room or choose another place"
        ) from error


def is_scarcity(error: BaseException) -> bool:
    """Say whether a file couldn't be opened because there are too many open ones, or no memory."""
    return isinstance(error, OSError) and error.errno in _SCARCE


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, then rename it: half a file is never there.

    Missing parents are made; the name is on the disk, too, when this returns.

    Raises:
        OutputError: It can't be written.
    """
    part = path.with_name(f".{path.name}.part")
    if len(os.fsencode(part.name)) > _LONGEST_NAME:
        part = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.part")
    with writing(path):
        make_folder(path.parent)
        try:
            with part.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, their names on the disk.

    Raises:
        OSError: It can't be made.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, where the system can.

    Raises:
        OSError: The folder is gone, or the disk fails.
    """
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """Bring a folder with everything in it to the disk.

    Raises:
        OSError: As `sync_folder`.
    """
    folders = [path]
    for each in sorted(path.rglob("*")):
        if each.is_dir():
            folders.append(each)
        else:
            with each.open("rb") as file:
                os.fsync(file.fileno())
    for folder in reversed(folders):
        sync_folder(folder)


def is_unfinished(folder: Path) -> bool:
    """Tell whether `fill_folder` was stopped here."""
    return (folder / DRAFT).is_dir()


@contextlib.contextmanager
def fill_folder(folder: Path, *, is_own: Callable[[str], bool], last: str) -> Iterator[Path]:
    """Yield an empty draft inside a folder; when the block ends, its files are moved up, all on the disk.

    An earlier output stays until the new one is whole. A folder that was being filled when the process ended is known
    by its draft, and filled anew. Where the block raises, nothing of it stays.

    Args:
        folder: It is made where it is missing.
        is_own: Tells by its name whether a file or folder is an earlier output, which makes way.
        last: The file whose presence says that all others are there; it goes first and comes last.

    Raises:
        OutputError: The folder can't be written.
    """
    draft, is_new = folder / DRAFT, not folder.is_dir()
    with writing(folder):
        _discard(draft)
        make_folder(draft)
    try:
        with writing(folder):
            yield draft
            sync_tree(draft)
    except BaseException:
        _discard(draft)
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    with writing(folder):
        _remove(folder, [name for name in os.listdir(folder) if is_own(name)], first=last)
        for name in sorted(os.listdir(draft), key=lambda name: (name == last, name)):
            if name == last:
                sync_folder(folder)
            (draft / name).replace(folder / name)
        sync_folder(folder)
        draft.rmdir()
        sync_folder(folder)


def _discard(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft)


def _remove(folder: Path, names: Iterable[str], *, first: str) -> None:
    for name in sorted(names, key=lambda name: (name != first, name)):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        if name == first:
            sync_folder(folder)
