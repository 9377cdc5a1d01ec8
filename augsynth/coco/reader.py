"""Reading COCO: dirty input is normal; what can be recovered is counted, the rest is an error that helps."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from augsynth.coco.blocks import (
    check_sizes,
    distinct,
    file_names,
    image_sizes,
    join_shared_files,
    read_categories,
)
from augsynth.coco.faults import Record, Repairs, fault, first_free_id, id_fault, is_id, kind_of, shown
from augsynth.coco.image_files import drop_lost_images
from augsynth.coco.orientation import turn_by_boxes, turn_raw_sizes
from augsynth.coco.segmentation import usable_mask
from augsynth.core.images import Header, is_plain_file, read_image
from augsynth.core.scene import Dataset, FloatArray, IntArray, Scene

__all__ = ["read_dataset", "read_image"]

_OUTSIDE = 1e-3  # pixels beyond the border that are float noise, not a fault worth counting
_FARTHEST = 1e9  # pixels; what lies beyond is no place in an image
_MAX_EXACT = 2**53


def read_dataset(annotations: str | Path, *, images: str | Path | None = None) -> Dataset:
    """Read a COCO instances file, with or without its images.

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
        annotations: The COCO JSON file.
        images: The directory that `file_name` is relative to; without it no file is looked for.

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
    try:
        with collection_paused():
            return _read(path, None if images is None else Path(images))
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


def _read(annotations: Path, images: Path | None) -> Dataset:
    document = _decode(annotations)
    repairs = Repairs()
    for key, empty in (("info", {}), ("licenses", [])):  # some releases of pycocotools stumble without info
        if document.get(key) is None:
            repairs.add(f"missing_{key}", [key])
            document[key] = empty
    for key in ("categories", "images"):
        document[key] = distinct(annotations, document, key, repairs)
    _check_ids(annotations, document)
    names = file_names(annotations, document, repairs)
    check_sizes(annotations, document, measured=images is not None)
    headers: list[Header] = []
    if images is not None:
        names, headers = drop_lost_images(annotations, images, document, names, repairs)
    kept = join_shared_files(annotations, document, names, repairs)
    names, headers = [names[k] for k in kept], [headers[k] for k in kept if headers]
    sizes_wh = image_sizes(document, headers, repairs)
    document["annotations"] = _annotations(document, repairs)
    boxes_xyxy = _boxes(annotations, document)
    if headers:
        sizes_wh = turn_raw_sizes(document, sizes_wh, headers, boxes_xyxy, repairs)
    else:
        sizes_wh = turn_by_boxes(document, sizes_wh, boxes_xyxy, repairs)
    _complete(annotations, document, repairs)
    _check_masks(document, sizes_wh, repairs)
    categories = read_categories(annotations, document, repairs)
    scenes = _scenes(document, names, sizes_wh, boxes_xyxy, repairs)
    return Dataset(categories, scenes, document, annotations, images, repairs)


def _decode(path: Path) -> Record:
    try:
        if path.exists() and not is_plain_file(path):
            raise fault(path, "", "annotations", "can't be read (no ordinary file)", "check the path")
        data = path.read_bytes()
    except OSError as error:
        raise fault(path, "", "annotations", f"can't be read ({error.strerror})", "check the path") from None
    try:
        document = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:
        remedy = "export it again (NaN and Infinity aren't JSON, and the text must be UTF-8)"
        raise fault(path, "", "annotations", f"isn't JSON: {error}", remedy) from None
    wanted = "give a COCO instances file, an object with images, annotations and categories"
    if isinstance(document, list):
        results = bool(document) and isinstance(document[0], dict) and "score" in document[0]
        problem = "is a list" + (" of detection results" if results else "") + ", not a COCO object"
        raise fault(path, "", "document", problem, wanted)
    if not isinstance(document, dict):
        raise fault(path, "", "document", f"is a {kind_of(document)}, not a COCO object", wanted)
    for key in ("images", "annotations", "categories"):
        if key not in document:
            present = ", ".join(list(document)[:8]) or "nothing"
            raise fault(path, "", key, f"is missing, the file has {present}", wanted)
        if not isinstance(document[key], list):
            raise fault(path, "", key, f"is a {kind_of(document[key])}, not a list", wanted)
        for index, record in enumerate(document[key]):
            if type(record) is not dict:
                raise fault(
                    path, f"{key}[{index}]", "record", f"is a {kind_of(record)}, not an object", wanted
                )
    for key in ("images", "categories"):
        if not document[key]:
            raise fault(path, "", key, "is empty", f"list the {key} of the dataset")
    return document


def _check_ids(path: Path, document: Record) -> None:
    """Raise unless ids are integers (an annotation may lack its own, or its image's) and categories known."""
    categories = {record["id"] for record in document["categories"]}
    for index, record in enumerate(document["annotations"]):
        for field in ("id", "image_id"):
            if not is_id(record.get(field)) and record.get(field) is not None:
                raise id_fault(path, "annotations", index, record, field)
        if not is_id(record.get("category_id")):
            raise id_fault(path, "annotations", index, record, "category_id")
        if record["category_id"] not in categories:
            problem = f"{record['category_id']} isn't among the categories"
            where = f"annotations[{index}] (id {record.get('id')})"
            raise fault(path, where, "category_id", problem, "add the category or correct the id")


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


def _boxes(path: Path, document: Record) -> FloatArray:
    """Return the (N, 4) xyxy boxes of the annotations as recorded."""
    records = document["annotations"]
    for index, record in enumerate(records):
        bbox = record.get("bbox")
        if type(bbox) is list and len(bbox) == 4 and all(type(v) in (int, float) for v in bbox):
            if min(bbox) >= -_FARTHEST and max(bbox) <= _FARTHEST:
                continue
            problem = f"is {shown(bbox)}, beyond any image"
        else:
            problem = f"is {shown(bbox)}, not four numbers"
        where = f"annotations[{index}] (id {record['id']})"
        remedy = "write [x, y, width, height] in pixels, or delete the annotation"
        raise fault(path, where, "bbox", problem, remedy)
    boxes = np.array([record["bbox"] for record in records], np.float64).reshape(-1, 4)
    if _look_normalised(boxes):
        where = f"annotations[0] (id {records[0]['id']})"
        problem = f"is {shown(records[0]['bbox'])} and all others lie within 0..1, too: these look normalised"
        remedy = "multiply by width and height: COCO has [x, y, width, height] in pixels"
        raise fault(path, where, "bbox", problem, remedy)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _look_normalised(boxes_xywh: FloatArray) -> bool:
    """Say whether all boxes lie within 0..1, as shares of the image do, some of them between whole numbers."""
    if not len(boxes_xywh) or boxes_xywh.min() < 0 or boxes_xywh.max() > 1:
        return False
    solid = boxes_xywh[(boxes_xywh[:, 2:] > 0).all(axis=1)]
    return bool((solid != np.round(solid)).any())


def _complete(path: Path, document: Record, repairs: Repairs) -> None:
    """Fill in missing iscrowd and area, which evaluators require."""
    records = document["annotations"]
    found = defaultdict(list)
    for index, record in enumerate(records):
        missing: Record = {}
        crowd, area = record.get("iscrowd"), record.get("area")
        if crowd is None:
            missing["iscrowd"] = 0
        elif crowd not in (0, 1):
            where = f"annotations[{index}] (id {record['id']})"
            raise fault(path, where, "iscrowd", f"is {shown(crowd)}", "write 0 or 1")
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
