"""Writing YOLO datasets as Ultralytics lays them out: images/SPLIT, labels/SPLIT and data.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from augsynth.coco.faults import Record
from augsynth.coco.formats.parts import (
    Originals,
    Part,
    Written,
    box_inside,
    class_names,
    class_numbers,
    count_lost,
    is_crowd,
    oriented,
    outlines,
    own_names,
)
from augsynth.core.scene import FloatArray

MAIN = "data.yaml"
OWN = frozenset({"images", "labels", MAIN})
_KEPT = {"boxes": "", "outlines": "masks", "oriented": "corners"}  # what rows of a kind have besides the box


def write_yolo(parts: Sequence[Part], draft: Path, *, masks: bool | None, originals: Originals) -> Written:
    """Write label files and data.yaml, and place the images.

    Rows are boxes; or outlines where all objects have a mask, or `masks` is true; or the corners of oriented boxes,
    where an object has one. One label file can't mix them, and neither can a training.

    Args:
        parts: The splits.
        draft: Folder to fill.
        masks: Write outlines: an object without a mask is outlined by its box. None: if all have one.
        originals: Link or copy images.
    """
    written, names = Written(Path(MAIN)), class_names(parts)
    kind = _kind(parts, masks, written)
    kept = {_KEPT[kind], *(["masks"] if masks is False else [])}  # those weren't wanted
    for part in parts:
        split, numbers = part.name or "train", class_numbers(part, names)
        files = own_names(part.document["images"], forbidden="images")
        for image, records in part.objects():
            name = files[image["id"]]
            part.place(image, draft / "images" / split / name, originals)
            label = (draft / "labels" / split / name).with_suffix(".txt")
            rows = []
            for record in records:
                if is_crowd(record):
                    written.left_out["crowds and regions to ignore"] += 1
                    continue
                count_lost(record, written.left_out, kept=kept)
                row = _row(record, image, kind, written)
                rows.append(" ".join([str(numbers[record["category_id"]]), *map(_text, row)]))
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("".join(row + "\n" for row in rows), encoding="utf-8", newline="\n")
            written.images += 1
            written.objects += len(rows)
    splits = [part.name or "train" for part in parts]
    document = {split: f"images/{split}" for split in splits}
    if "val" not in document:
        document["val"] = document[splits[0]]
        written.notices.append(
            f"no val split: {MAIN} names {splits[0]} for it, since Ultralytics asks for one"
        )
    document.setdefault("train", document["val"])
    text = yaml.safe_dump({**document, "names": dict(enumerate(names))}, sort_keys=False, allow_unicode=True)
    (draft / MAIN).write_text(text, encoding="utf-8")
    return written


def _kind(parts: Sequence[Part], masks: bool | None, written: Written) -> str:
    objects = [r for part in parts for r in part.document["annotations"] if not is_crowd(r)]
    if masks is not True and any(map(oriented, objects)):
        written.notices.append("rows are oriented boxes; what has none gets the corners of its box")
        return "oriented"
    without = sum(not record.get("segmentation") for record in objects)
    if masks is None and 0 < without < len(objects):
        written.notices.append(
            f"rows are boxes, as {without} of {len(objects)} objects have no mask; with --masks these are outlined by "
            "their boxes"
        )
    return "outlines" if masks or (masks is None and objects and not without) else "boxes"


def _row(record: Record, image: Record, kind: str, written: Written) -> FloatArray:
    """Return the numbers of a row, in shares of width and height."""
    x1, y1, x2, y2 = box_inside(record, image)
    corners = [x1, y1, x2, y1, x2, y2, x1, y2]
    if kind == "boxes":
        values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    elif kind == "oriented":
        values = oriented(record) or corners
    else:
        polygons = outlines(record, image)
        if not polygons:
            written.left_out["masks that aren't known (the box is the outline)"] += 1
        values = joined(polygons) if polygons else corners
    sides = np.tile([float(image["width"]), float(image["height"])], len(values) // 2)
    return np.asarray(np.asarray(values, np.float64) / sides, np.float64)


def joined(polygons: Sequence[Sequence[float]]) -> list[float]:
    """Return one polygon for several: each is reached, and left again, by the shortest way from corner to corner."""
    whole = np.asarray(polygons[0], np.float64).reshape(-1, 2)
    for polygon in polygons[1:]:
        more = np.asarray(polygon, np.float64).reshape(-1, 2)
        apart = ((whole[:, None] - more[None]) ** 2).sum(axis=2)
        here, there = (int(k) for k in np.unravel_index(int(apart.argmin()), apart.shape))
        loop = np.concatenate([more[there:], more[: there + 1]])
        whole = np.concatenate([whole[: here + 1], loop, whole[here:]])
    return [float(v) for v in whole.ravel()]


def _text(value: float) -> str:
    """Return a share with nine decimals at most: a thousandth of a pixel in the largest image."""
    return f"{value:.9f}".rstrip("0").rstrip(".") if value else "0"
