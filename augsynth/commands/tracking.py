"""What a tracker is told while a command works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from augsynth.core.tracking import Tracking

if TYPE_CHECKING:
    from augsynth.generation.statistics import Tally

RunProgress = Callable[[str, "Tally"], None]
TrainingProgress = Callable[[str, int, int, float], None]


def follow_run(tracking: Tracking, progress: RunProgress, out: Path) -> RunProgress:
    """Return a run's progress that tells the tracker, too: figures after each shard, and in the end the sheets.

    Args:
        tracking: Of the run.
        progress: What hears of it besides.
        out: Directory of the run.
    """

    def update(stage: str, tally: Tally) -> None:
        progress(stage, tally)
        if stage == "painting" and tally.attempts:
            rejected = {f"rejected/{k}": v for k, v in tally.reasons.items() if k != "accepted"}
            counts = {"accepted": tally.accepted, "images": tally.images, "yield": tally.yield_share}
            tracking.log({**counts, **rejected}, step=tally.attempts)
        if stage == "done":
            tracking.show(out.glob("contact_sheet_*.png"), step=tally.attempts, last=True)

    return update


class TrainingFollower:
    """A training's progress that tells the tracker, too: losses, and pictures as they are written.

    Steps are counted through the stages that are trained since the command was started.

    Args:
        tracking: Of the training.
        progress: What hears of it besides.
        out: Directory of the training.
    """

    def __init__(self, tracking: Tracking, progress: TrainingProgress, out: Path) -> None:
        self._tracking, self._progress, self._out = tracking, progress, out
        self._stage, self._before, self._steps = "", 0, 0
        self.step = 0

    def update(self, stage: str, step: int, steps: int, loss: float) -> None:
        """Tell how far a stage is."""
        self._progress(stage, step, steps, loss)
        if stage != self._stage:
            self._before += self._steps
            self._stage, self._steps = stage, steps
        self.step = self._before + step
        name = stage.partition(",")[0]
        self._tracking.log({f"{name}/loss": loss, f"{name}/step": step}, step=self.step)
        self._tracking.show(self._pictures(), step=self.step)

    def end(self, figures: dict[str, float] | None = None) -> None:
        """Tell the last figures and pictures."""
        if figures:
            self._tracking.log(figures, step=self.step + 1)
        self._tracking.show(self._pictures(), step=self.step + 1, last=True)

    def _pictures(self) -> Iterator[Path]:
        """Yield the pictures so far; the folder is walked only by a tracker that shows them."""
        yield from self._out.rglob("*.png")
