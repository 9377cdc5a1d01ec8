"""Who paints which shard, among all processes that work in a run's directory, on whatever machine they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

_SUFFIX = ".claim"
_HELPER = "helper-"


class Claims:
    """Locks on shards. The system frees them when a process ends, however it does.

    Args:
        folder: Where the lock files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def one(self, index: int) -> Iterator[bool]:
        """Yield whether this process may paint a shard: then no other may, until the block ends.

        Raises:
            OSError: The lock file can't be written.
        """
        lock = self._lock(f"{index:05d}")
        with self._lock("all"):
            is_free = _acquired(lock)
        try:
            yield is_free
        finally:
            lock.release()

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Yield whether no process is at a shard; none can begin one before the block ends.

        Raises:
            OSError: A lock file can't be written.
        """
        with self._lock("all"):
            locks = [FileLock(path) for path in self._folder.glob(f"[0-9]*{_SUFFIX}")]
            are_free = [_acquired(lock) for lock in locks]
            for lock in locks:
                lock.release()
            yield all(are_free)

    def join(self) -> FileLock:
        """Return a lock that says, while it is held, that a process is here to paint.

        Raises:
            OSError: The lock file can't be written.
        """
        lock = self._lock(f"{_HELPER}{uuid4().hex}")
        lock.acquire()
        return lock

    def has_helpers(self) -> bool:
        """Tell whether a process that joined is still here.

        Raises:
            OSError: A lock file can't be written.
        """
        for path in self._folder.glob(f"{_HELPER}*{_SUFFIX}"):
            lock = FileLock(path)
            if not _acquired(lock):
                return True
            lock.release()
        return False

    def _lock(self, name: str) -> FileLock:
        """Return a new lock: those made before a fork are no good after it."""
        return FileLock(self._folder / f"{name}{_SUFFIX}")


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True
