"""The new images of a run under their numbers in the dataset, and what is annotated in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UnsetType

from augsynth.coco.faults import Record
from augsynth.coco.writer import copied_annotation, next_ids, synthetic_annotation, synthetic_image_record
from augsynth.core.masks import as_rle, decoded, recut, to_polygons, to_rle
from augsynth.core.records import Attempt, Box, Extra, NewImage, ObjectMask, ShardRecord

MASK_SOURCE = (
    "mask_source"  # attribute of an annotation: who found its mask; `mask` is a field of FiftyOne's own
)
Attempts = Sequence[Attempt] | Mapping[int, Attempt]
_COPIES = 4096  # images whose annotations are kept as they are copied


@dataclass(frozen=True, slots=True, eq=False)
class PublishedImage:
    """A new image under its number in the dataset.

    Attributes:
        image_id: COCO id.
        new: What the run wrote.
        copies: Annotations of the source's objects that are still there, under ids of their own.
        objects: The attempts whose objects are in the image.
        annotation_ids: COCO id of each of them.
    """

    image_id: int
    new: NewImage
    copies: tuple[Record, ...]
    objects: tuple[Attempt, ...]
    annotation_ids: tuple[int, ...]

    @property
    def place(self) -> dict[str, Any]:
        """What a line of provenance says about the image."""
        return {"image_id": self.image_id, "file_name": self.new.file_name}

    @property
    def label_ids(self) -> list[int]:
        """Annotation ids of the new objects and of second ones that came along."""
        numbered = zip(self.objects, self.annotation_ids, strict=True)
        return [id_ + k for a, id_ in numbered for k in range(1 + len(a.extras))]


class Numbering:
    """Gives COCO ids above the source's to new images and what is in them, in the order they were painted in.

    Where objects were vetoed, the numbers of all others are as they were. A real object that a vetoed one had replaced
    comes back under the number of that one.

    Args:
        document: The source's.

    Attributes:
        first: The first free image id and annotation id.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.first = next_ids(document)
        self._annotations: dict[int, list[Record]] = {}
        for raw in document["annotations"]:
            self._annotations.setdefault(raw["image_id"], []).append(raw)
        self._copies = lru_cache(maxsize=_COPIES)(self._copied)

    def count(self, images: Sequence[NewImage], attempts: Attempts) -> tuple[int, int]:
        """Return how many image ids and annotation ids the images of a shard take; arguments as of `number`."""
        num = 0
        for new in images:
            replaced = set[int | None]()
            for number in (*new.attempts, *new.vetoed):
                num += 1 + len(attempts[number].extras)
                replaced.add(attempts[number].replaced_annotation_id)
            copies = self._copies(new.source_image_id, new.size_wh)
            num += sum(raw_id not in replaced for raw_id, _ in copies)
        return len(images), num

    def number(
        self, images: Sequence[NewImage], attempts: Attempts, first: tuple[int, int]
    ) -> list[PublishedImage]:
        """Return the written images of a shard.

        Args:
            images: All of them.
            attempts: Those that the images name, by their number in the shard.
            first: Image id and annotation id from which on it is numbered.
        """
        image_id, annotation_id = first
        published = []
        for new in images:
            painted = {number: attempts[number] for number in sorted((*new.attempts, *new.vetoed))}
            replaced = {attempt.replaced_annotation_id for attempt in painted.values()}
            models = self._copies(new.source_image_id, new.size_wh)
            copies: list[Record] = []
            for raw_id, model in models:
                if raw_id not in replaced:
                    copies.append({**model, "id": annotation_id, "image_id": image_id})
                    annotation_id += 1
            ids = {}
            for number, attempt in painted.items():
                ids[number] = annotation_id
                annotation_id += 1 + len(attempt.extras)
            back = {painted[number].replaced_annotation_id: ids[number] for number in new.vetoed}
            for raw_id, model in models if back else ():
                if raw_id in back:
                    copies.append({**model, "id": back[raw_id], "image_id": image_id})
            if new.is_written:
                objects = tuple(painted[number] for number in new.attempts)
                own = tuple(ids[number] for number in new.attempts)
                published.append(PublishedImage(image_id, new, tuple(copies), objects, own))
            image_id += 1
        return published

    def _copied(self, source_image_id: int, size_wh: tuple[int, int]) -> list[tuple[int, Record]]:
        """Return the copy of each annotation of an image, still without ids of its own, with the id of its original."""
        copies = (
            (raw["id"], copied_annotation(raw, annotation_id=1, image_id=1, size_wh=size_wh))
            for raw in self._annotations.get(source_image_id, [])
        )
        return [(raw_id, copy) for raw_id, copy in copies if copy is not None]


