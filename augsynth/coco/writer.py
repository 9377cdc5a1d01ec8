"""Writing COCO: records and documents that the usual tools read, the same bytes for the same input.

An original annotation is carried as it was read, unless its box is empty inside the image: some readers stop at such a
box, and evaluators count it as an object that is never found. What is written anew, a synthetic object or the copy of a
real annotation for a new image, obeys every rule: integer ids from 1, `iscrowd` present, `area` above 0, an
unrounded `bbox` inside the image, a `segmentation` only if it is polygons of at least 6 numbers or an RLE.
Synthetic objects have no known outline, so they carry no `segmentation` unless the caller has a mask: a box
drawn as a polygon would teach a mask head that objects are rectangles.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from math import isfinite, nextafter
from operator import index
from pathlib import PurePosixPath
from typing import Any, SupportsIndex

from augsynth.coco.faults import Record, first_free_id
from augsynth.coco.segmentation import usable_mask
from augsynth.core.images import relative_name

_LONGEST_STEM = (
    200  # bytes; file systems take names of 255, and number, suffix and a temporary name come to it
)


def next_ids(document: Mapping[str, Any]) -> tuple[int, int]:
    """Return the first image id and annotation id from which on all are free, both ≥ 1.

    They lie above all of the document's; where those end near 2**63, in the highest gap between them.
    """
    image_id, annotation_id = (
        first_free_id(record["id"] for record in document[block]) for block in ("images", "annotations")
    )
    return image_id, annotation_id


def new_file_name(source_name: str, *, job: int, suffix: str, taken: Container[str]) -> str:
    """Return the path of a new image, `augsynth/<job>_<stem of the source>.<suffix>`, that is nobody else's.

    A stem that would make the name longer than file systems take is cut and ends with a digest of the whole; a
    name that is taken, in the output of an earlier run, gets a number.

    Args:
        source_name: `file_name` of the image that was edited.
        job: Number of the new image, ≥ 0, given once.
        suffix: Without the dot.
        taken: `file_name` of all images of the source.
    """
    stem = PurePosixPath(source_name).stem
    if len(os.fsencode(stem)) > _LONGEST_STEM:
        digest = hashlib.sha256(os.fsencode(stem)).hexdigest()[:12]
        stem = os.fsencode(stem)[: _LONGEST_STEM - 13].decode("utf-8", "ignore") + f"~{digest}"
    name, number = f"augsynth/{job:06d}_{stem}.{suffix}", 2
    while name in taken:
        name, number = f"augsynth/{job:06d}_{stem}_{number}.{suffix}", number + 1
    return name


def synthetic_image_record(
    source_record: Mapping[str, Any], *, image_id: int, file_name: str, size_wh: tuple[int, int]
) -> Record:
    """Return the record of a new image: the source's with licence and unknown keys, under its own identity.

    Args:
        source_record: The COCO record of the image that was edited.
        image_id: Id above the source's maximum.
        file_name: POSIX path relative to the image directory.
        size_wh: Width and height of the written file.

    Raises:
        ValueError: The id isn't a positive integer, the path isn't relative or the size isn't positive.
    """
    image_id = _positive("image_id", image_id)
    if "\\" in file_name or relative_name(file_name) != file_name:
        raise ValueError(f"file_name {file_name!r} must be a plain relative POSIX path")
    width, height = (int(side) for side in size_wh)
    if min(width, height) < 1:
        raise ValueError(f"size_wh must be positive, got {size_wh}")
    return {**source_record, "id": image_id, "file_name": file_name, "width": width, "height": height}


def synthetic_annotation(
    *,
    annotation_id: int,
    image_id: int,
    category_id: int,
    box_xyxy: Iterable[float],
    size_wh: tuple[int, int],
    score: float,
    attributes: Mapping[str, str | int | float | bool] | None = None,
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any] | None = None,
) -> Record:
    """Return the annotation of a painted object.

    Args:
        annotation_id: Id above the source's maximum, ≥ 1.
        image_id: Id of the new image.
        category_id: COCO category id as in the source.
        box_xyxy: (4,) box in pixels; cut to the image, not rounded.
        size_wh: Size of the image.
        score: Detector score of the accepted object, finite.
        attributes: Further scalars of provenance; `synthetic` and `score` are set here.
        segmentation: Polygons or RLE where a mask is known; `area` is then the mask's.

    Raises:
        ValueError: An id isn't an integer ≥ 1, the box is empty or not finite, an attribute is no scalar, or
            the segmentation is neither polygons of at least 6 numbers nor an RLE.
    """
    extra = {**(attributes or {}), "synthetic": True, "score": float(score)}
    for key, value in extra.items():
        if not (isfinite(value) if isinstance(value, float) else isinstance(value, (int, str))):
            raise ValueError(f"attribute {key} must be text, a boolean or a finite number, got {value!r}")
    bbox = _bbox_inside([float(edge) for edge in box_xyxy], size_wh)
    if bbox is None:
        raise ValueError(f"box_xyxy {box_xyxy!r} is empty inside an image of {size_wh}")
    record: Record = {
        "id": _positive("annotation_id", annotation_id),
        "image_id": _positive("image_id", image_id),
        "category_id": index(category_id),
        "bbox": bbox,
        "area": bbox[2] * bbox[3],
        "iscrowd": 0,
        "attributes": extra,
    }
    if segmentation is not None:
        record["segmentation"] = segmentation
        record["area"] = _mask_area(segmentation, size_wh)
    return record


def copied_annotation(
    raw: Mapping[str, Any], *, annotation_id: int, image_id: int, size_wh: tuple[int, int]
) -> Record | None:
    """Return a real annotation for a new image: verbatim but for its ids and what breaks a rule of writing.

    A box that reaches outside is cut, an area ≤ 0 becomes width times height, and a segmentation that can't be
    used is left out.

    Args:
        raw: The annotation as in the source document.
        annotation_id: Id above the source's maximum, ≥ 1.
        image_id: Id of the new image.
        size_wh: Size of the image.

    Returns:
        The copy, or None when the box is empty inside the image.

    Raises:
        ValueError: The id isn't an integer ≥ 1.
    """
    record = {"iscrowd": 0, "area": 0, **raw, "id": _positive("annotation_id", annotation_id)}
    record["image_id"] = _positive("image_id", image_id)
    x, y, width, height = raw["bbox"]
    bbox = _bbox_inside([float(x), float(y), float(x + width), float(y + height)], size_wh)
    if bbox is None:
        return None
    if "segmentation" in record and usable_mask(record["segmentation"], size_wh) is None:
        del record["segmentation"]
    cut = max(abs(old - new) for old, new in zip(raw["bbox"], bbox, strict=True)) > 1e-6
    if cut:
        record["bbox"] = bbox
    if record["area"] <= 0 or (cut and "segmentation" not in record):
        record["area"] = bbox[2] * bbox[3]
    return record


def augmented_document(
    source_document: Mapping[str, Any],
    new_images: Sequence[Mapping[str, Any]],
    new_annotations: Sequence[Mapping[str, Any]],
) -> Record:
    """Return the source with new images and annotations appended; all else is carried, but for empty boxes.

    In a keypoint file new objects get keypoints that aren't labelled: readers of keypoints require them.

    Raises:
        ValueError: A new id is the source's or is given twice, an annotation names an unknown image or
            category, or a new image has the file name of another.
    """
    _check_new(source_document, new_images, new_annotations)
    return {
        **source_document,
        "images": [*source_document["images"], *new_images],
        "annotations": [*solid(source_document), *_with_keypoints(source_document, new_annotations)],
    }


def synthetic_document(
    source_document: Mapping[str, Any],
    new_images: Sequence[Mapping[str, Any]],
    new_annotations: Sequence[Mapping[str, Any]],
) -> Record:
    """Return a document of the new images alone, with the source's categories, info, licences and other keys.

    Raises:
        ValueError: As `augmented_document`.
    """
    _check_new(source_document, new_images, new_annotations)
    annotations = _with_keypoints(source_document, new_annotations)
    return {**source_document, "images": [*new_images], "annotations": annotations}


def _positive(name: str, value: SupportsIndex) -> int:
    try:
        number = index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be an integer ≥ 1, got {value!r}")
    return number


def solid(source: Mapping[str, Any]) -> list[Record]:
    """Return the annotations whose box isn't empty inside its image."""
    sizes = {record["id"]: (record["width"], record["height"]) for record in source["images"]}
    kept = []
    for record in source["annotations"]:
        (x, y, w, h), (width, height) = record["bbox"], sizes[record["image_id"]]
        if min(x + w, width) > max(x, 0) and min(y + h, height) > max(y, 0):
            kept.append(record)
    return kept


