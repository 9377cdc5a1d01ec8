"""Reading a COCO file for statistics: boxes, labels and sizes alone, several times as fast and in less memory.

Masks are skipped, not decoded. What is ordinary is read here; a file with anything else in it, or anything to
mend beyond boxes at the border, is read by `read_dataset`, whose repairs and errors these are then.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from augsynth.coco.blocks import drop_repeats, read_categories
from augsynth.coco.faults import Refusals, Repairs
from augsynth.coco.orientation import sizes_before_orientation
from augsynth.coco.reader import clip_boxes, collection_paused, read_dataset
from augsynth.core.errors import DatasetError
from augsynth.core.scene import Dataset, FloatArray, IntArray, Scene

_CLEAN_NAME = re.compile(r"(?!\.\.?(?:/|$))[^/\\\0:]+(?:/(?!\.\.?(?:/|$))[^/\\\0]+)*")
_LARGE, _LARGE_ID = 30_000, 2**50  # beyond them the full reader decides
_BOM = b"\xef\xbb\xbf"


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: int
    height: int


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int | None = None
    area: float | None = None
    ignore: bool | int | None = None


class _Document(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[dict[str, Any]]
    info: Any = None
    licenses: Any = None


class _NotOrdinary(Exception):
    """The file has something that only the full reader knows how to treat."""


def read_boxes(annotations: Path) -> Dataset:
    """Read what statistics need of a COCO instances file: the scenes and categories of `read_dataset`.

    The document of the dataset is empty, and masks aren't counted in its repairs: they aren't read.

    Raises:
        DatasetError: As `read_dataset` does.
    """
    with collection_paused():
        try:
            return _read(annotations)
        except (_NotOrdinary, DatasetError, OSError, ValueError, OverflowError, RecursionError):
            return read_dataset(annotations)  # repairs it, or says what is wrong


def _read(path: Path) -> Dataset:
    document = _decode(path)
    repairs, refusals = Repairs(), Refusals(path)
    for name in ("info", "licenses"):
        if getattr(document, name) is None:
            repairs.add(f"missing_{name}", [name])
    categories = {"categories": document.categories}
    drop_repeats(categories, "categories", repairs, refusals)
    image_ids, sizes_wh = _images(document.images, repairs)
    records, document.annotations = document.annotations, []
    boxes = np.array([record.bbox for record in records], np.float64).reshape(-1, 4)
    if len(boxes) and not (boxes.max() > 1 and np.abs(boxes).max() < _LARGE):
        raise _NotOrdinary
    boxes[:, 2:] += boxes[:, :2]
    numbers, kinds = _column(records, "id"), _column(records, "category_id")
    rows = _rows(_column(records, "image_id"), image_ids)
    if sizes_before_orientation(sizes_wh[rows], boxes):
        raise _NotOrdinary
    known = np.array([record["id"] for record in categories["categories"]], np.int64)
    if len(numbers) and (numbers.min() < 1 or len(np.unique(numbers)) < len(numbers)):
        raise _NotOrdinary
    if not np.isin(kinds, known).all():
        raise _NotOrdinary
    crowd = _crowds(records, repairs)
    del records
    categories["annotations"] = [{"category_id": kind} for kind in np.unique(kinds).tolist()]
    offered = read_categories(categories, repairs, refusals)
    arrays = (image_ids, sizes_wh, rows, boxes, kinds, numbers, crowd)
    names = [image.file_name for image in document.images]
    return Dataset(offered, _scenes(names, *arrays, repairs), {}, path, None, repairs)


def _decode(path: Path) -> _Document:
    data = path.read_bytes()
    document = msgspec.json.decode(data.removeprefix(_BOM), type=_Document)
    if not document.images or not document.categories:
        raise _NotOrdinary
    return document


def _images(images: list[_Image], repairs: Repairs) -> tuple[IntArray, IntArray]:
    """Return (N,) ids and (N, 2) sizes of the images."""
    ids = _column(images, "id")
    sizes_wh = np.stack([_column(images, "width"), _column(images, "height")], axis=1)
    names = [image.file_name for image in images]
    if (
        sizes_wh.min() < 1
        or sizes_wh.max() > _LARGE
        or len(np.unique(ids)) < len(ids)
        or not all(map(_CLEAN_NAME.fullmatch, names))
    ):
        raise _NotOrdinary
    if len(set(names)) < len(names):
        raise _NotOrdinary
    return ids, sizes_wh


def _column(records: Any, name: str) -> IntArray:
    values = np.fromiter((getattr(record, name) for record in records), np.int64, len(records))
    if len(values) and np.abs(values).max() > _LARGE_ID:
        raise _NotOrdinary
    return values


def _rows(image_ids: IntArray, listed: IntArray) -> IntArray:
    """Return the index of each annotation's image among those listed."""
    order = np.argsort(listed, kind="stable")
    places = np.minimum(np.searchsorted(listed, image_ids, sorter=order), len(listed) - 1)
    rows = order[places]
    if (listed[rows] != image_ids).any():
        raise _NotOrdinary
    return np.asarray(rows, np.int64)


def _crowds(records: list[_Annotation], repairs: Repairs) -> Any:
    """Return (N,) bool crowds and regions to ignore; count what lacks iscrowd or area."""
    missing = {
        "missing_iscrowd": [record.id for record in records if record.iscrowd is None],
        "missing_area": [record.id for record in records if record.area is None],
    }
    first = {kind: numbers[0] for kind, numbers in missing.items() if numbers}
    order = {record.id: index for index, record in enumerate(records) if record.id in first.values()}
    for kind in sorted(first, key=lambda kind: order[first[kind]]):
        repairs.add(kind, missing[kind])
    areas = np.fromiter((record.area or 0.0 for record in records), np.float64, len(records))
    flags = np.fromiter((record.iscrowd or 0 for record in records), np.int64, len(records))
    if not np.isin(flags, (0, 1)).all() or (np.abs(areas) > _LARGE_ID).any():
        raise _NotOrdinary
    ignored = np.fromiter((bool(record.ignore) for record in records), np.bool_, len(records))
    return ignored | (flags == 1)


def _scenes(
    names: list[str],
    image_ids: IntArray,
    sizes_wh: IntArray,
    rows: IntArray,
    boxes: FloatArray,
    kinds: IntArray,
    numbers: IntArray,
    crowd: Any,
    repairs: Repairs,
) -> tuple[Scene, ...]:
    """Return the scenes in file order with boxes cut to the image and empty ones left out."""
    boxes, solid = clip_boxes(boxes, sizes_wh[rows], numbers, repairs)
    chosen = np.flatnonzero(solid)
    chosen = chosen[np.argsort(rows[chosen], kind="stable")]
    bounds = np.searchsorted(rows[chosen], np.arange(len(names) + 1)).tolist()
    boxes, kinds, numbers, crowd = boxes[chosen], kinds[chosen], numbers[chosen], crowd[chosen]
    images = zip(image_ids.tolist(), names, sizes_wh.tolist(), bounds, bounds[1:], strict=False)
    return tuple(
        Scene(i, name, (size[0], size[1]), boxes[a:b], kinds[a:b], numbers[a:b], crowd[a:b])
        for i, name, size, a, b in images
    )
