"""New objects: how an attempt is planned, and how it is written down."""

from __future__ import annotations

from dataclasses import replace

from msgspec import UNSET

from augsynth.core.records import Attempt, Extra, Judgement, PlannedObject
from augsynth.core.scene import Reason, Verdict
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.generation.context import Painting, Placing
from augsynth.generation.edits import Edit, draw_edit
from augsynth.generation.planning import InitImage, PlannedWindow, make_plan, plan_cells, start_change
from augsynth.generation.statistics import CategoryYields
from augsynth.generation.working_image import WorkingImage
from augsynth.inpainting.change_map import KEEPS_CORE
from augsynth.inpainting.stitching import cells_xyxy
from augsynth.pasting.init_images import put


def plan_object(
    placing: Placing,
    painting: Painting,
    image: WorkingImage,
    yields: CategoryYields,
    *,
    slot: int,
    retry: int,
    seed: int,
) -> PlannedWindow | Attempt | None:
    """Plan an attempt at a new object.

    Args:
        placing, painting: What the run works with.
        image: The new image.
        yields: What the run has done so far.
        slot: Number of the new object in its image.
        retry: Number of the attempt at it.
        seed: Of the run.

    Returns:
        The window; or the finished record where there is no category, object or place; or None where trying again
        wouldn't find an object that may be replaced.
    """
    key = (image.job, image.source.image_id, slot, retry)
    edit = draw_edit(placing, image, yields, derive_rng(seed, "plan", *key), slot=slot, seed=seed)
    if isinstance(edit.placement, Reason):
        if edit.placement is Reason.NO_OBJECT and retry:
            return None
        return _unplanned(edit, edit.placement, image, slot=slot, retry=retry)
    scene = image.scene if edit.replaced is None else edit.replaced.rest
    object_seed = derive_seed(seed, "object", *key)
    placement, start = edit.placement, None
    if edit.start is not None:
        start = put(image.pixels, edit.start.patch, placement.box_xyxy)
        placement = replace(placement, box_xyxy=start.box_xyxy)
    plan = make_plan(placing.rules, painting.prompts, scene, placement, seed=object_seed)
    if plan is None:
        return _unplanned(edit, Reason.NO_REGION, image, slot=slot, retry=retry)
    init = None
    if edit.start is not None and start is not None:
        gone = None if edit.replaced is None else edit.replaced.box_xyxy
        change = start_change(plan, scene, start.shown, strength=painting.strength, gone_xyxy=gone)
        patch = edit.start.patch
        outline = start.shown if patch.has_mask and not patch.estimated else None
        others = start.others if len(start.others) else None
        init = InitImage(start.pixels, change, edit.start.position, outline, patch, others)
    return PlannedWindow(
        image,
        slot,
        retry,
        plan,
        plan_cells(plan, num_cells=painting.num_cells),
        init=init,
        keeps_start=init is not None and painting.strength <= KEEPS_CORE,
        replaced=edit.replaced,
        mode=edit.mode,
    )


def unread_image(job: int, source_image_id: int, *, detail: str) -> Attempt:
    """Return the record of an image that can't be read."""
    return Attempt(job=job, source_image_id=source_image_id, reason=Reason.BAD_IMAGE, detail=detail)


def record_object(window: PlannedWindow, verdict: Verdict, *, tile: int | None) -> Attempt:
    """Return the record of an attempt that was painted and judged.

    Args:
        window: What was painted.
        verdict: Of the filter.
        tile: Position of its picture in the shard, None where none is kept.
    """
    plan, standing, replaced = window.plan, verdict.standing, window.replaced
    return Attempt(
        job=window.image.job,
        source_image_id=window.image.source.image_id,
        reason=verdict.reason,
        slot=window.slot,
        retry=window.retry,
        category_id=window.category_id,
        mode=window.mode,
        replaced_annotation_id=None if replaced is None else replaced.annotation_id,
        replaced_category_id=None if replaced is None else replaced.category_id,
        plan=PlannedObject(
            planned_xyxy=tuple(plan.placement.box_xyxy.tolist()),
            window_xyxy=tuple(plan.window_xyxy.tolist()),
            anchor_annotation_id=plan.placement.anchor_annotation_id,
            alignment_score=plan.placement.score,
            prompt=plan.prompt,
            seed=plan.seed,
            negative_prompt=plan.negative_prompt,
            init_image=UNSET if window.init is None or window.init.position is None else window.init.position,
            painted_xyxy=tuple(cells_xyxy(window.cells, plan.window_xyxy).tolist()),
        ),
        judgement=Judgement(
            score=verdict.score,
            iou=verdict.iou,
            box_xyxy=None if verdict.box_xyxy is None else tuple(verdict.box_xyxy.tolist()),
            found_category_id=verdict.found_category_id,
            found_score=verdict.found_score,
            class_rank=None if standing is None else standing.rank,
            class_probability=None if standing is None else standing.probability,
            class_found=None if standing is None or standing.rank == 1 else standing.best or None,
            extras=_extras(verdict),
            tile=tile,
        ),
    )


def _extras(verdict: Verdict) -> tuple[Extra, ...]:
    found = verdict.extras
    if found is None:
        return ()
    rows = zip(found.category_ids.tolist(), found.boxes_xyxy.tolist(), found.scores.tolist(), strict=True)
    return tuple(Extra(category_id, tuple(box), score) for category_id, box, score in rows)


def _unplanned(edit: Edit, reason: Reason, image: WorkingImage, *, slot: int, retry: int) -> Attempt:
    replaced = edit.replaced
    return Attempt(
        job=image.job,
        source_image_id=image.source.image_id,
        reason=reason,
        slot=slot,
        retry=retry,
        category_id=edit.category_id,
        mode=edit.mode,
        replaced_annotation_id=None if replaced is None else replaced.annotation_id,
        replaced_category_id=None if replaced is None else replaced.category_id,
    )
