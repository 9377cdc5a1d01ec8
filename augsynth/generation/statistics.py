"""What a run has done so far, in all and for each category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from augsynth.core.records import ShardRecord
from augsynth.core.scene import Reason
from augsynth.filtering.grading import LabelTruth
from augsynth.filtering.real_objects import FilterRow

YIELD_PRIOR = 4.0  # attempts' worth of belief that a category is accepted as often as all are
LEAST_YIELD = 1 / 8  # of the yield of all: no category is tried more than 8 times as often


_WITHOUT_PLACE = (Reason.NO_CATEGORY, Reason.NO_REGION, Reason.BAD_IMAGE)


class End(StrEnum):
    """Why a run ended."""

    ENOUGH = "enough"
    BUDGET = "attempts_spent"
    QUOTAS = "quotas_full"
    GIVEN_UP = "given_up"
    LOW_YIELD = "low_yield"
    VETOED = "vetoed"


class CategoryRow(msgspec.Struct, frozen=True, kw_only=True, rename={"yield_share": "yield"}):
    """What became of a category's attempts.

    Attributes:
        planned: Attempts that got a place.
        accepted: Accepted verdicts.
        kept: Those of them in a written image.
        yield_share: Accepted verdicts over attempts.
        rejected: Reason -> number.
    """

    category_id: int
    category: str
    attempts: int
    planned: int
    accepted: int
    kept: int
    yield_share: float
    rejected: dict[str, int]


@dataclass(slots=True)
class Tally:
    """What a run has done so far.

    Attributes:
        wanted: Accepted objects asked for.
        accepted: Objects in written images.
        attempts: Attempts made.
        images: New images.
        reasons: Attempts by verdict.
        by_category: Verdicts by category id.
        extras: Second objects that were labelled, too; not among the accepted.
        kept: Objects in written images by category id.
        decoys: Decoys by verdict; they are no attempts.
        masks: Objects in written images by who found their mask, None for those without one; empty without masks.
        names: Category names by COCO id, once they are known.
        filter_rows: What the filter says of real objects.
        started: Objects in written images by the position of their init image in its bank.
        given_up: Ids of categories that aren't tried any more.
        ended: Why the run ended, None before.
        finished: Whether the dataset has been published.
        notices: What the user should know before painting begins.
        struck: Accepted objects that a person took out, by category id; they count as accepted in the yield alone.
        truth: What an independent detector makes of the labels, once it has looked.
    """

    wanted: int
    accepted: int = 0
    attempts: int = 0
    images: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    by_category: dict[int, Counter[str]] = field(default_factory=dict)
    extras: int = 0
    kept: Counter[int] = field(default_factory=Counter)
    decoys: Counter[str] = field(default_factory=Counter)
    masks: Counter[str | None] = field(default_factory=Counter)
    names: Mapping[int, str] = field(default_factory=dict)
    filter_rows: tuple[FilterRow, ...] = ()
    started: Counter[int] = field(default_factory=Counter)
    given_up: set[int] = field(default_factory=set)
    ended: End | None = None
    finished: bool = False
    notices: list[str] = field(default_factory=list)
    struck: Counter[int] = field(default_factory=Counter)
    truth: LabelTruth | None = None

    def add(self, shard: ShardRecord) -> None:
        """Count a committed shard."""
        kept = [attempt for attempt in shard.attempts if attempt.kept]
        self.accepted += len(kept)
        self.kept.update(attempt.painted.category_id for attempt in kept)
        starts = [attempt.painted.plan.init_image for attempt in kept]
        self.started.update(position for position in starts if isinstance(position, int))
        self.extras += sum(len(attempt.painted.judgement.extras) for attempt in kept)
        self.attempts += len(shard.attempts)
        self.images += sum(image.is_written for image in shard.images)
        struck = [shard.attempts[number] for image in shard.images for number in image.vetoed]
        self.struck.update(attempt.painted.category_id for attempt in struck)
        self.reasons.update(str(attempt.reason) for attempt in shard.attempts)
        for attempt in shard.attempts:
            if isinstance(attempt.category_id, int):
                self.by_category.setdefault(attempt.category_id, Counter())[str(attempt.reason)] += 1
        self.decoys.update(str(decoy.reason) for decoy in shard.decoys)
        self.masks.update(
            None if attempt.mask is None else attempt.mask.by
            for attempt in kept
            if attempt.painted.judgement.mask is not UNSET
        )

    @property
    def yields(self) -> CategoryYields:
        """Attempts and kept objects by category id, on which the choice of the next category depends."""
        tried = Counter({c: verdicts.total() for c, verdicts in self.by_category.items()})
        return CategoryYields(
            tried, Counter(self.kept), started=Counter(self.started), struck=Counter(self.struck)
        )

    @property
    def vetoed(self) -> int:
        """Accepted objects that a person took out."""
        return self.struck.total()

    @property
    def surplus(self) -> int:
        """Accepted objects that are in no image, because they were more than were wanted."""
        return self.reasons["accepted"] - self.accepted - self.vetoed

    @property
    def yield_share(self) -> float:
        """Accepted verdicts over attempts, 0 before the first."""
        return self.reasons["accepted"] / self.attempts if self.attempts else 0.0

    def rows(self) -> list[CategoryRow]:
        """Return a row for each category that was attempted, most attempts first."""
        rows = [
            CategoryRow(
                category_id=category_id,
                category=self.names.get(category_id, str(category_id)),
                attempts=verdicts.total(),
                planned=verdicts.total() - sum(verdicts[reason] for reason in _WITHOUT_PLACE),
                accepted=verdicts[Reason.ACCEPTED],
                kept=self.kept[category_id],
                yield_share=round(verdicts[Reason.ACCEPTED] / verdicts.total(), 4),
                rejected={k: v for k, v in verdicts.most_common() if k != Reason.ACCEPTED},
            )
            for category_id, verdicts in self.by_category.items()
        ]
        return sorted(rows, key=lambda row: (-row.attempts, row.category_id))

    def document(self) -> dict[str, Any]:
        """Return the tally as plain values for JSON."""
        return {
            "wanted": self.wanted,
            "objects": self.accepted,
            **({"vetoed": self.vetoed} if self.vetoed else {}),
            "extras": self.extras,
            "images": self.images,
            "attempts": self.attempts,
            "yield": round(self.yield_share, 4),
            "reasons": dict(self.reasons.most_common()),
            "decoys": dict(self.decoys.most_common()),
            "ended": self.ended,
            "given_up": [self.names[category_id] for category_id in sorted(self.given_up)],
            **({} if self.truth is None else {"label_truth": self.truth.document()}),
            "real_objects": [_without_scores(row) for row in self.filter_rows],
            "categories": msgspec.to_builtins(self.rows()),
        }


def _without_scores(row: FilterRow) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(row)
    del values["scores"]
    return values


@dataclass(slots=True)
class CategoryYields:
    """What a run has done so far, by category id.

    Attributes:
        tried: Attempts.
        accepted: Accepted objects.
        pending: Objects that are being painted; a quota has room for them, or they aren't begun.
        started: By position in the bank of init images, objects that were accepted or are being painted.
        struck: Accepted objects that a person took out: no quota counts them, but a category that had one passes.
    """

    tried: Counter[int] = field(default_factory=Counter)
    accepted: Counter[int] = field(default_factory=Counter)
    pending: Counter[int] = field(default_factory=Counter)
    started: Counter[int] = field(default_factory=Counter)
    struck: Counter[int] = field(default_factory=Counter)

    def copy(self) -> CategoryYields:
        """Return one of its own to go on from."""
        return CategoryYields(
            Counter(self.tried),
            Counter(self.accepted),
            Counter(self.pending),
            Counter(self.started),
            Counter(self.struck),
        )

    def passed(self, category_id: int) -> int:
        """Return how many of a category's objects were accepted, those that a person took out included."""
        return self.accepted[category_id] + self.struck[category_id]

    def relative(self, category_id: int) -> float:
        """Return the category's accepted share over that of all, smoothed, from 1/8 to 1."""
        pooled = (self.accepted.total() + self.struck.total() + 1) / (self.tried.total() + 2)
        tried = self.tried[category_id] + YIELD_PRIOR
        own = (self.passed(category_id) + YIELD_PRIOR * pooled) / tried
        return float(np.clip(own / pooled, LEAST_YIELD, 1.0))
