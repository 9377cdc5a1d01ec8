"""Reading COCO: dirty input is normal; what can be recovered is counted, the rest is an error that helps."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augsynth.coco.blocks import (
    check_sizes,
    drop_repeats,
    file_names,
    image_sizes,
    join_shared_files,
    read_categories,
)
from augsynth.coco.faults import (
    Fault,
    NothingLeft,
    Record,
    Refusals,
    Repairs,
    fault,
    first_free_id,
    id_fault,
    is_id,
    shown,
)
from augsynth.coco.formats.known import Opened, open_document
from augsynth.coco.image_files import drop_lost_images
from augsynth.coco.orientation import turn_by_boxes, turn_raw_sizes
from augsynth.coco.segmentation import usable_mask
from augsynth.core.images import Header, read_image
from augsynth.core.scene import Dataset, FloatArray, IntArray, Repair, Scene

__all__ = ["read_dataset", "read_image", "read_with_images"]

_OUTSIDE = 1e-3  # pixels beyond the border that are float noise, not a fault worth counting
_FARTHEST = 1e9  # pixels; what lies beyond is no place in an image
_MAX_EXACT = 2**53


def read_dataset(annotations: str | Path, *, images: str | Path | None = None) -> Dataset:
    """Read a COCO instances file, with or without its images, or a dataset of another format with them.

    Other formats are those of `augsynth.coco.formats`: a YOLO data.yaml, a folder of Pascal VOC and so on
    (docs/formats.md). `data.yaml#val` names a split; without one it is the training split.

    Recovered and counted in `Dataset.repairs`: missing info, licenses, iscrowd, area, segmentation or
    annotation id; annotation ids below 1 or given twice (evaluators mishandle both: the later annotation gets
    a new id above the maximum); records listed twice word for word; boxes that reach outside (cut) or are
    empty (ignored as objects, kept in the document); masks that can't be used (dropped, the box stays);
    annotations without a listed image; listed images whose file is missing, no picture, of another size or
    a link out of the image directory (dropped with their annotations); images that name one file (joined);
    files that aren't listed; missing width or height where the file can be measured; sizes before EXIF
    orientation with boxes after it; backslashes in file names; a category without objects that has the
    name of another one.

    `Dataset.document` is the document as decoded with exactly these repairs, all other records untouched:
    what is written from it can be read by the usual tools.

    Args:
        annotations: The COCO JSON file, or what stands for a dataset of another format.
        images: The directory that `file_name` is relative to; without it no file of a COCO dataset is looked for,
            and other formats say themselves where their images are.

    Returns:
        Categories and scenes in file order; crowds and regions marked `ignore` have `is_crowd` set.

    Raises:
        DatasetError: The file can't be read, isn't JSON or isn't a COCO instances file; ids that aren't
            integers; no images or categories; one image or category id for two different records; two
            categories with objects and one name; an unknown category; a box that isn't four numbers; boxes
            that all lie within 0..1; an iscrowd that isn't 0 or 1; a file name that is absolute or leaves
            the directory; no size; or no image can be used. The message names file, record, field and remedy.
    """
    path = Path(annotations)
    return _read_whole(path, images, Repairs(), Refusals(path))


def read_with_images(annotations: str | Path, images: str | Path | None = None) -> Dataset:
    """Read a dataset as `read_dataset` does, always with its images: those of a COCO file are looked for near it.

    Raises:
        DatasetError: As `read_dataset`, or the images of a COCO file aren't found.
    """
    path = Path(annotations)
    return _read_whole(path, images, Repairs(), Refusals(path), look=True)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A dataset read past everything that is wrong with it.

    Attributes:
        dataset: What can be read; None where nothing can.
        repairs: What was recovered before it ended, with more ids and names than `Dataset.repairs` usually has.
        faults: The records that `read_dataset` refuses; they are left out here.
    """

    dataset: Dataset | None
    repairs: Mapping[str, Repair]
    faults: Sequence[Fault]


def read_past_faults(
    annotations: str | Path, *, images: str | Path | None = None, most_names: int = 1000
) -> Reading:
    """Read a COCO file as `read_dataset` does, but past the records that it refuses: all faults are returned.

    Args:
        annotations: As for `read_dataset`; what is wrong with a file of another format still ends the reading.
        images: The image directory; without it that of a COCO file is looked for near it, and may be missing.
        most_names: Ids or names that are kept of each kind of repair.

    Raises:
        DatasetError: The file can't be read, isn't JSON or isn't a COCO instances file, or none of its images has a
            file.
    """
    path, repairs = Path(annotations), Repairs(most_names)
    faults: list[Fault] = []
    try:
        dataset = _read_whole(path, images, repairs, Refusals(path, faults), look=True, needed=False)
        return Reading(dataset, repairs, faults)
    except NothingLeft:
        return Reading(None, repairs, faults)


