"""What a run writes down: attempts, decoys, new images, shards. Frozen, each with one JSON form.

In JSON an attempt and a decoy are flat, without the keys that don't apply: what was planned is there once a window was
planned, the judgement once one was painted. `from_json` checks types and what belongs together and raises ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

from augsynth.core.flat import FlatFields, flat_struct
from augsynth.core.scene import Reason

Box = tuple[float, float, float, float]
Window = tuple[int, int, int, int]
Position = Annotated[int, msgspec.Meta(ge=0)]
Side = Literal["insert", "replace"]


class Rle(Struct, frozen=True):
    """A compressed COCO mask: (height, width) and the counts as text."""

    size: tuple[int, int]
    counts: str


class ObjectMask(Struct, frozen=True):
    """The visible mask of a new object, and who found it: `detector`, `matting`, `segmenter` or `bank`."""

    by: str
    rle: Rle


class Extra(Struct, frozen=True):
    """A second object that painting brought along and that is labelled, too; its masks as in `Judgement`."""

    category_id: int
    box_xyxy: Box
    score: float
    mask: ObjectMask | UnsetType | None = UNSET
    whole_mask: ObjectMask | UnsetType = UNSET


class PlannedObject(Struct, frozen=True, omit_defaults=True):
    """What was to be painted, and where.

    Attributes:
        planned_xyxy: Box of the object in pixels of the image.
        window_xyxy: The square window that is repainted.
        anchor_annotation_id: The annotation beside which the place was proposed; new objects have negative ones.
        alignment_score: Of the place; 0 where it was drawn without one.
        prompt, negative_prompt: Text; no negative one where the run's own holds.
        seed: Of the object.
        init_image: Position in its bank of the real object that painting started from; unset where it started from
            noise.
        painted_xyxy: Bounds of the latent cells that were repainted, in pixels of the image; outside of the whole
            pixels that hold them none changed.
    """

    planned_xyxy: Box
    window_xyxy: Window
    anchor_annotation_id: int | None
    alignment_score: float
    prompt: str
    seed: int
    negative_prompt: str | None = None
    init_image: int | UnsetType = UNSET
    painted_xyxy: Box | UnsetType = UNSET


class Judgement(Struct, frozen=True, omit_defaults=True):
    """What was found where the object was painted.

    Attributes:
        score, iou, box_xyxy: As of `Verdict`.
        found_category_id, found_score: As of `Verdict`: the class that was found instead.
        class_rank, class_probability: As of `Standing`, where a classifier looked.
        class_found: The label that a classifier found instead, where the rank isn't 1.
        extras: Second objects that are labelled, too.
        tile: Position of the window's picture in the shard, where one is kept.
        surplus: Whether the object was accepted, but more than were wanted; it is in no image.
        vetoed: Whether a person took the accepted object out; it is in no image.
        mask: What is visible; None where none is to be believed, unset where none was looked for.
        whole_mask: The mask before later objects covered a part of it; unset where none did.
    """

    score: float
    iou: float
    box_xyxy: Box | None
    found_category_id: int | None = None
    found_score: float | None = None
    class_rank: int | None = None
    class_probability: float | None = None
    class_found: str | None = None
    extras: tuple[Extra, ...] = ()
    tile: Position | None = None
    surplus: bool = False
    vetoed: bool = False
    mask: ObjectMask | UnsetType | None = UNSET
    whole_mask: ObjectMask | UnsetType = UNSET


class Attempt(Struct, frozen=True, omit_defaults=True):
    """One attempt at a new object, from its plan to its verdict.

    Attributes:
        job: Number of the new image in the run.
        source_image_id: The image that is edited.
        reason: The verdict.
        slot, retry: Which new object of the image, and which attempt at it; None where the image couldn't be read.
        category_id: None where no category was left, unset where the image couldn't be read.
        mode: What was done, in runs that don't only insert.
        replaced_annotation_id, replaced_category_id: The object that made way.
        detail: Why the image couldn't be read.
        plan: None where there was no category, object or place.
        judgement: Of what was painted.

    Raises:
        ValueError: A judgement without a plan, a plan without a category, or an accepted object without a box.
    """

    job: int
    source_image_id: int
    reason: Reason
    slot: int | None = None
    retry: int | None = None
    category_id: int | UnsetType | None = UNSET
    mode: Side | None = None
    replaced_annotation_id: int | None = None
    replaced_category_id: int | None = None
    detail: str | None = None
    plan: PlannedObject | None = None
    judgement: Judgement | None = None

    def __post_init__(self) -> None:
        plan, judgement = self.plan, self.judgement
        if (plan is None) != (judgement is None):
            raise ValueError("a plan comes with a judgement, and a judgement with a plan")
        if plan is not None and not isinstance(self.category_id, int):
            raise ValueError("a plan needs a category_id")
        if self.reason is Reason.ACCEPTED and (judgement is None or judgement.box_xyxy is None):
            raise ValueError("an accepted object needs a box_xyxy")

    @property
    def accepted(self) -> bool:
        """Whether the filter accepted the object."""
        return self.reason is Reason.ACCEPTED

    @property
    def kept(self) -> bool:
        """Whether the object is in a written image."""
        judgement = self.judgement
        return self.accepted and judgement is not None and not (judgement.surplus or judgement.vetoed)

    @property
    def mask(self) -> ObjectMask | None:
        """The object's mask, None where there is none to be believed or none was looked for."""
        found = UNSET if self.judgement is None else self.judgement.mask
        return found if isinstance(found, ObjectMask) else None

    @property
    def extras(self) -> tuple[Extra, ...]:
        """Second objects that are labelled, too."""
        return () if self.judgement is None else self.judgement.extras

    @property
    def painted(self) -> PaintedParts:
        """Category, plan and judgement of an attempt that was painted.

        Raises:
            ValueError: Nothing was.
        """
        if self.plan is None or self.judgement is None or not isinstance(self.category_id, int):
            raise ValueError(f"nothing was painted: {self.reason}")
        return PaintedParts(self.category_id, self.plan, self.judgement)

    def judged(self, **changes: Any) -> Attempt:
        """Return the attempt with a changed judgement."""
        return msgspec.structs.replace(
            self, judgement=msgspec.structs.replace(self.painted.judgement, **changes)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        values.update(values.pop("plan", ()))
        values.update(values.pop("judgement", ()))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the record of plain values; other keys are passed over."""
        return cls.of_flat(msgspec.convert(values, _FlatAttempt))

    @classmethod
    def of_flat(cls, flat: Any) -> Self:
        """Return the record of a `_FlatAttempt`."""
        plan = None if flat.planned_xyxy is UNSET else _PLAN.made_of(flat)
        judgement = None if flat.score is UNSET else _JUDGEMENT.made_of(flat)
        return cls(*(*_OWN.values_of(flat), plan, judgement))


_OWN, _PLAN, _JUDGEMENT = (
    FlatFields(Attempt, but=("plan", "judgement")),
    FlatFields(PlannedObject),
    FlatFields(Judgement),
)
_FlatAttempt = flat_struct("_FlatAttempt", _OWN, _PLAN, _JUDGEMENT)


class PaintedParts(Struct, frozen=True):
    """What there is of an attempt that was painted."""

    category_id: int
    plan: PlannedObject
    judgement: Judgement

    @property
    def label_xyxy(self) -> Box:
        """The accepted box.

        Raises:
            ValueError: The object wasn't found.
        """
        if self.judgement.box_xyxy is None:
            raise ValueError("the object wasn't found")
        return self.judgement.box_xyxy


class PlannedDecoy(Struct, frozen=True, kw_only=True):
    """A window that was repainted without an object; outside of `painted_xyxy` no pixel changes."""

    planned_xyxy: Box
    window_xyxy: Window
    painted_xyxy: Window
    prompt: str
    seed: int


class Decoy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt at a decoy; its size and place are drawn as those of `like_category_id` are.

    Raises:
        ValueError: It was accepted without a plan.
    """

    job: int
    source_image_id: int
    slot: int
    retry: int
    like_category_id: int
    reason: Reason
    plan: PlannedDecoy | None = None

    def __post_init__(self) -> None:
        if self.accepted and self.plan is None:
            raise ValueError("an accepted decoy needs a planned_xyxy")

    @property
    def accepted(self) -> bool:
        """Whether it is in its image."""
        return self.reason is Reason.ACCEPTED

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {**values.pop("plan", {}), **values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the record of plain values; other keys are passed over."""
        return msgspec.convert({**values, **({"plan": values} if "planned_xyxy" in values else {})}, cls)


class NewImage(Struct, frozen=True, kw_only=True):
    """A new image.

    Attributes:
        job: Its number in the run.
        file_name: Of the written file; there is none where all objects were vetoed.
        source_image_id: The image that was edited.
        size_wh: Of the file.
        attempts: Positions of its objects among the shard's attempts.
        vetoed: Positions of those that were taken out again.
    """

    job: int
    file_name: str
    source_image_id: int
    size_wh: tuple[int, int]
    attempts: tuple[int, ...]
    vetoed: tuple[int, ...] = ()

    @property
    def is_written(self) -> bool:
        """Whether there is a file."""
        return bool(self.attempts) or not self.vetoed


class ShardRecord(Struct, frozen=True, kw_only=True):
    """A unit of work: some new images, every attempt made for them, and every decoy.

    Attributes:
        jobs: New images that were begun.
        part, parts: Which shard of its round it is, from 0, and how many the round has.

    Raises:
        ValueError: It is no part of its round, an image names an attempt that the shard hasn't or that wasn't kept,
            or a decoy no image.
    """

    jobs: int
    part: int = 0
    parts: int = 1
    attempts: tuple[Attempt, ...] = ()
    decoys: tuple[Decoy, ...] = ()
    images: tuple[NewImage, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.part < self.parts:
            raise ValueError(f"part {self.part} of {self.parts} isn't possible")
        for image in self.images:
            for number in image.attempts:
                if not 0 <= number < len(self.attempts) or not self.attempts[number].kept:
                    raise ValueError(f"image {image.file_name} names attempt {number}, which isn't kept")
            if any(not 0 <= number < len(self.attempts) for number in image.vetoed):
                raise ValueError(f"image {image.file_name} names a vetoed attempt that isn't there")
        strange = {decoy.job for decoy in self.decoys} - {image.job for image in self.images}
        if strange:
            raise ValueError(f"a decoy names job {min(strange)}, which has no image")

    @property
    def num_tiles(self) -> int:
        """Pictures of windows that the attempts name."""
        tiles = (a.judgement.tile for a in self.attempts if a.judgement is not None)
        return max((tile + 1 for tile in tiles if tile is not None), default=0)

    def to_bytes(self) -> bytes:
        """Return the JSON text of the record."""
        values = {
            "jobs": self.jobs,
            "part": self.part,
            "parts": self.parts,
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "decoys": [decoy.to_json() for decoy in self.decoys],
            "images": msgspec.to_builtins(self.images),
        }
        return json.dumps(values, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> ShardRecord:
        """Return the record of a JSON text.

        Raises:
            ValueError: It is no JSON, a key is missing or a value is wrong.
        """
        values = msgspec.json.decode(text, type=_ShardJson)
        return cls(
            jobs=values.jobs,
            part=values.part,
            parts=values.parts,
            attempts=tuple(map(Attempt.of_flat, values.attempts)),
            decoys=tuple(Decoy.from_json(decoy) for decoy in values.decoys),
            images=values.images,
        )


class _ShardJson(Struct):
    jobs: int
    attempts: list[_FlatAttempt]  # type: ignore[valid-type]
    decoys: list[dict[str, Any]]
    images: tuple[NewImage, ...]
    part: int = 0
    parts: int = 1


class PlainShard(Struct):
    """What is published of a shard that was checked: its images, and attempts and decoys as they stand in JSON."""

    attempts: list[dict[str, Any]]
    decoys: list[dict[str, Any]]
    images: tuple[NewImage, ...]

    @classmethod
    def of(cls, record: ShardRecord) -> PlainShard:
        """Return it of a record."""
        return msgspec.json.decode(record.to_bytes(), type=cls)

    def in_images(self) -> dict[int, Attempt]:
        """Return the attempts that images name, kept or vetoed, by number."""
        numbers = (number for image in self.images for number in (*image.attempts, *image.vetoed))
        return {number: Attempt.from_json(self.attempts[number]) for number in numbers}


class RunState(Struct, frozen=True, kw_only=True):
    """What `run.json` says: whether the run is finished, and what it depends on."""

    status: Literal["running", "finished"]
    fingerprint: dict[str, Any]
    format: Literal[1] = 1
