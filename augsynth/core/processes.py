"""Work on several cores: forked processes of one thread each, which have all that was loaded before."""

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
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from augsynth.core.errors import BackendError

_PR_SET_PDEATHSIG = 1
_BEHIND = 5  # how much nicer tasks are than who has begun them
Given = TypeVar("Given")
Found = TypeVar("Found")


def can_fork() -> bool:
    """Say whether this process may fork others that use what was loaded before: not on macOS, nor a loader's worker."""
    forks = "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    return forks and not multiprocessing.current_process().daemon


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def forked(
    num: int, work: Callable[[Given], Found], *, task: str, remedy: str
) -> Iterator[Callable[[Sequence[Given]], Iterator[Found]]]:
    """Yield what lets forked processes work on values, and returns what they found in order.

    Processes are forked when the first values come, with all that is in this one; they end with this one, at once where
    it is interrupted, or one of them fails.

    Args:
        num: How many.
        work: What is done with a value in whatever process.
        task: What that is, for messages; remedy: What to do where one was ended.

    Raises:
        BackendError: One of them was ended, by the system for want of memory, say.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        num, multiprocessing.get_context("fork"), initializer=_begin, initargs=(work, os.getpid())
    )
    try:
        yield lambda values: _in_order([pool.submit(_answer, value) for value in values], task, remedy)
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.kill()  # SIGTERM may be lost while it begins; what it has committed stays, the rest is done again
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def on_all_cores(
    work: Callable[[Given], Found], values: Sequence[Given], *, task: str, remedy: str
) -> Iterator[Found]:
    """Yield what work finds of each of some values, in order: in forked processes, where several cores may be used.

    Args:
        work: What it returns can be pickled.
        values: What it is done with.
        task, remedy: As for `forked`.

    Raises:
        BackendError: As `forked`.
    """
    num = min(num_cores(), len(values))
    if num < 2 or not can_fork():
        yield from map(work, values)
        return
    with forked(num, work, task=task, remedy=remedy) as begin:
        yield from begin(values)


@contextlib.contextmanager
def begun(
    tasks: Sequence[Callable[[], Any]], *, task: str, remedy: str, elsewhere: bool = True
) -> Iterator[Iterator[Any]]:
    """Yield what tasks return, in order: forked processes work on them meanwhile, where several cores may be used.

    Args:
        tasks: What each returns can be pickled.
        task, remedy: As for `forked`.
        elsewhere: False where each is done here, when its result is asked for.

    Raises:
        BackendError: As `forked`, when a result is asked for.
    """
    if not elsewhere or num_cores() < 2 or not can_fork():
        yield (each() for each in tasks)
        return

    def work(number: int) -> Any:
        os.nice(_BEHIND)  # this process, which others wait for, goes first
        return tasks[number]()

    with forked(len(tasks), work, task=task, remedy=remedy) as begin:
        yield begin(range(len(tasks)))


def _in_order(futures: Sequence[Future[Any]], task: str, remedy: str) -> Iterator[Any]:
    due = deque(futures)
    del futures
    try:
        while due:
            yield due.popleft().result()  # and no longer held
    except BrokenProcessPool:
        raise BackendError(f"a {task} process was ended, perhaps for want of memory; {remedy}") from None


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
    # Not OpenCV's: where its threads were at work before the fork, it waits for them for ever.
    threadpool_limits(1, user_api="blas")
    _work[:] = [work]


def _answer(value: Any) -> Any:
    return _work[0](value)
