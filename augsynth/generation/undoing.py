"""Taking painted objects out of their image again: pixels, masks, and what was painted over them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from augsynth.core.boxes import intersections
from augsynth.core.masks import Mask, decoded, to_rle, visible
from augsynth.core.records import (
    Attempt,
    Decoy,
    Extra,
    Judgement,
    NewImage,
    ObjectMask,
    Rle,
    ShardRecord,
    Window,
)
from augsynth.core.scene import FloatArray, Image
from augsynth.generation.working_image import WorkingImage

Under = Mapping[int, Image]
"""By number of the attempt, the pixels that its object covers, where these weren't the source's any more."""


def painted_pixels(attempt: Attempt) -> Window:
    """Return the rectangle of whole pixels outside of which an attempt changed none.

    Raises:
        ValueError: It isn't known.
    """
    rectangle = attempt.painted.plan.painted_xyxy
    if rectangle is UNSET:
        raise ValueError("the record doesn't say which pixels were painted")
    low, high = np.floor(rectangle[:2]).astype(int).tolist(), np.ceil(rectangle[2:]).astype(int).tolist()
    return (low[0], low[1], high[0], high[1])


def lying_under(images: Sequence[WorkingImage], attempts: Sequence[Attempt]) -> dict[int, Image]:
    """Return what must be kept of images so that each of their objects can be taken out later.

    That is what lay under an object which was painted over an earlier one; elsewhere the source lay under it.

    Args:
        images: With their objects, before decoys are painted.
        attempts: Of the shard.
    """
    found = {}
    for image in images:
        boxes = _rectangles([attempts[number] for number in image.accepted])
        for place, number in enumerate(image.accepted[1:], 1):
            if intersections(boxes[place][None], boxes[:place]).any():
                _, before = image.versions[place - 1]
                found[number] = _cut(before, painted_pixels(attempts[number]))
    return found


def with_dependants(shard: ShardRecord, struck: Collection[int]) -> dict[int, int]:
    """Return the objects that go where some are taken out: these, and what was painted over them.

    Returns:
        Position of the attempt -> that of the struck one it was painted over, or its own.
    """
    found: dict[int, int] = {}
    for new in shard.images:
        boxes = _rectangles([shard.attempts[number] for number in new.attempts])
        for place, number in enumerate(new.attempts):
            over = intersections(boxes[place][None], boxes[:place])[0] > 0
            gone = [
                other
                for other, is_over in zip(new.attempts, over, strict=False)
                if is_over and other in found
            ]
            if number in struck:
                found[number] = number
            elif gone:
                found[number] = found[gone[0]]
    return found


def undo(pixels: Image, source: Image, attempt: Attempt, under: Image | None) -> None:
    """Give an image the pixels, in place, that it had before an object was painted; later ones must be undone first.

    Args:
        pixels: (H, W, 3) uint8 new image without decoys over the object.
        source: (H, W, 3) uint8 source image.
        attempt: Of the object.
        under: What was kept of it, None where the source lay under it.
    """
    x1, y1, x2, y2 = painted_pixels(attempt)
    pixels[y1:y2, x1:x2] = source[y1:y2, x1:x2] if under is None else under


def without_decoys(after: Image, before: Image, decoys: Sequence[Decoy], *, job: int) -> Image:
    """Return the result of a job with its decoys undone; they touch nothing else that was painted."""
    result = after.copy()
    for decoy in decoys:
        if decoy.job == job and decoy.accepted and decoy.plan is not None:
            x1, y1, x2, y2 = decoy.plan.painted_xyxy
            result[y1:y2, x1:x2] = before[y1:y2, x1:x2]
    return result


def unchanged_pixels(shard: ShardRecord, new: NewImage) -> Mask:
    """Return the (H, W) pixels of an image that nothing was painted over."""
    width, height = new.size_wh
    same = np.ones((height, width), np.bool_)
    painted = [painted_pixels(shard.attempts[number]) for number in (*new.attempts, *new.vetoed)]
    painted += [
        d.plan.painted_xyxy for d in shard.decoys if d.job == new.job and d.accepted and d.plan is not None
    ]
    for x1, y1, x2, y2 in painted:
        same[y1:y2, x1:x2] = False
    return same


def without_objects(shard: ShardRecord, struck: Collection[int]) -> ShardRecord:
    """Return the record of a shard without objects: they are marked, and what they covered of masks is seen again.

    Args:
        shard: As it was committed.
        struck: Positions of the attempts, with those that depend on them.
    """
    attempts = [a.judged(vetoed=True) if k in struck else a for k, a in enumerate(shard.attempts)]
    images = []
    for new in shard.images:
        gone = tuple(number for number in new.attempts if number in struck)
        stay = tuple(number for number in new.attempts if number not in struck)
        if gone:
            for number, attempt in zip(stay, _uncovered([attempts[number] for number in stay]), strict=True):
                attempts[number] = attempt
        vetoed = tuple(sorted((*new.vetoed, *gone)))
        images.append(msgspec.structs.replace(new, attempts=stay, vetoed=vetoed))
    return msgspec.structs.replace(shard, attempts=tuple(attempts), images=tuple(images))


def _uncovered(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the objects of an image with the masks that they have where no others are."""
    owners: list[list[Judgement | Extra]] = [
        [a.painted.judgement, *a.painted.judgement.extras] for a in attempts
    ]
    whole = [
        each.mask if isinstance(each.whole_mask, UnsetType) else each.whole_mask
        for group in owners
        for each in group
    ]
    seen = iter(
        visible([decoded(msgspec.to_builtins(m.rle)) if isinstance(m, ObjectMask) else None for m in whole])
    )
    masks = iter(whole)
    found = []
    for attempt, group in zip(attempts, owners, strict=True):
        own, *others = [_masks(next(masks), next(seen)) for _ in group]
        extras = zip(attempt.painted.judgement.extras, others, strict=True)
        changed = tuple(msgspec.structs.replace(extra, **values) for extra, values in extras)
        found.append(attempt.judged(**own, extras=changed))
    return found


def recorded_masks(seen: ObjectMask | None, whole: Mask | None, *, by: str) -> dict[str, Any]:
    """Return what the record of an object says of its masks: the whole one only where less is seen.

    Args:
        seen: What is visible.
        whole: (H, W) mask before later objects covered a part of it, None where there is none.
        by: Who found it, where nothing is visible.
    """
    rle = None if whole is None else msgspec.convert(to_rle(whole), Rle)
    if rle is None or (seen is not None and seen.rle == rle):
        return {"mask": seen}
    return {"mask": seen, "whole_mask": ObjectMask(by if seen is None else seen.by, rle)}


def _masks(whole: ObjectMask | UnsetType | None, seen: Mask | None) -> dict[str, Any]:
    if not isinstance(whole, ObjectMask):
        return {"mask": whole, "whole_mask": UNSET}
    rle = None if seen is None else msgspec.convert(to_rle(seen), Rle)
    if rle == whole.rle:
        return {"mask": whole, "whole_mask": UNSET}
    return {"mask": None if rle is None else ObjectMask(whole.by, rle), "whole_mask": whole}


def _rectangles(attempts: Sequence[Attempt]) -> FloatArray:
    return np.array([painted_pixels(attempt) for attempt in attempts], np.float64).reshape(-1, 4)


def _cut(image: Image, rectangle: Window) -> Image:
    x1, y1, x2, y2 = rectangle
    return image[y1:y2, x1:x2].copy()
