"""Rounds: shards that are planned together, each from what the rounds before did, so that none waits for another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from augsynth.core.records import ShardRecord
from augsynth.core.scene import IntArray
from augsynth.core.seeding import derive_rng
from augsynth.generation.config import RunOptions
from augsynth.generation.context import Placing
from augsynth.generation.known_records import Extent
from augsynth.generation.statistics import CategoryYields, Tally
from augsynth.generation.stopping import FIRST_ATTEMPTS

FIRST_SHARDS = (
    8  # of a round at most, until as many were painted; a later round has no more than all before it
)
LEAST_JOBS = 8  # of a shard, where the round has twice as many: fewer windows fill no batch
FIRST_JOBS = 16  # of a shard at most, until a yield that is too low would have been seen


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What a shard does. With options, data and models it decides every byte that the shard writes.

    Attributes:
        index: Number of the shard in the run.
        part, parts: Which shard of its round it is, from 0, and how many the round has.
        first_job, jobs: The new images that it begins: `first_job` and those after it.
        wanted: Accepted objects that it keeps at most.
        budget: Attempts that it makes at most.
        before: What the rounds before did, by category.
    """

    index: int
    part: int
    parts: int
    first_job: int
    jobs: int
    wanted: int
    budget: int
    before: CategoryYields

    @property
    def job_numbers(self) -> range:
        """Numbers of the new images that the shard begins."""
        return range(self.first_job, self.first_job + self.jobs)

    def placing(self, placing: Placing) -> Placing:
        """Return what decides what is painted, with this shard's part of what is left of each quota."""
        chooser = placing.chooser
        left = {c: max(0, quota - self.before.accepted[c]) for c, quota in chooser.quotas.items()}
        quotas = {c: self.before.accepted[c] + self._own(num, turn=c) for c, num in left.items()}
        return replace(placing, chooser=replace(chooser, quotas=quotas))

    def yields(self, placing: Placing) -> CategoryYields:
        """Return what the shard begins from: objects to start from count as used where the use is another shard's."""
        yields = self.before.copy()
        if placing.init_images is not None and self.parts > 1:
            for position, left in placing.init_images.uses_left(yields.started).items():
                yields.started[position] += left - self._own(left, turn=position)
        return yields

    def _own(self, total: int, *, turn: int) -> int:
        """Return this shard's part of a number; `turn` says who gets what doesn't divide."""
        return share(total, (self.part + turn) % self.parts, self.parts)


def share(total: int, part: int, parts: int) -> int:
    """Return one of `parts` whole numbers that differ by one at most and sum to `total`."""
    return total * (part + 1) // parts - total * part // parts


def plan_round(
    before: Tally,
    run: RunOptions,
    *,
    first: int,
    first_job: int,
    slots: int,
    largest: int,
    room: int | None = None,
) -> list[ShardPlan]:
    """Return the shards of the next round of a run that hasn't ended.

    Together they keep no more objects than are wanted and make no more attempts than are left, whatever each of them
    finds; so the run has the first objects in the order of the plan, and which shard ends first changes nothing.

    Args:
        before: Of the rounds that are over.
        run: How much is wanted, and what it may cost.
        first: Number of shards so far.
        first_job: Number of new images begun so far.
        slots: New objects that an image can get.
        largest: New images of a shard at most.
        room: Objects that quotas still allow, None for any number.
    """
    wanted, attempts = run.n - before.accepted, run.attempt_budget - before.attempts
    largest = largest if before.attempts >= FIRST_ATTEMPTS else min(largest, FIRST_JOBS)
    jobs = -(-(wanted if room is None else min(wanted, room)) // slots)
    full = -(-jobs // min(LEAST_JOBS, largest))
    parts = min(max(FIRST_SHARDS, first), max(full, min(2, jobs // 2)))  # a small round has work for two, too
    jobs = min(jobs, parts * largest)
    yields, plans = before.yields, list[ShardPlan]()
    for part in range(parts):
        num = share(jobs, part, parts)
        limit, budget = min(wanted, num * slots), min(attempts, num * slots * run.retries)
        if budget < 1:
            break
        plans.append(ShardPlan(first + part, part, parts, first_job, num, limit, budget, yields))
        wanted, attempts, first_job = wanted - limit, attempts - budget, first_job + num
    return [replace(plan, parts=len(plans)) for plan in plans]


def rounds_over(shards: Sequence[ShardRecord | Extent]) -> int:
    """Return how many of a run's first shards belong to rounds of which none is missing."""
    over = 0
    while over < len(shards) and over + shards[over].parts <= len(shards):
        over += shards[over].parts
    return over


def source_scenes(num_scenes: int, jobs: range, *, seed: int) -> Iterator[tuple[int, int]]:
    """Yield each new image's number with the index of its source: one shuffled pass over the dataset after another.

    Args:
        num_scenes: Of the dataset.
        jobs: Numbers of new images.
        seed: Of the run.
    """
    for job in jobs:
        turn, place = divmod(job, num_scenes)
        yield job, int(_shuffled(num_scenes, turn, seed)[place])


@lru_cache(maxsize=2)
def _shuffled(num_scenes: int, turn: int, seed: int) -> IntArray:
    return np.asarray(derive_rng(seed, "order", turn).permutation(num_scenes), np.int64)
