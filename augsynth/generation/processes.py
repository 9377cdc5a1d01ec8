"""Painting on several cores: processes of one thread each, which paint whole shards; results are those of one."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from augsynth.core.devices import Process
from augsynth.core.errors import BackendError
from augsynth.core.records import ShardRecord
from augsynth.generation.config import GenerateConfig
from augsynth.generation.rounds import ShardPlan
from augsynth.inpainting.checkpoints import EMBEDDED

SMALL_BYTES = 1_000_000_000
_PR_SET_PDEATHSIG = 1
Given = TypeVar("Given")
Found = TypeVar("Found")


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


def can_fork() -> bool:
    """Say whether this system forks processes that may use what was loaded before."""
    return "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_small(model: str | None) -> bool:
    """Say whether a painting model is a local one of less than 1 GB."""
    folder = EMBEDDED if model in (None, "embedded") else Path(str(model))
    weights = list(folder.rglob("*.safetensors")) if folder.is_dir() else []
    return bool(weights) and sum(path.stat().st_size for path in weights) < SMALL_BYTES


@contextlib.contextmanager
def threads_of(config: GenerateConfig) -> Iterator[None]:
    """Give torch one thread where several processes may paint, so that their number changes nothing."""
    import torch

    before = torch.get_num_threads()
    alone = config.run.device != "cpu" or (
        config.run.processes is None and not is_small(config.painting.model)
    )
    torch.set_num_threads(before if alone else 1)
    try:
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
    with forked(num, paint, task="painting") as paint_shards:
        yield paint_shards


@contextlib.contextmanager
def forked(
    num: int, work: Callable[[Given], Found], *, task: str
) -> Iterator[Callable[[Sequence[Given]], Iterator[Found]]]:
    """Yield what lets forked processes work on values, and returns what they found in order.

    Processes are forked when the first values come, with all that is in this one; they end with this one, at once where
    it is interrupted, or one of them fails.

    Args:
        num: How many.
        work: What is done with a value in whatever process.
        task: What that is, for messages.

    Raises:
        BackendError: One of them was ended, by the system for want of memory, say.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        num, multiprocessing.get_context("fork"), initializer=_begin, initargs=(work, os.getpid())
    )
    try:
        yield lambda values: _in_order([pool.submit(_answer, value) for value in values], task)
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.kill()  # SIGTERM may be lost while it begins; what it has committed stays, the rest is done again
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(futures: Sequence[Future[Any]], task: str) -> Iterator[Any]:
    due = deque(futures)
    del futures
    try:
        while due:
            yield due.popleft().result()  # and no longer held
    except BrokenProcessPool:
        raise BackendError(
            f"a {task} process was ended, perhaps for want of memory; the same command goes on where it stopped, with "
            "fewer --processes"
        ) from None


@contextlib.contextmanager
def begun(
    tasks: Sequence[Callable[[], Any]], config: GenerateConfig, *, task: str
) -> Iterator[Iterator[Any]]:
    """Yield what tasks return, in order: forked processes work on them meanwhile, where a core is free for that.

    Args:
        tasks: What each returns can be pickled.
        config: With `processes` 1 or on Ray, each task is done here, when its result is asked for.
        task: What they do, for messages.

    Raises:
        BackendError: As `forked`, when a result is asked for.
    """
    if config.run.processes == 1 or config.run.ray is not None or num_cores() < 2 or not can_fork():
        yield (each() for each in tasks)
        return

    def work(number: int) -> Any:
        return tasks[number]()

    with forked(len(tasks), work, task=task) as begin:
        yield begin(range(len(tasks)))


_work: list[Callable[[Any], Any]] = []  # of a forked process


def _begin(work: Callable[[Any], Any], parent: int) -> None:
    """Begin a forked process: one thread, Ctrl-C is the parent's to handle, and it doesn't outlive the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before that
            os._exit(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    _work[:] = [work]


def _answer(value: Any) -> Any:
    return _work[0](value)
