"""Values on disk, each with the key of what it was made of: a file is whole or absent, and made again where it isn't.

A training keeps its stages in its output folder. What is learnt of a dataset before painting begins is kept in the
user's cache folder, so that the next run on the same dataset starts at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from augsynth.core.devices import fast_precision
from augsynth.core.errors import OutputError, ResumeError
from augsynth.core.files import write_atomically
from augsynth.core.hub import first_line

CACHE_VARIABLE = "AUGSYNTH_CACHE"
LIBRARIES = ("torch", "torchvision", "diffusers", "transformers", "numpy", "scipy", "pillow")
_MOST_FILES = 64


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
    found = _find(path, key)
    if found is None:
        found = Entry(key, make())
        store(path, found)
    return found.value


def _find(path: Path, key: str) -> Entry | None:
    """Return what a file holds if it is whole and of that key."""
    try:
        found = load(path)
    except ResumeError:
        return None
    return found if found is not None and found.key == key else None


def remembered(kind: str, key: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """Return a value from the user's cache folder; made where it isn't there, and kept where that is possible.

    The folder is `AUGSYNTH_CACHE` where that is set (empty for none), else the system's folder for caches. Of all
    values the 64 that were used last stay.

    Args:
        kind: Begins the file's name.
        key: JSON values that identify what the value is made of, its files by digest. This program's own code and the
            versions of the libraries that compute it are added.
        make: Returns the value: plain values and tensors, in lists, tuples and dicts.
    """
    folder = user_folder()
    if folder is None:
        return make()
    digest = digest_of({**key, "code": _code_digest(), **environment()})
    path = folder / f"{kind}-{digest}.pt"
    found = _find(path, digest)
    if found is not None:
        with contextlib.suppress(OSError):
            os.utime(path)
        return found.value
    value = make()
    with contextlib.suppress(OutputError, OSError):  # a folder that can't be written costs time, nothing else
        store(path, Entry(digest, value))
        for old in sorted(folder.glob("*-*.pt"), key=lambda file: -file.stat().st_mtime)[_MOST_FILES:]:
            old.unlink(missing_ok=True)
    return value


def digest_of(document: Mapping[str, Any]) -> str:
    """Return a hex digest of a JSON document."""
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def environment() -> dict[str, Any]:
    """Return what the same models compute with: versions of libraries, number of threads, the processor's precision."""
    import torch

    versions = {f"{name}_version": metadata.version(name) for name in LIBRARIES}
    return {**versions, "num_threads": torch.get_num_threads(), "cpu_precision": fast_precision("cpu")}


def user_folder() -> Path | None:
    """Return the user's cache folder; None where it is turned off."""
    given = os.environ.get(CACHE_VARIABLE)
    if given is None:
        return user_cache_path("augsynth", appauthor=False)
    return Path(given) if given else None


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Return a digest of the package's source, so that what older code computed isn't taken."""
    root, digest = Path(__file__).parents[1], hashlib.blake2b(digest_size=16)
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
