"""What a run has done so far, in all and for each category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from augsynth.core.scene import Reason
from augsynth.masking.sources import source_of

YIELD_PRIOR = 4.0  # attempts' worth of belief that a category is accepted as often as all are
LEAST_YIELD = 1 / 8  # of the yield of all: no category is tried more than 8 times as often


_WITHOUT_PLACE = (Reason.NO_CATEGORY, Reason.NO_REGION, Reason.BAD_IMAGE)


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
        finished: Whether the dataset has been published.
        notices: What the user should know before painting begins.
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
    finished: bool = False
    notices: list[str] = field(default_factory=list)

    def add(self, shard: Mapping[str, Any]) -> None:
        """Count a committed shard."""
        kept = _kept_attempts(shard)
        self.accepted += len(kept)
        self.kept.update(int(a["category_id"]) for a in kept)
        self.extras += sum(len(a.get("extras", ())) for a in kept)
        self.attempts += len(shard["attempts"])
        self.images += len(shard["images"])
        self.reasons += _count_reasons(shard["attempts"])
        for attempt in shard["attempts"]:
            if attempt.get("category_id") is not None:
                verdicts = self.by_category.setdefault(int(attempt["category_id"]), Counter())
                verdicts[str(attempt["reason"])] += 1
        self.decoys += _count_reasons(shard["decoys"])
        self.masks.update(source_of(a) for a in kept if "mask" in a)

    @property
    def counts(self) -> Counts:
        """Attempts and kept objects by category id, on which the choice of the next category depends."""
        tried = Counter({c: verdicts.total() for c, verdicts in self.by_category.items()})
        return Counts(tried, Counter(self.kept))

    @property
    def yield_share(self) -> float:
        """Accepted verdicts over attempts, 0 before the first."""
        return self.reasons["accepted"] / self.attempts if self.attempts else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each category that was attempted, most attempts first.

        A row has `category_id`, `category`, `attempts`, `planned` (those that got a place), `accepted` verdicts,
        `kept` (those of them in a written image), `yield` (accepted verdicts over attempts) and `rejected` (reason ->
        number).
        """
        rows = []
        for category_id, verdicts in self.by_category.items():
            rejected = {k: v for k, v in verdicts.most_common() if k != Reason.ACCEPTED}
            attempts, accepted = verdicts.total(), verdicts[Reason.ACCEPTED]
            rows.append(
                {
                    "category_id": category_id,
                    "category": self.names.get(category_id, str(category_id)),
                    "attempts": attempts,
                    "planned": attempts - sum(verdicts[reason] for reason in _WITHOUT_PLACE),
                    "accepted": accepted,
                    "kept": self.kept[category_id],
                    "yield": round(accepted / attempts, 4),
                    "rejected": rejected,
                }
            )
        return sorted(rows, key=lambda row: (-row["attempts"], row["category_id"]))

    def document(self) -> dict[str, Any]:
        """Return the tally as plain values for JSON."""
        return {
            "wanted": self.wanted,
            "objects": self.accepted,
            "extras": self.extras,
            "images": self.images,
            "attempts": self.attempts,
            "yield": round(self.yield_share, 4),
            "reasons": dict(self.reasons.most_common()),
            "decoys": dict(self.decoys.most_common()),
            "categories": self.rows(),
        }


def _count_reasons(attempts: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Return how often each verdict was given."""
    return Counter(str(attempt["reason"]) for attempt in attempts)


def _kept_attempts(shard: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the attempts whose object is in a written image."""
    return [a for a in shard["attempts"] if a["reason"] == Reason.ACCEPTED and not a.get("surplus", False)]


@dataclass(slots=True)
class Counts:
    """What a run has done so far, by category id.

    Attributes:
        tried: Attempts.
        accepted: Accepted objects.
    """

    tried: Counter[int] = field(default_factory=Counter)
    accepted: Counter[int] = field(default_factory=Counter)

    def relative_yield(self, category_id: int) -> float:
        """Return the category's accepted share over that of all, smoothed, from 1/8 to 1."""
        pooled = (self.accepted.total() + 1) / (self.tried.total() + 2)
        tried = self.tried[category_id] + YIELD_PRIOR
        own = (self.accepted[category_id] + YIELD_PRIOR * pooled) / tried
        return float(np.clip(own / pooled, LEAST_YIELD, 1.0))
