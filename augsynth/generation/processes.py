"""Painting on several cores: processes of one thread each, which paint and judge windows; results are those of one."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from augsynth.core.errors import BackendError
from augsynth.core.masks import Mask
from augsynth.core.scene import Detections, Image, IntArray, Verdict
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import Judging, Painting, RunContext
from augsynth.generation.planning import PlannedWindow
from augsynth.generation.stages import (
    JudgedWindow,
    ObservedWindow,
    PaintedWindow,
    detect,
    judge_windows,
    paint,
)
from augsynth.inpainting.checkpoints import EMBEDDED

CHUNK = 8
"""Windows that a process takes at a time. Fixed, so that results don't depend on the number of processes."""
SMALL_BYTES = 1_000_000_000
_PR_SET_PDEATHSIG = 1

PaintAndJudge = Callable[[Iterable[PlannedWindow]], list[JudgedWindow]]


def paint_and_judge(
    painting: Painting, judging: Judging, windows: Iterable[PlannedWindow]
) -> list[JudgedWindow]:
    """Paint windows, look for objects in them and judge these."""
    return judge_windows(judging, detect(judging.detector, paint(painting, list(windows))))


def choose_processes(config: GenerateConfig) -> int:
    """Return how many processes paint: one on other devices than a CPU, or where none can be forked.

    Without a choice it is one for each core that this process may use, if the painting model is a local one of less
    than 1 GB; a larger one fills the memory with what it computes, and is left to one process with all threads.
    """
    if (
        config.run.device != "cpu"
        or "fork" not in multiprocessing.get_all_start_methods()
        or sys.platform == "darwin"
    ):
        return 1
    if config.run.processes is not None:
        return config.run.processes
    return num_cores() if is_small(config.painting.model) else 1


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
def open_processes(config: GenerateConfig, context: RunContext) -> Iterator[PaintAndJudge]:
    """Yield what paints and judges windows, in order.

    Processes are forked when the first windows come, with the models of `context` in them; they end with this one. The
    first windows are painted while later ones are still being planned.

    Raises:
        BackendError: One of them was ended, by the system for want of memory, say.
    """
    num = choose_processes(config)
    painting, judging = context.painting, context.judging
    if config.run.device != "cpu":
        yield lambda windows: paint_and_judge(painting, judging, windows)
        return
    if num == 1:
        yield lambda windows: [
            judged for chunk in _chunks(windows) for judged in paint_and_judge(painting, judging, chunk)
        ]
        return
    pool = ProcessPoolExecutor(
        num,
        multiprocessing.get_context("fork"),
        initializer=_begin,
        initargs=(painting, judging, os.getpid()),
    )
    try:
        yield lambda windows: _shared_out(pool, windows)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chunks(windows: Iterable[PlannedWindow]) -> Iterator[list[PlannedWindow]]:
    left = iter(windows)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What a process returns of a window: a `JudgedWindow` without the window, which the other side has."""

    pixels: Image
    is_blank: bool
    view_xyxy: IntArray
    before: Detections
    after: Detections
    verdict: Verdict
    masks: tuple[Mask | None, ...]

    @classmethod
    def of(cls, judged: JudgedWindow) -> _Answer:
        observed = judged.observed
        return cls(
            judged.pixels,
            observed.painted.is_blank,
            observed.view_xyxy,
            observed.before,
            observed.after,
            judged.verdict,
            judged.masks,
        )

    def about(self, window: PlannedWindow) -> JudgedWindow:
        painted = PaintedWindow(window, self.pixels, self.is_blank)
        return JudgedWindow(
            ObservedWindow(painted, self.view_xyxy, self.before, self.after), self.verdict, self.masks
        )


def _shared_out(pool: ProcessPoolExecutor, windows: Iterable[PlannedWindow]) -> list[JudgedWindow]:
    try:
        asked = [
            (chunk, pool.submit(_answer, [_without_versions(window) for window in chunk]))
            for chunk in _chunks(windows)
        ]
        return [
            answer.about(window)
            for chunk, answers in asked
            for window, answer in zip(chunk, answers.result(), strict=True)
        ]
    except BrokenProcessPool:
        raise BackendError(
            "a painting process was ended, perhaps for want of memory; the same command goes on where it stopped, with "
            "fewer --processes"
        ) from None


def _without_versions(window: PlannedWindow) -> PlannedWindow:
    return replace(window, image=replace(window.image, versions=()))


_models: list[tuple[Painting, Judging]] = []  # of a forked process


def _begin(painting: Painting, judging: Judging, parent: int) -> None:
    """Begin a forked process: one thread, Ctrl-C is the parent's to handle, and it doesn't outlive the parent."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before that
            os._exit(1)
    torch.set_num_threads(1)
    _models[:] = [(painting, judging)]


def _answer(windows: Sequence[PlannedWindow]) -> list[_Answer]:
    painting, judging = _models[0]
    return [_Answer.of(judged) for judged in paint_and_judge(painting, judging, windows)]