def _read_whole(
    path: Path,
    images: str | Path | None,
    repairs: Repairs,
    refusals: Refusals,
    *,
    look: bool = False,
    needed: bool = True,
) -> Dataset:
    try:
        with collection_paused():
            opened = open_document(path, None if images is None else Path(images), look=look, needed=needed)
            return _read(opened, repairs, refusals)
    except RecursionError:
        raise fault(path, "", "document", "is nested too deeply", "export it again") from None


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the cycle collector, which doubles the time by walking millions of fresh, acyclic records."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _read(opened: Opened, repairs: Repairs, refusals: Refusals) -> Dataset:
    document, images = opened.document, opened.images
    repairs.update(opened.repairs)
    for key, empty in (("info", {}), ("licenses", [])):  # some releases of pycocotools stumble without info
        if document.get(key) is None:
            repairs.add(f"missing_{key}", [key])
            document[key] = empty
    for key in ("categories", "images"):
        drop_repeats(document, key, repairs, refusals)
    _check_ids(document, refusals)
    check_sizes(document, refusals, measured=images is not None)
    names = file_names(document, repairs, refusals)
    headers: list[Header] = []
    if images is not None:
        names, headers = drop_lost_images(
            opened.source, images, document, names, repairs, known=opened.headers
        )
    kept = join_shared_files(document, names, repairs, refusals)
    names, headers = [names[k] for k in kept], [headers[k] for k in kept if headers]
    sizes_wh = image_sizes(document, headers, repairs)
    document["annotations"] = _annotations(document, repairs)
    _check_crowds(document, refusals)
    boxes_xyxy = _boxes(document, refusals)
    if headers:
        sizes_wh = turn_raw_sizes(document, sizes_wh, headers, boxes_xyxy, repairs)
    else:
        sizes_wh = turn_by_boxes(document, sizes_wh, boxes_xyxy, repairs)
    _complete(document, repairs)
    _check_masks(document, sizes_wh, repairs)
    categories = read_categories(document, repairs, refusals)
    scenes = _scenes(document, names, sizes_wh, boxes_xyxy, repairs)
    return Dataset(categories, scenes, document, opened.source, images, repairs)


def _check_ids(document: Record, refusals: Refusals) -> None:
    """Refuse annotations whose ids aren't integers (its own, or its image's, may be missing) or category unknown."""
    categories = {record["id"] for record in document["categories"]}
    for index, record in enumerate(document["annotations"]):
        for field in ("id", "image_id", "category_id"):
            value = record.get(field)
            if not is_id(value) and (value is not None or field == "category_id"):
                refusals.note(id_fault("annotations", index, record, field))
                break
        else:
            if record["category_id"] not in categories:
                problem = f"{record['category_id']} isn't among the categories"
                remedy, field = "add the category or correct the id", "category_id"
                refusals.note(Fault("unknown_category", "annotations", index, record, field, problem, remedy))
    refusals.leave_out(document, "annotations")


def _check_crowds(document: Record, refusals: Refusals) -> None:
    """Refuse annotations whose iscrowd is neither 0 nor 1, nor missing."""
    for index, record in enumerate(document["annotations"]):
        crowd = record.get("iscrowd")
        if crowd is not None and crowd not in (0, 1):
            problem = f"is {shown(crowd)}"
            refusals.note(
                Fault("bad_iscrowd", "annotations", index, record, "iscrowd", problem, "write 0 or 1")
            )
    refusals.leave_out(document, "annotations")


def _annotations(document: Record, repairs: Repairs) -> list[Record]:
    """Return the annotations of listed images, each once, with unique ids from 1."""
    images = {record["id"] for record in document["images"]}
    fresh = first_free_id(r["id"] for r in document["annotations"] if r.get("id") is not None) - 1
    seen: dict[int, Record] = {}
    kept = []
    found = defaultdict(list)
    for record in document["annotations"]:
        number = record.get("id")
        if record.get("image_id") not in images:
            found["annotations_without_image"].append(number)
            continue
        kind = ""
        if number is None:
            kind = "missing_annotation_ids"
        elif seen.setdefault(number, record) is not record:
            if seen[number] == record:
                found["repeated_annotations"].append(number)
                continue
            kind = "duplicate_annotation_ids"
        elif number < 1:
            kind = "low_annotation_ids"
        if kind:
            fresh += 1
            found[kind].append(f"now {fresh}" if number is None else f"{number} → {fresh}")
            record = {**record, "id": fresh}  # noqa: PLW2901
        kept.append(record)
    for kind, names in found.items():
        repairs.add(kind, names)
    return kept


