"""The loop: plan, paint, look, judge, settle; nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.coco.writer import new_file_name
from augsynth.core.errors import DatasetError
from augsynth.core.images import read_image, write_image
from augsynth.core.scene import Detections, Image, Plan, Reason, Scene, Verdict
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.filtering.judge import judge, judge_class, unfiltered
from augsynth.filtering.judge_replacement import judge_replacement
from augsynth.generation.context import Studio
from augsynth.generation.decoys import paint_decoys
from augsynth.generation.edits import draw_edit
from augsynth.generation.outlining import outline_objects
from augsynth.generation.stages import (
    Canvas,
    Trial,
    look,
    look_closely,
    make_plan,
    paint,
    start_trial,
)
from augsynth.generation.statistics import Counts

MAX_TILES = 48


@dataclass(slots=True)
class Shard:
    """A unit of work: some new images, every attempt made for them, and every decoy."""

    attempts: list[dict[str, Any]] = field(default_factory=list)
    decoys: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    tiles: list[NDArray[np.uint8]] = field(default_factory=list)


def source_order(num_scenes: int, *, seed: int) -> Iterator[int]:
    """Yield scene indices for ever: one shuffled pass over the dataset after another."""
    turn = 0
    while True:
        yield from (int(i) for i in derive_rng(seed, "order", turn).permutation(num_scenes))
        turn += 1


def paint_shard(
    studio: Studio,
    jobs: Sequence[tuple[int, Scene]],
    *,
    wanted: int,
    budget: int,
    before: Counts,
    image_dir: Path,
) -> Shard:
    """Paint new images for the jobs and write those that got an object.

    Args:
        jobs: Job number and source scene of each new image.
        wanted: Accepted objects still needed; later ones are dropped.
        budget: Attempts that may still be made.
        before: What the run has done so far; left as it is.
        image_dir: Where new images go.
    """
    shard = Shard()
    counts = Counts(Counter(before.tried), Counter(before.accepted))
    canvases = [c for job, scene in jobs if (c := _open(studio, job, scene, shard)) is not None]
    for slot in range(studio.config.slots):
        waiting = canvases
        for retry in range(studio.config.run.retries):
            waiting = waiting[: max(0, budget - len(shard.attempts))]
            trials = [t for c in waiting if (t := _plan(studio, c, slot, retry, counts, shard)) is not None]
            paint(studio, trials)
            verdicts = _judge(studio, trials, shard)
            for trial, verdict in zip(trials, verdicts, strict=True):
                if verdict.accepted:
                    counts.accepted[trial.plan.placement.category_id] += 1
            settled = {id(t.canvas) for t, v in zip(trials, verdicts, strict=True) if v.accepted}
            waiting = [c for c in waiting if id(c) not in settled]
    kept = _settle(canvases, wanted, shard)
    outline_objects(studio, kept, shard.attempts)
    shard.decoys = paint_decoys(studio, kept)
    for canvas in kept:
        shard.images.append(_write(studio, canvas, image_dir))
    return shard


def _open(studio: Studio, job: int, scene: Scene, shard: Shard) -> Canvas | None:
    try:
        return Canvas(job, scene, scene, read_image(studio.dataset, scene))
    except DatasetError as error:
        shard.attempts.append(
            {"job": job, "source_image_id": scene.image_id, "reason": Reason.BAD_IMAGE, "detail": str(error)}
        )
        return None


def _plan(
    studio: Studio, canvas: Canvas, slot: int, retry: int, counts: Counts, shard: Shard
) -> Trial | None:
    config = studio.config
    key = (canvas.job, canvas.source.image_id, slot, retry)
    record = {"job": canvas.job, "source_image_id": canvas.source.image_id, "slot": slot, "retry": retry}
    rng = derive_rng(config.run.seed, "plan", *key)
    edit = draw_edit(studio, canvas, counts, rng, slot=slot)
    category, placement = edit.category_id, edit.placement
    record.update(edit.notes)
    if category is not None:
        counts.tried[category] += 1
    if isinstance(placement, Reason):
        if placement is not Reason.NO_OBJECT or retry == 0:  # trying again wouldn't find one
            shard.attempts.append({**record, "category_id": category, "reason": placement})
        return None
    scene = canvas.scene if edit.replaced is None else edit.replaced.rest
    plan = make_plan(studio, scene, placement, seed=derive_seed(config.run.seed, "object", *key))
    if plan is None:
        shard.attempts.append({**record, "category_id": category, "reason": Reason.NO_REGION})
        return None
    shard.attempts.append(
        {
            **record,
            "category_id": placement.category_id,
            "planned_xyxy": placement.box_xyxy.tolist(),
            "window_xyxy": plan.window_xyxy.tolist(),
            "anchor_annotation_id": placement.anchor_annotation_id,
            "alignment_score": placement.score,
            "prompt": plan.prompt,
            "seed": plan.seed,
        }
    )
    if plan.negative_prompt is not None:
        shard.attempts[-1]["negative_prompt"] = plan.negative_prompt
    trial = start_trial(studio, canvas, plan, number=len(shard.attempts) - 1)
    trial.replaced = edit.replaced
    trial.sketch = _sketch(studio, canvas, plan, shard.attempts[-1])
    return trial


def _sketch(studio: Studio, canvas: Canvas, plan: Plan, record: dict[str, Any]) -> Image | None:
    """Return the canvas with a donor of the category in place, and note which; None without one."""
    if studio.donors is None:
        return None
    rng = derive_rng(plan.seed, "donor")
    box = plan.placement.box_xyxy
    donor = studio.donors.choose(plan.placement.category_id, box, rng)
    record["donor"] = donor
    return None if donor is None else studio.donors.put(canvas.image, donor, box, rng)


def _judge(studio: Studio, trials: Sequence[Trial], shard: Shard) -> list[Verdict]:
    found = look(studio, trials)
    verdicts = _classified(
        studio, trials, [_verdict(studio, t, after) for t, after in zip(trials, found, strict=True)]
    )
    for trial, after, verdict in zip(trials, found, verdicts, strict=True):
        canvas = trial.canvas
        record = shard.attempts[trial.number]
        record["reason"] = verdict.reason
        record["score"], record["iou"] = verdict.score, verdict.iou
        if verdict.standing is not None:
            record["class_rank"] = verdict.standing.rank
            record["class_probability"] = verdict.standing.probability
        record["box_xyxy"] = None if verdict.box_xyxy is None else [float(v) for v in verdict.box_xyxy]
        _keep_tile(trial, record, shard)
        if verdict.accepted and verdict.box_xyxy is not None:
            canvas.scene = trial.scene.adding(
                verdict.box_xyxy,
                category_id=trial.plan.placement.category_id,
                annotation_id=-trial.number - 1,
            )
            _label_extras(trial, verdict, record)
            canvas.image, canvas.seen = trial.stitched, after
            canvas.versions.append((canvas.scene, canvas.image))
            canvas.accepted.append(trial.number)
            canvas.painted.append(trial.painted_xyxy)
    return verdicts


def _label_extras(trial: Trial, verdict: Verdict, record: dict[str, Any]) -> None:
    """Add the second objects of an accepted attempt to its image's scene and to its record."""
    if verdict.extras is None:
        return
    rows = zip(verdict.extras.category_ids, verdict.extras.boxes_xyxy, verdict.extras.scores, strict=True)
    record["extras"] = [
        {"category_id": int(c), "box_xyxy": [float(v) for v in box], "score": float(score)}
        for c, box, score in rows
    ]
    canvas = trial.canvas
    for extra in record["extras"]:
        canvas.scene = canvas.scene.adding(
            np.array(extra["box_xyxy"]), category_id=extra["category_id"], annotation_id=-trial.number - 1
        )


