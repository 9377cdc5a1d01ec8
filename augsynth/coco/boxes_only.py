"""Reading a COCO file for statistics: boxes, labels and sizes alone, many times as fast and in less memory.

Masks are skipped, not decoded. What is ordinary is read here; a file with anything else in it, or anything to
mend beyond boxes at the border, is read by `read_dataset`, whose repairs and errors these are then.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.coco.blocks import drop_repeats, read_categories
from augsynth.coco.box_columns import BoxColumns, NotOrdinary, read_columns
from augsynth.coco.faults import Refusals, Repairs
from augsynth.coco.orientation import sizes_before_orientation
from augsynth.coco.reader import clip_boxes, collection_paused, read_dataset
from augsynth.core.errors import DatasetError
from augsynth.core.scene import Dataset, IntArray, Scene

_CLEAN_NAME = re.compile(r"(?!\.\.?(?:/|$))[^/\\\0:]+(?:/(?!\.\.?(?:/|$))[^/\\\0]+)*")
_LARGE = 30_000  # beyond it the full reader decides


def read_boxes(annotations: Path) -> Dataset:
    """Read what statistics need of a COCO instances file: the scenes and categories of `read_dataset`.

    The document of the dataset is empty, and masks aren't counted in its repairs: they aren't read.

    Raises:
        DatasetError: As `read_dataset` does.
    """
    with collection_paused():
        try:
            return _read(annotations)
        except (NotOrdinary, DatasetError, ValueError, OverflowError):
            return read_dataset(annotations)  # repairs it, or says what is wrong


def _read(path: Path) -> Dataset:
    found = read_columns(path)
    if not found.names or not found.categories:
        raise NotOrdinary
    repairs, refusals = Repairs(), Refusals(path)
    for name in found.missing:
        repairs.add(f"missing_{name}", [name])
    categories = {"categories": found.categories}
    drop_repeats(categories, "categories", repairs, refusals)
    _check_images(found)
    boxes, numbers, kinds = found.boxes_xywh, found.numbers, found.kinds
    if len(boxes) and not (boxes.max() > 1 and np.abs(boxes).max() < _LARGE):
        raise NotOrdinary
    boxes[:, 2:] += boxes[:, :2]
    rows = _rows(found.image_of, found.image_ids)
    if sizes_before_orientation(found.sizes_wh[rows], boxes):
        raise NotOrdinary
    used = np.unique(np.sort(kinds))
    known = np.array([record["id"] for record in categories["categories"]], np.int64)
    if len(numbers) and (numbers.min() < 1 or _repeat(numbers)):
        raise NotOrdinary
    if not np.isin(used, known).all():
        raise NotOrdinary
    _count_missing(found, repairs)
    categories["annotations"] = [{"category_id": kind} for kind in used.tolist()]
    offered = read_categories(categories, repairs, refusals)
    return Dataset(offered, _scenes(found, rows, boxes, repairs), {}, path, None, repairs)


def _check_images(found: BoxColumns) -> None:
    sizes_wh, ids, names = found.sizes_wh, found.image_ids, found.names
    if sizes_wh.min() < 1 or sizes_wh.max() > _LARGE or _repeat(ids):
        raise NotOrdinary
    if not all(map(_CLEAN_NAME.fullmatch, names)) or len(set(names)) < len(names):
        raise NotOrdinary


def _repeat(ids: IntArray) -> bool:
    return bool((np.diff(np.sort(ids)) == 0).any())


def _rows(image_ids: IntArray, listed: IntArray) -> IntArray:
    """Return the index of each annotation's image among those listed."""
    order = np.argsort(listed, kind="stable")
    places = np.minimum(np.searchsorted(listed, image_ids, sorter=order), len(listed) - 1)
    rows = order[places]
    if (listed[rows] != image_ids).any():
        raise NotOrdinary
    return np.asarray(rows, np.int64)


def _count_missing(found: BoxColumns, repairs: Repairs) -> None:
    """Count what lacks iscrowd or area, in the order in which the first of each is met."""
    lacking = {"missing_iscrowd": found.no_crowd, "missing_area": found.no_area}
    first = {kind: int(np.argmax(column)) for kind, column in lacking.items() if column.any()}
    for kind in sorted(first, key=first.__getitem__):
        repairs.add(kind, found.numbers[lacking[kind]].tolist())


def _scenes(found: BoxColumns, rows: IntArray, boxes: Any, repairs: Repairs) -> tuple[Scene, ...]:
    """Return the scenes in file order with boxes cut to the image and empty ones left out."""
    boxes, solid = clip_boxes(boxes, found.sizes_wh[rows], found.numbers, repairs)
    chosen = np.flatnonzero(solid)
    chosen = chosen[np.argsort(rows[chosen], kind="stable")]
    bounds = np.searchsorted(rows[chosen], np.arange(len(found.names) + 1)).tolist()
    boxes, kinds = boxes[chosen], found.kinds[chosen]
    numbers, crowd = found.numbers[chosen], found.crowds[chosen]
    images = zip(
        found.image_ids.tolist(), found.names, found.sizes_wh.tolist(), bounds, bounds[1:], strict=False
    )
    return tuple(
        Scene(i, name, (size[0], size[1]), boxes[a:b], kinds[a:b], numbers[a:b], crowd[a:b])
        for i, name, size, a, b in images
    )
