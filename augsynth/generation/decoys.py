"""Decoys: windows repainted without an object and without a label, so that being repainted is no sign of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from augsynth.core.boxes import intersections
from augsynth.core.scene import Detections, Reason
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.filtering.judge import judge_decoy
from augsynth.generation.context import Studio
from augsynth.generation.stages import (
    Canvas,
    Trial,
    draw_place,
    look,
    make_plan,
    paint,
    start_trial,
)
from augsynth.inpainting.prompts.book import BACKGROUND_PROMPT

DRAWS = 8  # places that are drawn for one decoy until one is free


def paint_decoys(studio: Studio, canvases: Sequence[Canvas]) -> list[dict[str, Any]]:
    """Paint decoys into new images that have their objects.

    A decoy is drawn as an object is: its size and place are those of a category that the image has just got. It
    touches no annotated object and nothing that was repainted. One that is turned down leaves no pixel and is tried
    elsewhere, `retries` times in all.

    Args:
        studio: What the run works with; its options say how many decoys there are for each new object.
        canvases: Images with at least one new object; their pixels change.

    Returns:
        One record for each decoy that was tried, with its reason.
    """
    records: list[dict[str, Any]] = []
    numbers = {id(canvas): _how_many(studio, canvas) for canvas in canvases}
    for slot in range(max(numbers.values(), default=0)):
        waiting = [canvas for canvas in canvases if numbers[id(canvas)] > slot]
        for retry in range(studio.config.run.retries):
            trials = [t for c in waiting if (t := _plan(studio, c, slot, retry, records)) is not None]
            paint(studio, trials)
            done = {id(trial.canvas) for trial in _judge(studio, trials, records)}
            waiting = [canvas for canvas in waiting if id(canvas) not in done]
    return records


def _how_many(studio: Studio, canvas: Canvas) -> int:
    """Return the number of decoys of an image: right on average, drawn where it isn't whole."""
    rng = derive_rng(studio.config.run.seed, "decoys", canvas.job, canvas.source.image_id)
    return int(studio.config.run.decoys * len(canvas.accepted) + rng.random())


def _plan(
    studio: Studio, canvas: Canvas, slot: int, retry: int, records: list[dict[str, Any]]
) -> Trial | None:
    """Plan a decoy and record it; None where there is no room."""
    key = (canvas.job, canvas.source.image_id, slot, retry)
    seed = derive_seed(studio.config.run.seed, "decoy", *key)
    rng = derive_rng(seed, "place")
    category = int(rng.choice(canvas.scene.category_ids[-len(canvas.accepted) :]))
    record = {"job": canvas.job, "source_image_id": canvas.source.image_id, "slot": slot, "retry": retry}
    records.append({**record, "like_category_id": category, "reason": Reason.NO_REGION})
    trial = _free_trial(studio, canvas, category, rng, seed=seed, number=len(records) - 1)
    if trial is not None:
        # Where objects start from a donor, a decoy starts from what is there: both are repainted as far.
        trial.sketch = None if studio.donors is None else canvas.image
        records[-1].update(
            planned_xyxy=trial.plan.placement.box_xyxy.tolist(),
            window_xyxy=trial.plan.window_xyxy.tolist(),
            painted_xyxy=trial.painted_xyxy.astype(int).tolist(),
            prompt=trial.plan.prompt,
            seed=seed,
        )
    return trial


def _free_trial(
    studio: Studio, canvas: Canvas, category_id: int, rng: np.random.Generator, *, seed: int, number: int
) -> Trial | None:
    """Draw places until what would be repainted touches no object and nothing repainted, down to whole cells."""
    rules = replace(studio.placement_rules, max_overlap=0.0)
    taken = np.vstack([canvas.scene.boxes_xyxy, *canvas.painted])
    for _ in range(DRAWS):
        placement = draw_place(studio, canvas, category_id, rng, rules=rules)
        if isinstance(placement, Reason):
            return None
        plan = make_plan(studio, canvas.scene, placement, seed=seed)
        if plan is None:
            continue
        trial = start_trial(
            studio, canvas, replace(plan, prompt=BACKGROUND_PROMPT, negative_prompt=None), number=number
        )
        if not intersections(trial.painted_xyxy[None], taken).any():
            return trial
    return None


def _judge(studio: Studio, trials: Sequence[Trial], records: Sequence[dict[str, Any]]) -> list[Trial]:
    """Return the trials that stay in their images."""
    kept = []
    for trial, after in zip(trials, look(studio, trials), strict=True):
        reason = records[trial.number]["reason"] = _verdict(studio, trial, after)
        if reason is Reason.ACCEPTED:
            trial.canvas.image, trial.canvas.seen = trial.stitched, after
            trial.canvas.painted.append(trial.painted_xyxy)
            kept.append(trial)
    return kept


def _verdict(studio: Studio, trial: Trial, after: Detections) -> Reason:
    if trial.is_blank:
        return Reason.BLANK
    if studio.thresholds is None:
        return Reason.ACCEPTED
    before = trial.canvas.seen
    assert before is not None  # `look` has just set it
    return judge_decoy(
        trial.plan,
        before=before,
        after=after,
        scene=trial.canvas.scene,
        thresholds=studio.thresholds,
        rules=studio.filter_rules,
    )
