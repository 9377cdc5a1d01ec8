"""What a check finds: findings of one kind in one file, each with the records that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import msgspec
import numpy as np

from augsynth.coco.faults import REPAIRS
from augsynth.core.scene import FloatArray, Scene

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = get_args(Level)

_NOTED = {  # repairs that nobody has to do anything about
    "missing_licenses",
    "categories_without_objects",
    "unlisted_files",
    "missing_labels",
    "oriented_boxes",
    "voc_from_zero",
    "names_from_urls",
}
_LEFT = {"missing_segmentation", "categories_without_objects", "unlisted_files"}  # what no copy can mend

# kind: (field, what it is about, what to do); of records that no other command reads
REFUSED: dict[str, tuple[str, str]] = {
    "bad_id": ("ids that are missing or no integers", "write all ids as integers, and refer to them so"),
    "conflicting_ids": ("different records with one id", "give them different ids"),
    "bad_file_name": ("images without a usable file name", "write it relative to the image directory"),
    "bad_size": ("images without a usable width and height", "write the pixels of the file"),
    "shared_file_sizes": ("images that share a file but not a size", "correct one of them or delete it"),
    "unknown_category": ("annotations of a category that isn't listed", "add the category or correct the id"),
    "bad_iscrowd": ("annotations whose iscrowd is neither 0 nor 1", "write 0 or 1"),
    "bad_box": (
        "annotations without a usable box",
        "write [x, y, width, height] in pixels, or delete the annotation",
    ),
    "normalised_boxes": ("all boxes lie within 0..1", "multiply them by width and height"),
    "bad_category_name": ("categories without a name", "name them in words"),
    "same_category_names": ("categories with objects that share a name", "merge the two or rename one"),
}
# kind: (level, field, what it is about, what to do)
SUSPICIOUS: dict[str, tuple[Level, str, str, str]] = {
    "whole_image_boxes": (
        "warning",
        "bbox",
        "boxes over nearly the whole image",
        "nothing where the object fills the picture, else redraw or delete them",
    ),
    "extreme_shapes": (
        "warning",
        "bbox",
        "boxes far longer than others of their category",
        "redraw what isn't so long, delete slivers at the border",
    ),
    "tiny_boxes": ("warning", "bbox", "boxes under 3 pixels wide or high", "redraw or delete them"),
    "repeated_boxes": (
        "warning",
        "bbox",
        "objects boxed twice: one category, nearly one box",
        "keep one of the two",
    ),
    "contradicting_boxes": (
        "warning",
        "category_id",
        "two categories for nearly one box",
        "keep the right one, unless both hold",
    ),
    "damaged_pictures": ("warning", "file_name", "pictures that can't be decoded", "replace or unlist them"),
    "empty_pictures": ("warning", "file_name", "pictures of a single colour", "replace or unlist them"),
    "same_pictures": (
        "warning",
        "file_name",
        "pictures that are there twice",
        "keep one, with the objects of both",
    ),
    "leaked_pictures": (
        "error",
        "file_name",
        "pictures that are in two splits",
        "keep them in one split, or results are too good",
    ),
    "leaked_scenes": (
        "warning",
        "file_name",
        "pictures of one scene in two splits",
        "split by scene (augsynth split --group-pattern)",
    ),
    "other_categories": (
        "error",
        "categories",
        "categories whose name or id differs between the splits",
        "give all splits one list of categories",
    ),
    "disputed_labels": (
        "warning",
        "category_id",
        "objects that the detector calls something else",
        "look at them and correct the label",
    ),
    "unlabelled_objects": (
        "warning",
        "annotations",
        "places that the detector takes for objects as surely as for labelled ones",
        "look at them and label what is one",
    ),
    "images_without_objects": (
        "note",
        "annotations",
        "images without an object",
        "nothing, if they are meant as background",
    ),
    "objects_without_window": (
        "note",
        "bbox",
        "objects longer than the picture's shorter side, which no square window holds",
        "nothing; they teach a painter nothing",
    ),
}
KINDS = (*REPAIRS, *REFUSED, *SUSPICIOUS)
FIXED = {"repeated_boxes", "bad_box", *REPAIRS} - _LEFT


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record, or several that belong together, that a finding is about.

    Attributes:
        name: What the record is called in words: a file, an id, or a change of an id.
        image_id: COCO id of its image.
        file_name: Of that image.
        annotation_ids: Of the objects.
        boxes_xywh: Their boxes in pixels, or that of the place.
        value: What was measured: a share, a ratio, pixels or a score, as `note` says.
        note: What speaks against it, in a few words.
        other_file: The annotation file of the second image, where there is one.
        other_image_id: The second image's id.
        other_file_name: Its file.
    """

    name: str = ""
    image_id: int | None = None
    file_name: str = ""
    annotation_ids: tuple[int, ...] = ()
    boxes_xywh: tuple[tuple[float, float, float, float], ...] = ()
    value: float | None = None
    note: str = ""
    other_file: str = ""
    other_image_id: int | None = None
    other_file_name: str = ""

    def __str__(self) -> str:
        """Return it in one line."""
        told = ", ".join(str(number) for number in self.annotation_ids)
        names = [self.name or self.file_name, *filter(None, [self.other_file_name])]
        parts = [" = ".join(names) + (f" (annotation {told})" if told and not self.name else ""), self.note]
        return ": ".join(filter(None, parts))


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong or suspicious in one annotation file, of one kind.

    Attributes:
        kind: One of `KINDS`.
        level: `error`: other commands stop at it, or results can't be trusted; `warning`: look at it; `note`: good to
            know.
        file: The annotation file.
        field: The field of the records.
        message: What was found.
        remedy: What to do.
        fixable: Whether a cleaned copy is without it.
        count: How many records.
        cases: The records; of repairs the first thousand.
    """

    kind: str
    level: Level
    file: str
    field: str
    message: str
    remedy: str
    fixable: bool
    count: int
    cases: tuple[Case, ...]


def repaired(kind: str, file: str, count: int, cases: Sequence[Case]) -> Finding:
    """Return the finding for a kind of `REPAIRS`."""
    field, message, remedy = REPAIRS[kind]
    level: Level = "note" if kind in _NOTED else "warning"
    return _finding(kind, level, file, (field, message, remedy), count, cases)


def refused(kind: str, file: str, field: str, cases: Sequence[Case]) -> Finding:
    """Return the finding for records that no other command reads."""
    return _finding(kind, "error", file, (field, *REFUSED[kind]), len(cases), cases)


def suspicious(kind: str, file: str, cases: Sequence[Case]) -> list[Finding]:
    """Return the finding for a kind of `SUSPICIOUS`, none without a case."""
    level, *texts = SUSPICIOUS[kind]
    return [_finding(kind, level, file, texts, len(cases), cases)] if cases else []


def _finding(
    kind: str, level: Level, file: str, texts: Sequence[str], count: int, cases: Sequence[Case]
) -> Finding:
    field, message, remedy = texts
    return Finding(
        kind=kind,
        level=level,
        file=file,
        field=field,
        message=message,
        remedy=remedy,
        fixable=kind in FIXED,
        count=count,
        cases=tuple(cases),
    )


def case_of(scene: Scene, objects: Sequence[int], **told: Any) -> Case:
    """Return the case of some objects of a scene, by their positions."""
    return Case(
        image_id=scene.image_id,
        file_name=scene.file_name,
        annotation_ids=tuple(int(scene.annotation_ids[k]) for k in objects),
        boxes_xywh=tuple(xywh(scene.boxes_xyxy[k]) for k in objects),
        **told,
    )


def xywh(box_xyxy: FloatArray) -> tuple[float, float, float, float]:
    """Return a (4,) box as COCO writes it, to a hundredth of a pixel."""
    x1, y1, x2, y2 = np.round(box_xyxy, 2).tolist()
    return x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)
