"""Exports of CVAT ("CVAT for images 1.1"): boxes (turned ones too), polygons, ellipses and masks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from augsynth.coco.faults import Record, fault, shown
from augsynth.coco.formats.draft import SPLIT_NAMES, Draft, image_index, number, split_named, usable_size
from augsynth.coco.formats.label_studio import ellipse
from augsynth.coco.formats.voc import turned_corners
from augsynth.coco.segmentation import usable_mask
from augsynth.core.images import is_plain_file, relative_name
from augsynth.core.masks import Mask, as_rle, bounds_of, decoded, to_rle
from augsynth.core.xml_file import read_xml

_SHAPES = ("box", "polygon", "ellipse", "mask", "polyline", "points", "skeleton", "cuboid")
_JOINED = ("box", "polygon", "mask")


def fits(path: Path) -> bool:
    """Say whether a path is an XML file of CVAT, or a folder with its annotations.xml."""
    file = _file(path)
    if not is_plain_file(file) or file.suffix.lower() != ".xml":
        return False
    with file.open("rb") as opened:
        return b"<annotations" in opened.read(4000)


def splits(path: Path) -> tuple[str, ...]:
    """Return the subsets of a project that are splits, () where an image is in none."""
    found = {split_named(each.get("subset", "")) for each in read_xml(_file(path)).iter("image")}
    return () if "" in found else tuple(sorted(found, key=list(SPLIT_NAMES).index))


def read(path: Path, split: str, images: Path | None) -> Draft:
    """Read one split; polygons and masks of one group and label are one object.

    Args:
        path: The XML file, or the folder of its annotations.xml.
        split: One of `splits`, "" for all images.
        images: Where its images are, if not beside the file or in a folder `images` there.

    Raises:
        DatasetError: It isn't such a file, or a shape has no label or no numbers.
    """
    file = _file(path)
    root = read_xml(file)
    if root.find("track") is not None:
        raise fault(file, "", "track", "is of a film", 'export it as "CVAT for images 1.1"')
    beside = file.parent / "images"
    folder = images or (beside if beside.is_dir() else file.parent)
    by_name: dict[str, list[str]] = defaultdict(list)
    for group in image_index(folder).values():
        for each in group:
            by_name[Path(each).name].append(each)
    draft = Draft(path, root=folder)
    draft.name_categories(
        name for each in root.iterfind("meta//label") if (name := (each.findtext("name") or "").strip())
    )
    for element in root.iter("image"):
        name = element.get("name", "")
        if split and split_named(element.get("subset", "")) != split:
            continue
        where = f"image {shown(name)}"
        try:
            picture = _picture(relative_name(name), by_name, folder)
        except ValueError as error:
            raise fault(file, where, "name", f"{error}", "write it relative to the images") from None
        sides = [number(file, where, side, element.get(side, "")) for side in ("width", "height")]
        measured, recorded = draft.measure(picture), usable_size(sides[0], sides[1])
        record = draft.add_image(picture, recorded or measured)
        if measured is not None and recorded in (None, measured, measured[::-1]):
            _add_shapes(draft, record, file, where, element)
    return draft


def _file(path: Path) -> Path:
    return path / "annotations.xml" if path.is_dir() else path


def _picture(name: str, by_name: Mapping[str, list[str]], folder: Path) -> Path:
    """Return an image's file: at its path, or below a folder of the split's name as CVAT packs it."""
    if (folder / name).exists():
        return folder / name
    wanted = [p for p in by_name.get(PurePosixPath(name).name, []) if Path(p).as_posix().endswith("/" + name)]
    return Path(wanted[0]) if wanted else folder / name


def _add_shapes(draft: Draft, image: Record, file: Path, where: str, element: Element) -> None:
    groups: dict[Any, list[Element]] = defaultdict(list)
    for k, shape in enumerate(element):
        if shape.tag in _SHAPES:
            joined = shape.get("group_id", "0") not in ("", "0") and shape.tag in _JOINED
            groups[(shape.get("group_id"), shape.get("label")) if joined else k].append(shape)
    for shapes in groups.values():
        boxes = [shape for shape in shapes if shape.tag == "box"]
        together = len(boxes) < 2  # several boxes are several objects, whatever group they are in
        for each in [shapes] if together else [[shape] for shape in shapes]:
            name = (each[0].get("label") or "").strip()
            if not name:
                raise fault(file, where, f"label of a {each[0].tag}", "is missing", "export it again")
            place = f"{where}: {each[0].tag} {shown(name)}"
            _add_object(draft, image, file, place, draft.category_id(name), each)


def _add_object(
    draft: Draft, image: Record, file: Path, where: str, category: int, shapes: list[Element]
) -> None:
    """Add the object of one shape, or of outlines that belong together and the box that may be given with them."""
    extra: Record = {"attributes": _attributes(shapes[0]) or None}
    box = next((_box(file, where, shape) for shape in shapes if shape.tag == "box"), None)
    polygons = [_polygon(file, where, shape) for shape in shapes if shape.tag in ("polygon", "ellipse")]
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    masks = [shape for shape in shapes if shape.tag == "mask"]
    outline: Any = polygons or None
    if masks:
        whole = _drawn(file, where, masks, polygons, (image["width"], image["height"]))
        bounds = bounds_of(whole)
        if bounds is None and box is None:
            draft.found["unusable_segmentation"].append(where)
            return
        outline = None if bounds is None else to_rle(whole)
        box = bounds.tolist() if box is None and bounds is not None else box
        extra["area"] = float(whole.sum())
    if box is not None and len(box) == 8:
        draft.add_oriented(image, category, box, segmentation=outline, **extra)
    elif box is not None:
        draft.add_object(image, category, box, segmentation=outline, **extra)
    elif polygons:
        draft.add_outlined(image, category, polygons, **extra)
    else:
        draft.found["unread_shapes"].append(shapes[0].tag)


def _box(file: Path, where: str, shape: Element) -> list[float]:
    """Return the four numbers of a box, or the eight of the corners of a turned one."""
    x1, y1, x2, y2 = (number(file, where, field, shape.get(field)) for field in ("xtl", "ytl", "xbr", "ybr"))
    angle = _angle(file, where, shape)
    if not angle:
        return [x1, y1, x2, y2]
    return turned_corners(((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1), angle)


def _angle(file: Path, where: str, shape: Element) -> float:
    return math.radians(number(file, where, "rotation", shape.get("rotation", "0")))


def _polygon(file: Path, where: str, shape: Element) -> list[float]:
    if shape.tag == "polygon":
        return _points(file, where, shape)
    cx, cy, rx, ry = (number(file, where, field, shape.get(field)) for field in ("cx", "cy", "rx", "ry"))
    return ellipse((cx, cy), (rx, ry), _angle(file, where, shape))


def _points(file: Path, where: str, shape: Element) -> list[float]:
    text = shape.get("points", "")
    return [
        number(file, where, "points", v) for pair in text.split(";") for v in pair.split(",") if v.strip()
    ]


def _drawn(
    file: Path, where: str, masks: list[Element], polygons: list[list[float]], size_wh: tuple[int, int]
) -> Mask:
    """Return the pixels of masks and of the polygons given with them, (H, W)."""
    whole = np.zeros(size_wh[::-1], np.bool_)
    for shape in masks:
        _draw(whole, file, where, shape)
    usable = usable_mask(polygons, size_wh)
    rle = as_rle(usable, size_wh) if usable is not None else None
    return whole if rle is None else whole | decoded(rle)


def _draw(whole: Mask, file: Path, where: str, shape: Element) -> None:
    """Draw a mask: run lengths along the rows of its rectangle, the first of them outside."""
    left, top, width, height = (
        int(number(file, where, field, shape.get(field))) for field in ("left", "top", "width", "height")
    )
    runs = [int(number(file, where, "rle", run.strip())) for run in shape.get("rle", "").split(",")]
    rows, columns = whole.shape
    inside = min(left, top) >= 0 and left + width <= columns and top + height <= rows
    if not inside or min(runs) < 0 or sum(runs) != width * height:
        raise fault(file, where, "rle", "doesn't fill its rectangle in the image", "export it again")
    drawn = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    whole[top : top + height, left : left + width] |= drawn


def _attributes(shape: Element) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: text.strip()
        for each in shape.iterfind("attribute")
        if (name := each.get("name")) and (text := each.text)
    }
    if shape.get("occluded") == "1":
        found["occluded"] = True
    return found
