"""A run's directory at a URL: painted in a local folder, and each shard is there once its record is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from augsynth.core.errors import ResumeError
from augsynth.core.files import writing
from augsynth.core.only_writer import SIGN, OnlyWriter
from augsynth.core.storage import Remote, is_url, local_folder
from augsynth.generation.run_state import RUN_FILE, decode_state
from augsynth.generation.shard_files import IMAGES, SHARDS, committed_files, is_record, stays

PICTURES = f"{SHARDS}/pictures.json"
NEW = f"{IMAGES}/augsynth/"


class RemoteRun:
    """What is at the URL of a run, beside its folder on this machine. The URL says what was committed.

    Args:
        url: Of the run's directory.
    """

    def __init__(self, url: str) -> None:
        self.out = local_folder(url)
        self._there = Remote(url)
        self._whole: set[str] = set()  # of the run's pictures and shards, what is at the URL as it is here
        self._writer: OnlyWriter | None = None

    @classmethod
    def of(cls, out: str) -> RemoteRun | None:
        """Return the run at a URL; None for a path on this machine."""
        return cls(out) if is_url(out) else None

    def check(self) -> None:
        """Raise unless a run may begin or go on here.

        Raises:
            ConfigError: The URL can't be reached.
            ResumeError: It holds a finished run, or something else.
        """
        text = self._there.read(RUN_FILE)
        if text is None:
            foreign = sorted(self._there.list().keys() - {SIGN})
            if any(not name.startswith(SHARDS) for name in foreign):
                raise ResumeError(
                    f"{self._there.url}: isn't empty and holds no run ({foreign[0]}, …); choose another --out"
                )
        elif decode_state(text, self._there.url).status == "finished":
            self._drop_leftovers()
            self._there.remove([SIGN])
            raise ResumeError(
                f"{self._there.url}: the run is finished; nothing was changed; choose another --out"
            )

    def begin(self) -> None:
        """Become the only writer, and bring what was committed to the local folder, which then holds nothing else.

        Raises:
            ConfigError: The URL can't be reached.
            ResumeError: Another process writes there.
        """
        self._writer = OnlyWriter(self._there)
        there = self._there.list().keys() - {SIGN}
        first = {name for name in there if is_record(name)} | ({RUN_FILE, PICTURES} & there)
        self._remove_local()
        self._there.fetch(first, self.out)
        wanted: set[str] = set()
        for name in filter(is_record, first):
            with contextlib.suppress(ValueError):
                wanted |= committed_files((self.out / name).read_bytes()).keys()
        self._there.fetch(wanted & there, self.out)
        self._there.remove(name for name in there - wanted - first if name.startswith((SHARDS, NEW)))
        self._whole = {*(wanted & there), *first} - {RUN_FILE, PICTURES}

    def send_shard(self, record: Path) -> None:
        """Write the files of a committed shard to the URL, and then its record.

        Raises:
            OutputError: They can't be written; what was sent of them counts for nothing.
            ResumeError: Another process writes there.
        """
        self._send(committed_files(record.read_bytes()))
        self._send([record.relative_to(self.out).as_posix()])

    def send_state(self) -> None:
        """Write to the URL what the run depends on."""
        self._send([PICTURES])
        self._send([RUN_FILE])

    def send_rest(self) -> None:
        """Write all of the local folder to the URL but the run's state and what doesn't stay."""
        held = {path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file()}
        self._send(n for n in held - self._whole - {RUN_FILE} if not n.startswith(SHARDS) or stays(n))

    def finish(self) -> None:
        """Mark the run at the URL as finished, and drop what only a run that goes on needs."""
        self._send([RUN_FILE])
        self._drop_leftovers()

    def forget(self) -> None:
        """Remove what `send_state` wrote: nothing was painted."""
        self._there.remove([RUN_FILE, PICTURES])

    def end(self) -> None:
        """Let others write there."""
        if self._writer is not None:
            self._writer.end()
            self._writer = None

    def _send(self, names: Iterable[str]) -> None:
        assert self._writer is not None  # it has begun
        self._writer.check()
        sent = set(names)
        self._there.send(self.out, sent)
        self._whole |= {name for name in sent if name.startswith((SHARDS, f"{IMAGES}/"))}

    def _remove_local(self) -> None:
        """Empty the local folder, but for locks: what isn't at the URL wasn't committed."""
        with writing(self.out):
            for path in [
                *self.out.glob("*.json"),
                *(self.out / SHARDS).rglob("*"),
                *(self.out / IMAGES).rglob("*"),
            ]:
                if path.is_file() and path.suffix != ".claim" and path.name != "lock":
                    path.unlink()

    def _drop_leftovers(self) -> None:
        self._there.remove(n for n in self._there.list() if n.startswith(SHARDS) and not stays(n))
