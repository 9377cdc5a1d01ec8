"""Boxes, labels and sizes of a COCO file as columns, decoded in parts by all cores; masks are skipped.

A file is cut between two records, which is tried and then proved: a part must be valid JSON once the array that it is
cut from is opened before it and closed after it, and a mark that is put there must come out in that array. JSON has
one way to be read, so each part then holds what it holds in the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from augsynth.core.processes import on_all_cores
from augsynth.core.scene import FloatArray, IntArray

_PART_BYTES, _LOOK_BYTES = 12_000_000, 1_000_000
_BETWEEN = re.compile(rb"\}\s*(,)\s*\{")
_ARRAYS = ("annotations", "images", "categories")
_MARK_ID = -(2**62)
_MARK = (
    b'{"id": %d, "file_name": "", "width": 1, "height": 1, "image_id": 0, "category_id": 0, "bbox": [0, 0, 0, 0]}'
    % _MARK_ID
)
_BOM = b"\xef\xbb\xbf"
_LARGE_ID = 2**50


class NotOrdinary(Exception):
    """The file has something that only the full reader knows how to treat."""


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
    annotations: list[_Annotation] | msgspec.UnsetType = msgspec.UNSET
    images: list[_Image] | msgspec.UnsetType = msgspec.UNSET
    categories: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    info: Any = msgspec.UNSET
    licenses: Any = msgspec.UNSET


@dataclass(frozen=True, slots=True, eq=False)
class BoxColumns:
    """What statistics need of a COCO document, in file order.

    Attributes:
        names: File name of each of the I images.
        image_ids: (I,); sizes_wh: (I, 2).
        numbers, image_of, kinds: (N,) ids of annotations, of their images and of their categories.
        boxes_xywh: (N, 4) as recorded.
        crowds: (N,) bool, crowds and regions to ignore.
        no_crowd, no_area: (N,) bool, the annotation lacks `iscrowd` or `area`.
        categories: The records.
        missing: Names of `info` and `licenses` that are missing or null.
    """

    names: list[str]
    image_ids: IntArray
    sizes_wh: IntArray
    numbers: IntArray
    image_of: IntArray
    kinds: IntArray
    boxes_xywh: FloatArray
    crowds: NDArray[np.bool_]
    no_crowd: NDArray[np.bool_]
    no_area: NDArray[np.bool_]
    categories: list[dict[str, Any]]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A part of a file: its arrays, in which array it begins and ends, and which ones begin in it."""

    columns: BoxColumns
    begins_in: str | None
    ends_in: str | None
    opened: tuple[str, ...]
    told: dict[str, bool]


def read_columns(path: Path) -> BoxColumns:
    """Read a COCO instances file.

    Raises:
        NotOrdinary: A field is missing or isn't what COCO says, the file isn't JSON, or can't be read.
    """
    try:
        cuts = _cuts(path)
        try:
            return _joined(list(_parts(path, cuts)))
        except NotOrdinary:
            if len(cuts) == 2:
                raise
            return _joined(
                [_decoded(path, (0, cuts[-1]), cuts[-1])]
            )  # of records in arrays that aren't COCO's, say
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        raise NotOrdinary(str(error)) from None


def _parts(path: Path, cuts: Sequence[int]) -> Iterator[_Part]:
    decode = partial(_decoded, path, end=cuts[-1])
    return on_all_cores(decode, list(pairwise(cuts)), task="reading", remedy="free some and start again")