def number_images(
    document: Mapping[str, Any], shards: Iterable[ShardRecord]
) -> Iterator[list[PublishedImage]]:
    """Yield the written images of each shard of a run with their ids, from those of the first shard on."""
    numbering = Numbering(document)
    image_id, annotation_id = numbering.first
    for shard in shards:
        yield numbering.number(shard.images, shard.attempts, (image_id, annotation_id))
        images, annotations = numbering.count(shard.images, shard.attempts)
        image_id, annotation_id = image_id + images, annotation_id + annotations


def annotate(image: PublishedImage, *, form: str, boxed: bool = False) -> list[Record]:
    """Return the annotations of a new image: what stayed of the source, cut where new objects hide it, and these.

    Args:
        image: With its numbers.
        form: `polygon` or `rle`, of the masks.
        boxed: Give an object without a mask one of its box's shape.
    """
    size = image.new.size_wh
    found = [mask for a in image.objects for mask in (a.mask, *(e.mask for e in a.extras))]
    covers = [msgspec.to_builtins(mask.rle) for mask in found if isinstance(mask, ObjectMask)]
    annotations: list[Record] = [recut(copy, covers, size) if covers else copy for copy in image.copies]
    for attempt, annotation_id in zip(image.objects, image.annotation_ids, strict=True):
        painted = attempt.painted
        judgement, seed = painted.judgement, painted.plan.seed
        attributes: dict[str, str | int | float | bool] = {
            "seed": seed,
            "iou": judgement.iou,
            "source_image_id": attempt.source_image_id,
        }
        if attempt.replaced_annotation_id is not None and attempt.replaced_category_id is not None:
            attributes["replaced_annotation_id"] = attempt.replaced_annotation_id
            attributes["replaced_category_id"] = attempt.replaced_category_id
        mask = _outline(judgement.mask, painted.label_xyxy, size_wh=size, form=form, boxed=boxed)
        own = Extra(painted.category_id, painted.label_xyxy, judgement.score)
        annotations.append(_annotation(image, annotation_id, own, attributes, mask))
        for k, extra in enumerate(judgement.extras, 1):
            mask = _outline(extra.mask, extra.box_xyxy, size_wh=size, form=form, boxed=boxed)
            attributes = {"seed": seed, "source_image_id": attempt.source_image_id, "extra": True}
            annotations.append(_annotation(image, annotation_id + k, extra, attributes, mask))
    return annotations


def _annotation(
    image: PublishedImage,
    annotation_id: int,
    found: Extra,
    attributes: dict[str, str | int | float | bool],
    outline: tuple[Any, str | None],
) -> Record:
    segmentation, source = outline
    if source is not None:
        attributes[MASK_SOURCE] = source
    return synthetic_annotation(
        annotation_id=annotation_id,
        image_id=image.image_id,
        category_id=found.category_id,
        box_xyxy=found.box_xyxy,
        size_wh=image.new.size_wh,
        score=found.score,
        attributes=attributes,
        segmentation=segmentation,
    )


def _outline(
    mask: ObjectMask | UnsetType | None, box_xyxy: Box, *, size_wh: tuple[int, int], form: str, boxed: bool
) -> tuple[Any, str | None]:
    """Return an object's `segmentation`, and where it comes from; None without one."""
    if isinstance(mask, ObjectMask):
        rle = msgspec.to_builtins(mask.rle)
        segmentation = rle if form == "rle" else to_polygons(decoded(rle))
        if segmentation is not None:
            return segmentation, mask.by
    if not boxed:
        return None, None
    x1, y1, x2, y2 = box_xyxy
    polygons = [[x1, y1, x2, y1, x2, y2, x1, y2]]
    return polygons if form == "polygon" else to_rle(decoded(as_rle(polygons, size_wh))), "box"


def image_record(image: PublishedImage, source: Mapping[str, Any]) -> Record:
    """Return the record of a new image; of LVIS's categories that aren't there, without those that are now."""
    new = image.new
    record = synthetic_image_record(
        source, image_id=image.image_id, file_name=new.file_name, size_wh=new.size_wh
    )
    absent = record.get("neg_category_ids")
    if isinstance(absent, list):
        extras = (e.category_id for a in image.objects for e in a.extras)
        there = {*extras, *(a.painted.category_id for a in image.objects)}
        record["neg_category_ids"] = [category_id for category_id in absent if category_id not in there]
    return record
