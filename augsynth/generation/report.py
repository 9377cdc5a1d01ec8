"""The report of a run, kept up to date while it goes on: report.html and report.json."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.coco.json_lines import write_json
from augsynth.core.files import write_atomically
from augsynth.core.options import plain
from augsynth.core.records import ShardRecord
from augsynth.core.storage import named
from augsynth.generation.config import GenerateConfig, plain_config
from augsynth.generation.nearest_real import NearestReal
from augsynth.generation.processes import DoneShard, choose_processes
from augsynth.generation.report_values import (
    Subject,
    Timed,
    category_lines,
    command_line,
    count_cost,
    describe,
    licences_of,
    now,
    real_places,
)
from augsynth.generation.reporting.affinity_table import tabulate
from augsynth.generation.reporting.document import to_document
from augsynth.generation.reporting.gallery import Columns, Outline, centre_in_image, outline_in_window
from augsynth.generation.reporting.page import render_report
from augsynth.generation.reporting.sprites import (
    MOST_BYTES,
    MOST_SHOWN,
    TILE_SIZES,
    Sheet,
    choose_size,
    cut_and_whole,
    draw_sheet,
)
from augsynth.generation.reporting.values import Report, Status
from augsynth.generation.reporting.verdict import sum_up
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.shard_files import read_tiles
from augsynth.generation.statistics import Tally
from augsynth.generation.stopping import ADVICE, low_yield_line, shortfall_line

PAGE, DOCUMENT = "report.html", "report.json"
EVERY_S = 30.0
MOST_SHARE = 0.02  # of a run's time
_CELLS_PER_SHEET = 16
_MOST_STARTS = 1000


class RunReport:
    """Write the report of a run: at most every half minute and in at most 2 % of its time, and when it ends.

    Pictures are those that the shards keep; a sheet is drawn once, unless the number of attempts asks for smaller ones.

    Args:
        folder: The run's.
        subject: What it tells of.
        asked: The options as they were given, for the command that repeats the run.
        config: The options as they take effect.
        models: Names, revisions, licences and digests.
    """

    def __init__(
        self,
        folder: RunFolder,
        subject: Subject,
        *,
        asked: GenerateConfig,
        config: GenerateConfig,
        models: Mapping[str, Any],
    ) -> None:
        self._folder, self._subject, self._config = folder, subject, config
        self._command = command_line(asked)
        self._models = describe(models)
        self._affinity = tabulate(subject.affinity)
        self._grid = real_places(subject.dataset)
        self._sources = {scene.image_id: (scene.file_name, scene.size_wh) for scene in subject.dataset.scenes}
        self._sheets: dict[int, tuple[int, list[Sheet]]] = {}
        self._outlines: dict[int, list[Outline]] = {}
        self._nearest = NearestReal(subject.dataset, (c.id for c in subject.dataset.categories))
        self._size = 0
        self._timed = Timed(processes=choose_processes(config))
        self._written = time.monotonic()
        self._pause = EVERY_S

    def count(self, done: DoneShard) -> None:
        """Count what a shard cost, where it was painted here."""
        self._timed = self._timed.with_shard(done)

    def update(self, shards: Sequence[ShardRecord], tally: Tally) -> None:
        """Write the report of a run that goes on, if it is time to."""
        if time.monotonic() - self._written >= self._pause:
            self.write(shards, tally, status="running")

    def write(self, shards: Sequence[ShardRecord], tally: Tally, *, status: Status) -> None:
        """Write the report.

        Raises:
            OutputError: It can't be written.
            ResumeError: A picture of a shard is damaged.
        """
        began = time.monotonic()
        shown = _first_shown(shards)
        sheets = self._draw(shown)
        report = self._report(shards, tally, status)
        verdict = sum_up(report)
        starts, numbers = self._draw_starts(shown)
        gallery = self._columns(shown, tally, sheets)
        page = render_report(
            report,
            verdict,
            self._affinity,
            gallery=gallery.document(),
            sheets=sheets,
            starts=starts,
            start_numbers=numbers,
            nears=self._nearest.sheets,
            near_places=self._nearest.places,
        )
        write_json(self._folder.out / DOCUMENT, to_document(report, verdict, self._affinity))
        write_atomically(self._folder.out / PAGE, lambda file: file.write(page))
        self._written = time.monotonic()
        self._pause = max(EVERY_S, (self._written - began) / MOST_SHARE)

    def _report(self, shards: Sequence[ShardRecord], tally: Tally, status: Status) -> Report:
        run, out, usual = self._config.run, self._folder.out, plain(GenerateConfig())
        ended = {"running": "", "finished": shortfall_line(tally, out)}.get(status)
        return Report(
            title=out.resolve().name,
            folder=named(str(out)),
            status=status,
            written=now(),
            wanted=tally.wanted,
            accepted=tally.accepted,
            attempts=tally.attempts,
            images=tally.images,
            reasons=dict(tally.reasons.most_common()),
            advice={str(reason): words for reason, words in ADVICE.items()},
            ended=low_yield_line(tally, run, out) if ended is None else ended,
            filtered=self._config.filter_models.filter != "off",
            categories=category_lines(self._subject, shards, tally),
            cost=count_cost(self._subject, shards, tally, self._timed),
            grid=self._grid,
            options={k: (v, v != usual[k]) for k, v in plain_config(self._config).items() if k != "out"},
            command=self._command,
            models=self._models,
            data_licences=licences_of(self._subject.dataset),
            notices=tally.notices,
            truth=tally.truth,
            copies=self._nearest.count(shards),
        )

    def _draw(self, shards: Sequence[ShardRecord]) -> list[Sheet]:
        """Return the sheets of all pictures, as small as their number and their bytes ask for."""
        sheets: list[Sheet] = []
        least = max(self._size, choose_size(sum(shard.num_tiles for shard in shards)))
        for size in range(least, len(TILE_SIZES)):
            self._size = size  # what was too large isn't drawn again
            sheets = [sheet for k, shard in enumerate(shards) for sheet in self._sheets_of(k, shard, size)]
            if sum(len(sheet.webp) for sheet in (*sheets, *self._nearest.sheets)) <= MOST_BYTES:
                break
        return sheets

    def _sheets_of(self, index: int, shard: ShardRecord, size: int) -> list[Sheet]:
        known = self._sheets.get(index)
        if known is None or known[0] != size:
            tiles = read_tiles(self._folder.out, index, num=shard.num_tiles)
            self._nearest.look(index, shard, tiles)
            known = size, [draw_sheet(part, TILE_SIZES[size]) for part in _parts(tiles)]
            self._sheets[index] = known
        return known[1]

    def _draw_starts(self, shards: Sequence[ShardRecord]) -> tuple[list[Sheet], list[int]]:
        """Return the sheets of the real objects that painting started from, and their positions in the bank."""
        bank = self._subject.bank
        if bank is None:
            return [], []
        plans = [a.plan for shard in shards for a in shard.attempts if a.plan is not None]
        numbers = sorted({plan.init_image for plan in plans if isinstance(plan.init_image, int)})
        numbers = numbers[:_MOST_STARTS]
        size = TILE_SIZES[choose_size(2 * len(numbers))]
        cutouts = (bank[number] for number in numbers)
        pictures = [cut_and_whole(cutout.image, cutout.alpha) for cutout in cutouts]
        return [draw_sheet(part, size) for part in _parts(pictures)], numbers

    def _columns(self, shards: Sequence[ShardRecord], tally: Tally, sheets: Sequence[Sheet]) -> Columns:
        thresholds = {row.category_id: row.threshold for row in self._subject.filter_rows}
        sizes = [size for sheet in sheets for size in sheet.sizes_wh]
        columns, first = Columns(tally.names), 0
        for index, shard in enumerate(shards):
            written = {number: image.file_name for image in shard.images for number in image.attempts}
            if index not in self._outlines:
                self._outlines[index] = [outline_in_window(attempt) for attempt in shard.attempts]
            for number, attempt in enumerate(shard.attempts):
                source, size_wh = self._sources[attempt.source_image_id]
                values: dict[str, Any] = {"source": source, "image": written.get(number)}
                if attempt.judgement is not None:
                    painted = attempt.painted
                    box = painted.judgement.box_xyxy if attempt.accepted else None
                    values["centre"] = centre_in_image(box or painted.plan.planned_xyxy, size_wh)
                    values["threshold"] = thresholds.get(painted.category_id)
                    values["outline"] = self._outlines[index][number] or None
                    if painted.judgement.tile is not None:
                        values["cell"] = first + painted.judgement.tile
                        values["size"] = sizes[values["cell"]]
                        values |= self._nearest.columns(index, number)
                columns.add(attempt, values)
            first += shard.num_tiles
        return columns


def _first_shown(shards: Sequence[ShardRecord]) -> Sequence[ShardRecord]:
    """Return the shards whose attempts a page can show."""
    sums = itertools.accumulate(len(shard.attempts) for shard in shards)
    return shards[: sum(1 for _ in itertools.takewhile(lambda total: total <= MOST_SHOWN, sums))]


def _parts(pictures: Sequence[NDArray[np.uint8]]) -> Iterator[Sequence[NDArray[np.uint8]]]:
    for low in range(0, len(pictures), _CELLS_PER_SHEET):
        yield pictures[low : low + _CELLS_PER_SHEET]
