"""The loop: plan, paint, stitch, detect, judge, settle; nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.compose import cut_window, mask_cells, stitch
from augsynth.errors import DatasetError
from augsynth.geometry import clip_boxes, grow_box, square_window, view_around
from augsynth.images import read_image, write_image
from augsynth.inpaint import InpaintRequest
from augsynth.placement import propose, propose_uniform
from augsynth.prompts import nearest_categories
from augsynth.scene import Detections, Image, IntArray, Placement, Plan, Reason, Scene, Verdict
from augsynth.seeding import derive_rng, derive_seed
from augsynth.studio import Counts, Studio
from augsynth.verify import judge, unfiltered

MAX_TILES = 48


@dataclass(slots=True)
class Canvas:
    """A new image in the making.

    Attributes:
        job: Number of the new image in the run.
        source: The scene that is edited.
        scene: The scene with the accepted objects so far.
        image: Its pixels.
        versions: Pixels after each accepted object.
        accepted: Numbers of the accepted attempts within the shard.
        view_xyxy, seen: The last view and what the detector found in it.
    """

    job: int
    source: Scene
    scene: Scene
    image: Image
    versions: list[Image] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    view_xyxy: IntArray | None = None
    seen: Detections | None = None


@dataclass(slots=True)
class Shard:
    """A unit of work: some new images and every attempt made for them."""

    attempts: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    tiles: list[NDArray[np.uint8]] = field(default_factory=list)


@dataclass(slots=True)
class Trial:
    """One attempt on its way through the stages.

    Attributes:
        canvas: The new image it belongs to.
        number: Its place among the attempts of the shard.
        plan: What to paint and where.
        cells: (n, n) bool latent cells to repaint.
        stitched: (H, W, 3) uint8 canvas with the painted window.
        view_xyxy: (4,) part of the image that the detector looks at; the window where there is none.
        sketch: (H, W, 3) uint8 canvas with a donor in place, where painting starts from one.
    """

    canvas: Canvas
    number: int
    plan: Plan
    cells: NDArray[np.bool_]
    stitched: Image
    view_xyxy: IntArray
    sketch: Image | None = None


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
    for slot in range(studio.config.objects_per_image):
        waiting = canvases
        for retry in range(studio.config.retries):
            waiting = waiting[: max(0, budget - len(shard.attempts))]
            trials = [t for c in waiting if (t := _plan(studio, c, slot, retry, counts, shard)) is not None]
            paint(studio, trials)
            verdicts = _judge(studio, trials, shard)
            for trial, verdict in zip(trials, verdicts, strict=True):
                if verdict.accepted:
                    counts.accepted[trial.plan.placement.category_id] += 1
            settled = {id(t.canvas) for t, v in zip(trials, verdicts, strict=True) if v.accepted}
            waiting = [c for c in waiting if id(c) not in settled]
    _settle(studio, canvases, wanted, shard, image_dir)
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
    rng = derive_rng(config.seed, "plan", *key)
    category = studio.choose_category(canvas.scene, counts, rng)
    placement: Placement | Reason = Reason.NO_CATEGORY
    if category is not None:
        counts.tried[category] += 1
        placement = _place(studio, canvas, category, rng)
    if isinstance(placement, Reason):
        shard.attempts.append({**record, "category_id": category, "reason": placement})
        return None
    plan = make_plan(studio, canvas.scene, placement, seed=derive_seed(config.seed, "object", *key))
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
    negative = studio.prompts.negative(placement.category_id)
    if negative is not None:
        shard.attempts[-1]["negative_prompt"] = negative
    cells = mask_cells(
        plan.mask_xyxy, plan.window_xyxy, num_cells=studio.inpainter.size // studio.inpainter.cell
    )
    view = plan.window_xyxy
    if studio.detector is not None:
        view = view_around(view, canvas.scene.size_wh, side=studio.detector.view_px)
    sketch = _sketch(studio, canvas, plan, shard.attempts[-1])
    return Trial(canvas, len(shard.attempts) - 1, plan, cells, canvas.image, view, sketch)


def _sketch(studio: Studio, canvas: Canvas, plan: Plan, record: dict[str, Any]) -> Image | None:
    """Return the canvas with a donor of the category in place, and note which; None without one."""
    if studio.donors is None:
        return None
    rng = derive_rng(plan.seed, "donor")
    box = plan.placement.box_xyxy
    donor = studio.donors.choose(plan.placement.category_id, box, rng)
    record["donor"] = donor
    return None if donor is None else studio.donors.put(canvas.image, donor, box, rng)


def _place(studio: Studio, canvas: Canvas, category_id: int, rng: np.random.Generator) -> Placement | Reason:
    layout, rules = studio.layout, studio.placement_rules
    if studio.config.placement == "uniform":
        return propose_uniform(canvas.scene, category_id=category_id, layout=layout, rng=rng, rules=rules)
    return propose(
        canvas.scene,
        canvas.image,
        category_id=category_id,
        affinity=studio.affinity,
        layout=layout,
        appearance=studio.appearance,
        rng=rng,
        rules=rules,
    )


def make_plan(studio: Studio, scene: Scene, placement: Placement, *, seed: int) -> Plan | None:
    """Return the plan for a placement, or None when no square window of the image holds its mask."""
    mask = clip_boxes(
        grow_box(placement.box_xyxy, factor=studio.config.mask_growth, pad=0.5)[None], scene.size_wh
    )[0]
    window = square_window(
        mask,
        scene.size_wh,
        context=studio.placement_rules.context,
        min_side=studio.placement_rules.min_side,
    )
    if window is None:
        return None
    category_id = placement.category_id
    near = nearest_categories(scene, placement.box_xyxy, category_id=category_id, window_xyxy=window)
    prompt = studio.prompts.prompt(category_id, neighbour_ids=near, seed=seed)
    return Plan(placement, window, mask, prompt, seed)


def paint(studio: Studio, trials: Sequence[Trial]) -> None:
    """Paint the windows of all trials in batches and stitch them; a blanked window leaves the canvas's image."""
    requests = [
        InpaintRequest(
            cut_window(t.canvas.image, t.plan.window_xyxy, size=studio.inpainter.size),
            t.cells,
            t.plan.prompt,
            t.plan.seed,
            None
            if t.sketch is None
            else cut_window(t.sketch, t.plan.window_xyxy, size=studio.inpainter.size),
            studio.prompts.negative(t.plan.placement.category_id),
        )
        for t in trials
    ]
    for trial, picture in zip(trials, studio.inpainter.inpaint(requests), strict=True):
        if picture is None:
            continue
        trial.stitched, _ = stitch(
            trial.canvas.image,
            picture,
            window_xyxy=trial.plan.window_xyxy,
            cells=trial.cells,
            feather=studio.config.feather,
            rng=derive_rng(trial.plan.seed, "grain"),
        )


