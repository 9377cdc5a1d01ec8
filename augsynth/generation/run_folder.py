"""A run's directory: shards are committed whole, the marker of a finished run is written last."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Set
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from augsynth.core.devices import Process
from augsynth.core.errors import AugsynthError, FinishedError, ResumeError
from augsynth.core.files import is_scarcity, make_folder, write_atomically, writing
from augsynth.core.images import write_image
from augsynth.core.records import RunState, ShardRecord
from augsynth.core.scene import Image
from augsynth.generation.claims import Claims
from augsynth.generation.known_records import KnownRecords
from augsynth.generation.remote_run import RemoteRun
from augsynth.generation.run_state import RUN_FILE, check_output, read_state, shortened
from augsynth.generation.shard_files import (
    IMAGES,
    SHARDS,
    CommittedShard,
    has_begun,
    is_record,
    read_record,
    read_shard,
    record_path,
    stays,
    tiles_path,
    write_shard,
)
from augsynth.generation.source_pictures import SourcePictures

NEW_IMAGES = "augsynth"  # folder of the new images among all
LOOK_AGAIN_S = 0.5  # at what other processes do
_JOIN_S = 60.0


class RunFolder:
    """An output directory that one process leads: it alone removes and publishes; others may paint shards beside it.

    A shard is the unit of work and of failure: its images are written first, its record last, each on the disk under
    a temporary name and then renamed. A run that was killed anywhere, by a power cut, too, goes on with the shards
    whose files are all as they were written. One that fails before it has painted anything leaves nothing, and one
    that was killed before may be begun anew with other options.
    The records stay in a finished run: `augsynth finalize` takes objects out of it by them.

    Args:
        out: The directory; created when absent.
        fingerprint: What the run depends on; a run is only continued with the same.
        pictures: The source pictures as they are now; a run is only continued with the same.
        may_join: Whether this process may paint beside another one that leads; else the directory is in use.
        remote: What is kept in step with the directory, where it stands for a URL; then none joins.

    Attributes:
        notices: What was found damaged, and whether this process helps another one, a line each.
        leads: Whether this process leads.

    Raises:
        OutputError: The directory can't be written.
        ResumeError: The directory holds something else, a finished run or another one, or is in use; or a picture
            isn't the one that the run began with.
    """

    def __init__(
        self,
        out: Path,
        fingerprint: Mapping[str, Any],
        pictures: SourcePictures,
        *,
        may_join: bool = False,
        remote: RemoteRun | None = None,
    ) -> None:
        self.out = out
        self.pictures = pictures
        self.fingerprint = json.loads(json.dumps(fingerprint))
        self.notices: list[str] = []
        self.leads = True
        self._may_join = may_join and remote is None
        self._remote = remote
        self._lock = FileLock(out / SHARDS / "lock")
        self._claims = Claims(out / SHARDS)
        self._identity: tuple[int, int] | None = None
        self._presence: FileLock | None = None
        self._was_there = self._is_new = False

    def __enter__(self) -> Self:
        check_output(self.out)
        if self.finished and self._remote is None:
            self._clear()
            state = read_state(self.out)
            if Process.has_others() and state is not None and state.fingerprint == self.fingerprint:
                raise FinishedError(f"{self.out}: the run is finished; this process came too late to help")
            raise ResumeError(f"{self.out}: the run is finished; nothing was changed; choose another --out")
        self._was_there = self.out.exists()
        with writing(self.out):
            make_folder(self.out / SHARDS)
            self.leads = self._try_to_lead()
            if not self.leads and not self._may_join:
                raise ResumeError(
                    f"{self.out}: another run is writing here; wait for it or choose another --out"
                )
            if not self.leads:
                self._presence = self._claims.join()
            status = self.out.stat()
        self._identity = status.st_dev, status.st_ino
        try:
            if not self.leads:
                self._compare(self._state_of_leader().fingerprint)
                self.notices.append(f"{self.out}: another process is painting this run; this one helps it")
                return self
            if self._remote is not None:
                self._remote.begin()
            state = read_state(self.out)
            if state is None or not has_begun(self.out):
                self._is_new = True
                write_atomically(self._pictures, lambda file: file.write(self.pictures.to_bytes()))
                self._write_state("running")
                if self._remote is not None:
                    self._remote.send_state()
            else:
                self._compare(state.fingerprint)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and self._is_new:
                self._remove_new()
            if self._remote is not None:
                self._remote.end()
        finally:
            if self._presence is not None:
                self._presence.release()
            self._lock.release()

    @property
    def finished(self) -> bool:
        """Whether the run has been published."""
        state = read_state(self.out)
        return state is not None and state.status == "finished"

    def known_records(self) -> KnownRecords:
        """Return what holds records of the run, or reads those that it has no room for."""
        return KnownRecords(partial(read_record, self.out))

    def read_shards(self) -> KnownRecords:
        """Return the committed records by number, in order.

        What is damaged is removed, to be painted again, and so are files that no record vouches for; `notices` says
        what was damaged.
        """
        records = self.known_records()
        stored = sorted(p for p in (self.out / SHARDS).glob("*.json") if is_record(f"{SHARDS}/{p.name}"))
        vouched = {self._pictures, Path(self._lock.lock_file)}
        damaged = [name for name in (self._compare_pictures(),) if name]
        for path in stored if not damaged else ():
            index = int(path.stem)
            try:
                committed, record = self._read(index)
            except (OSError, ValueError, RecursionError) as error:
                if is_scarcity(error):
                    raise ResumeError(
                        f"{path}: can't be read ({error}); the same command goes on with more open files (ulimit -n)"
                    ) from None
                damaged.append(str(error))
            else:
                vouched |= {path, *(self.out / name for name in committed.files)}
                records.add(index, record)
        # one of a round that others went on from
        over = max((index - shard.part for index, shard in records.extents.items()), default=0)
        damaged += [
            record_path(self.out, i).name for i in range(over) if not record_path(self.out, i).exists()
        ]
        if damaged:
            num = 1 + max([int(path.stem) for path in stored], default=0)
            self.notices.append(
                f"{self.out}: {damaged[0]} is damaged or missing; {num if not records else len(damaged)} of {num} "
                "shards are painted again"
            )
        self._remove_others(vouched, first=stored)
        return records

    def _remove_others(self, vouched: Set[Path], *, first: Collection[Path]) -> None:
        """Remove what no record vouches for, `first` before the rest; nothing while others paint, or have just done."""
        with writing(self.out), self._claims.alone() as nobody_paints:
            held = [*(self.out / SHARDS).glob("*"), *(self.out / IMAGES / NEW_IMAGES).glob("*")]
            new = {path for path in held if is_record(f"{SHARDS}/{path.name}")} - set(first)
            is_alone = nobody_paints and not new
            stray = {path for path in held if path.suffix != ".claim"} - vouched
            for path in sorted(stray, key=lambda path: (path not in first, path), reverse=True):
                if not (self.leads and is_alone):
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def read_shard(self, index: int) -> ShardRecord | None:
        """Return the record of a shard that is committed, None where it isn't or is damaged."""
        try:
            return self._read(index)[1]
        except (OSError, ValueError, RecursionError):
            # of a finished run the record alone is left
            return read_record(self.out, index) if self.finished else None

    @contextlib.contextmanager
    def claim(self, index: int) -> Iterator[bool]:
        """Yield whether this process may paint a shard: then no other may, until the block or the process ends.

        Raises:
            OutputError: The directory can't be written.
            ResumeError: It was moved or deleted.
        """
        self.check_place()
        with contextlib.ExitStack() as held:
            with writing(self.out):  # what fails while the shard is painted is no fault of this directory
                is_free = held.enter_context(self._claims.one(index))
            yield is_free

    def wait_or_lead(self) -> bool:
        """Wait until the run is published; where the process that leads it ends before, return that this one leads."""
        while not self.leads and not self.finished:
            self.leads = self._try_to_lead()
            if not self.leads:
                time.sleep(LOOK_AGAIN_S)
        if self.finished:
            self._clear()
        return not self.finished

    def write_image(self, name: str, image: Image) -> None:
        """Write a new image of a shard that is committed later.

        Args:
            name: Its `file_name`.
            image: (H, W, 3) uint8 RGB.

        Raises:
            OutputError: It can't be written.
            ResumeError: The directory was moved or deleted.
        """
        self.check_place()
        write_image(self.out / IMAGES / name, image)

    def commit(
        self,
        index: int,
        record: ShardRecord,
        *,
        tiles: list[NDArray[np.uint8]],
        under: Mapping[int, Image] | None = None,
    ) -> None:
        """Commit a shard whose images are already in place.

        Args:
            index: Its number.
            record: What was done.
            tiles: The small pictures that it names.
            under: What lay under objects that were painted over earlier ones, by number of the attempt.

        Raises:
            OutputError: It can't be written.
            ResumeError: The directory was moved or deleted, or an image is gone.
        """
        self.check_place()
        write_shard(self.out, index, record, tiles=tiles, under=under)

    def send_shard(self, index: int) -> None:
        """Write a shard that was committed to the URL for which the directory stands, if it does.

        Raises:
            OutputError: It can't be written.
            ResumeError: Another process writes there.
        """
        if self._remote is not None:
            self._remote.send_shard(record_path(self.out, index))

    def send_rest(self) -> None:
        """Write all else to the URL for which the directory stands, if it does; raises as `send_shard`."""
        if self._remote is not None:
            self._remote.send_rest()

    def check_place(self) -> None:
        """Raise unless the directory is still where it was.

        Raises:
            ResumeError: It was moved or deleted.
        """
        try:
            status = self.out.stat()
            is_there = self._identity == (status.st_dev, status.st_ino) and (self.out / RUN_FILE).is_file()
        except OSError:
            is_there = False
        if not is_there:
            raise ResumeError(
                f"{self.out}: was moved or deleted while the run went on; put it back, or run again from the start"
            )

    def finish(self) -> None:
        """Mark the run as finished and drop what only a run that goes on needs; the records stay."""
        self.check_place()
        self.send_rest()
        self._write_state("finished")
        if self._remote is not None:
            self._remote.finish()
        self._clear()

    def _try_to_lead(self) -> bool:
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    def _state_of_leader(self) -> RunState:
        """Return what the run depends on, once the process that leads it has said so."""
        until = time.monotonic() + _JOIN_S
        while (state := read_state(self.out)) is None:
            if time.monotonic() > until:
                raise ResumeError(f"{self.out}: another run is writing here; choose another --out")
            time.sleep(LOOK_AGAIN_S)
        return state

    def _clear(self) -> None:
        """Remove all but the records of a finished run; a process that was killed here leaves this to the next."""
        folder = self.out / SHARDS
        with writing(folder):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if not stays(f"{SHARDS}/{path.name}"):
                    path.unlink(missing_ok=True)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _remove_new(self) -> None:
        """Remove what was begun, if nothing was painted and no other process is about to."""
        with contextlib.suppress(
            OSError, AugsynthError
        ):  # what failed before is what the user should hear of
            self.check_place()
            with self._claims.alone() as is_alone:
                if not is_alone or has_begun(self.out) or self._claims.has_helpers():
                    return
                if self._remote is not None:
                    self._remote.forget()
                (self.out / RUN_FILE).unlink()
            shutil.rmtree(self.out / SHARDS)
            if not self._was_there:
                self.out.rmdir()

    @property
    def _pictures(self) -> Path:
        return self.out / SHARDS / "pictures.json"

    def _read(self, index: int) -> tuple[CommittedShard, ShardRecord]:
        """Return a shard whose record and files are as they were written.

        Raises:
            OSError: A file can't be read.
            ValueError: One is damaged; the text names it.
        """
        return read_shard(self.out, index, also=(tiles_path(self.out, index),))

    def _write_state(self, status: Literal["running", "finished"]) -> None:
        state = msgspec.to_builtins(RunState(status=status, fingerprint=self.fingerprint))
        text = (json.dumps(state, indent=1, sort_keys=True) + "\n").encode()
        write_atomically(self.out / RUN_FILE, lambda file: file.write(text))

    def _compare_pictures(self) -> str:
        """Compare the source pictures with those that the run began with; where these aren't known, say so."""
        try:
            before = self.pictures.with_stamps(self._pictures.read_bytes())
        except (OSError, ValueError):
            write_atomically(self._pictures, lambda file: file.write(self.pictures.to_bytes()))
            return self._pictures.name
        self.pictures.compare(before)
        return ""

    def _compare(self, before: Mapping[str, Any]) -> None:
        for key in sorted({*before, *self.fingerprint}):
            if before.get(key) != self.fingerprint.get(key):
                raise ResumeError(
                    f"{self.out}: holds a run with {key} = {shortened(before.get(key))}, not "
                    f"{shortened(self.fingerprint.get(key))}; repeat it with the same, or choose another --out"
                )
