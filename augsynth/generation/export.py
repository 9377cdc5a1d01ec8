"""From committed shards to a self-contained COCO dataset with provenance and pictures to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np
import yaml
from msgspec import UnsetType
from numpy.typing import NDArray

from augsynth.coco.faults import Record
from augsynth.coco.growing import GrowingDocument
from augsynth.coco.writer import (
    Lines,
    copied_annotation,
    next_ids,
    synthetic_annotation,
    synthetic_image_record,
)
from augsynth.core.figures import contact_sheet
from augsynth.core.files import write_atomically
from augsynth.core.images import place_original
from augsynth.core.masks import as_rle, decoded, recut, to_polygons, to_rle
from augsynth.core.records import Attempt, Box, NewImage, ObjectMask, ShardRecord
from augsynth.core.scene import Dataset
from augsynth.generation.config import GenerateConfig, plain_config

AUGMENTED = "annotations/instances_augmented.json"
SYNTHETIC = "synthetic/instances.json"  # importers of whole folders read `**/instances_*.json`
PROVENANCE = "provenance.jsonl"
DECOYS = "decoys.jsonl"
SUMMARY = "summary.json"
AFFINITY = "affinity.json"
MASK_SOURCE = (
    "mask_source"  # attribute of an annotation: who found its mask; `mask` is a field of FiftyOne's own
)
SHEET_TILES = 48
_COPIES = 4096  # images whose annotations are kept as they are copied
ACCEPTED_SHEET, REJECTED_SHEET = "contact_sheet_accepted.png", "contact_sheet_rejected.png"


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
        return [id_ + k for a, id_ in numbered for k in range(1 + len(a.painted.judgement.extras))]


def publish_dataset(
    out: Path,
    dataset: Dataset,
    shards: Sequence[ShardRecord],
    *,
    config: GenerateConfig,
    models: Mapping[str, Any],
) -> None:
    """Write annotations, provenance and the effective configuration, and put the originals in place.

    Decoys have a file of their own, written when there are any: who counts attempts needn't know of them.

    Args:
        out: The run's directory, whose `images/` holds the new images.
        dataset: The source.
        shards: Committed records in order.
        config: Written as `config.yaml`, without the output path and the cluster.
        models: Names, revisions and digests, for provenance.
    """
    sources = {record["id"]: record for record in dataset.document["images"]}
    form, boxed = config.output.mask_format, config.masking.unmasked == "box"
    grown = GrowingDocument(dataset.document, out)
    attempts, decoys = (Lines(out, between=b"\n", order="sorted") for _ in range(2))
    for shard, images in zip(shards, number_images(dataset.document, shards), strict=True):
        for image in images:
            record = _image_record(image, sources[image.new.source_image_id])
            grown.add(record, annotate(image, form=form, boxed=boxed))
        for line in _attempt_lines(shard, images):
            attempts.add({"attempt": attempts.num, **line, **models})
        for line in _decoy_lines(shard, images):
            decoys.add({"decoy": decoys.num, **line, **models})
    _place_originals(out, dataset, config.output.originals)
    grown.write(synthetic=out / SYNTHETIC, augmented=out / AUGMENTED)
    _write_lines(out / PROVENANCE, attempts)
    if decoys.num:
        _write_lines(out / DECOYS, decoys)
    values = {k: v for k, v in plain_config(config).items() if k not in ("out", "ray")}
    text = yaml.safe_dump({**values, "models": dict(models)}, sort_keys=True).encode()
    write_atomically(out / "config.yaml", lambda file: file.write(text))


def number_images(
    document: Mapping[str, Any], shards: Iterable[ShardRecord]
) -> Iterator[list[PublishedImage]]:
    """Yield the written images of each shard with COCO ids above the source's, in the order they were painted in.

    Where objects were vetoed, the numbers of all others are as they were. A real object that a vetoed one had replaced
    comes back under the number of that one.
    """
    image_id, annotation_id = next_ids(document)
    annotations: dict[int, list[Record]] = {}
    for raw in document["annotations"]:
        annotations.setdefault(raw["image_id"], []).append(raw)
    copied = lru_cache(maxsize=_COPIES)(partial(_copies, annotations))
    for shard in shards:
        published = []
        for new in shard.images:
            painted = {number: shard.attempts[number] for number in sorted((*new.attempts, *new.vetoed))}
            replaced = {attempt.replaced_annotation_id for attempt in painted.values()}
            models = copied(new.source_image_id, new.size_wh)
            copies: list[Record] = []
            for raw_id, model in models:
                if raw_id not in replaced and model is not None:
                    copies.append({**model, "id": annotation_id, "image_id": image_id})
                    annotation_id += 1
            ids = {}
            for number, attempt in painted.items():
                ids[number] = annotation_id
                annotation_id += 1 + len(attempt.painted.judgement.extras)
            back = {painted[number].replaced_annotation_id: ids[number] for number in new.vetoed}
            for raw_id, model in models if back else ():
                if raw_id in back and model is not None:
                    copies.append({**model, "id": back[raw_id], "image_id": image_id})
            if new.is_written:
                objects = tuple(painted[number] for number in new.attempts)
                own = tuple(ids[number] for number in new.attempts)
                published.append(PublishedImage(image_id, new, tuple(copies), objects, own))
            image_id += 1
        yield published


def _copies(
    annotations: Mapping[int, Sequence[Record]], source_image_id: int, size_wh: tuple[int, int]
) -> list[tuple[int, Record | None]]:
    """Return the copy of each annotation of an image, still without ids of its own, with the id of its original."""
    return [
        (raw["id"], copied_annotation(raw, annotation_id=1, image_id=1, size_wh=size_wh))
        for raw in annotations.get(source_image_id, [])
    ]


def annotate(image: PublishedImage, *, form: str, boxed: bool = False) -> list[Record]:
    """Return the annotations of a new image: what stayed of the source, cut where new objects hide it, and these.

    Args:
        image: With its numbers.
        form: `polygon` or `rle`, of the masks.
        boxed: Give an object without a mask one of its box's shape.
    """
    size = image.new.size_wh
    found = [mask for a in image.objects for mask in (a.mask, *(e.mask for e in a.painted.judgement.extras))]
    covers = [msgspec.to_builtins(mask.rle) for mask in found if isinstance(mask, ObjectMask)]
    annotations: list[Record] = [recut(copy, covers, size) if covers else copy for copy in image.copies]
    for attempt, annotation_id in zip(image.objects, image.annotation_ids, strict=True):
        outline = partial(_outline, size_wh=size, form=form, boxed=boxed)
        annotations.append(_object_annotation(image, attempt, annotation_id, outline=outline))
        seed = attempt.painted.plan.seed
        for k, extra in enumerate(attempt.painted.judgement.extras, 1):
            segmentation, source = outline(extra.mask, extra.box_xyxy)
            annotations.append(
                synthetic_annotation(
                    annotation_id=annotation_id + k,
                    image_id=image.image_id,
                    category_id=extra.category_id,
                    box_xyxy=extra.box_xyxy,
                    size_wh=size,
                    score=extra.score,
                    attributes={
                        "seed": seed,
                        "source_image_id": attempt.source_image_id,
                        "extra": True,
                        **source,
                    },
                    segmentation=segmentation,
                )
            )
    return annotations


def _outline(
    mask: ObjectMask | UnsetType | None, box_xyxy: Box, *, size_wh: tuple[int, int], form: str, boxed: bool
) -> tuple[Any, dict[str, str]]:
    """Return an object's `segmentation`, None without one, and the attribute that says where it comes from."""
    if isinstance(mask, ObjectMask):
        rle = msgspec.to_builtins(mask.rle)
        segmentation = rle if form == "rle" else to_polygons(decoded(rle))
        if segmentation is not None:
            return segmentation, {MASK_SOURCE: mask.by}
    if not boxed:
        return None, {}
    x1, y1, x2, y2 = box_xyxy
    polygons = [[x1, y1, x2, y1, x2, y2, x1, y2]]
    if form == "polygon":
        return polygons, {MASK_SOURCE: "box"}
    return to_rle(decoded(as_rle(polygons, size_wh))), {MASK_SOURCE: "box"}