def _cuts(path: Path) -> list[int]:
    """Return where parts begin, and the end of the file; each but the first follows the comma between two records."""
    size = path.stat().st_size
    cuts = [0]
    with path.open("rb") as file:
        for place in range(_PART_BYTES, size - _PART_BYTES // 2, _PART_BYTES):
            file.seek(place)
            found = _BETWEEN.search(file.read(_LOOK_BYTES))
            if found is not None and place + found.end(1) > cuts[-1]:
                cuts.append(place + found.end(1))
    return [*cuts, size]


def _decoded(path: Path, place: tuple[int, int], end: int) -> _Part:
    start, stop = place
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(stop - start)
    data = data.removeprefix(_BOM) if start == 0 else data
    if stop < end:
        data = data.rstrip(b", \t\r\n") + b"," + _MARK + b"]}"
    try:
        if start == 0:
            return _part(msgspec.json.decode(data, type=_Document), None, is_last=stop == end)
        for array in _ARRAYS:
            try:
                document = msgspec.json.decode(
                    b'{"%s": [%s,' % (array.encode(), _MARK) + data, type=_Document
                )
            except msgspec.ValidationError:
                continue  # its records are of another array
            return _part(document, array, is_last=stop == end)
        raise NotOrdinary
    except (ValueError, OverflowError, RecursionError) as error:
        raise NotOrdinary(str(error)) from None


def _part(document: _Document, begins_in: str | None, *, is_last: bool) -> _Part:
    """Return the part; take the marks out, and make sure that they are where they were put."""
    arrays: dict[str, list[Any]] = {
        name: [] if (each := getattr(document, name)) is msgspec.UNSET else each for name in _ARRAYS
    }
    opened = tuple(
        name for name in _ARRAYS if getattr(document, name) is not msgspec.UNSET and name != begins_in
    )
    if begins_in is not None:
        first = arrays[begins_in][:1]
        if not first or _id(first[0]) != _MARK_ID:
            raise NotOrdinary
        del arrays[begins_in][0]
    ends_in = None
    if not is_last:
        ends_in = next((name for name in _ARRAYS if arrays[name] and _id(arrays[name][-1]) == _MARK_ID), None)
        if ends_in is None:
            raise NotOrdinary
        arrays[ends_in].pop()
    told = {
        name: each is not None
        for name in ("info", "licenses")
        if (each := getattr(document, name)) is not msgspec.UNSET
    }
    columns = _columns(arrays["images"], arrays["annotations"], arrays["categories"])
    return _Part(columns, begins_in, ends_in, opened, told)


def _id(record: Any) -> Any:
    return record.get("id") if isinstance(record, dict) else record.id


def _columns(
    images: list[_Image], annotations: list[_Annotation], categories: list[dict[str, Any]]
) -> BoxColumns:
    num = len(annotations)
    areas = np.fromiter((record.area or 0.0 for record in annotations), np.float64, num)
    flags = np.fromiter((record.iscrowd or 0 for record in annotations), np.int64, num)
    if not ((flags == 0) | (flags == 1)).all() or (np.abs(areas) > _LARGE_ID).any():
        raise NotOrdinary
    return BoxColumns(
        [image.file_name for image in images],
        _column(images, "id"),
        np.stack([_column(images, "width"), _column(images, "height")], axis=1),
        _column(annotations, "id"),
        _column(annotations, "image_id"),
        _column(annotations, "category_id"),
        np.array([record.bbox for record in annotations], np.float64).reshape(-1, 4),
        np.fromiter((bool(record.ignore) for record in annotations), np.bool_, num) | (flags == 1),
        np.fromiter((record.iscrowd is None for record in annotations), np.bool_, num),
        np.fromiter((record.area is None for record in annotations), np.bool_, num),
        categories,
        (),
    )


def _column(records: Sequence[Any], name: str) -> IntArray:
    values = np.fromiter((getattr(record, name) for record in records), np.int64, len(records))
    if len(values) and np.abs(values).max() > _LARGE_ID:
        raise NotOrdinary
    return values


def _joined(parts: Sequence[_Part]) -> BoxColumns:
    """Return the columns of all parts, whose ends must meet: each array begins once."""
    meets = all(one.ends_in == other.begins_in for one, other in pairwise(parts))
    opened = sorted(name for part in parts for name in part.opened)
    if not meets or opened != sorted(_ARRAYS):
        raise NotOrdinary
    told: dict[str, bool] = {}
    for part in parts:
        told.update(part.told)
    columns = [part.columns for part in parts]
    arrays = {
        name: np.concatenate([getattr(each, name) for each in columns])
        for name in BoxColumns.__slots__
        if name not in ("names", "categories", "missing")
    }
    return BoxColumns(
        names=[name for each in columns for name in each.names],
        categories=[record for each in columns for record in each.categories],
        missing=tuple(name for name in ("info", "licenses") if not told.get(name)),
        **arrays,
    )