def _judge(studio: Studio, trials: Sequence[Trial], shard: Shard) -> list[Verdict]:
    stale = [
        t for t in trials if t.canvas.view_xyxy is None or not np.array_equal(t.canvas.view_xyxy, t.view_xyxy)
    ]
    for trial, seen in zip(stale, _look(studio, [(t.canvas.image, t.view_xyxy) for t in stale]), strict=True):
        trial.canvas.view_xyxy, trial.canvas.seen = trial.view_xyxy, seen
    found = _look(studio, [(t.stitched, t.view_xyxy) for t in trials])
    verdicts = []
    for trial, after in zip(trials, found, strict=True):
        canvas = trial.canvas
        verdict = _verdict(studio, trial, after)
        record = shard.attempts[trial.number]
        record["reason"] = verdict.reason
        record["score"], record["iou"] = verdict.score, verdict.iou
        record["box_xyxy"] = None if verdict.box_xyxy is None else [float(v) for v in verdict.box_xyxy]
        _keep_tile(trial, record, shard)
        if verdict.accepted and verdict.box_xyxy is not None:
            canvas.scene = canvas.scene.adding(
                verdict.box_xyxy,
                category_id=trial.plan.placement.category_id,
                annotation_id=-trial.number - 1,
            )
            canvas.image, canvas.seen = trial.stitched, after
            canvas.versions.append(trial.stitched)
            canvas.accepted.append(trial.number)
        verdicts.append(verdict)
    return verdicts


def _verdict(studio: Studio, trial: Trial, after: Detections) -> Verdict:
    if trial.stitched is trial.canvas.image:
        return Verdict(Reason.BLANK, None, 0.0, 0.0)
    if studio.detector is None or studio.thresholds is None:
        return unfiltered(trial.plan)
    before = trial.canvas.seen
    assert before is not None  # _judge has just looked
    return judge(
        trial.plan,
        before=before,
        after=after,
        scene=trial.canvas.scene,
        thresholds=studio.thresholds,
        rules=studio.filter_rules,
    )


def _look(studio: Studio, views: Sequence[tuple[Image, IntArray]]) -> list[Detections]:
    if studio.detector is None:
        return [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))] * len(views)
    crops = [np.ascontiguousarray(image[v[1] : v[3], v[0] : v[2]]) for image, v in views]
    if not crops:
        return []
    return [
        Detections(d.boxes_xyxy + np.tile(v[:2], 2), d.scores, d.category_ids)
        for d, (_, v) in zip(studio.detector.detect(crops), views, strict=True)
    ]


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


def _settle(studio: Studio, canvases: Sequence[Canvas], wanted: int, shard: Shard, image_dir: Path) -> None:
    left = wanted
    for canvas in canvases:
        kept = canvas.accepted[:left]
        left -= len(kept)
        for number in canvas.accepted[len(kept) :]:
            shard.attempts[number]["surplus"] = True
        if not kept:
            continue
        stem = Path(canvas.source.file_name).stem
        name = f"augsynth/{canvas.job:06d}_{stem}.{studio.config.image_format}"
        write_image(image_dir / name, canvas.versions[len(kept) - 1])
        shard.images.append(
            {
                "job": canvas.job,
                "file_name": name,
                "source_image_id": canvas.source.image_id,
                "size_wh": list(canvas.source.size_wh),
                "attempts": kept,
            }
        )
