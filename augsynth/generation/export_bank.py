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
from augsynth.core.boxes import clip_boxes
from augsynth.core.images import read_image
from augsynth.core.masks import Mask, decoded
from augsynth.core.records import Attempt, ShardRecord
from augsynth.core.scene import Dataset, FloatArray, Image, Scene
from augsynth.generation.undoing import without_decoys
from augsynth.masking.matting import matte, soften
from augsynth.placement.ring_features import Rings

BANK = "bank"
_FEATHER_SHARE, _MIN_FEATHER = 0.06, 1.5


def write_bank(
    out: Path,
    dataset: Dataset,
    shards: Sequence[ShardRecord],
    *,
    source: Mapping[str, Any],
) -> None:
    """Write `OUT/bank` from the new images; the same run gives the same bytes, however often it was stopped.

    Args:
        out: The run's directory, whose `images/` holds the new images.
        dataset: The source, with its images.
        shards: Committed records in order.
        source: The run's seed; names, revisions and digests of what painted and judged.
    """
    made_by = {"made_by": "augsynth generate", "version": __version__, **source}
    scenes = {scene.image_id: scene for scene in dataset.scenes}
    with BankWriter(out / BANK, categories=dataset.categories, source=made_by, replace=True) as writer:
        for shard in shards:
            for new in (image for image in shard.images if image.is_written):
                scene = scenes[new.source_image_id]
                before = read_image(dataset, scene)
                after = read_image(out / "images", Scene(scene.image_id, new.file_name, scene.size_wh))
                after = without_decoys(after, before, shard.decoys, job=new.job)
                attempts = [shard.attempts[number] for number in new.attempts]
                painted = np.array([a.painted.plan.painted_xyxy for a in attempts], np.float64)
                for cutout in cut_image(before, after, attempts, painted_xyxy=painted):
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
