"""The records of a run's shards: those of the first attempts are held, the others are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from augsynth.core.records import ShardRecord

MOST_HELD = 100_000  # attempts whose records are held, some 300 MB


@dataclass(frozen=True, slots=True)
class Extent:
    """What of a shard is held in any case: the new images it began, its place in its round, and the shards of that."""

    jobs: int
    part: int
    parts: int


class KnownRecords(Mapping[int, ShardRecord]):
    """Records by number, in the order they were added.

    Args:
        read: Returns the record of a committed shard.

    Attributes:
        extents: What of each shard is held in any case.
    """

    def __init__(self, read: Callable[[int], ShardRecord]) -> None:
        self.extents: dict[int, Extent] = {}
        self._read = read
        self._held: dict[int, ShardRecord] = {}
        self._room = MOST_HELD

    def add(self, index: int, record: ShardRecord) -> None:
        """Add a record that is committed."""
        self.extents[index] = Extent(record.jobs, record.part, record.parts)
        if self._room > 0:
            self._held[index] = record
            self._room -= 1 + len(record.attempts)

    def __getitem__(self, index: int) -> ShardRecord:
        if index not in self.extents:
            raise KeyError(index)
        return self._held[index] if index in self._held else self._read(index)

    def __iter__(self) -> Iterator[int]:
        return iter(self.extents)

    def __len__(self) -> int:
        return len(self.extents)

    def __contains__(self, index: object) -> bool:
        return index in self.extents


class InOrder(Sequence[ShardRecord]):
    """The records of a run's first shards; what is appended is known from then on.

    Args:
        known: Records by number.
    """

    def __init__(self, known: KnownRecords) -> None:
        self._known = known
        self._num = 0

    def append(self, record: ShardRecord) -> None:
        """Take the record of the next shard, known or new."""
        if self._num not in self._known:
            self._known.add(self._num, record)
        self._num += 1

    @property
    def extents(self) -> list[Extent]:
        """What of each shard is held in any case."""
        return [self._known.extents[index] for index in range(self._num)]

    @overload
    def __getitem__(self, index: int) -> ShardRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[ShardRecord]: ...
    def __getitem__(self, index: int | slice) -> ShardRecord | list[ShardRecord]:
        found = range(self._num)[index]
        return self._known[found] if isinstance(found, int) else [self._known[each] for each in found]

    def __len__(self) -> int:
        return self._num