def _boxes(document: Record, refusals: Refusals) -> FloatArray:
    """Return the (N, 4) xyxy boxes of the annotations as recorded."""
    for index, record in enumerate(document["annotations"]):
        bbox = record.get("bbox")
        if type(bbox) is list and len(bbox) == 4 and all(type(v) in (int, float) for v in bbox):
            if min(bbox) >= -_FARTHEST and max(bbox) <= _FARTHEST:
                continue
            problem = f"is {shown(bbox)}, beyond any image"
        else:
            problem = f"is {shown(bbox)}, not four numbers"
        remedy = "write [x, y, width, height] in pixels, or delete the annotation"
        refusals.note(Fault("bad_box", "annotations", index, record, "bbox", problem, remedy))
    refusals.leave_out(document, "annotations")
    records = document["annotations"]
    boxes = np.array([record["bbox"] for record in records], np.float64).reshape(-1, 4)
    if _look_normalised(boxes):
        problem = f"is {shown(records[0]['bbox'])} and all others lie within 0..1, too: these look normalised"
        remedy = "multiply by width and height: COCO has [x, y, width, height] in pixels"
        found = Fault("normalised_boxes", "annotations", 0, records[0], "bbox", problem, remedy)
        raise refusals.of_all(found)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _look_normalised(boxes_xywh: FloatArray) -> bool:
    """Say whether all boxes lie within 0..1, as shares of the image do, some of them between whole numbers."""
    if not len(boxes_xywh) or boxes_xywh.min() < 0 or boxes_xywh.max() > 1:
        return False
    solid = boxes_xywh[(boxes_xywh[:, 2:] > 0).all(axis=1)]
    return bool((solid != np.round(solid)).any())


def _complete(document: Record, repairs: Repairs) -> None:
    """Fill in missing iscrowd and area, which evaluators require."""
    records = document["annotations"]
    found = defaultdict(list)
    for index, record in enumerate(records):
        missing: Record = {}
        area = record.get("area")
        if record.get("iscrowd") is None:
            missing["iscrowd"] = 0
        if type(area) not in (int, float) or abs(area) > _MAX_EXACT:
            missing["area"] = float(max(record["bbox"][2], 0) * max(record["bbox"][3], 0))
        for field in missing:
            found[f"missing_{field}"].append(record["id"])
        if missing:
            records[index] = {**record, **missing}
    for kind, names in found.items():
        repairs.add(kind, names)


def _check_masks(document: Record, sizes_wh: list[tuple[int, int]], repairs: Repairs) -> None:
    """Drop the masks that can't be used, and from the others polygons that cover nothing."""
    records = document["annotations"]
    size_of = {record["id"]: size for record, size in zip(document["images"], sizes_wh, strict=True)}
    with_masks = any(record.get("segmentation") for record in records)
    found = defaultdict(list)
    for index, record in enumerate(records):
        if "segmentation" not in record:
            if with_masks:
                found["missing_segmentation"].append(record["id"])
            continue
        mask = usable_mask(record["segmentation"], size_of[record["image_id"]])
        if mask is not None and mask is record["segmentation"]:
            continue
        found["unusable_segmentation" if mask is None else "short_polygons"].append(record["id"])
        rest = {key: value for key, value in record.items() if key != "segmentation" or mask is not None}
        records[index] = rest if mask is None else {**rest, "segmentation": mask}
    for kind, names in found.items():
        repairs.add(kind, names)


def _scenes(
    document: Record,
    names: list[str],
    sizes_wh: list[tuple[int, int]],
    boxes_xyxy: FloatArray,
    repairs: Repairs,
) -> tuple[Scene, ...]:
    """Return the scenes in file order with boxes cut to the image and empty ones left out."""
    records = document["annotations"]
    position = {record["id"]: index for index, record in enumerate(document["images"])}
    image = np.array([position[record["image_id"]] for record in records], np.int64)
    numbers = np.array([record["id"] for record in records], np.int64)
    categories = np.array([record["category_id"] for record in records], np.int64)
    crowd = np.array([bool(record["iscrowd"] or record.get("ignore")) for record in records], np.bool_)
    clipped, solid = clip_boxes(boxes_xyxy, np.array(sizes_wh, np.float64)[image], numbers, repairs)
    rows = np.flatnonzero(solid)
    rows = rows[np.argsort(image[rows], kind="stable")]
    bounds = np.searchsorted(image[rows], np.arange(len(names) + 1))
    scenes = []
    for index, record in enumerate(document["images"]):
        own = rows[bounds[index] : bounds[index + 1]]
        scenes.append(
            Scene(
                record["id"],
                names[index],
                sizes_wh[index],
                clipped[own],
                categories[own],
                numbers[own],
                crowd[own],
            )
        )
    return tuple(scenes)


def clip_boxes(
    boxes_xyxy: FloatArray, sizes_wh: FloatArray | IntArray, numbers: IntArray, repairs: Repairs
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return (N, 4) boxes cut to their images, and which of them aren't empty then; count both.

    Args:
        boxes_xyxy: (N, 4) as recorded.
        sizes_wh: (N, 2) width and height of each box's image.
        numbers: (N,) annotation ids.
        repairs: Where they are counted.
    """
    clipped = np.clip(boxes_xyxy, 0.0, np.hstack([sizes_wh, sizes_wh]))
    solid = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    cut = solid & (np.abs(clipped - boxes_xyxy).max(axis=1, initial=0.0) > _OUTSIDE)
    repairs.add("boxes_clipped", numbers[cut].tolist())
    repairs.add("boxes_ignored", numbers[~solid].tolist())
    return clipped, np.asarray(solid, np.bool_)
