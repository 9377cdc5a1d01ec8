"""Painting on several cores: processes of one thread each, which paint whole shards; results are those of one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from augsynth.core.devices import Process
from augsynth.core.processes import can_fork, forked, num_cores
from augsynth.core.records import ShardRecord
from augsynth.generation.config import GenerateConfig
from augsynth.generation.rounds import ShardPlan
from augsynth.inpainting.checkpoints import EMBEDDED

SMALL_BYTES = 1_000_000_000
GO_ON = "the same command goes on where it stopped, with fewer --processes"


@dataclass(frozen=True, slots=True)
class DoneShard:
    """A shard that is committed.

    Attributes:
        record: What was done.
        seconds: That a process of this run took for it; None where it was there already, or another run painted it.
    """

    record: ShardRecord
    seconds: float | None = None


PaintShard = Callable[[ShardPlan], DoneShard | None]
"""Paint and commit a shard; None where somebody else is at it."""
PaintShards = Callable[[Sequence[ShardPlan]], Iterator[DoneShard | None]]


def choose_processes(config: GenerateConfig) -> int:
    """Return how many processes paint: one on other devices than a CPU, or where none can be forked.

    Without a choice it is one for each core that this process may use, if the painting model is a local one of less
    than 1 GB; a larger one fills the memory with what it computes, and is left to one process with all threads. Cores
    are shared with the processes that a launcher started on the same machine.
    """
    if config.run.device != "cpu" or not can_fork():
        return 1
    if config.run.processes is not None:
        return config.run.processes
    cores = max(1, num_cores() // Process.current().local_count)
    return cores if is_small(config.painting.model) else 1


def is_small(model: str | None) -> bool:
    """Say whether a painting model is a local one of less than 1 GB."""
    folder = EMBEDDED if model in (None, "embedded") else Path(str(model))
    weights = list(folder.rglob("*.safetensors")) if folder.is_dir() else []
    return bool(weights) and sum(path.stat().st_size for path in weights) < SMALL_BYTES


@contextlib.contextmanager
def threads_of(config: GenerateConfig) -> Iterator[None]:
    """Give torch and numpy one thread where several processes may paint, so that their number changes nothing."""
    import torch

    before = torch.get_num_threads()
    alone = config.run.device != "cpu" or (
        config.run.processes is None and not is_small(config.painting.model)
    )
    torch.set_num_threads(before if alone else 1)
    try:
        with threadpool_limits(None if alone else 1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def open_processes(config: GenerateConfig, paint: PaintShard) -> Iterator[PaintShards]:
    """Yield what paints shards and returns them in order, each as soon as it and those before it are there.

    Processes are forked when the first shards come, with the models in them; they end with this one, at once where it
    is interrupted.

    Args:
        config: Says how many.
        paint: Paints a shard in whatever process it is called in.

    Raises:
        BackendError: One of them was ended, by the system for want of memory, say.
    """
    num = choose_processes(config)
    if num == 1:
        yield lambda plans: map(paint, plans)
        return
    with forked(num, paint, task="painting", remedy=GO_ON) as paint_shards:
        yield paint_shards
