"""Sizes from before EXIF orientation beside boxes from after it: what the boxes say decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from augsynth.coco.faults import Record, Repairs
from augsynth.core.images import Header
from augsynth.core.scene import FloatArray, IntArray

_ROUNDING = 1.5  # pixels that a box may reach outside before it speaks against a size
_FACTOR = 10  # boxes that leave the recorded frame for each that leaves the turned one, at least
_FEWEST = 3  # boxes that lie outside before they alone turn a size


def turn_raw_sizes(
    document: Record,
    sizes_wh: list[tuple[int, int]],
    headers: Sequence[Header],
    boxes_xyxy: FloatArray,
    repairs: Repairs,
) -> list[tuple[int, int]]:
    """Return the sizes with those turned that are before EXIF orientation although the boxes are after it.

    The boxes decide, those of all such images together, since one tool drew them: turned they must fit, as recorded
    some must not.
    """
    turned = [
        index
        for index, (header, size) in enumerate(zip(headers, sizes_wh, strict=True))
        if header.raw_wh != header.size_wh and size == header.raw_wh
    ]
    if not turned:
        return sizes_wh
    position = {document["images"][index]["id"]: index for index in turned}
    rows = [k for k, r in enumerate(document["annotations"]) if r["image_id"] in position]
    own = [position[document["annotations"][k]["image_id"]] for k in rows]
    recorded = np.array([sizes_wh[i] for i in own]).reshape(-1, 2)
    corners = boxes_xyxy[rows, 2:]
    outside, outside_turned = (
        int((corners > frame + _ROUNDING).any(axis=1).sum()) for frame in (recorded, recorded[:, ::-1])
    )
    if outside <= _FACTOR * outside_turned:
        return sizes_wh
    repairs.add("raw_sizes", [document["images"][index]["file_name"] for index in turned])
    return _turned(document, sizes_wh, turned)


def turn_by_boxes(
    document: Record, sizes_wh: list[tuple[int, int]], boxes_xyxy: FloatArray, repairs: Repairs
) -> list[tuple[int, int]]:
    """Return the sizes with those turned whose boxes fit no other way, for datasets without their pictures."""
    position = {record["id"]: index for index, record in enumerate(document["images"])}
    own = np.array([position[record["image_id"]] for record in document["annotations"]], np.int64)
    sizes = sizes_before_orientation(np.array(sizes_wh)[own], boxes_xyxy)
    turned = [index for index, size in enumerate(sizes_wh) if size in sizes]
    repairs.add("turned_sizes", [document["images"][index]["file_name"] for index in turned])
    return _turned(document, sizes_wh, turned)


def sizes_before_orientation(
    recorded_wh: IntArray | FloatArray, boxes_xyxy: FloatArray
) -> set[tuple[int, int]]:
    """Return the recorded sizes whose images are to be turned, all of one size judged together.

    A box whose centre lies outside of its image speaks for the turned size, one that would leave the turned image
    speaks against it.

    Args:
        recorded_wh: (N, 2) width and height of each box's image.
        boxes_xyxy: (N, 4) as recorded.
    """
    away = np.asarray(((boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2 > recorded_wh).any(axis=1))
    against = np.asarray((boxes_xyxy[:, 2:] > recorded_wh[:, ::-1] + _ROUNDING).any(axis=1))
    found = set()
    for width, height in np.unique(recorded_wh[away], axis=0).tolist():
        alike = np.asarray((recorded_wh == (width, height)).all(axis=1))
        if away[alike].sum() >= max(_FEWEST, _FACTOR * against[alike].sum()):
            found.add((int(width), int(height)))
    return found


def _turned(
    document: Record, sizes_wh: Sequence[tuple[int, int]], indices: Iterable[int]
) -> list[tuple[int, int]]:
    """Exchange width and height of some images, in the document and in the list that is returned."""
    sizes = list(sizes_wh)
    for index in indices:
        width, height = sizes[index] = sizes[index][1], sizes[index][0]
        document["images"][index] = {**document["images"][index], "width": width, "height": height}
    return sizes
