"""What can be wrong with a COCO file: errors that say what to do, and repairs that are counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from augsynth.core.errors import DatasetError
from augsynth.core.scene import Dataset, Repair
from augsynth.core.text import printable

Record = dict[str, Any]
MAX_EXAMPLES = 5
_MAX_ID = 2**63 - 1
_ROOM = 2**32  # free ids that are enough for any output; there are always that many in a row

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
        "annotations without a usable one, given width times height",
        "write the mask area where known",
    ),
    "missing_segmentation": (
        "segmentation",
        "annotations with a box but no mask, kept as boxes",
        "draw masks before training a mask head",
    ),
    "short_polygons": (
        "segmentation",
        "masks with polygons of under three points, read without these",
        "delete the short polygons",
    ),
    "unusable_segmentation": (
        "segmentation",
        "masks that can't be used (no numbers, far outside, not of the image's size), dropped",
        "write polygons, or RLE of the image's size; the boxes stay",
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
        "categories without objects, kept, but only used where asked for by name",
        "nothing, if that is meant",
    ),
    "backslash_file_names": ("file_name", "paths with backslashes, read with slashes", "write POSIX paths"),
    "shared_files": (
        "file_name",
        "images that name the file of an earlier image, joined with it",
        "list each file once",
    ),
    "missing_sizes": ("width/height", "images without them, measured", "write both in the annotation file"),
    "raw_sizes": (
        "width/height",
        "images with the size before EXIF orientation and boxes after it, size turned",
        "write the size of the upright picture",
    ),
    "turned_sizes": (
        "width/height",
        "images whose boxes fit only when turned, as before and after EXIF orientation, size turned",
        "write the size of the upright picture, or mend the boxes",
    ),
    "missing_files": (
        "file_name",
        "images without a file, dropped",
        "restore the files or check the image directory",
    ),
    "linked_files": (
        "file_name",
        "images that are links out of the image directory, dropped",
        "put the images themselves there, or give the directory that holds them",
    ),
    "special_files": (
        "file_name",
        "images that are folders, pipes or devices, dropped unopened",
        "replace or unlist them",
    ),
    "unopened_files": (
        "file_name",
        "image files that can't be opened as images, dropped",
        "replace or unlist them",
    ),
    "other_sizes": (
        "width/height",
        "images whose file has another size than recorded, dropped",
        "correct width, height and boxes",
    ),
    "annotations_of_lost_images": (
        "image_id",
        "annotations of images that are dropped, dropped with them",
        "mend the images",
    ),
    "missing_labels": (
        "labels",
        "images without a label file, taken as images without objects",
        "nothing, if that is meant; else check the names of the label files",
    ),
    "oriented_boxes": (
        "bbox",
        "oriented boxes, read as the upright boxes around them; the corners are kept in `oriented_box`",
        "nothing; what is painted gets upright boxes",
    ),
    "unread_shapes": (
        "annotations",
        "shapes that are no boxes and no outlines, left out",
        "export them as boxes or polygons",
    ),
    "other_annotators": (
        "annotations",
        "tasks with several annotations, of which the ground truth or the first is read",
        "mark the one that counts as ground truth",
    ),
    "voc_from_zero": (
        "bndbox",
        "XML files with numbers below 1 or with decimals, so all are taken as coordinates from 0, not as pixels from 1",
        "nothing, if a tool wrote them so",
    ),
    "names_from_urls": (
        "file_name",
        "images without it, named by the end of coco_url as LVIS means it",
        "nothing, if the images lie in such folders",
    ),
    "unlisted_files": (
        "file_name",
        "image files that aren't listed, ignored",
        "list them if they should be used",
    ),
}


class Repairs(dict[str, Repair]):
    """What was recovered, kind -> count and the first few ids or names."""

    def __init__(self, most: int = MAX_EXAMPLES) -> None:
        super().__init__()
        self._most = most  # ids or names of a kind that are kept

    def add(self, kind: str, names: Sequence[object]) -> None:
        """Count one repair of a known kind for every id or name given."""
        if kind not in REPAIRS:
            raise ValueError(f"unknown repair {kind!r}")
        if names:
            old = self.get(kind, Repair(0, ()))
            more = (str(name) for name in names[: self._most - len(old.examples)])
            self[kind] = Repair(old.count + len(names), (*old.examples, *more))


def repair_lines(dataset: Dataset) -> list[str]:
    """Return one line for each kind of repair: file, field, count, examples and what to do."""
    lines = []
    for kind, repair in dataset.repairs.items():
        field, found, remedy = REPAIRS[kind]
        more = ", …" if repair.count > len(repair.examples) else ""
        which = f" ({', '.join(repair.examples)}{more})" if repair.examples else ""
        lines.append(printable(f"{dataset.source}: {field}: {found}: {repair.count}{which}; {remedy}"))
    return lines


def repairs_document(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Return the repairs as plain values for JSON: kind -> `count` and `examples`."""
    return {k: {"count": r.count, "examples": list(r.examples)} for k, r in dataset.repairs.items()}


