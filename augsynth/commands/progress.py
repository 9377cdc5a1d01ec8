"""What a person sees while a run works, and when it is done."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from augsynth.core.storage import named
from augsynth.core.text import number_of, printable

if TYPE_CHECKING:
    from augsynth.generation.statistics import Tally

_STAGES = {
    "reading": "reading the dataset",
    "loading": "loading models",
    "judging": "asking the filter about real objects",
    "learning": "learning what belongs where",
    "painting": "painting",
    "writing": "writing the dataset",
    "done": "done",
}
_MOST_ROWS, _PAGE_WIDTH = 30, 240
_EVERY_S = 30  # seconds between lines where the output is no terminal


@contextmanager
def counting(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each thing that is counted; where the output is no terminal, a line every half minute.

    Yields:
        Called with what is counted, how many are done, and of how many.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    tasks: dict[str, TaskID] = {}
    shown = time.monotonic()

    def update(what: str, done: int, of: int) -> None:
        nonlocal shown
        if what not in tasks:
            tasks[what] = bar.add_task(what)
        bar.update(tasks[what], completed=done, total=of)
        if not console.is_terminal and time.monotonic() - shown > _EVERY_S:
            console.print(f"{what}: {done:,} of {of:,}", markup=False, highlight=False, soft_wrap=True)
            shown = time.monotonic()

    with bar:
        yield update


class Pace:
    """How long the rest takes, told from what was done since the first look."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def left_s(self, done: int, total: int, *, now: float | None = None) -> float | None:
        """Return the seconds that are left, None before anything is done.

        Args:
            done: Of what is to be done, so far.
            total: In all.
            now: Time in seconds; the clock's when None.
        """
        now = time.monotonic() if now is None else now
        if self._first is None:
            self._first = now, done
        began, before = self._first
        if done <= before:
            return None
        return max(0.0, (now - began) * (total - done) / (done - before))


def duration_text(seconds: float) -> str:
    """Return a duration in words: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def left_text(seconds: float | None) -> str:
    """Return how much time is left, empty where that isn't known."""
    return "" if seconds is None else f"about {duration_text(seconds)} left"