def _object_annotation(
    image: PublishedImage, attempt: Attempt, annotation_id: int, *, outline: Callable[..., Any]
) -> Record:
    painted = attempt.painted
    attributes: dict[str, str | int | float | bool] = {
        "seed": painted.plan.seed,
        "iou": painted.judgement.iou,
        "source_image_id": attempt.source_image_id,
    }
    if attempt.replaced_annotation_id is not None and attempt.replaced_category_id is not None:
        attributes["replaced_annotation_id"] = attempt.replaced_annotation_id
        attributes["replaced_category_id"] = attempt.replaced_category_id
    segmentation, source = outline(painted.judgement.mask, painted.label_xyxy)
    attributes.update(source)
    return synthetic_annotation(
        annotation_id=annotation_id,
        image_id=image.image_id,
        category_id=painted.category_id,
        box_xyxy=painted.label_xyxy,
        size_wh=image.new.size_wh,
        score=painted.judgement.score,
        attributes=attributes,
        segmentation=segmentation,
    )


def _image_record(image: PublishedImage, source: Mapping[str, Any]) -> Record:
    """Return the record of a new image; of LVIS's categories that aren't there, without those that are now."""
    new = image.new
    record = synthetic_image_record(
        source, image_id=image.image_id, file_name=new.file_name, size_wh=new.size_wh
    )
    absent = record.get("neg_category_ids")
    if isinstance(absent, list):
        extras = (e.category_id for a in image.objects for e in a.painted.judgement.extras)
        there = {*extras, *(a.painted.category_id for a in image.objects)}
        record["neg_category_ids"] = [category_id for category_id in absent if category_id not in there]
    return record


