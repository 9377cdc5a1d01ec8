"""A COCO document in the making, from files of another format."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from augsynth.coco.blocks import MAX_SIDE
from augsynth.coco.faults import Record, Repairs, fault, shown
from augsynth.core.errors import DatasetError
from augsynth.core.images import IMAGE_SUFFIXES, Header, read_header, read_plain

SPLIT_NAMES = {"train": ("train",), "val": ("val", "validation", "valid", "dev"), "test": ("test",)}
FARTHEST = 1e9  # pixels; what lies beyond is no place in an image
ORIENTED = "oriented_box"  # key of an annotation: x1, y1, …, x4, y4 in pixels, as the source has them


@dataclass(eq=False)
class Draft:
    """What has been read of a dataset so far.

    Attributes:
        source: What was asked for, for messages.
        root: The directory that holds all images; without it the lowest that does is found in the end.
        images: COCO records; `file_name` is still the whole path.
        headers: Sizes of the images that were measured, by whole path.
        found: Kind of repair -> ids or names.
    """

    source: Path
    root: Path | None = None
    images: list[Record] = field(default_factory=list)
    annotations: list[Record] = field(default_factory=list)
    categories: list[Record] = field(default_factory=list)
    headers: dict[str, Header] = field(default_factory=dict)
    found: dict[str, list[object]] = field(default_factory=lambda: defaultdict(list))
    _ids: dict[str, int] = field(default_factory=dict)

    def name_categories(self, names: Iterable[str]) -> None:
        """Add categories in their order: the first has id 1."""
        for name in names:
            self.categories.append({"id": len(self.categories) + 1, "name": name})
            self._ids.setdefault(name, len(self.categories))

    def category_id(self, name: str) -> int:
        """Return the id of a category, which is added where it is new."""
        if name not in self._ids:
            self.name_categories([name])
        return self._ids[name]

    def measure(self, path: Path) -> tuple[int, int] | None:
        """Return width and height of an image file after EXIF orientation, None where it can't be opened."""
        try:
            self.headers[str(path)] = read_header(path)
        except DatasetError:
            return None
        return self.headers[str(path)].size_wh

    def add_image(self, path: Path, size_wh: tuple[int, int] | None = None, **extra: Any) -> Record:
        """Add an image; what can't be found is dropped, and named, when the whole is read."""
        width, height = size_wh or (None, None)
        record = {"id": len(self.images) + 1, "file_name": str(path), "width": width, "height": height}
        self.images.append({**extra, **record})
        return self.images[-1]

    def add_object(
        self, image: Record, category_id: int, box_xyxy: Sequence[float], *, area: float = 0.0, **extra: Any
    ) -> Record:
        """Add an object with what else is known of it.

        Args:
            image: Its image's record.
            category_id: Id of its category.
            box_xyxy: (4,) pixels.
            area: Of its outline; that of the box where it has none.
            extra: Further keys, left out where None.
        """
        x1, y1, x2, y2 = (float(v) for v in box_xyxy)
        record: Record = {
            "id": len(self.annotations) + 1,
            "image_id": image["id"],
            "category_id": category_id,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": area or max(x2 - x1, 0.0) * max(y2 - y1, 0.0),
            "iscrowd": 0,
        }
        self.annotations.append({**record, **{k: v for k, v in extra.items() if v is not None}})
        return self.annotations[-1]

    def add_outlined(
        self, image: Record, category_id: int, polygons: Sequence[Sequence[float]], **extra: Any
    ) -> Record:
        """Add an object whose box is the bounds of its polygons."""
        return self.add_object(
            image,
            category_id,
            bounds(value for polygon in polygons for value in polygon),
            area=sum(map(polygon_area, polygons)),
            segmentation=[list(polygon) for polygon in polygons],
            **extra,
        )

    def add_oriented(self, image: Record, category_id: int, corners: Sequence[float], **extra: Any) -> Record:
        """Add an oriented box: its enclosing one, and its corners as they are."""
        record = self.add_object(
            image, category_id, bounds(corners), **{**extra, ORIENTED: [float(v) for v in corners]}
        )
        self.found["oriented_boxes"].append(record["id"])
        return record

    def finish(self) -> tuple[Record, Path, dict[str, Header], Repairs]:
        """Return the document, the image directory, the headers by `file_name`, and what was recovered.

        Raises:
            DatasetError: There are no images or categories, or the images have no directory in common.
        """
        if not self.images:
            raise fault(self.source, "", "images", "aren't there", "check the path, or name another split")
        root = (
            self.root or Path(os.path.commonpath([str(Path(r["file_name"]).parent) for r in self.images]))
        ).absolute()
        if root == Path(root.anchor):
            remedy = "write the dataset into one folder with `augsynth import`"
            raise fault(self.source, "", "images", "have no folder in common", remedy)
        headers = {}
        for record in self.images:
            path = record["file_name"]
            record["file_name"] = Path(os.path.relpath(os.path.abspath(path), root)).as_posix()
            if path in self.headers:
                headers[record["file_name"]] = self.headers[path]
        repairs = Repairs()
        for kind, names in self.found.items():
            repairs.add(kind, names)
        document: Record = {"info": {}, "licenses": [], "images": self.images}
        document |= {"annotations": self.annotations, "categories": self.categories}
        return document, root, headers, repairs


