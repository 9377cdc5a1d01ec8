"""What the report of a run says, taken from the run: counts, costs, options, models."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np

from augsynth.affinity.model import Affinity
from augsynth.bank.reader import Bank
from augsynth.core.options import options_of, plain
from augsynth.core.records import ShardRecord
from augsynth.core.scene import Dataset, IntArray, Reason
from augsynth.core.storage import named
from augsynth.filtering.real_objects import FilterRow
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import RunContext
from augsynth.generation.processes import DoneShard
from augsynth.generation.reporting.values import CategoryLine, Cost, Model
from augsynth.generation.statistics import Tally

_GRID = 24  # cells along a side of the map of places
MOST_SCORES = 20_000  # of a category


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What a report tells of, besides the records of the run.

    Attributes:
        dataset: The source.
        affinity: What belongs with what.
        filter_rows: What the filter says of real objects.
        samples_per_window: Windows that go through the denoiser for one attempt; None where that isn't known.
        bank: The real objects that painting started from, None where it started from noise or they aren't known.
    """

    dataset: Dataset
    affinity: Affinity
    filter_rows: Sequence[FilterRow]
    samples_per_window: int | None
    bank: Bank | None = None

    @classmethod
    def of(cls, context: RunContext) -> Self:
        """Return what the report of a run that paints tells of."""
        placing, painting = context.placing, context.painting
        starts = placing.init_images
        asks = starts is None or painting.strength > 0
        strength = None if starts is None else painting.strength
        return cls(
            context.dataset,
            placing.chooser.affinity,
            context.filter_rows,
            painting.inpainter.samples_per_window(strength) if asks else 0,
            None if starts is None else starts.bank,
        )


@dataclass(frozen=True, slots=True)
class Timed:
    """Shards whose painting was timed: those of this start of the command, in whatever of its processes.

    Attributes:
        processes: That paint side by side.
        seconds: Of all of them together.
        attempts, accepted: In those shards.
    """

    processes: int = 1
    seconds: float = 0.0
    attempts: int = 0
    accepted: int = 0

    def with_shard(self, done: DoneShard) -> Timed:
        """Return these with one more, where it was timed."""
        if done.seconds is None:
            return self
        attempts = done.record.attempts
        return replace(
            self,
            seconds=self.seconds + done.seconds,
            attempts=self.attempts + len(attempts),
            accepted=self.accepted + sum(attempt.accepted for attempt in attempts),
        )


def command_line(config: GenerateConfig) -> str:
    """Return the command that repeats a run into another folder: the options that aren't the usual ones."""
    usual, words = plain(GenerateConfig()), ["augsynth", "generate"]
    values, left = plain(config), []
    for entry in options_of(GenerateConfig):
        value = values[entry.name]
        if value == usual[entry.name] or entry.name == "out":
            continue
        if not entry.has_flag:
            left.append(entry.name)
            continue
        if isinstance(value, bool):
            words.append(entry.flag if value else f"--no-{entry.flag.removeprefix('--')}")
            continue
        for each in value if isinstance(value, list) else [value]:
            words += [entry.flag, str(each)]
    rest = f"  # and from its config.yaml: {', '.join(left)}" if left else ""
    return f"{named(shlex.join(words))} --out NEW_FOLDER{rest}"


def describe(models: Mapping[str, Any]) -> list[Model]:
    """Return the models that took part, with what each did."""
    parts = {
        "model": "paints",
        "lora": "changes how it paints",
        "detector": "finds and judges",
        "classifier": "judges the class",
        "segmenter": "outlines",
    }
    return [
        Model(
            part=does,
            name=str(models[part]),
            revision=str(models.get(f"{part}_revision") or ""),
            licence=str(models.get(f"{part}_licence") or ""),
            sha256=str(models.get(f"{part}_sha256") or ""),
        )
        for part, does in parts.items()
        if models.get(part)
    ]


def category_lines(subject: Subject, shards: Sequence[ShardRecord], tally: Tally) -> list[CategoryLine]:
    """Return what became of each category that was attempted."""
    real = {row.category_id: row for row in subject.filter_rows}
    scores: dict[int, _Scores] = {}
    for attempt in (a for shard in shards for a in shard.attempts if a.judgement is not None):
        if attempt.reason is not Reason.BLANK:
            scores.setdefault(attempt.painted.category_id, _Scores()).add(attempt.painted.judgement.score)
    affinity = subject.affinity
    before = dict(zip(affinity.category_ids.tolist(), affinity.instance_counts.tolist(), strict=True))
    return [
        CategoryLine(
            category_id=row.category_id,
            name=row.category,
            before=before.get(row.category_id, 0),
            after=before.get(row.category_id, 0) + row.kept,
            attempts=row.attempts,
            accepted=row.accepted,
            kept=row.kept,
            rejected=row.rejected,
            real=real.get(row.category_id),
            scores=tuple(scores[row.category_id].kept) if row.category_id in scores else (),
        )
        for row in tally.rows()
    ]


class _Scores:
    """Scores of a category: all of them, or where they are too many every second, fourth … of them.

    Attributes:
        kept: Rounded.
    """

    def __init__(self) -> None:
        self.kept: list[float] = []
        self._num, self._step = 0, 1

    def add(self, score: float) -> None:
        """Take a score, or pass it over."""
        if self._num % self._step == 0:
            self.kept.append(round(score, 4))
        self._num += 1
        if len(self.kept) > MOST_SCORES:
            self.kept, self._step = self.kept[::2], 2 * self._step


def count_cost(subject: Subject, shards: Sequence[ShardRecord], tally: Tally, timed: Timed) -> Cost:
    """Return what an accepted object of a run costs: in samples by all shards, in time by those that were timed."""
    objects = sum(1 for shard in shards for attempt in shard.attempts if attempt.judgement is not None)
    decoys = sum(1 for shard in shards for decoy in shard.decoys if decoy.plan is not None)
    return Cost(
        seconds=timed.seconds,
        processes=timed.processes,
        attempts=timed.attempts,
        accepted=timed.accepted,
        samples_per_window=subject.samples_per_window,
        painted=objects + decoys,
        all_accepted=tally.reasons[Reason.ACCEPTED],
    )


def real_places(dataset: Dataset) -> dict[int, IntArray]:
    """Return for each category how many real objects have their centre in each cell of a grid over the image."""
    scenes = [scene for scene in dataset.scenes if len(scene)]
    if not scenes:
        return {}
    boxes = np.concatenate([scene.boxes_xyxy for scene in scenes])
    sizes = np.repeat([scene.size_wh for scene in scenes], [len(scene) for scene in scenes], axis=0)
    wanted = ~np.concatenate([scene.is_crowd for scene in scenes])
    ids = np.concatenate([scene.category_ids for scene in scenes])[wanted]
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 / sizes)[wanted]
    x, y = np.clip((centres * _GRID).astype(np.int64), 0, _GRID - 1).T
    categories, positions = np.unique(ids, return_inverse=True)
    counts = np.zeros((len(categories), _GRID, _GRID), np.int64)
    np.add.at(counts, (positions, y, x), 1)
    return dict(zip(categories.tolist(), counts, strict=True))


def licences_of(dataset: Dataset) -> list[str]:
    """Return the names of the licences that the annotation file gives for its images."""
    listed = dataset.document.get("licenses")
    names = (
        [each.get("name") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    )
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def now() -> str:
    """Return the time in words."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
