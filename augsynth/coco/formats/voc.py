"""Pascal VOC datasets: an XML file for each image, in `Annotations`, or beside the images as some tools write it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from augsynth.coco.faults import Record, fault, shown
from augsynth.coco.formats.draft import (
    Draft,
    image_index,
    number,
    read_text,
    split_folders,
    turned,
    usable_size,
)
from augsynth.core.xml_file import read_xml

LABEL_MAP = "labelmap.txt"  # class names, where CVAT or datumaro wrote the dataset
_SPLITS = ("train", "val", "test", "trainval")
_XML_FOLDERS = ("annotations", "labels", "xmls")  # the first of each is VOC's own, others some tools'
_IMAGE_FOLDERS = ("jpegimages", "images", "data")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("truncated", "occluded")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where XML files and images lie, and which of the XML files are meant (None: all)."""

    annotations: Path
    images: Path
    stems: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Survey:
    """What all XML files of a dataset say together.

    Attributes:
        names: Class names in order, so that each split has the same.
        from_zero: The first file whose numbers can't count from 1, where they all count from 0; None where from 1.
    """

    names: list[str]
    from_zero: str | None


def fits(path: Path) -> bool:
    """Say whether a folder is a VOC dataset."""
    return path.is_dir() and bool(_places(path))


def splits(path: Path) -> tuple[str, ...]:
    """Return the splits that a dataset has, by its lists in ImageSets/Main or by its folders."""
    found = tuple(name for name in _places(path) if name)
    return tuple(name for name in found if name != "trainval") if "train" in found else found


def read(path: Path, split: str, images: Path | None) -> Draft:
    """Read one split.

    Whole numbers count pixels from 1, as the VOC devkit's do: a box from 1 to 10 covers ten pixels. Where a number of
    the dataset is below 1, or most have decimals, a tool wrote plain coordinates, and they are taken as such.

    Args:
        path: The folder that holds `Annotations`, or XML files beside images.
        split: One of `splits`, "" where there are none.
        images: Where its images are, if not where VOC has them.

    Raises:
        DatasetError: A file isn't XML, or an object has no name or no box.
    """
    places = _places(path)
    place = places[split]
    stems = place.stems if place.stems is not None else tuple(_stems(place.annotations))
    index = image_index(images or place.images)
    draft = Draft(path, root=images or place.images)
    mapped = _mapped_names(place.annotations.parent / LABEL_MAP)
    survey = _survey(places.values())
    draft.name_categories([*mapped, *(name for name in survey.names if name not in mapped)])
    shift = 1.0 if survey.from_zero is None else 0.0
    for stem in stems:
        file = place.annotations / f"{stem}.xml"
        root = read_xml(file) if file.is_file() else None
        if root is not None and root.tag != "annotation":
            raise fault(file, "", "root element", f"is {root.tag!r}, not 'annotation'", "export it again")
        picture = _image(stem, root, index, images or place.images)
        size_wh = draft.measure(picture)
        record = draft.add_image(picture, None if root is None else _size(file, root) or size_wh)
        if root is None:
            draft.found["missing_labels"].append(stem)
        else:
            for k, each in enumerate(root.iter("object"), start=1):
                _add_object(draft, record, file, f"object {k}", each, shift=shift)
    if survey.from_zero is not None and draft.annotations:
        draft.found["voc_from_zero"].append(survey.from_zero)
    return draft


def _places(path: Path) -> dict[str, _Place]:
    """Return split -> place, {} where there is no VOC dataset."""
    years = sorted(p for p in path.glob("VOC[0-9]*") if p.is_dir())
    if len(years) == 1 and not _inside(path, *_XML_FOLDERS):
        path = years[0]
    annotations = _inside(path, *_XML_FOLDERS)
    if annotations is not None and _is_voc(annotations):
        images = _inside(path, *_IMAGE_FOLDERS) or annotations
        lists = {name: path / "ImageSets" / "Main" / f"{name}.txt" for name in _SPLITS}
        found = {n: _Place(annotations, images, _listed(file)) for n, file in lists.items() if file.is_file()}
        return found or {"": _Place(annotations, images)}
    if any(path.glob("*.xml")) and _is_voc(path):
        return {"": _Place(path, path)}
    folders = split_folders(path, lambda folder: folder.is_dir() and _is_voc(folder))
    return {split: _Place(folder, folder) for split, folder in folders.items()}


def _inside(path: Path, *names: str) -> Path | None:
    """Return a folder's folder of the first of several names, in lower case, that it has in any case."""
    if not path.is_dir():
        return None
    held = {each.name.lower(): each for each in sorted(path.iterdir(), reverse=True) if each.is_dir()}
    return next((held[name] for name in names if name in held), None)


def _is_voc(folder: Path) -> bool:
    first = next(_stems(folder), None)
    if first is None:
        return False
    with (folder / f"{first}.xml").open("rb") as file:
        return re.search(rb"<annotation[\s>]", file.read(2000).replace(b"\0", b"")) is not None