def _classified(studio: Studio, trials: Sequence[Trial], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts after a classifier, where there is one, has looked at what was accepted so far."""
    judged = list(verdicts)
    if studio.classifier is None:
        return judged
    boxes = {k: v.box_xyxy for k, v in enumerate(judged) if v.accepted and v.box_xyxy is not None}
    standings = look_closely(studio.classifier, [(trials[k], box) for k, box in boxes.items()])
    for k, standing in zip(boxes, standings, strict=True):
        judged[k] = judge_class(judged[k], standing, rules=studio.filter_rules)
        if studio.detector is None:
            judged[k] = replace(judged[k], score=standing.probability)
    return judged


def _verdict(studio: Studio, trial: Trial, after: Detections) -> Verdict:
    if trial.is_blank:
        return Verdict(Reason.BLANK, None, 0.0, 0.0)
    if studio.detector is None or studio.thresholds is None:
        return unfiltered(trial.plan)
    before = trial.canvas.seen
    assert before is not None  # _judge has just looked
    if trial.replaced is not None:
        return judge_replacement(
            trial.plan,
            trial.replaced,
            before=before,
            after=after,
            thresholds=studio.thresholds,
            rules=studio.filter_rules,
        )
    return judge(
        trial.plan,
        before=before,
        after=after,
        scene=trial.scene,
        thresholds=studio.thresholds,
        rules=studio.filter_rules,
    )


def _keep_tile(trial: Trial, record: dict[str, Any], shard: Shard) -> None:
    """Keep before and after of the window, side by side, for the contact sheet."""
    kept = record["reason"] is Reason.ACCEPTED
    same = sum(1 for r in shard.attempts if "tile" in r and (r["reason"] is Reason.ACCEPTED) == kept)
    if same >= MAX_TILES:
        return
    x1, y1, x2, y2 = trial.plan.window_xyxy
    record["tile"] = len(shard.tiles)
    pair = [trial.canvas.image[y1:y2, x1:x2], trial.stitched[y1:y2, x1:x2]]
    shard.tiles.append(np.concatenate(pair, axis=1))


def _settle(canvases: Sequence[Canvas], wanted: int, shard: Shard) -> list[Canvas]:
    """Return the canvases that are written; objects beyond the wanted ones are taken back and marked."""
    kept, left = [], wanted
    for canvas in canvases:
        num = min(left, len(canvas.accepted))
        left -= num
        for number in canvas.accepted[num:]:
            shard.attempts[number]["surplus"] = True
        if num:
            canvas.keep(num)
            kept.append(canvas)
    return kept


def _write(studio: Studio, canvas: Canvas, image_dir: Path) -> dict[str, Any]:
    """Write a new image and return its record."""
    name = new_file_name(
        canvas.source.file_name,
        job=canvas.job,
        suffix=studio.config.output.image_format,
        taken={scene.file_name for scene in studio.dataset.scenes},
    )
    write_image(image_dir / name, canvas.image)
    return {
        "job": canvas.job,
        "file_name": name,
        "source_image_id": canvas.source.image_id,
        "size_wh": list(canvas.source.size_wh),
        "attempts": canvas.accepted,
    }
