"""A dry run: the first attempts are planned and drawn, nothing is painted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pil
from PIL import ImageDraw

from augsynth.core.figures import contact_sheet
from augsynth.core.records import Attempt
from augsynth.core.scene import FloatArray, Image
from augsynth.core.storage import local_folder
from augsynth.generation.config import GenerateConfig
from augsynth.generation.contact_sheets import SHEET_TILES
from augsynth.generation.engine import plan_first
from augsynth.generation.foresight import foresee
from augsynth.generation.loading import open_context, open_dataset
from augsynth.generation.planning import PlannedWindow
from augsynth.generation.processes import threads_of
from augsynth.generation.rounds import plan_round
from augsynth.generation.run import Progress, jobs_per_shard
from augsynth.generation.run_state import PLANNED_SHEET, check_output
from augsynth.generation.statistics import CategoryYields, Tally

_WHOLE_PX = 480  # longer side of an image as the sheet gets it
_BLUE, _WHITE = (30, 90, 200), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class DryRun:
    """What the first attempts of a run would be.

    Attributes:
        planned: Attempts with a place, by name of the category.
        without: Attempts without one, by reason.
        sheet: The picture of the planned boxes, None where there is none.
    """

    planned: Counter[str]
    without: Counter[str]
    sheet: Path | None

    def lines(self) -> list[str]:
        """Return what a person reads."""
        total = self.planned.total() + self.without.total()
        lines = [f"{self.planned.total()} of the first {total} attempts have a place; nothing was painted"]
        for title, counts in (("planned", self.planned), ("without a place", self.without)):
            if counts:
                lines.append(f"{title}: " + ", ".join(f"{name} {n}" for name, n in counts.most_common()))
        return [*lines, *([] if self.sheet is None else [f"planned boxes: {self.sheet}"])]

    def document(self) -> dict[str, Any]:
        """Return the same as plain values."""
        sheet = None if self.sheet is None else str(self.sheet)
        return {"planned": dict(self.planned), "without_place": dict(self.without), "sheet": sheet}


def dry_run(config: GenerateConfig, *, progress: Progress) -> DryRun:
    """Plan the first attempts of a run, each in another image, and draw them to `OUT/planned_boxes.png`.

    They are what the run begins with; later attempts depend on what was accepted before. Data and models are loaded and
    the filter is calibrated, which the run then finds in the cache.

    Args:
        config: The options.
        progress: Called with a stage name and an empty tally.

    Raises:
        AugsynthError: Bad options, data, models or output directory.
    """
    out = local_folder(config.output.out)
    check_output(out)
    progress("reading", Tally(config.run.n))
    config, dataset = open_dataset(config)
    names = {category.id: category.name for category in dataset.categories}
    tally = Tally(config.run.n, names=names, notices=foresee(config, dataset))
    with threads_of(config):
        context = open_context(config, dataset, tell=lambda stage: progress(stage, tally))
        shards = plan_round(
            Tally(config.run.n),
            config.run,
            first=0,
            first_job=0,
            slots=context.loop.slots,
            largest=jobs_per_shard(config, dataset),
            room=context.placing.chooser.room(CategoryYields()),
        )
        plans = plan_first(context, shards, most=SHEET_TILES)
    windows = [plan for plan in plans if isinstance(plan, PlannedWindow)]
    if windows:
        captions = [f"{names[w.category_id]} in {w.image.source.file_name}" for w in windows]
        contact_sheet(
            [_pictures(window) for window in windows],
            path=out / PLANNED_SHEET,
            captions=captions,
            boxes_xyxy=[_in_window(window) for window in windows],
            accepted=[None] * len(windows),
            title="planned: image with the window, and the window with the planned box; nothing is painted",
        )
    return DryRun(
        Counter(names[window.category_id] for window in windows),
        Counter(str(plan.reason) for plan in plans if isinstance(plan, Attempt)),
        out / PLANNED_SHEET if windows else None,
    )


def _pictures(window: PlannedWindow) -> list[Image]:
    """Return the whole image, small and with the window's outline, and the window."""
    pixels = window.image.pixels
    x1, y1, x2, y2 = window.plan.window_xyxy.tolist()
    whole = pil.fromarray(pixels)
    scale = min(1.0, _WHOLE_PX / max(whole.size))
    whole = whole.resize((max(1, round(whole.width * scale)), max(1, round(whole.height * scale))))
    corners = [x1 * scale, y1 * scale, x2 * scale - 1, y2 * scale - 1]
    draw = ImageDraw.Draw(whole)
    for colour, width in ((_WHITE, 8), (_BLUE, 4)):
        draw.rectangle(corners, outline=colour, width=width)
    return [np.asarray(whole), pixels[y1:y2, x1:x2]]


def _in_window(window: PlannedWindow) -> FloatArray:
    return np.asarray(window.plan.placement.box_xyxy - np.tile(window.plan.window_xyxy[:2], 2), np.float64)
