"""Veto files: which accepted objects of a finished run a person struck out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from augsynth.core.errors import ConfigError
from augsynth.core.records import Attempt, ShardRecord

EXAMPLE = '{"augsynth_veto": 1, "attempts": [3, 17]}'


class VetoFile(Struct, frozen=True):
    """What a veto file holds: its format, and numbers of the field `attempt` in `provenance.jsonl`."""

    augsynth_veto: Literal[1]
    attempts: list[Annotated[int, msgspec.Meta(ge=0)]]


def read_veto(path: Path) -> tuple[int, ...]:
    """Return the numbers of the attempts that a veto file strikes out, each once, in order.

    Raises:
        ConfigError: The file can't be read, is no veto file, or strikes nothing out.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=VetoFile)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); give a veto file") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is no veto file ({error}); one looks like {EXAMPLE}") from None
    if not found.attempts:
        raise ConfigError(f"{path}: strikes nothing out; attempts is empty")
    return tuple(sorted(set(found.attempts)))


def find_struck(shards: Sequence[ShardRecord], numbers: Iterable[int], *, title: str) -> list[set[int]]:
    """Return for each shard the positions of the attempts that are struck out.

    Args:
        shards: Of the run, in order.
        numbers: Of the attempts in the whole run.
        title: Names the list in errors.

    Raises:
        ConfigError: The run has no such attempt, or its object is in no image.
    """
    struck: list[set[int]] = [set() for _ in shards]
    places = [(k, position) for k, shard in enumerate(shards) for position in range(len(shard.attempts))]
    for number in numbers:
        if not 0 <= number < len(places):
            raise ConfigError(
                f"{title}: attempt {number} isn't in the run, which has {len(places)}; take numbers of the field "
                "attempt in its provenance.jsonl"
            )
        shard, position = places[number]
        attempt = shards[shard].attempts[position]
        if not attempt.kept:
            raise ConfigError(f"{title}: attempt {number} {_why_absent(attempt)}; leave it out")
        struck[shard].add(position)
    return struck


def _why_absent(attempt: Attempt) -> str:
    if not attempt.accepted:
        return f"was rejected ({attempt.reason}), so that no image has its object"
    if attempt.painted.judgement.vetoed:
        return "has been taken out already"
    return "was accepted beyond the number wanted, and no image has its object"
