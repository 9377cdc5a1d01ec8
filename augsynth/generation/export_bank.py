"""The object bank of a run: the accepted objects, cut out of the new images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from augsynth import __version__
from augsynth.bank.cutting import CutRules, box_opacity, crop_around, reduced
from augsynth.bank.reader import Cutout
from augsynth.bank.writer import BankWriter
from augsynth.core.boxes import clip_boxes, grow_box
from augsynth.core.images import read_image
from augsynth.core.masks import Mask, decoded
from augsynth.core.records import Attempt, Decoy, PlannedObject, ShardRecord
from augsynth.core.scene import Dataset, FloatArray, Image, Scene
from augsynth.inpainting.stitching import cells_xyxy, mask_cells
from augsynth.masking.matting import matte, soften
from augsynth.placement.ring_features import Rings

BANK = "bank"
_FEATHER_SHARE, _MIN_FEATHER = 0.06, 1.5


def write_bank(
    out: Path,
    dataset: Dataset,
    shards: Sequence[ShardRecord],
    *,
    mask_growth: float,
    num_cells: int,
    source: Mapping[str, Any],
) -> None:
    """Write `OUT/bank` from the new images; the same run gives the same bytes, however often it was stopped.

    Args:
        out: The run's directory, whose `images/` holds the new images.
        dataset: The source, with its images.
        shards: Committed records in order.
        mask_growth: Factor by which a box was grown into what was repainted.
        num_cells: Latent cells along a side of the painting model's window.
        source: The run's seed; names, revisions and digests of what painted and judged.
    """
    made_by = {"made_by": "augsynth generate", "version": __version__, **source}
    scenes = {scene.image_id: scene for scene in dataset.scenes}
    with BankWriter(out / BANK, categories=dataset.categories, source=made_by, replace=True) as writer:
        for shard in shards:
            for new in shard.images:
                scene = scenes[new.source_image_id]
                before = read_image(dataset, scene)
                after = read_image(out / "images", Scene(scene.image_id, new.file_name, scene.size_wh))
                after = _without_decoys(after, before, shard.decoys, job=new.job)
                attempts = [shard.attempts[number] for number in new.attempts]
                painted = [
                    painted_cells(a.painted.plan, new.size_wh, mask_growth=mask_growth, num_cells=num_cells)
                    for a in attempts
                ]
                for cutout in cut_image(before, after, attempts, painted_xyxy=np.array(painted)):
                    writer.add(cutout)


def cut_image(
    before: Image, after: Image, attempts: Sequence[Attempt], *, painted_xyxy: FloatArray
) -> Iterator[Cutout]:
    """Cut the new objects of an image out.

    Args:
        before: (H, W, 3) uint8 source.
        after: (H, W, 3) uint8 result without decoys.
        attempts: Of the N objects.
        painted_xyxy: (N, 4) rectangles that were painted.
    """
    size_wh = (after.shape[1], after.shape[0])
    boxes = clip_boxes(np.array([a.painted.label_xyxy for a in attempts], np.float64), size_wh)
    rings = Rings.of(after).features(boxes)
    for k, attempt in enumerate(attempts):
        alone = _without(after, before, painted_xyxy, boxes, k)
        # Where an object was replaced, what changed is the outline of both: none is told from it.
        yield cut_painted(
            before if attempt.replaced_annotation_id is None else alone,
            alone,
            box_xyxy=boxes[k],
            painted_xyxy=painted_xyxy[k],
            category_id=attempt.painted.category_id,
            score=attempt.painted.judgement.score,
            ring=rings[k],
            mask=None if attempt.mask is None else decoded(msgspec.to_builtins(attempt.mask.rle)),
        )


def cut_painted(
    before: Image,
    after: Image,
    *,
    box_xyxy: FloatArray,
    painted_xyxy: FloatArray,
    category_id: int,
    score: float,
    ring: FloatArray,
    mask: Mask | None = None,
) -> Cutout:
    """Cut a painted object out; where its outline can't be told, its whole box with a soft edge around it.

    Args:
        before: (H, W, 3) uint8 source.
        after: (H, W, 3) uint8 result.
        box_xyxy: (4,) box of the object, inside the image.
        painted_xyxy: (4,) rectangle that was painted.
        category_id: COCO id.
        score: Of the filter's detector.
        ring: Features of what surrounds the object.
        mask: (H, W) of the object where it is known; without it matting looks for one.
    """
    size_wh = (after.shape[1], after.shape[0])
    crop = crop_around(box_xyxy, size_wh)
    x1, y1, x2, y2 = crop
    if mask is not None:
        found: FloatArray | None = soften(mask[y1:y2, x1:x2], after[y1:y2, x1:x2])
    else:
        found = _matted(before, after, box_xyxy=box_xyxy, painted_xyxy=painted_xyxy, crop=crop)
    if found is None:
        feather = max(_MIN_FEATHER, _FEATHER_SHARE * float((box_xyxy[2:] - box_xyxy[:2]).max()))
        alpha = box_opacity(box_xyxy, crop, feather=feather)
    else:
        alpha = np.round(found * 255).astype(np.uint8)
    cutout = Cutout(
        image=np.ascontiguousarray(after[y1:y2, x1:x2]),
        alpha=alpha,
        box_xyxy=box_xyxy - np.array([x1, y1, x1, y1], np.float64),
        category_id=category_id,
        score=score,
        source_size_wh=size_wh,
        has_mask=found is not None,
        ring=ring,
    )
    return reduced(cutout, max_side=CutRules().max_side)


def _matted(
    before: Image,
    after: Image,
    *,
    box_xyxy: FloatArray,
    painted_xyxy: FloatArray,
    crop: tuple[int, int, int, int],
) -> FloatArray | None:
    """Return the opacity of a crop by matting, which looks at all that was painted."""
    size_wh = (after.shape[1], after.shape[0])
    low = np.minimum(crop[:2], np.floor(painted_xyxy[:2])).astype(int)
    high = np.maximum(crop[2:], np.ceil(painted_xyxy[2:])).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high, size_wh)
    part = slice(low[1], high[1]), slice(low[0], high[0])
    shift = np.tile(low, 2)
    found = matte(before[part], after[part], box_xyxy=box_xyxy - shift, painted_xyxy=painted_xyxy - shift)
    if found is None:
        return None
    x1, y1, x2, y2 = crop
    return found[y1 - low[1] : y2 - low[1], x1 - low[0] : x2 - low[0]]


def painted_cells(
    plan: PlannedObject, size_wh: tuple[int, int], *, mask_growth: float, num_cells: int
) -> FloatArray:
    """Return the (4,) rectangle of a plan's repainted cells in pixels of an image of a size.

    Args:
        plan: Box and window.
        size_wh: Of the image.
        mask_growth: Factor by which the box was grown into what was repainted.
        num_cells: Latent cells along a side of the window.
    """
    window = np.array(plan.window_xyxy, np.int64)
    planned = np.array(plan.planned_xyxy, np.float64)
    mask = clip_boxes(grow_box(planned, factor=mask_growth, pad=0.5)[None], size_wh)[0]
    return cells_xyxy(mask_cells(mask, window, num_cells=num_cells), window)


def _without_decoys(after: Image, before: Image, decoys: Sequence[Decoy], *, job: int) -> Image:
    """Return the result of a job with its decoys undone; they touch nothing else that was painted."""
    result = after.copy()
    for decoy in decoys:
        if decoy.job == job and decoy.accepted and decoy.plan is not None:
            x1, y1, x2, y2 = decoy.plan.painted_xyxy
            result[y1:y2, x1:x2] = before[y1:y2, x1:x2]
    return result


def _without(after: Image, before: Image, painted: FloatArray, boxes: FloatArray, k: int) -> Image:
    """Return the result with what was painted for other objects of the image undone, outside of the k-th box."""
    if len(painted) == 1:
        return after
    result = after.copy()
    for other in range(len(painted)):
        if other != k:
            x1, y1 = np.floor(painted[other][:2]).astype(int)
            x2, y2 = np.ceil(painted[other][2:]).astype(int)
            result[y1:y2, x1:x2] = before[y1:y2, x1:x2]
    x1, y1 = np.floor(boxes[k][:2]).astype(int)
    x2, y2 = np.ceil(boxes[k][2:]).astype(int)
    result[y1:y2, x1:x2] = after[y1:y2, x1:x2]
    return result
