"""Painted objects are taken out of their image: pixels, masks, what was painted over them, and their numbers."""

from dataclasses import replace

import msgspec
import numpy as np
from msgspec import UNSET

from augsynth.core.masks import decoded, to_rle, visible
from augsynth.core.records import Attempt, Box, NewImage, ObjectMask, Rle, ShardRecord
from augsynth.core.scene import Scene
from augsynth.generation.new_images import annotate, number_images
from augsynth.generation.undoing import (
    lying_under,
    recorded_masks,
    unchanged_pixels,
    undo,
    with_dependants,
    without_objects,
)
from augsynth.generation.working_image import WorkingImage
from tests.generation.run_files import painted_attempt

SIDE = 60
BOXES: list[Box] = [(5.2, 5.0, 24.8, 25.0), (20.0, 20.0, 40.0, 40.0), (44.0, 4.0, 56.0, 16.0)]
SOURCE = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def painted() -> tuple[WorkingImage, list[Attempt]]:
    """Three objects, the second painted over a corner of the first; each of its own grey."""
    scene = Scene(7, "a.png", (SIDE, SIDE))
    image, attempts = WorkingImage(0, scene, scene, SOURCE), []
    for k, box in enumerate(BOXES):
        pixels, mask = image.pixels.copy(), np.zeros((SIDE, SIDE), bool)
        x1, y1, x2, y2 = np.round(box).astype(int)
        pixels[y1:y2, x1:x2], mask[y1:y2, x1:x2] = 40 * k, True
        image = replace(
            image,
            pixels=pixels,
            versions=(*image.versions, (scene, pixels)),
            masks=(*image.masks, (mask,)),
            accepted=(*image.accepted, k),
        )
        attempts.append(painted_attempt(box_xyxy=box, slot=k))
    seen = visible([mask for (mask,) in image.masks])
    for k, (mask,) in enumerate(image.masks):
        found = ObjectMask("told", msgspec.convert(to_rle(seen[k]), Rle))
        attempts[k] = attempts[k].judged(**recorded_masks(found, mask, by="told"))
    return image, attempts


def shard_of(attempts: list[Attempt]) -> ShardRecord:
    new = NewImage(job=0, file_name="a.png", source_image_id=7, size_wh=(SIDE, SIDE), attempts=(0, 1, 2))
    return ShardRecord(jobs=1, attempts=tuple(attempts), images=(new,))


def test_pixels_are_those_before_an_object_even_over_an_earlier_one() -> None:
    image, attempts = painted()
    under = lying_under([image], attempts)
    assert under.keys() == {1}, "the source lay under the others"
    pixels = image.pixels.copy()
    undo(pixels, SOURCE, attempts[1], under.get(1))
    first, last = image.versions[0][1].copy(), image.pixels
    first[4:16, 44:56] = last[4:16, 44:56]
    assert (pixels == first).all()
    for k in (2, 0):
        undo(pixels, SOURCE, attempts[k], under.get(k))
    assert (pixels == SOURCE).all()


def test_what_was_painted_over_an_object_goes_with_it() -> None:
    shard = shard_of(painted()[1])
    assert with_dependants(shard, {0}) == {0: 0, 1: 0}
    assert with_dependants(shard, {1}) == {1: 1}
    assert with_dependants(shard, {2, 0}) == {0: 0, 1: 0, 2: 2}


def area(attempt: Attempt) -> int:
    assert attempt.mask is not None
    return int(decoded(msgspec.to_builtins(attempt.mask.rle)).sum())


def test_a_mask_has_again_what_a_later_object_hid() -> None:
    shard = shard_of(painted()[1])
    first = shard.attempts[0]
    assert area(first) == 20 * 20 - 5 * 5
    left = without_objects(shard, {1})
    assert left.attempts[0].painted.judgement.whole_mask is UNSET
    assert area(left.attempts[0]) == 20 * 20
    assert left.attempts[2] == shard.attempts[2] and not left.attempts[1].kept
    assert left.images[0].attempts == (0, 2) and left.images[0].vetoed == (1,)
    assert ShardRecord.from_bytes(left.to_bytes()) == left


def test_pixels_that_nothing_was_painted_over() -> None:
    image, attempts = painted()
    same = unchanged_pixels(shard_of(attempts), shard_of(attempts).images[0])
    assert (image.pixels[same] == SOURCE[same]).all() and same.mean() > 0.6
    assert not same[5:25, 5:25].any()


def test_numbers_stay_and_what_was_replaced_comes_back() -> None:
    document = {
        "images": [{"id": 7, "file_name": "s.png", "width": SIDE, "height": SIDE}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 1, "bbox": [2 * i, 2, 9, 9], "area": 81, "iscrowd": 0}
            for i in (1, 2)
        ],
    }
    attempts = painted()[1]
    attempts[2] = painted_attempt(box_xyxy=BOXES[2], replaced_annotation_id=2, replaced_category_id=1)
    shard = shard_of(attempts)
    next_image = NewImage(job=1, file_name="b.png", source_image_id=7, size_wh=(SIDE, SIDE), attempts=(3,))
    both = ShardRecord(
        jobs=2, attempts=(*attempts, painted_attempt(job=1)), images=(*shard.images, next_image)
    )
    [[whole, other]] = number_images(document, [both])
    [[left, same]] = number_images(document, [without_objects(both, {2})])
    assert (same.image_id, same.copies, same.annotation_ids) == (
        other.image_id,
        other.copies,
        other.annotation_ids,
    )
    assert left.annotation_ids == whole.annotation_ids[:2]
    [kept, back] = left.copies
    assert kept == whole.copies[0] and back["id"] == whole.annotation_ids[2] and back["bbox"] == [4, 2, 9, 9]
    assert [a["id"] for a in annotate(left, form="rle")] == [3, 6, 4, 5]
    [[only]] = number_images(document, [without_objects(both, {0, 1, 2})])
    assert only.annotation_ids == other.annotation_ids, "an image that lost all its objects isn't written"
