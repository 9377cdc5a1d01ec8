"""The files of a shard in a run's directory: its record, and what each of its files held when it was written."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload
from zipfile import BadZipFile

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from augsynth.core.errors import ResumeError
from augsynth.core.files import write_atomically
from augsynth.core.images import relative_name
from augsynth.core.records import PlainShard, ShardRecord
from augsynth.core.scene import Image

SHARDS = "shards"
IMAGES = "images"
_RECORD = re.compile(rf"{SHARDS}/\d{{5,}}\.json")
_KEPT = re.compile(rf"{SHARDS}/\d{{5,}}\.(json|under\.npz)")


class FileStamp(Struct, frozen=True):
    """What a file held when it was written: number of bytes and SHA-256."""

    num_bytes: int
    sha256: str


class CommittedShard(Struct, frozen=True):
    """What is on the disk for a shard: its record, and what each of its files holds, by name in the directory."""

    files: dict[str, FileStamp]
    record: msgspec.Raw


@dataclass(frozen=True, slots=True)
class KeptShard:
    """A shard of a finished run.

    Attributes:
        record: What was done.
        under: File of what lay under objects that were painted over earlier ones, None where the source lay under all.
    """

    record: ShardRecord
    under: Path | None

    def read_under(self) -> dict[int, Image]:
        """Return what lay under objects that were painted over earlier ones, by number of the attempt.

        Raises:
            ResumeError: The file isn't as it was written, or is gone.
        """
        if self.under is None:
            return {}
        try:
            with np.load(self.under) as stored:
                return {int(name): stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            raise _damaged(self.under) from None


def read_kept(out: Path) -> list[KeptShard]:
    """Return the shards of a finished run in order; no pixels are held.

    Raises:
        ResumeError: A record or an image isn't as it was written, or is gone.
    """
    shards: list[KeptShard] = []
    while record_path(out, len(shards)).is_file():
        try:
            committed, record = read_shard(out, len(shards))
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(f"{out}: {error}") from None
        under = under_path(out, len(shards))
        has_under = under.relative_to(out).as_posix() in committed.files
        shards.append(KeptShard(record, under if has_under else None))
    return shards


def _damaged(what: object) -> ResumeError:
    return ResumeError(f"{what} is damaged, changed or gone; put it back as the run wrote it")


def write_shard(
    out: Path,
    index: int,
    record: ShardRecord,
    *,
    tiles: Sequence[NDArray[np.uint8]],
    under: Mapping[int, Image] | None = None,
) -> None:
    """Write the files of a shard whose images are in place; the last is its record, with which it counts.

    Args:
        out: Directory of the run.
        index: Its number.
        record: What was done.
        tiles: The small pictures that it names.
        under: What lay under objects that were painted over earlier ones, by number of the attempt.

    Raises:
        OutputError: It can't be written.
        ResumeError: An image is gone.
    """
    paths = [tiles_path(out, index), *(out / IMAGES / i.file_name for i in record.images if i.is_written)]
    _store_arrays(paths[0], {f"{i:04d}": tile for i, tile in enumerate(tiles)})
    if under:
        paths.append(under_path(out, index))
        _store_arrays(paths[-1], {f"{number:06d}": pixels for number, pixels in under.items()})
    try:
        files = {path.relative_to(out).as_posix(): stamp(path) for path in paths}
    except OSError as error:
        raise ResumeError(f"{error.filename}: can't be read ({error.strerror}); run again") from None
    body = msgspec.json.encode(CommittedShard(files, msgspec.Raw(record.to_bytes())))
    text = digest(body).encode() + b"\n" + body
    write_atomically(record_path(out, index), lambda file: file.write(text))


def read_tiles(out: Path, index: int, *, num: int) -> list[NDArray[np.uint8]]:
    """Return the small pictures committed with a shard, in order.

    Raises:
        ResumeError: They can't be read, or there are fewer than `num`.
    """
    path = tiles_path(out, index)
    try:
        with np.load(path) as stored:
            return [stored[f"{i:04d}"] for i in range(num)]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ResumeError(f"{path}: damaged or gone; run again, which paints this part again") from error


def read_shard(out: Path, index: int, *, also: Iterable[Path] = ()) -> tuple[CommittedShard, ShardRecord]:
    """Return a shard whose record, images and further files are as they were written.

    Raises:
        OSError: A file can't be read.
        ValueError: One is damaged; the text names it.
    """
    path = record_path(out, index)
    expected, _, body = path.read_bytes().partition(b"\n")
    if expected != digest(body).encode():
        raise ValueError(path.name)
    try:
        committed = msgspec.json.decode(body, type=CommittedShard)
        record = ShardRecord.from_bytes(bytes(committed.record))
        names = {f"{IMAGES}/{relative_name(image.file_name)}" for image in record.images if image.is_written}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} ({error})") from None
    under = under_path(out, index).relative_to(out).as_posix()
    names |= {path.relative_to(out).as_posix() for path in also} | ({under} & committed.files.keys())
    for name in sorted(names):
        if not (out / name).is_file() or committed.files.get(name) != stamp(out / name):
            raise ValueError(name)
    return committed, record


def read_record(out: Path, index: int) -> ShardRecord:
    """Return the record of a shard whose files were checked.

    Raises:
        ResumeError: It isn't as it was written, or is gone.
    """
    with _reading(record_path(out, index)) as path:
        return ShardRecord.from_bytes(bytes(_committed(path.read_bytes()).record))


class PlainShards(Sequence[PlainShard]):
    """The first shards of a run that was checked, each read when it is asked for.

    Args:
        out: The run's directory.
        num: How many shards.
    """

    def __init__(self, out: Path, num: int) -> None:
        self._out = out
        self._indices = range(num)

    @overload
    def __getitem__(self, index: int) -> PlainShard: ...
    @overload
    def __getitem__(self, index: slice) -> list[PlainShard]: ...
    def __getitem__(self, index: int | slice) -> PlainShard | list[PlainShard]:
        """Return shards.

        Raises:
            ResumeError: A record isn't as it was written, or is gone.
        """
        found = self._indices[index]
        return self._read(found) if isinstance(found, int) else list(map(self._read, found))

    def __len__(self) -> int:
        return len(self._indices)

    def _read(self, index: int) -> PlainShard:
        with _reading(record_path(self._out, index)) as path:
            return msgspec.json.decode(_body(path.read_bytes()), type=_PlainCommit).record


class _PlainCommit(Struct):
    record: PlainShard


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Path]:
    try:
        yield path
    except (OSError, ValueError, RecursionError):
        raise ResumeError(f"{path}: damaged or gone; run again, which paints this part again") from None


def is_record(name: str) -> bool:
    """Say whether a file of a run's directory is a shard's record, by its name there."""
    return _RECORD.fullmatch(name) is not None


def has_begun(out: Path) -> bool:
    """Tell whether anything was painted: a run that failed before doesn't bind the next one to its options."""
    is_painted = any((out / IMAGES).glob("*"))
    return is_painted or any(is_record(f"{SHARDS}/{path.name}") for path in (out / SHARDS).glob("*.json"))


