"""What a report says, as frozen values: they hold no pictures, and come from a run that goes on or is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from augsynth.core.scene import IntArray
from augsynth.filtering.grading import LabelTruth
from augsynth.filtering.real_objects import FilterRow

Status = Literal["running", "finished", "stopped"]


@dataclass(frozen=True, slots=True)
class CategoryLine:
    """What became of a category.

    Attributes:
        category_id: COCO id.
        name: As in the dataset.
        before, after: Objects in the dataset, and with those that were painted.
        attempts, accepted, kept: Attempts, accepted ones, and those of them in a written image.
        rejected: Reason -> number.
        real: What the filter says of its real objects, None where nothing was asked.
        scores: Of painted objects.
    """

    category_id: int
    name: str
    before: int
    after: int
    attempts: int
    accepted: int
    kept: int
    rejected: Mapping[str, int]
    real: FilterRow | None
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What an accepted object costs.

    Attributes:
        seconds: That processes of this start of the command took for painting, detecting, judging and writing, summed.
        processes: That paint side by side.
        attempts, accepted: In that time; shards that were there before, or that another start of the command painted
            meanwhile, aren't among them.
        samples_per_window: Windows that go through the denoiser for one attempt; None where that isn't known.
        painted: Windows of the whole run that were painted, for objects and decoys.
        all_accepted: Accepted attempts of the whole run.
    """

    seconds: float
    processes: int
    attempts: int
    accepted: int
    samples_per_window: int | None
    painted: int
    all_accepted: int

    @property
    def seconds_each(self) -> float | None:
        """Seconds of one process for an accepted object, None before the first."""
        return self.seconds / self.accepted if self.accepted else None

    @property
    def samples_each(self) -> float | None:
        """Denoiser samples for an accepted object, None before the first."""
        if self.samples_per_window is None or not self.all_accepted:
            return None
        return self.samples_per_window * self.painted / self.all_accepted


@dataclass(frozen=True, slots=True)
class Copies:
    """How many accepted objects are nearly the same as a real one.

    Attributes:
        compared: Accepted objects that were compared: those shown that didn't start from a real one.
        alike: Those of them that are nearly the same as a real one of their category.
        real: Real objects that they were compared with.
    """

    compared: int
    alike: int
    real: int

    @property
    def many(self) -> bool:
        """Whether that is more than real objects are alike by chance."""
        return self.alike > 0.05 * self.compared


@dataclass(frozen=True, slots=True)
class Model:
    """A model that took part: what it did, its name, revision, licence and SHA-256; empty where unknown."""

    part: str
    name: str
    revision: str
    licence: str
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A run.

    Attributes:
        title: Name of the run's folder.
        folder: The run's folder, as it was given.
        status: Whether the run goes on, is published, or stopped for a decision.
        written: When, in words.
        wanted, accepted, attempts, images: Objects asked for and in written images; attempts; new images.
        reasons: Attempts by verdict.
        advice: Reason -> (what it means, what to do).
        ended: Why the run has fewer objects than were wanted, as a sentence; empty where it hasn't.
        filtered: Whether anything judged the objects.
        categories: Most attempts first.
        cost: Of an accepted object.
        grid: Category id -> (G, G) numbers of real objects by the cell of the image in which their centre lies.
        options: Option -> (value, whether it differs from the usual one).
        command: What repeats the run.
        models: That took part.
        data_licences: Of the dataset.
        notices: What the user was told before painting.
        truth: What an independent detector makes of the labels; None where there is none, or it hasn't looked yet.
        copies: How many painted objects are nearly real ones; None where none was compared.
    """

    title: str
    folder: str
    status: Status
    written: str
    wanted: int
    accepted: int
    attempts: int
    images: int
    reasons: Mapping[str, int]
    advice: Mapping[str, tuple[str, str]]
    ended: str
    filtered: bool
    categories: Sequence[CategoryLine]
    cost: Cost
    grid: Mapping[int, IntArray]
    options: Mapping[str, tuple[Any, bool]]
    command: str
    models: Sequence[Model]
    data_licences: Sequence[str]
    notices: Sequence[str]
    truth: LabelTruth | None = None
    copies: Copies | None = None

    @property
    def yield_share(self) -> float:
        """Accepted verdicts over attempts, 0 before the first."""
        return self.reasons.get("accepted", 0) / self.attempts if self.attempts else 0.0