def fault(path: Path, where: str, field: str, problem: str, remedy: str) -> DatasetError:
    """Return the error for one fault: file, record, field, what is wrong, what to do."""
    return DatasetError(
        ": ".join(part for part in (str(path), where, f"{field} {problem}; {remedy}") if part)
    )


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes a record unreadable.

    Attributes:
        kind: One word for what is wrong, the same for all records with it.
        block: The list of the document that holds the record: images, annotations or categories.
        index: Position of the record in it, after what was dropped before.
        record: The record as decoded.
        field: Where the fault is.
        problem, remedy: What is wrong and what to do, as in the error.
    """

    kind: str
    block: str
    index: int
    record: Record
    field: str
    problem: str
    remedy: str

    def error(self, path: Path) -> DatasetError:
        """Return the error that names the file, the record, the field and the remedy."""
        known = "" if self.field == "id" and not is_id(self.record.get("id")) else self.record.get("id")
        where = f"{self.block}[{self.index}]" + ("" if known == "" else f" (id {shown(known)})")
        return fault(path, where, self.field, self.problem, self.remedy)


class NothingLeft(DatasetError):
    """No record is left that can be read; only where faults are collected."""


class Refusals:
    """What becomes of records that can't be read: the first ends the reading, or all are kept and left out.

    Args:
        path: The annotation file, for errors.
        kept: Where faults are collected; None to raise the first.
    """

    def __init__(self, path: Path, kept: list[Fault] | None = None) -> None:
        self._path, self._kept = path, kept
        self._left_out: set[int] = set()

    def note(self, fault: Fault, *, left_out: bool = True) -> None:
        """Raise a fault, or keep it and, unless the record can stay, remember it for `leave_out`."""
        if self._kept is None:
            raise fault.error(self._path)
        self._kept.append(fault)
        if left_out:
            self._left_out.add(fault.index)

    def leave_out(self, document: Record, block: str) -> None:
        """Drop the records of a block that were noted, and the annotations of images that are no more."""
        if not self._left_out:
            return
        ids = [document[block][index].get("id") for index in sorted(self._left_out)]
        gone = {number for number in ids if is_id(number)}
        document[block] = [r for index, r in enumerate(document[block]) if index not in self._left_out]
        self._left_out.clear()
        if block != "annotations" and not document[block]:
            raise NothingLeft(f"{self._path}: none of the {block} can be read")
        if block == "images":
            gone.difference_update(r["id"] for r in document["images"] if is_id(r.get("id")))
            document["annotations"] = [
                r for r in document["annotations"] if not (is_id(r.get("image_id")) and r["image_id"] in gone)
            ]

    def of_all(self, fault: Fault) -> DatasetError:
        """Return the error for a fault of all records of a block, noted where faults are kept."""
        if self._kept is None:
            return fault.error(self._path)
        self._kept.append(fault)
        return NothingLeft(str(fault.error(self._path)))


def id_fault(block: str, index: int, record: Record, field: str) -> Fault:
    """Return the fault of an id that is no integer."""
    value = record.get(field)
    if value is None:
        return Fault("bad_id", block, index, record, field, "is missing", "give it an integer")
    remedy = "write all ids as integers below 2**63, for instance 7 and not '7', and refer to them so"
    return Fault("bad_id", block, index, record, field, f"is {shown(value)} ({kind_of(value)})", remedy)


def is_id(value: object) -> bool:
    """Say whether a value can be a COCO id: an integer of at most 63 bits, and no boolean."""
    return type(value) is int and -(2**63) <= value < 2**63


def first_free_id(ids: Iterable[int]) -> int:
    """Return the first of many free ids: above all others, or in the highest gap where those end too high."""
    taken = sorted({0, *(number for number in ids if number > 0)})
    if taken[-1] <= _MAX_ID - _ROOM:
        return taken[-1] + 1
    return max(low + 1 for low, high in pairwise(taken) if high - low > _ROOM)


def kind_of(value: object) -> str:
    """Return the JSON name of a value's type."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def shown(value: object) -> str:
    """Return a value short enough for a message."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
