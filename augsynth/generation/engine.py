"""The loop: plan, paint, detect, judge, settle; the same for objects and for decoys."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from augsynth.coco.writer import new_file_name
from augsynth.core.errors import DatasetError
from augsynth.core.images import read_image
from augsynth.core.records import Attempt, Decoy, NewImage, ShardRecord
from augsynth.core.scene import Dataset, Image, Reason, Scene
from augsynth.generation.context import RunContext
from augsynth.generation.decoys import num_decoys, plan_decoy, record_decoy
from augsynth.generation.objects import plan_object, record_object, unread_image
from augsynth.generation.planning import PlannedWindow
from augsynth.generation.rounds import ShardPlan, source_scenes
from augsynth.generation.stages import JudgedWindow, paint_and_judge, settle, visible_masks
from augsynth.generation.statistics import CategoryYields
from augsynth.generation.undoing import Under, lying_under, recorded_masks
from augsynth.generation.working_image import WorkingImage
from augsynth.inpainting.change_map import KEEPS_CORE

MAX_TILES = 48  # of accepted objects, and of others, that a shard keeps in full size
SMALL_TILE_PX = 256
Tile = NDArray[np.uint8]
WriteImage = Callable[[str, Image], None]
Record = TypeVar("Record", Attempt, Decoy)


@dataclass(frozen=True, slots=True, eq=False)
class PaintedShard:
    """A unit of work.

    Attributes:
        record: What was done.
        tiles: The pictures of windows that its attempts name.
        under: What lay under objects that were painted over earlier ones.
    """

    record: ShardRecord
    tiles: list[Tile]
    under: Under = field(default_factory=dict)


def paint_shard(
    context: RunContext,
    jobs: Sequence[tuple[int, Scene]],
    *,
    wanted: int,
    budget: int,
    before: CategoryYields,
    write_image: WriteImage,
) -> PaintedShard:
    """Paint new images for the jobs and write those that got an object.

    Args:
        context: What the run works with.
        jobs: Job number and source scene of each new image.
        wanted: Accepted objects still needed; later ones are dropped.
        budget: Attempts that may still be made.
        before: What the run has done so far; left as it is.
        write_image: Called with `file_name` and pixels of each new image.
    """
    opened = [_open(context.dataset, job, scene) for job, scene in jobs]
    objects = _Objects(context, budget, before.copy(), [o for o in opened if isinstance(o, Attempt)])
    images = _fill(context, [o for o in opened if isinstance(o, WorkingImage)], objects)
    kept, attempts = _take_wanted(images, objects.records, wanted)
    _record_masks(context, kept, attempts)
    under = lying_under(kept, attempts)
    bare = [replace(image, versions=(), masks=()) for image in kept]
    kept, decoys = paint_decoys(context, bare)
    taken = {scene.file_name for scene in context.dataset.scenes}
    record = ShardRecord(
        jobs=len(jobs),
        attempts=tuple(attempts),
        decoys=tuple(decoys),
        images=tuple(_write(context, image, write_image, taken=taken) for image in kept),
    )
    return PaintedShard(record, objects.tiles, under)


def paint_planned(context: RunContext, plan: ShardPlan, *, write_image: WriteImage) -> PaintedShard:
    """Paint a shard of a run.

    Args:
        context: What the run works with.
        plan: What the shard does.
        write_image: As for `paint_shard`.
    """
    scenes = context.dataset.scenes
    painted = paint_shard(
        replace(context, placing=plan.placing(context.placing)),
        [
            (job, scenes[place])
            for job, place in source_scenes(len(scenes), plan.job_numbers, seed=context.loop.seed)
        ],
        wanted=plan.wanted,
        budget=plan.budget,
        before=plan.yields(context.placing),
        write_image=write_image,
    )
    return replace(painted, record=msgspec.structs.replace(painted.record, part=plan.part, parts=plan.parts))


def plan_first(
    context: RunContext, shards: Sequence[ShardPlan], *, most: int
) -> list[PlannedWindow | Attempt]:
    """Return the first attempt at each new image of some shards as the run plans them, without painting anything.

    Args:
        context: What the run works with.
        shards: Their plans.
        most: Attempts at most.
    """
    scenes, found = context.dataset.scenes, list[PlannedWindow | Attempt]()
    for shard in shards:
        own = replace(context, placing=shard.placing(context.placing))
        objects = _Objects(own, shard.budget, shard.yields(context.placing), [])
        for job, place in source_scenes(len(scenes), shard.job_numbers, seed=context.loop.seed):
            if len(found) == most:
                return found
            opened = _open(context.dataset, job, scenes[place])
            plan = opened if isinstance(opened, Attempt) else objects.plan(opened, 0, 0)
            if plan is not None:
                found.append(plan)
    return found


def paint_decoys(
    context: RunContext, images: Sequence[WorkingImage]
) -> tuple[list[WorkingImage], list[Decoy]]:
    """Paint decoys into new images that have their objects.

    One that is turned down leaves no pixel and is tried elsewhere, `retries` times in all.

    Args:
        context: What the run works with; its rules say how many decoys there are for each new object.
        images: With at least one new object each.

    Returns:
        The images, and a record of each decoy that was tried.
    """
    decoys = _Decoys(context)
    return _fill(context, images, decoys), decoys.records


class _Work(Protocol[Record]):
    """What is painted into new images.

    Attributes:
        records: Of each attempt so far, in order.
    """

    records: list[Record]

    def num_slots(self, image: WorkingImage) -> int:
        """Return how many are painted into an image."""

    def num_left(self) -> int | None:
        """Return how many attempts may still be made, None for any number."""

    def plan(self, image: WorkingImage, slot: int, retry: int) -> PlannedWindow | Record | None:
        """Return the window of an attempt; without one its record, or None where it is no attempt."""

    def record(self, judged: JudgedWindow) -> Record:
        """Return the record of an attempt that was judged."""


def _fill(context: RunContext, images: Sequence[WorkingImage], work: _Work[Record]) -> list[WorkingImage]:
    """Return the images with all that was accepted; each slot of an image has `retries` attempts.

    In each round every image that isn't full has its next attempt: at the same slot after a rejection, else at the
    next one.
    """
    now = {image.job: image for image in images}
    slots = {image.job: work.num_slots(image) for image in images}
    due = {job: (0, 0) for job in now if slots[job]}  # slot and number of the next attempt
    while asked := list(due.items())[: work.num_left()]:
        plans = [work.plan(now[job], slot, retry) for job, (slot, retry) in asked]
        judged = iter(_judged(context, [plan for plan in plans if isinstance(plan, PlannedWindow)]))
        for (job, (slot, retry)), plan in zip(asked, plans, strict=True):
            accepted = False
            if isinstance(plan, PlannedWindow):
                result = next(judged)
                now[job] = settle(result, number=len(work.records))
                work.records.append(work.record(result))
                accepted = result.verdict.accepted
            elif plan is not None:
                work.records.append(plan)
            ends = accepted or retry + 1 == context.loop.retries
            due[job] = (slot + 1, 0) if ends else (slot, retry + 1)
            if not isinstance(plan, PlannedWindow) and plan is not None and plan.reason is Reason.NO_CATEGORY:
                due[job] = (slots[job], 0)  # there is none for its other slots either
        due = {job: turn for job, turn in due.items() if turn[0] < slots[job]}
    return list(now.values())


def _judged(context: RunContext, windows: Sequence[PlannedWindow]) -> list[JudgedWindow]:
    """Paint windows and judge them, so many at a time as the run says."""
    size = context.loop.windows_together or max(1, len(windows))
    return [
        judged
        for low in range(0, len(windows), size)
        for judged in paint_and_judge(context.painting, context.judging, windows[low : low + size])
    ]


@dataclass(slots=True)
class _Objects:
    """The new objects of a shard.

    Attributes:
        budget: Attempts that may be made in the shard.
        yields: What the run has done so far, kept up to date.
        tiles: Windows before and after, side by side: for the contact sheets as they are, for the report alone small.
    """

    context: RunContext
    budget: int
    yields: CategoryYields
    records: list[Attempt]
    tiles: list[Tile] = field(default_factory=list)

    def num_slots(self, image: WorkingImage) -> int:
        return self.context.loop.slots

    def num_left(self) -> int:
        return max(0, self.budget - len(self.records))

    def plan(self, image: WorkingImage, slot: int, retry: int) -> PlannedWindow | Attempt | None:
        context = self.context
        plan = plan_object(
            context.placing,
            context.painting,
            image,
            self.yields,
            slot=slot,
            retry=retry,
            seed=context.loop.seed,
        )
        if plan is not None and isinstance(plan.category_id, int):
            self.yields.tried[plan.category_id] += 1
        if isinstance(plan, PlannedWindow):
            self.yields.pending[plan.category_id] += 1
            if plan.init is not None and plan.init.position is not None:
                self.yields.started[plan.init.position] += 1
        return plan

    def record(self, judged: JudgedWindow) -> Attempt:
        accepted = judged.verdict.accepted
        self.yields.pending[judged.window.category_id] -= 1
        init = judged.window.init
        if accepted:
            self.yields.accepted[judged.window.category_id] += 1
        elif init is not None and init.position is not None:
            self.yields.started[init.position] -= 1
        alike = sum(
            1 for attempt in self.records if attempt.accepted == accepted and attempt.judgement is not None
        )
        pair = _tile(judged)
        self.tiles.append(pair if alike < MAX_TILES else small_tile(pair))
        return record_object(judged.window, judged.verdict, tile=len(self.tiles) - 1)


@dataclass(slots=True)
class _Decoys:
    """The decoys of a shard."""

    context: RunContext
    records: list[Decoy] = field(default_factory=list)

    def num_slots(self, image: WorkingImage) -> int:
        loop = self.context.loop
        return num_decoys(image, share=loop.decoys, seed=loop.seed)

    def num_left(self) -> None:
        return None

    def plan(self, image: WorkingImage, slot: int, retry: int) -> PlannedWindow | Decoy:
        context = self.context
        return plan_decoy(
            context.placing, context.painting, image, slot=slot, retry=retry, seed=context.loop.seed
        )

    def record(self, judged: JudgedWindow) -> Decoy:
        return record_decoy(judged.window, judged.verdict)


def _open(dataset: Dataset, job: int, scene: Scene) -> WorkingImage | Attempt:
    try:
        return WorkingImage(job, scene, scene, read_image(dataset, scene))
    except DatasetError as error:
        return unread_image(job, scene.image_id, detail=str(error))


def _tile(judged: JudgedWindow) -> Tile:
    """Return a window before and after, side by side."""
    x1, y1, x2, y2 = judged.window.plan.window_xyxy
    pair = [judged.window.image.pixels[y1:y2, x1:x2], judged.pixels[y1:y2, x1:x2]]
    return np.concatenate(pair, axis=1)


def small_tile(pair: Tile) -> Tile:
    """Return a window before and after, no larger than the report shows it."""
    height, width = pair.shape[:2]
    scale = SMALL_TILE_PX / max(height, width // 2)
    if scale >= 1:
        return pair
    size = 2 * max(1, round(width // 2 * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pair, size, interpolation=cv2.INTER_AREA), np.uint8)


def _take_wanted(
    images: Sequence[WorkingImage], attempts: Sequence[Attempt], wanted: int
) -> tuple[list[WorkingImage], list[Attempt]]:
    """Return the images that are written and all records; objects beyond the wanted ones are taken back and marked."""
    kept, marked, left = [], list(attempts), wanted
    for image in images:
        num = min(left, len(image.accepted))
        left -= num
        for number in image.accepted[num:]:
            marked[number] = marked[number].judged(surplus=True)
        if num:
            kept.append(image.first(num))
    return kept, marked


def _record_masks(context: RunContext, images: Sequence[WorkingImage], attempts: list[Attempt]) -> None:
    """Put the masks of the objects that stay, as far as they are visible, into the attempts' records."""
    if context.judging.outliner is None:
        return
    for image in images:
        known = {number for number in image.accepted if _came_with_mask(context, attempts[number])}
        found = visible_masks(image, by=context.judging.outliner.name, known=known)
        for (number, seen), whole in zip(found.items(), image.masks, strict=True):
            by = context.judging.outliner.name
            own, *others = [recorded_masks(*each, by=by) for each in zip(seen, whole, strict=True)]
            extras = zip(attempts[number].painted.judgement.extras, others, strict=True)
            attempts[number] = attempts[number].judged(
                **own, extras=tuple(msgspec.structs.replace(extra, **masks) for extra, masks in extras)
            )


def _came_with_mask(context: RunContext, attempt: Attempt) -> bool:
    """Say whether an object's mask is that of the real object which painting started from."""
    starts, position = context.placing.init_images, attempt.painted.plan.init_image
    if starts is None or not isinstance(position, int) or context.painting.strength > KEEPS_CORE:
        return False
    return bool(starts.bank.has_masks[position]) and attempt.replaced_annotation_id is None


def _write(
    context: RunContext, image: WorkingImage, write_image: WriteImage, *, taken: Container[str]
) -> NewImage:
    """Write a new image and return its record."""
    name = new_file_name(
        image.source.file_name,
        job=image.job,
        suffix=context.loop.image_format,
        taken=taken,
    )
    write_image(name, image.pixels)
    return NewImage(
        job=image.job,
        file_name=name,
        source_image_id=image.source.image_id,
        size_wh=image.source.size_wh,
        attempts=image.accepted,
    )