def _stems(folder: Path) -> Iterator[str]:
    """Yield the XML files below a folder, without suffix, in order."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".xml"):
                yield (Path(place) / name[:-4]).relative_to(folder).as_posix()


def _survey(places: Iterable[_Place]) -> _Survey:
    """Read all splits for what must be the same in each: class names, and what numbers count from."""
    files = [p.annotations / f"{stem}.xml" for p in places for stem in _stems(p.annotations)]
    names, first_low, first_decimal, decimals, numbers = set(), None, None, 0, 0
    for file in dict.fromkeys(files):
        for each in read_xml(file).iter("object"):
            names.add((each.findtext("name") or "").strip())
            texts = [each.findtext(f"bndbox/{corner}") or "" for corner in _CORNERS]
            with_points = sum("." in text for text in texts)
            decimals, numbers = decimals + with_points, numbers + len(texts)
            if min(map(_lowest, texts[:2])) < 1:
                first_low = first_low or file.name
            if with_points:
                first_decimal = first_decimal or file.name
    from_zero = first_low or (first_decimal if 2 * decimals > numbers else None)
    return _Survey(sorted(names - {""}), from_zero)


def _mapped_names(path: Path) -> list[str]:
    """Return the class names of a label map, [] where there is none: its lines are name, colour, parts and actions."""
    if not path.is_file():
        return []
    lines = [
        line.rsplit(":", 3)[0].strip() for line in read_text(path).splitlines() if not line.startswith("#")
    ]
    return list(dict.fromkeys(name for name in lines if name and name != "background"))


def _listed(path: Path) -> tuple[str, ...]:
    """Return the images of a list: each line's first words, without a number that says whether a class is there."""
    stems: dict[str, None] = {}
    for line in read_text(path).splitlines():
        name, _, last = line.strip().rpartition(" ")
        stem = name.strip() if last in ("1", "0", "-1") and name else line.strip()
        if stem:
            stems[stem.strip('"')] = None
    return tuple(stems)


def _image(stem: str, root: Element | None, index: dict[str, list[str]], folder: Path) -> Path:
    """Return an image's file: that of the XML's name, or the one that the XML says."""
    said = "" if root is None else (root.findtext("filename") or "").strip().replace("\\", "/")
    own = index.get(stem) or index.get(Path(stem).name) or []
    for name in own:
        if Path(name).name == Path(said).name:
            return Path(name)
    other = index.get(os.path.splitext(said)[0], []) if not own else []
    return Path((own or other or [str(folder / (said.lstrip("/") or f"{stem}.jpg"))])[0])


def _size(path: Path, root: Element) -> tuple[int, int] | None:
    """Return width and height, None where they aren't given, are 0, as some tools write, or can't be."""
    sides = [(root.findtext(f"size/{name}") or "0").strip() for name in ("width", "height")]
    values = [number(path, "", f"size/{n}", s) for n, s in zip(("width", "height"), sides, strict=True)]
    return usable_size(values[0], values[1])


def _lowest(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def _add_object(
    draft: Draft, image: Record, file: Path, where: str, element: Element, *, shift: float
) -> None:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise fault(file, where, "name", "is missing", "name the class")
    where = f"object {shown(name)}"
    flags = {flag: text == "1" for flag in _FLAGS if (text := (element.findtext(flag) or "").strip())}
    pose = (element.findtext("pose") or "").strip()
    extra: Record = {"attributes": {**({"pose": pose} if pose else {}), **flags} or None}
    if (element.findtext("difficult") or "").strip() == "1":
        extra["ignore"] = 1
    category = draft.category_id(name)
    oriented = element.find("robndbox")
    if oriented is not None:
        parts = ("cx", "cy", "w", "h", "angle")
        cx, cy, w, h, angle = (number(file, where, p, (oriented.findtext(p) or "").strip()) for p in parts)
        draft.add_oriented(image, category, turned_corners((cx, cy), (w, h), angle), **extra)
        return
    polygons = [_polygon(file, where, each, shift) for each in element.iterfind("polygon")]
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if element.find("bndbox") is None and polygons:
        draft.add_outlined(image, category, polygons, **extra)
        return
    x1, y1, x2, y2 = (
        number(file, where, f"bndbox/{c}", (element.findtext(f"bndbox/{c}") or "").strip()) for c in _CORNERS
    )
    box = (min(x1, x2) - shift, min(y1, y2) - shift, max(x1, x2), max(y1, y2))
    draft.add_object(image, category, box, segmentation=polygons or None, **extra)


def _polygon(file: Path, where: str, element: Element, shift: float) -> list[float]:
    """Return the corners of <x1>, <y1>, <x2>, …, or of LabelMe's <pt>."""
    values = [
        number(file, where, "polygon", (each.text or "").strip())
        for each in element.iter()
        if each.tag[:1] in "xy" and (each.tag[1:].isdigit() or each.tag in "xy")
    ]
    return [value - shift for value in values]


def turned_corners(centre: tuple[float, float], size_wh: tuple[float, float], angle: float) -> list[float]:
    """Return x, y of the four corners of a box turned clockwise (as seen, y down) about its centre by radians."""
    signs = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    return turned([(sx * size_wh[0], sy * size_wh[1]) for sx, sy in signs], centre, angle)