def _attempt_lines(shard: ShardRecord, images: Sequence[PublishedImage]) -> Iterator[dict[str, Any]]:
    """Yield a shard's lines of provenance, with the numbers of what was published."""
    numbers = {
        number: (image, annotation_id)
        for image in images
        for number, annotation_id in zip(image.new.attempts, image.annotation_ids, strict=True)
    }
    for number, attempt in enumerate(shard.attempts):
        line = _shown(attempt)
        if number in numbers:
            image, annotation_id = numbers[number]
            line.update(image.place, annotation_id=annotation_id)
            for k, extra in enumerate(line.get("extras", ()), 1):
                extra["annotation_id"] = annotation_id + k
        yield line


def _decoy_lines(shard: ShardRecord, images: Sequence[PublishedImage]) -> Iterator[dict[str, Any]]:
    places = {image.new.job: image.place for image in images}
    for decoy in shard.decoys:
        yield {**decoy.to_json(), **places.get(decoy.job, {})}


def _shown(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as a line of provenance: without what undoes it, with the name of who found the mask."""
    values = attempt.to_json()
    for key in ("tile", "painted_xyxy"):
        values.pop(key, None)
    for one in (values, *values.get("extras", ())):
        one.pop("whole_mask", None)
        if one.get("mask") is not None:
            one["mask"] = one["mask"]["by"]
    return values


def _place_originals(out: Path, dataset: Dataset, mode: Literal["hardlink", "copy", "omit"]) -> None:
    if dataset.image_root is None:
        return
    for record in dataset.document["images"]:
        source = dataset.image_root / record["file_name"]
        if source.is_file():
            place_original(
                source,
                out / "images" / record["file_name"],
                mode=mode,
                size_wh=(int(record["width"]), int(record["height"])),
                root=dataset.image_root,
            )


def _write_lines(path: Path, lines: Lines) -> None:
    def write(file: BinaryIO) -> None:
        lines.copy_to(file)
        file.write(b"\n" if lines.num else b"")

    write_atomically(path, write)


def write_contact_sheets(
    out: Path,
    shards: Iterable[tuple[Sequence[Attempt], Sequence[NDArray[np.uint8]]]],
    *,
    names: Mapping[int, str],
    filtered: bool = True,
    sheets: Sequence[str] = (ACCEPTED_SHEET, REJECTED_SHEET),
) -> None:
    """Write `contact_sheet_accepted.png` and `contact_sheet_rejected.png`: windows before and after.

    Args:
        out: The run's directory.
        shards: Attempts and tiles of each shard, read as far as they are needed; a tile holds the window before and
            after, side by side.
        names: Category names by COCO id.
        filtered: Whether anything was judged; otherwise scores mean nothing and aren't shown.
        sheets: Which of both.
    """
    for sheet, chosen in _choose_windows(shards, sheets).items():
        accepted = sheet == ACCEPTED_SHEET
        if not chosen:
            continue
        word = "accepted" if accepted else "rejected"
        contact_sheet(
            [np.split(tile, 2, axis=1) for _, tile in chosen],
            path=out / sheet,
            captions=[_caption(attempt, names, filtered=filtered) for attempt, _ in chosen],
            boxes_xyxy=[_box_in_window(attempt) for attempt, _ in chosen],
            accepted=[accepted if filtered or not accepted else None] * len(chosen),
            title=f"{word}: window before and after, with the {'label' if accepted else 'planned box'}",
        )


def _choose_windows(
    shards: Iterable[tuple[Sequence[Attempt], Sequence[NDArray[np.uint8]]]], sheets: Sequence[str]
) -> dict[str, list[tuple[Attempt, NDArray[np.uint8]]]]:
    """Return the first windows of each sheet."""
    chosen: dict[str, list[tuple[Attempt, NDArray[np.uint8]]]] = {sheet: [] for sheet in sheets}
    for attempts, tiles in shards:
        for attempt in attempts:
            windows = chosen.get(ACCEPTED_SHEET if attempt.accepted else REJECTED_SHEET)
            if windows is None or len(windows) == SHEET_TILES or attempt.judgement is None:
                continue
            if attempt.judgement.tile is not None:
                windows.append((attempt, tiles[attempt.judgement.tile]))
        if all(len(windows) == SHEET_TILES for windows in chosen.values()):
            break
    return chosen


def _caption(attempt: Attempt, names: Mapping[int, str], *, filtered: bool) -> str:
    painted = attempt.painted
    name, judgement = names[painted.category_id], painted.judgement
    rank = f", rank {judgement.class_rank}" if judgement.class_rank is not None else ""
    if judgement.class_found is not None and not attempt.accepted:
        rank += f" behind {judgement.class_found}"
    if attempt.replaced_category_id is not None:
        name = f"{names[attempt.replaced_category_id]} → {name}"
    if attempt.accepted:
        return f"{name} {judgement.score:.2f}{rank}" if filtered else f"{name}, not filtered"
    other = judgement.found_category_id
    found = f", {names.get(other, other)} {judgement.found_score:.2f}" if other is not None else ""
    return f"{name}: {attempt.reason}{found}{rank}"


def _box_in_window(attempt: Attempt) -> NDArray[np.float64]:
    painted = attempt.painted
    box = np.array(painted.label_xyxy if attempt.accepted else painted.plan.planned_xyxy, np.float64)
    return np.asarray(box - np.tile(np.array(painted.plan.window_xyxy[:2], np.float64), 2))
