"""Pascal VOC datasets: an XML file for each image, in `Annotations`, or beside the images as some tools write it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from augsynth.coco.faults import Record, fault, shown
from augsynth.coco.formats.draft import Draft, image_index, number, read_text
from augsynth.core.xml_file import read_xml

LABEL_MAP = "labelmap.txt"  # class names, where CVAT or datumaro wrote the dataset
_SPLITS = ("train", "val", "test", "trainval")
_FOLDERS = {"train": ("train",), "val": ("valid", "val", "validation"), "test": ("test",)}
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
    used = _class_names(places.values())
    draft.name_categories([*mapped, *(name for name in used if name not in mapped)])
    read_objects: list[tuple[Record, Path, Element]] = []
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
            read_objects += [(record, file, each) for each in root.iter("object")]
    _add_objects(draft, read_objects)
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
    return {
        split: _Place(path / name, path / name)
        for split, names in _FOLDERS.items()
        for name in names
        if (path / name).is_dir() and _is_voc(path / name)
    }


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
        return b"<annotation>" in file.read(2000).replace(b"\0", b"")


def _stems(folder: Path) -> Iterator[str]:
    """Yield the XML files below a folder, without suffix, in order."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".xml"):
                yield (Path(place) / name[:-4]).relative_to(folder).as_posix()


def _class_names(places: Iterable[_Place]) -> list[str]:
    """Return the class names of all splits in order, so that each split has the same."""
    files = [p.annotations / f"{stem}.xml" for p in places for stem in _stems(p.annotations)]
    roots = (read_xml(file) for file in dict.fromkeys(files))
    names = {(each.findtext("name") or "").strip() for root in roots for each in root.iter("object")}
    return sorted(names - {""})


def _mapped_names(path: Path) -> list[str]:
    """Return the class names of a label map, [] where there is none: its lines are name, colour, parts and actions."""
    if not path.is_file():
        return []
    lines = [line.split(":")[0].strip() for line in read_text(path).splitlines() if not line.startswith("#")]
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
    """Return width and height, None where they aren't given or are 0, as some tools write."""
    sides = [(root.findtext(f"size/{name}") or "0").strip() for name in ("width", "height")]
    values = [number(path, "", f"size/{n}", s) for n, s in zip(("width", "height"), sides, strict=True)]
    return (int(values[0]), int(values[1])) if min(values) >= 1 else None


def _add_objects(draft: Draft, found: Sequence[tuple[Record, Path, Element]]) -> None:
    """Add all objects once it is known what their numbers count from."""
    texts = [e.findtext(f"bndbox/{corner}") or "" for _, _, e in found for corner in _CORNERS]
    first = [_lowest(text) for k, text in enumerate(texts) if k % 4 < 2]
    decimals = sum("." in text for text in texts)
    from_zero = min(first, default=1.0) < 1 or 2 * decimals > len(texts)
    if from_zero and found:
        draft.found["voc_from_zero"].append(found[0][1].name)
    for k, (image, file, element) in enumerate(found):
        _add_object(draft, image, file, f"object {k + 1}", element, shift=0.0 if from_zero else 1.0)


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
    cos, sin = math.cos(angle), math.sin(angle)
    corners: list[float] = []
    for sx, sy in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)):
        dx, dy = sx * size_wh[0], sy * size_wh[1]
        corners += [centre[0] + dx * cos - dy * sin, centre[1] + dx * sin + dy * cos]
    return corners
