"""Decoys: windows repainted without an object and without a label, so that being repainted is no sign of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from augsynth.core.boxes import intersections
from augsynth.core.records import Decoy, PlannedDecoy
from augsynth.core.scene import Reason, Verdict
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.generation.context import Painting, Placing
from augsynth.generation.planning import (
    InitImage,
    PlannedWindow,
    make_plan,
    painted_rectangle,
    plan_cells,
    start_change,
)
from augsynth.generation.working_image import WorkingImage
from augsynth.inpainting.prompts.book import BACKGROUND_PROMPT

DRAWS = 8  # places that are drawn for one decoy until one is free


def num_decoys(image: WorkingImage, *, share: float, seed: int) -> int:
    """Return the number of decoys of an image: right on average, drawn where it isn't whole.

    Args:
        image: With its new objects.
        share: Decoys for each new object.
        seed: Of the run.
    """
    rng = derive_rng(seed, "decoys", image.job, image.source.image_id)
    return int(share * len(image.accepted) + rng.random())


def plan_decoy(
    placing: Placing, painting: Painting, image: WorkingImage, *, slot: int, retry: int, seed: int
) -> PlannedWindow | Decoy:
    """Plan an attempt at a decoy.

    A decoy is drawn as an object is: its size and place are those of a category that the image has just got. It
    touches no annotated object and nothing that was repainted, down to whole cells.

    Args:
        placing, painting: What the run works with.
        image: With at least one new object.
        slot: Number of the decoy in its image.
        retry: Number of the attempt at it.
        seed: Of the run.

    Returns:
        The window, or the finished record where there is no room.
    """
    decoy_seed = derive_seed(seed, "decoy", image.job, image.source.image_id, slot, retry)
    rng = derive_rng(decoy_seed, "place")
    category = int(rng.choice(image.scene.category_ids[-len(image.accepted) :]))
    rules = replace(placing.rules, max_overlap=0.0)
    taken = np.vstack([image.scene.boxes_xyxy, *image.painted])
    for _ in range(DRAWS):
        place = placing.place(image.scene, image.pixels, category_id=category, rng=rng, rules=rules)
        if isinstance(place, Reason):
            break
        plan = make_plan(placing.rules, painting.prompts, image.scene, place, seed=decoy_seed)
        if plan is None:
            continue
        cells = plan_cells(plan, num_cells=painting.num_cells)
        if not intersections(painted_rectangle(plan, cells)[None], taken).any():
            plan = replace(plan, prompt=BACKGROUND_PROMPT, negative_prompt=None)
            # Where objects start from an init image, a decoy starts from what is there: both are repainted as far.
            init = None
            if placing.init_images is not None:
                nothing = np.zeros(image.pixels.shape[:2], np.bool_)
                change = start_change(plan, image.scene, nothing, strength=painting.strength, gone_xyxy=None)
                init = InitImage(image.pixels, change)
            return PlannedWindow(image, slot, retry, plan, cells, init, is_decoy=True)
    return Decoy(
        job=image.job,
        source_image_id=image.source.image_id,
        slot=slot,
        retry=retry,
        like_category_id=category,
        reason=Reason.NO_REGION,
    )


def record_decoy(window: PlannedWindow, verdict: Verdict) -> Decoy:
    """Return the record of a decoy that was painted and judged."""
    plan = window.plan
    return Decoy(
        job=window.image.job,
        source_image_id=window.image.source.image_id,
        slot=window.slot,
        retry=window.retry,
        like_category_id=window.category_id,
        reason=verdict.reason,
        plan=PlannedDecoy(
            planned_xyxy=tuple(plan.placement.box_xyxy.tolist()),
            window_xyxy=tuple(plan.window_xyxy.tolist()),
            painted_xyxy=tuple(window.painted_xyxy.astype(int).tolist()),
            prompt=plan.prompt,
            seed=plan.seed,
        ),
    )