class RunDisplay:
    """A progress bar with yield and time left; plain lines where the output is no terminal.

    The first plain line comes when the dataset is read, so that a mistake in the options is the only line.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("yield {task.fields[share]}"),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=None, share="-", left="")
        self.pace = Pace()
        self.stage = "reading"
        self.shown = time.monotonic()
        self.told = 0
        self.left_s: float | None = None

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def update(self, stage: str, tally: Tally) -> None:
        """Show a stage and the tally so far, and what the user should know."""
        for notice in tally.notices[self.told :]:
            self.console.print(named(notice), markup=False, highlight=False, soft_wrap=True)
        self.told = len(tally.notices)
        share = f"{tally.yield_share:.0%}" if tally.attempts else "-"
        left = ""
        if stage == "painting":
            self.left_s = self.pace.left_s(tally.accepted, tally.wanted)
            left = left_text(self.left_s)
        self.bar.update(
            self.task,
            description=_STAGES[stage],
            total=tally.wanted,
            completed=min(tally.accepted, tally.wanted),
            share=share,
            left=left,
        )
        now = time.monotonic()
        if not self.console.is_terminal and (stage != self.stage or now - self.shown > 30):
            text = _STAGES[stage]
            if tally.attempts:
                so_far = f"{tally.accepted}/{tally.wanted} accepted, {tally.attempts} attempts, yield {share}"
                text = ", ".join(filter(None, [f"{text}: {so_far}", left]))
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)
            self.shown = now
        self.stage = stage


def preview_lines(tally: Tally, out: Path, *, left_s: float | None) -> list[str]:
    """Return what the user reads after a preview."""
    lines = [
        f"preview: {tally.reasons['accepted']} of {tally.attempts} attempts accepted, yield {tally.yield_share:.0%}"
    ]
    rejected = {k: v for k, v in tally.reasons.most_common() if k != "accepted"}
    if rejected:
        lines.append("rejected: " + ", ".join(f"{k} {v}" for k, v in rejected.items()))
    sheets = [str(path) for path in sorted(out.glob("contact_sheet_*.png"))]
    lines += [f"look at {' and '.join(sheets)}"] if sheets else []
    if left_s is None:
        lines.append(f"how long {tally.wanted} objects will take isn't known: none was accepted in this look")
    else:
        lines.append(f"{duration_text(left_s)} more are expected for {tally.wanted} objects")
    return [*lines, "the same command without --preview goes on from here"]


def summary_lines(tally: Tally, out: Path) -> list[str]:
    """Return what the user reads when a run is over."""
    from augsynth.generation.reporting.verdict import truth_line
    from augsynth.generation.stopping import shortfall_line

    lines = [
        f"{number_of(tally.accepted, 'object')} in {number_of(tally.images, 'new image')}, "
        f"{number_of(tally.attempts, 'attempt')}, "
        f"yield {tally.yield_share:.0%}: {out / 'annotations' / 'instances_augmented.json'}"
    ]
    rejected = {k: v for k, v in tally.reasons.most_common() if k != "accepted"}
    if rejected:
        lines.append("rejected: " + ", ".join(f"{k} {v}" for k, v in rejected.items()))
    lines += category_lines(tally, out)
    if tally.surplus > 0:
        lines.append(
            f"{tally.surplus} accepted beyond the {tally.wanted} that were wanted: in no image and no annotation"
        )
    if tally.extras:
        lines.append(f"{tally.extras} second objects came along and are labelled, too")
    if tally.decoys:
        kept = tally.decoys["accepted"]
        dropped = "".join(f", {k} {v}" for k, v in tally.decoys.most_common() if k != "accepted")
        lines.append(f"decoys: {kept} windows repainted without an object{dropped}")
    if tally.masks:
        found = {k: v for k, v in tally.masks.items() if k is not None}
        by = "".join(f" (by {k})" for k in found)
        rest = ", boxes for the rest" if None in tally.masks else ""
        lines.append(f"masks: {sum(found.values())} of {tally.masks.total()} objects{by}{rest}")
    lines += filter(None, [truth_line(tally.truth)])
    return [*lines, *filter(None, [shortfall_line(tally, out)])]


def category_lines(tally: Tally, out: Path) -> list[str]:
    """Return a table of what became of each category's attempts: a column for each reason that occurred."""
    rows = tally.rows()
    reasons = [k for k, _ in tally.reasons.most_common() if any(k in row.rejected for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="none")
    table.add_column("category", no_wrap=True, max_width=28, vertical="bottom")
    for head in ("attempts", "planned", "accepted", "yield", *reasons):
        table.add_column(head.replace("_", "\n"), justify="right", no_wrap=True, vertical="bottom")
    for row in rows[:_MOST_ROWS]:
        numbers = [str(n) for n in (row.attempts, row.planned, row.accepted)]
        rejected = [str(row.rejected.get(reason, "·")) for reason in reasons]
        table.add_row(Text(printable(row.category)), *numbers, f"{row.yield_share:.0%}", *rejected)
    page = Console(file=io.StringIO(), width=_PAGE_WIDTH, color_system=None)
    with page.capture() as captured:
        page.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()] if rows else []
    if len(rows) > _MOST_ROWS:
        lines.append(f"… and {len(rows) - _MOST_ROWS} categories more, in {out / 'summary.json'}")
    return lines


_PURPOSES = {
    "encoding": "turns the training windows into latents, once",
    "autoencoder": "learns to turn windows into latents and back; how sharp it is limits what can be painted",
    "decoder": "sharpens what latents are turned back into",
    "denoiser": "learns to paint objects in the holes of windows; the longest stage, and what the pictures depend on",
    "LoRA": "teaches the checkpoint the categories of the dataset",
    "detector": "learns to find the categories of the dataset",
    "mask head": "learns the outline of what the detector finds",
}


class TrainingDisplay:
    """A progress bar for the stages of a training; a line every half minute where there is no terminal.

    Each stage begins with a line on what it is for, and tells the time that it will take from its first steps.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, int] = {}
        self.paces: dict[str, Pace] = {}
        self.told: set[str] = set()
        self.shown = 0.0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def update(self, stage: str, step: int, steps: int, loss: float) -> None:
        """Show how far a stage is."""
        if stage not in self.tasks:
            self.tasks[stage] = int(self.bar.add_task(stage, total=steps, loss=0.0, left=""))
            self.paces[stage] = Pace()
            if stage in _PURPOSES:
                self._say(f"{stage}: {_PURPOSES[stage]}")
        left_s = self.paces[stage].left_s(step, steps)
        left = "" if step == steps else left_text(left_s)
        self.bar.update(self.bar.task_ids[self.tasks[stage]], completed=step, loss=loss, left=left)
        if left_s is not None and stage not in self.told and step < steps:
            self.told.add(stage)
            self._say(f"{stage}: {duration_text(left_s)} expected for {number_of(steps - step, 'step')} more")
        now = time.monotonic()
        if not self.console.is_terminal and (now - self.shown > 30 or step == steps):
            self._say(", ".join(filter(None, [f"{stage} {step}/{steps} loss {loss:.4f}", left])))
            self.shown = now

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
