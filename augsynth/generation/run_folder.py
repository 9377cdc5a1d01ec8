"""A run's directory: shards are committed whole, the marker of a finished run is written last."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from zipfile import BadZipFile

import msgspec
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from augsynth.core.errors import ResumeError
from augsynth.core.images import write_atomically
from augsynth.core.records import RunState, ShardRecord

RUN_FILE = "run.json"
SHARDS = "shards"


class RunFolder:
    """An output directory that one process at a time works in.

    A shard is the unit of work and of failure: its images are written first, its record last, each under a
    temporary name and then renamed. A run that was killed anywhere goes on after its last committed shard; one that
    painted nothing may be begun anew with other options.

    Args:
        out: The directory; created when absent.
        fingerprint: What the run depends on; a run is only continued with the same.

    Raises:
        ResumeError: The directory holds something else, a finished run or another one, or is in use.
    """

    def __init__(self, out: Path, fingerprint: Mapping[str, Any]) -> None:
        self.out = out
        self.fingerprint = json.loads(json.dumps(fingerprint))
        self._lock = FileLock(out / SHARDS / "lock")

    def __enter__(self) -> Self:
        check_output(self.out)
        if self.finished:
            raise ResumeError(f"{self.out}: the run is finished; nothing was changed; choose another --out")
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / SHARDS).mkdir(exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise ResumeError(
                f"{self.out}: another run is writing here; wait for it or choose another --out"
            ) from error
        try:
            state = read_state(self.out)
            if state is None or not self._has_begun():
                self._write_state("running")
            else:
                self._compare(state.fingerprint)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def finished(self) -> bool:
        """Whether the run has been published."""
        state = read_state(self.out)
        return state is not None and state.status == "finished"

    def read_shards(self) -> list[ShardRecord]:
        """Return the committed records in order.

        Raises:
            ResumeError: A record is damaged.
        """
        records: list[ShardRecord] = []
        while (path := self._record(len(records))).is_file():
            try:
                records.append(ShardRecord.from_bytes(path.read_bytes()))
            except ValueError as error:
                raise ResumeError(
                    f"{path}: damaged ({error}); remove it and the later ones, and run again"
                ) from error
        return records

    def read_tiles(self, index: int, *, num: int) -> list[NDArray[np.uint8]]:
        """Return the small pictures committed with a shard, in order.

        Raises:
            ResumeError: They can't be read, or there are fewer than `num`.
        """
        path = self._tiles(index)
        try:
            with np.load(path) as stored:
                return [stored[f"{i:04d}"] for i in range(num)]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ResumeError(
                f"{path}: damaged; remove {self._record(index).name} and the later ones, and run again"
            ) from error

    def commit(self, index: int, record: ShardRecord, *, tiles: list[NDArray[np.uint8]]) -> None:
        """Commit a shard whose images are already in place."""
        named = {f"{i:04d}": tile for i, tile in enumerate(tiles)}
        # numpy's stubs don't know that keyword arrays may be unpacked next to a file
        store: Callable[..., None] = np.savez_compressed
        write_atomically(self._tiles(index), lambda file: store(file, **named))
        text = record.to_bytes()
        write_atomically(self._record(index), lambda file: file.write(text))

    def finish(self) -> None:
        """Mark the run as finished and drop the shard records, which the published files now hold."""
        self._write_state("finished")
        for path in sorted((self.out / SHARDS).iterdir()):
            path.unlink()
        (self.out / SHARDS).rmdir()

    def _has_begun(self) -> bool:
        """Tell whether anything was painted: a run that failed before doesn't bind the next one to its options."""
        return self._record(0).is_file() or any((self.out / "images").glob("*"))

    def _record(self, index: int) -> Path:
        return self.out / SHARDS / f"{index:05d}.json"

    def _tiles(self, index: int) -> Path:
        return self.out / SHARDS / f"{index:05d}.npz"

    def _write_state(self, status: Literal["running", "finished"]) -> None:
        state = msgspec.to_builtins(RunState(status=status, fingerprint=self.fingerprint))
        text = (json.dumps(state, indent=1, sort_keys=True) + "\n").encode()
        write_atomically(self.out / RUN_FILE, lambda file: file.write(text))

    def _compare(self, before: Mapping[str, Any]) -> None:
        for key in sorted({*before, *self.fingerprint}):
            if before.get(key) != self.fingerprint.get(key):
                raise ResumeError(
                    f"{self.out}: holds a run with {key} = {before.get(key)!r}, not {self.fingerprint.get(key)!r}; "
                    "repeat it with the same options, or choose another --out"
                )


def read_state(out: Path) -> RunState | None:
    """Return the run's state, or None when the directory holds no run.

    Raises:
        ResumeError: The state file is damaged.
    """
    path = out / RUN_FILE
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunState)
    except ValueError as error:
        raise ResumeError(f"{path}: damaged ({error}); choose another --out") from error


def check_output(out: Path) -> None:
    """Refuse a path that is no directory, or a directory that holds anything but a run.

    Raises:
        ResumeError: It does.
    """
    if out.exists() and not out.is_dir():
        raise ResumeError(f"{out}: is a file; choose a directory for --out")
    if out.is_dir() and not (out / RUN_FILE).is_file():
        foreign = sorted(p.name for p in out.iterdir() if p.name not in (SHARDS, "sample"))
        if foreign:
            raise ResumeError(f"{out}: isn't empty and holds no run ({foreign[0]}, …); choose another --out")