def bounds(values: Iterable[float]) -> tuple[float, float, float, float]:
    """Return the xyxy bounds of x, y, x, y, …"""
    flat = list(values)
    return min(flat[::2]), min(flat[1::2]), max(flat[::2]), max(flat[1::2])


def polygon_area(polygon: Sequence[float]) -> float:
    """Return the area inside a polygon of x, y, x, y, …"""
    xs, ys = polygon[::2], polygon[1::2]
    twice = sum(xs[k - 1] * ys[k] - xs[k] * ys[k - 1] for k in range(len(xs)))
    return abs(twice) / 2


def turned(offsets: Iterable[tuple[float, float]], about: tuple[float, float], angle: float) -> list[float]:
    """Return x, y, x, y, … of points that are turned clockwise (as seen, y down) about another one.

    Args:
        offsets: From the point that they are turned about.
        about: That point.
        angle: In radians.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    flat: list[float] = []
    for dx, dy in offsets:
        flat += [about[0] + dx * cos - dy * sin, about[1] + dx * sin + dy * cos]
    return flat


def split_named(name: str) -> str:
    """Return the split that a name stands for, "" for none."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), "")


def split_folders(path: Path, holds: Callable[[Path], bool]) -> dict[str, Path]:
    """Return split -> its folder, the first of its names that holds what is looked for."""
    places = {split: [path / name for name in names] for split, names in SPLIT_NAMES.items()}
    found = {split: next((each for each in own if holds(each)), None) for split, own in places.items()}
    return {split: place for split, place in found.items() if place is not None}


def usable_size(width: object, height: object) -> tuple[int, int] | None:
    """Return a recorded size, None where a side isn't given or can't be one."""
    given = [side for side in (width, height) if isinstance(side, int | float) and side is not True]
    sides = [int(side) for side in given if 1 <= side <= MAX_SIDE and side == int(side)]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def class_names_of(path: Path, names: object) -> dict[int, str]:
    """Return class number -> name, in order, from a list or from an object with the numbers as keys.

    Raises:
        DatasetError: It is neither, or a key is no number.
    """
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise fault(path, "", "names", f"is {shown(names)}, not a list of names", "list the classes")
    numbers = {int(k) if isinstance(k, str) and k.isdecimal() and len(k) < 10 else k: k for k in names}
    wrong = [key for key in numbers if type(key) is not int or key < 0]
    if wrong:
        raise fault(path, "", "names", f"has the key {shown(wrong[0])}", "number the classes from 0")
    return {number: str(names[numbers[number]]) for number in sorted(numbers)}


def read_text(path: Path) -> str:
    """Return a text file's content without a byte-order mark.

    Raises:
        DatasetError: It can't be read or isn't text.
    """
    try:
        data = read_plain(path)
    except OSError as error:
        raise fault(path, "", "file", f"can't be read ({error.strerror})", "check the path") from None
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise fault(path, "", "text", "isn't UTF-8", "save it as UTF-8") from None


def number(path: Path, where: str, field: str, text: object) -> float:
    """Return a finite number that a file has as text or as a number.

    Raises:
        DatasetError: It is none.
    """
    try:
        value = float(text) if isinstance(text, str | int | float) and text is not True else float("nan")
    except (ValueError, OverflowError):
        value = float("nan")
    if not abs(value) < FARTHEST:
        raise fault(path, where, field, f"is {shown(text)}, not a number of use", "write a number in digits")
    return value


def image_index(folder: Path) -> dict[str, list[str]]:
    """Return path without suffix, relative to a folder -> its image files, in order; links to folders are left out."""
    index: dict[str, list[str]] = defaultdict(list)
    for place, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in IMAGE_SUFFIXES:
                relative = os.path.relpath(place, folder)
                key = stem if relative == "." else f"{Path(relative).as_posix()}/{stem}"
                index[key].append(os.path.join(place, name))
    return dict(index)


def scalars(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the texts, numbers and booleans among values, None for none."""
    finite = {k: v for k, v in values.items() if not isinstance(v, float) or math.isfinite(v)}
    return {k: v for k, v in finite.items() if isinstance(v, str | int | float)} or None
