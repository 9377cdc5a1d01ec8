"""Writing Hugging Face image folders: a folder for each split with metadata.jsonl, and a card with the class names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from augsynth.coco.faults import Record
from augsynth.coco.formats.imagefolder import CARD, METADATA
from augsynth.coco.formats.parts import (
    Originals,
    Part,
    Written,
    box_inside,
    class_names,
    class_numbers,
    count_lost,
    is_crowd,
    outlines,
    own_names,
)

FOLDERS = {"": "train", "train": "train", "val": "validation", "test": "test"}
OWN = frozenset({*FOLDERS.values(), CARD})


def write_imagefolder(
    parts: Sequence[Part], draft: Path, *, masks: bool | None, originals: Originals
) -> Written:
    """Write metadata.jsonl for each split and the card, and place the images.

    An object has an id, `bbox` (x, y, width and height in pixels), `categories` (the number of its class), `area` and
    `iscrowd`; and `segmentation`, polygons, where the dataset has masks.

    Args:
        parts: The splits.
        draft: Folder to fill.
        masks: Write outlines; None: if an object has one.
        originals: Link or copy images.
    """
    written, names = Written(Path()), class_names(parts)
    drawn = any(r.get("segmentation") for part in parts for r in part.document["annotations"])
    drawn = drawn if masks is None else masks
    for part in parts:
        folder, numbers = draft / FOLDERS[part.name], class_numbers(part, names)
        files = own_names(part.document["images"])
        lines = []
        for image, records in part.objects():
            name = files[image["id"]]
            part.place(image, folder / name, originals)
            objects: dict[str, list[Any]] = {
                key: [] for key in ("id", "bbox", "categories", "area", "iscrowd")
            }
            if drawn:
                objects["segmentation"] = []
            for record in records:
                _add(objects, record, image, numbers[record["category_id"]], written)
            line = {"file_name": name, "image_id": image["id"], "width": image["width"]}
            lines.append(msgspec.json.encode({**line, "height": image["height"], "objects": objects}))
        (folder / METADATA).write_bytes(b"".join(line + b"\n" for line in lines))
        written.images += len(lines)
    (draft / CARD).write_text(_card(parts, names, drawn), encoding="utf-8")
    return written


def _add(objects: dict[str, list[Any]], record: Record, image: Record, number: int, written: Written) -> None:
    x1, y1, x2, y2 = box_inside(record, image)
    objects["id"].append(record["id"])
    objects["bbox"].append([x1, y1, x2 - x1, y2 - y1])
    objects["categories"].append(number)
    objects["area"].append(float(record["area"]))
    objects["iscrowd"].append(int(is_crowd(record)))
    if "segmentation" in objects:
        objects["segmentation"].append(outlines(record, image))
    written.objects += 1
    count_lost(record, written.left_out, kept=("masks",))  # they are left out where they aren't wanted


def _card(parts: Sequence[Part], names: Sequence[str], drawn: bool) -> str:
    """Return README.md: what the columns are, in the form that the Hub and `datasets` read."""
    label = {"class_label": {"names": {str(k): name for k, name in enumerate(names)}}}
    features = [
        {"name": "id", "list": "int64"},
        {"name": "bbox", "list": {"list": "float64", "length": 4}},
        {"name": "categories", "list": {"dtype": label}},
        {"name": "area", "list": "float64"},
        {"name": "iscrowd", "list": "int64"},
    ]
    if drawn:
        features.append({"name": "segmentation", "list": {"list": {"list": "float64"}}})
    columns = [
        {"name": "image", "dtype": "image"},
        *({"name": name, "dtype": "int64"} for name in ("image_id", "width", "height")),
        {"name": "objects", "struct": features},
    ]
    head = {"task_categories": ["object-detection"], "dataset_info": {"features": columns}}
    count = sum(len(part.document["images"]) for part in parts)
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return (
        f"---\n{text}---\n\n{count} images for object detection. `bbox` is x, y, width and height in pixels; "
        "`categories` are the numbers of the names above.\n"
    )
