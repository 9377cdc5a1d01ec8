"""What can be wrong with a COCO file: errors that say what to do, and repairs that are counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from augsynth.core.errors import DatasetError
from augsynth.core.scene import Dataset

Record = dict[str, Any]
MAX_EXAMPLES = 5

# kind: (field, what was found and done, what the user can do)
REPAIRS: dict[str, tuple[str, str, str]] = {
    "missing_info": ("info", "no info block, an empty one is written", "add one to credit the source"),
    "missing_licenses": (
        "licenses",
        "no list of licenses, an empty one is written",
        "add it to say what may be shared",
    ),
    "missing_iscrowd": ("iscrowd", "annotations without it, taken as 0", "write iscrowd, 1 for groups"),
    "missing_area": (
        "area",
        "annotations without it, given width times height",
        "write the mask area where known",
    ),
    "missing_segmentation": (
        "segmentation",
        "annotations with a box but no mask, kept as boxes",
        "draw masks before training a mask head",
    ),
    "unusable_segmentation": (
        "segmentation",
        "null, [], a flat list or a polygon of under 6 numbers, read as a box",
        "write polygons or RLE, or leave it out",
    ),
    "boxes_clipped": (
        "bbox",
        "boxes that reach outside the image, cut to it",
        "check the export if there are many",
    ),
    "boxes_ignored": (
        "bbox",
        "boxes that are empty or wholly outside the image, ignored",
        "redraw or delete them",
    ),
    "annotations_without_image": (
        "image_id",
        "annotations of an image that isn't listed, dropped",
        "list the image or delete them",
    ),
    "low_annotation_ids": (
        "id",
        "annotation ids below 1, renumbered because evaluators never match id 0",
        "number from 1",
    ),
    "missing_annotation_ids": ("id", "annotations without an id, numbered", "number them from 1"),
    "duplicate_annotation_ids": (
        "id",
        "annotations with the id of a different one, renumbered",
        "make the ids unique",
    ),
    "repeated_annotations": ("id", "annotations listed twice word for word, read once", "delete the repeats"),
    "repeated_images": ("id", "images listed twice word for word, read once", "delete the repeats"),
    "repeated_categories": ("id", "categories listed twice word for word, read once", "delete the repeats"),
    "shadowed_categories": (
        "name",
        "categories without objects that have the name of another, not offered",
        "delete them",
    ),
    "categories_without_objects": (
        "categories",
        "categories without objects, kept",
        "nothing, if that is meant",
    ),
    "backslash_file_names": ("file_name", "paths with backslashes, read with slashes", "write POSIX paths"),
    "shared_files": (
        "file_name",
        "images that name the file of an earlier image, kept",
        "merge their annotations",
    ),
    "missing_sizes": ("width/height", "images without them, measured", "write both in the annotation file"),
    "missing_files": (
        "file_name",
        "images without a file, dropped",
        "restore the files or check the image directory",
    ),
    "annotations_of_missing_files": (
        "image_id",
        "annotations of images without a file, dropped",
        "restore the files",
    ),
    "unlisted_files": (
        "file_name",
        "image files that aren't listed, ignored",
        "list them if they should be used",
    ),
}


class Repairs(dict[str, int]):
    """Counts of what was recovered, kind -> count, with the first few ids or names of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, names: Sequence[object]) -> None:
        """Count one repair of a known kind for every id or name given."""
        if kind not in REPAIRS:
            raise ValueError(f"unknown repair {kind!r}")
        if names:
            self[kind] = self.get(kind, 0) + len(names)
            examples = self.examples.setdefault(kind, [])
            examples += [str(name) for name in names[: MAX_EXAMPLES - len(examples)]]


def repair_lines(dataset: Dataset) -> list[str]:
    """Return one line for each kind of repair: file, field, count, examples and what to do."""
    examples = getattr(dataset.repairs, "examples", {})
    lines = []
    for kind, count in dataset.repairs.items():
        field, found, remedy = REPAIRS[kind]
        shown = ", ".join(examples.get(kind, ()))
        more = ", …" if count > MAX_EXAMPLES else ""
        which = f" ({shown}{more})" if shown else ""
        lines.append(f"{dataset.source}: {field}: {found}: {count}{which}; {remedy}")
    return lines


def fault(path: Path, where: str, field: str, problem: str, remedy: str) -> DatasetError:
    """Return the error for one fault: file, record, field, what is wrong, what to do."""
    return DatasetError(
        ": ".join(part for part in (str(path), where, f"{field} {problem}; {remedy}") if part)
    )


def id_fault(path: Path, block: str, index: int, record: Record, field: str) -> DatasetError:
    """Return the error for an id that is no integer."""
    value = record.get(field)
    where = f"{block}[{index}]" + ("" if field == "id" else f" (id {shown(record.get('id'))})")
    if value is None:
        return fault(path, where, field, "is missing", "give it an integer")
    remedy = "write all ids as integers below 2**63, for instance 7 and not '7', and refer to them so"
    return fault(path, where, field, f"is {shown(value)} ({kind_of(value)})", remedy)


def is_id(value: object) -> bool:
    """Say whether a value can be a COCO id: an integer of at most 63 bits, and no boolean."""
    return type(value) is int and -(2**63) <= value < 2**63


def is_mask(segmentation: object) -> bool:
    """Say whether a segmentation is polygons of at least 6 numbers each, or an RLE with counts and size."""
    if isinstance(segmentation, dict):
        return bool(segmentation.get("counts")) and len(segmentation.get("size") or ()) == 2
    if not isinstance(segmentation, list | tuple) or not segmentation:
        return False
    return all(isinstance(p, list | tuple) and len(p) >= 6 and len(p) % 2 == 0 for p in segmentation)


def kind_of(value: object) -> str:
    """Return the JSON name of a value's type."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def shown(value: object) -> str:
    """Return a value short enough for a message."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