def stays(name: str) -> bool:
    """Say whether a file of the shards stays in a finished run, by its name in the run's directory."""
    return _KEPT.fullmatch(name) is not None


def committed_files(record: bytes) -> dict[str, FileStamp]:
    """Return what the record of a shard says of its files, by name in the directory.

    Raises:
        ValueError: It isn't whole.
    """
    return _committed(record).files


def _committed(record: bytes) -> CommittedShard:
    return msgspec.json.decode(_body(record), type=CommittedShard)


def _body(record: bytes) -> bytes:
    expected, _, body = record.partition(b"\n")
    if expected != digest(body).encode():
        raise ValueError("not as it was written")
    return body


def record_path(out: Path, index: int) -> Path:
    """Return the file of a shard's record."""
    return out / SHARDS / f"{index:05d}.json"


def tiles_path(out: Path, index: int) -> Path:
    """Return the file of a shard's small pictures, which a finished run no longer has."""
    return out / SHARDS / f"{index:05d}.npz"


def under_path(out: Path, index: int) -> Path:
    """Return the file of what lay under a shard's objects; there is none where the source lay under all of them."""
    return out / SHARDS / f"{index:05d}.under.npz"


def _store_arrays(path: Path, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write named arrays, the same bytes for the same arrays."""
    # numpy's stubs don't know that keyword arrays may be unpacked next to a file
    store: Callable[..., None] = np.savez_compressed
    write_atomically(path, lambda file: store(file, **arrays))


def stamp(path: Path) -> FileStamp:
    """Return what a file holds now."""
    data = path.read_bytes()
    return FileStamp(len(data), digest(data))


def digest(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