def _with_keypoints(
    source: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the annotations, those without keypoints in a keypoint file with as many as their category has, all 0."""
    return with_keypoints(keypoint_numbers(source), annotations)


def keypoint_numbers(source: Mapping[str, Any]) -> dict[int, int]:
    """Return how many numbers the keypoints of a category are; empty unless it is a keypoint file."""
    numbers = {
        c["id"]: 3 * len(c["keypoints"])
        for c in source["categories"]
        if isinstance(c.get("keypoints"), list) and c["keypoints"]
    }
    seen: dict[int, Counter[int]] = {}
    for record in source["annotations"]:
        if isinstance(record.get("keypoints"), list) and record["category_id"] not in numbers:
            seen.setdefault(record["category_id"], Counter())[len(record["keypoints"])] += 1
    return numbers | {category_id: lengths.most_common(1)[0][0] for category_id, lengths in seen.items()}


def with_keypoints(
    numbers: Mapping[int, int], annotations: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the annotations, those without keypoints with as many zeros as their category has numbers."""
    if not numbers:
        return list(annotations)
    return [
        {**record, "keypoints": [0] * numbers.get(record["category_id"], 0), "num_keypoints": 0}
        if "keypoints" not in record
        else record
        for record in annotations
    ]


def _check_new(
    source: Mapping[str, Any], images: Iterable[Mapping[str, Any]], annotations: Iterable[Mapping[str, Any]]
) -> None:
    first_image, first_annotation = next_ids(source)
    old_images, old_annotations = ({r["id"] for r in source[block]} for block in ("images", "annotations"))
    image_ids, names = set(), {record["file_name"] for record in source["images"]}
    for record in images:
        if record["id"] < first_image or record["id"] in image_ids or record["id"] in old_images:
            raise ValueError(f"image id {record['id']} must be new and at least {first_image}")
        if record["file_name"] in names:
            raise ValueError(f"file_name {record['file_name']!r} is taken by another image")
        image_ids.add(record["id"])
        names.add(record["file_name"])
    categories = {record["id"] for record in source["categories"]}
    numbers = set()
    for record in annotations:
        if record["id"] < first_annotation or record["id"] in numbers or record["id"] in old_annotations:
            raise ValueError(f"annotation id {record['id']} must be new and at least {first_annotation}")
        if record["image_id"] not in image_ids or record["category_id"] not in categories:
            raise ValueError(f"annotation {record['id']} names an unknown image or category")
        numbers.add(record["id"])


def _bbox_inside(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> list[float] | None:
    """Return [x, y, width, height] of the box cut to the image, or None when nothing is left."""
    if len(box_xyxy) != 4 or not all(map(isfinite, box_xyxy)):
        raise ValueError(f"box_xyxy must be four finite numbers, got {box_xyxy!r}")
    x1, y1, x2, y2 = box_xyxy
    width, height = map(float, size_wh)
    if not (x1 > 0.0 and y1 > 0.0 and x2 < width and y2 < height):
        x1, x2 = min(max(0.0, x1), width), min(max(0.0, x2), width)
        y1, y2 = min(max(0.0, y1), height), min(max(0.0, y2), height)
    if x2 <= x1 or y2 <= y1:
        return None
    return [x1, y1, _extent(x1, x2), _extent(y1, y2)]


def _extent(low: float, high: float) -> float:
    """Return high - low such that low plus it never rounds to more than high."""
    extent = high - low
    return extent if low + extent <= high else nextafter(extent, 0.0)


def _mask_area(segmentation: object, size_wh: tuple[int, int]) -> float:
    """Return the pixels of a mask, as pycocotools counts them."""
    from pycocotools import mask as coco_mask

    if usable_mask(segmentation, size_wh) is not segmentation:
        raise ValueError(
            "segmentation must be polygons of at least 6 numbers each, or an RLE of counts and size of the image"
        )
    width, height = size_wh
    rle: Any = segmentation
    if not isinstance(rle, Mapping) or isinstance(rle["counts"], list):
        rle = coco_mask.frPyObjects(rle, height, width)
    area = float(coco_mask.area(coco_mask.merge(rle) if isinstance(rle, list) else rle))
    if area <= 0:
        raise ValueError("segmentation covers no pixel")
    return area
