"""The masks of a shard's accepted objects, found before anything else is painted over the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from augsynth.core.images import read_image
from augsynth.core.masks import to_rle, visible
from augsynth.generation.context import Studio
from augsynth.generation.stages import Canvas
from augsynth.masking.sources import PaintedObject


def outline_objects(studio: Studio, canvases: Sequence[Canvas], attempts: Sequence[dict[str, Any]]) -> None:
    """Note the masks of the objects that stay in their images, and forget the images' versions.

    Each object is looked at as it was when it was accepted. `mask` of its record says who found its mask and what of
    it is visible under later objects, or is None where no mask is to be believed; without an outliner it isn't set.

    Args:
        studio: What the run works with.
        canvases: Images whose objects are settled, before decoys are painted.
        attempts: The shard's records.
    """
    if studio.outliner is not None:
        edits = [_edits(studio, canvas, attempts) for canvas in canvases]
        masks = iter(studio.outliner.outline([edit for group in edits for edit in group]))
        for canvas, group in zip(canvases, edits, strict=True):
            seen = visible([next(masks) for _ in group])
            for number, mask in zip(canvas.accepted, seen, strict=True):
                attempts[number]["mask"] = (
                    None if mask is None else {"by": studio.outliner.name, "rle": to_rle(mask)}
                )
    for canvas in canvases:
        canvas.versions.clear()


def _edits(studio: Studio, canvas: Canvas, attempts: Sequence[dict[str, Any]]) -> list[PaintedObject]:
    images = [read_image(studio.dataset, canvas.source), *(image for _, image in canvas.versions)]
    return [
        PaintedObject(
            # Where an object was replaced, what changed is the outline of both: matting is told that nothing did.
            before=images[k + 1 if "replaced_annotation_id" in attempts[number] else k],
            after=images[k + 1],
            box_xyxy=np.array(attempts[number]["box_xyxy"], np.float64),
            painted_xyxy=canvas.painted[k],
            window_xyxy=np.array(attempts[number]["window_xyxy"], np.int64),
            category_id=int(attempts[number]["category_id"]),
        )
        for k, number in enumerate(canvas.accepted)
    ]
