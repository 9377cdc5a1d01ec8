"""What is written in another format: a split's document and files, of one dataset or of several put together."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from augsynth.coco.faults import Record
from augsynth.coco.formats.draft import FARTHEST, ORIENTED
from augsynth.coco.segmentation import usable_mask
from augsynth.core.boxes import clip_boxes
from augsynth.core.images import image_path, place_original
from augsynth.core.masks import as_rle, decoded, to_polygons
from augsynth.core.scene import Dataset

_LVIS_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")  # keys of images that hold category ids
Originals = Literal["hardlink", "copy"]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A split to be written.

    Attributes:
        name: `train`, `val`, `test`, or "" where there are no splits.
        document: COCO document; each image has a `file_name` of its own.
        files: Image id -> its file, and the directory that it must not leave.
        source: What it was read from, the first of several.
    """

    name: str
    document: Record
    files: Mapping[int, tuple[Path, Path]]
    source: Path

    def objects(self) -> Iterator[tuple[Record, list[Record]]]:
        """Yield each image with its annotations, in the order of the document."""
        held: dict[int, list[Record]] = defaultdict(list)
        for record in self.document["annotations"]:
            held[record["image_id"]].append(record)
        for image in self.document["images"]:
            yield image, held[image["id"]]

    def place(self, image: Record, target: Path, originals: Originals) -> None:
        """Bring an image's file to its place: linked or copied, or written anew upright where EXIF turns it."""
        source, root = self.files[image["id"]]
        place_original(source, target, originals, size_wh=(image["width"], image["height"]), root=root)

    def renamed(self, names: Mapping[int, str]) -> Part:
        """Return the part with other file names, by image id."""
        images = [{**record, "file_name": names[record["id"]]} for record in self.document["images"]]
        return replace(self, document={**self.document, "images": images})


@dataclass(slots=True)
class Written:
    """What was written, and what the format has no place for.

    Attributes:
        main: The file or folder that stands for the dataset.
        images: How many.
        objects: How many.
        left_out: What is lost -> how often.
        notices: Lines for people.
    """

    main: Path
    images: int = 0
    objects: int = 0
    left_out: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    notices: list[str] = field(default_factory=list)


def parts_of(found: Mapping[str, Sequence[Dataset]]) -> list[Part]:
    """Return the splits of a dataset, each of one dataset or of several put together.

    Several of one split get new ids; categories of one name (case aside) become one. An image file that several of
    them list is one image with the objects of all. Images that would share a name come into folders with the number
    of their dataset. Where a split is put together, or the splits number their categories differently, all get one
    numbering.

    Args:
        found: Split -> its datasets, read with their images.
    """
    pieces = {name: [_piece(name, dataset) for dataset in datasets] for name, datasets in found.items()}
    everything = [piece for own in pieces.values() for piece in own]
    if len(everything) == len(pieces) and _numbered_alike(everything):
        return everything
    categories, maps = _merge_blocks([piece.document["categories"] for piece in everything], _category_key)
    renumbered = iter(
        [_renumbered(piece, categories, ids) for piece, ids in zip(everything, maps, strict=True)]
    )
    parts = [[next(renumbered) for _ in own] for own in pieces.values()]
    return [own[0] if len(own) == 1 else _merge(own) for own in parts]


def _piece(name: str, dataset: Dataset) -> Part:
    root = dataset.image_root
    assert root is not None  # it was read with its images
    solid = {int(number) for scene in dataset.scenes for number in scene.annotation_ids}
    offered = {category.id for category in dataset.categories}
    used = {record["category_id"] for record in dataset.document["annotations"]}
    document = {
        **dataset.document,
        "categories": [c for c in dataset.document["categories"] if c["id"] in offered | used],
        "annotations": [r for r in dataset.document["annotations"] if r["id"] in solid],
    }
    files = {scene.image_id: (image_path(root, scene.file_name), root) for scene in dataset.scenes}
    return Part(name, document, files, dataset.source)


def _category_key(category: Record) -> str:
    return str(category["name"].strip().casefold())


def _numbered_alike(pieces: Sequence[Part]) -> bool:
    """Say whether an id stands for one name, and a name for one id, in all of them."""
    names: dict[int, str] = {}
    ids: dict[str, int] = {}
    for piece in pieces:
        for category in piece.document["categories"]:
            number, name = category["id"], _category_key(category)
            if names.setdefault(number, name) != name or ids.setdefault(name, number) != number:
                return False
    return True


def _renumbered(piece: Part, categories: list[Record], ids: Mapping[Any, int]) -> Part:
    """Return a part with other categories, given its old id -> new id."""
    images = []
    for record in piece.document["images"]:
        lists = {key: record[key] for key in _LVIS_LISTS if isinstance(record.get(key), list)}
        images.append({**record, **{key: [_mapped(ids, kind) for kind in own] for key, own in lists.items()}})
    annotations = [{**r, "category_id": ids[r["category_id"]]} for r in piece.document["annotations"]]
    blocks = {"images": images, "annotations": annotations, "categories": categories}
    return replace(piece, document={**piece.document, **blocks})


def _mapped(ids: Mapping[Any, int], value: Any) -> Any:
    """Return the new id for an old one, and what is no known id as it is."""
    return ids.get(value, value) if isinstance(value, Hashable) else value


def _merge(pieces: Sequence[Part]) -> Part:
    """Return several parts with the same categories as one."""
    licences, licence_maps = _merge_blocks(
        [licences_of(piece) for piece in pieces], lambda c: repr((c.get("name"), c.get("url")))
    )
    images: dict[str, Record] = {}
    files: dict[int, tuple[Path, Path]] = {}
    annotations: list[Record] = []
    clash = _names_clash(pieces)
    for number, piece in enumerate(pieces):
        ids = {}
        for record in piece.document["images"]:
            path, root = piece.files[record["id"]]
            title = f"{number + 1}/{record['file_name']}" if clash else record["file_name"]
            own = {**record, "id": len(images) + 1, "file_name": title}
            if "license" in record:
                own["license"] = _mapped(licence_maps[number], record["license"])
            kept = images.setdefault(os.path.realpath(path), own)
            ids[record["id"]] = kept["id"]
            files.setdefault(kept["id"], (path, root))
        for record in piece.document["annotations"]:
            fresh = {"id": len(annotations) + 1, "image_id": ids[record["image_id"]]}
            annotations.append({**record, **fresh})
    info: Record = next((own for piece in pieces if (own := info_of(piece))), {})
    document = {"info": info, "licenses": licences, "images": list(images.values())}
    document |= {"annotations": annotations, "categories": pieces[0].document["categories"]}
    return Part(pieces[0].name, document, files, pieces[0].source)


def _merge_blocks(
    blocks: Sequence[Sequence[Record]], key_of: Callable[[Record], str]
) -> tuple[list[Record], list[dict[Any, int]]]:
    """Return the records of all documents, each name once and numbered from 1, and each document's old id -> new id."""
    merged: dict[str, Record] = {}
    maps = []
    for block in blocks:
        ids: dict[Any, int] = {}
        for record in block:
            kept = merged.setdefault(key_of(record), {**record, "id": len(merged) + 1})
            if isinstance(record.get("id"), Hashable):
                ids[record.get("id")] = kept["id"]
        maps.append(ids)
    return list(merged.values()), maps


def info_of(part: Part) -> Record:
    """Return what a document says of itself, {} where that is no object."""
    info = part.document.get("info")
    return info if isinstance(info, dict) else {}


def licences_of(part: Part) -> list[Record]:
    """Return the licences of a document, without what is no object."""
    listed = part.document.get("licenses")
    return [record for record in listed if isinstance(record, dict)] if isinstance(listed, list) else []


def _names_clash(pieces: Sequence[Part]) -> bool:
    seen: dict[str, str] = {}
    for piece in pieces:
        for record in piece.document["images"]:
            path = os.path.realpath(piece.files[record["id"]][0])
            if seen.setdefault(record["file_name"], path) != path:
                return True
    return False


def class_names(parts: Sequence[Part]) -> list[str]:
    """Return the category names of all parts, each once, in order: their places are class numbers."""
    names: dict[str, str] = {}
    for part in parts:
        for category in part.document["categories"]:
            names.setdefault(_category_key(category), category["name"])
    return list(names.values())


def class_numbers(part: Part, names: Sequence[str]) -> dict[int, int]:
    """Return category id -> class number from 0."""
    places = {name.strip().casefold(): k for k, name in enumerate(names)}
    return {c["id"]: places[_category_key(c)] for c in part.document["categories"]}


def box_inside(record: Record, image: Record) -> tuple[float, float, float, float]:
    """Return an annotation's xyxy box cut to its image."""
    x, y, width, height = (float(v) for v in record["bbox"])
    corners = np.array([x, y, x + width, y + height], np.float64)
    x1, y1, x2, y2 = clip_boxes(corners, (image["width"], image["height"])).tolist()
    return x1, y1, x2, y2


def oriented(record: Record) -> list[float] | None:
    """Return the corners of an annotation's oriented box, None where it has none: they are eight finite numbers."""
    corners = record.get(ORIENTED)
    if not isinstance(corners, list) or len(corners) != 8 or {type(v) for v in corners} - {int, float}:
        return None
    return [float(v) for v in corners] if all(abs(v) <= FARTHEST for v in corners) else None


def count_lost(
    record: Record, left_out: dict[str, int], *, kept: Collection[str], attributes: Collection[str] = ()
) -> None:
    """Count what an annotation has and a format has no place for.

    Args:
        record: The annotation.
        left_out: What is lost -> how often.
        kept: Of masks, keypoints and corners, what is written or isn't wanted.
        attributes: Which attributes are written.
    """
    given = record.get("attributes")
    others = set(given) - set(attributes) if isinstance(given, dict) else given
    lost = {
        "masks": bool(record.get("segmentation")) and "masks" not in kept,
        "keypoints": bool(record.get("keypoints")) and "keypoints" not in kept,
        "corners of oriented boxes": oriented(record) is not None and "corners" not in kept,
        "attributes": bool(others),
    }
    for what, is_lost in lost.items():
        if is_lost:
            left_out[what] += 1


def is_crowd(record: Record) -> bool:
    """Say whether an annotation is a crowd or a region to ignore."""
    return bool(record.get("iscrowd") or record.get("ignore"))


def outlines(record: Record, image: Record) -> list[list[float]]:
    """Return an annotation's mask as polygons inside the image, [] where it has none; an RLE is traced."""
    size_wh = (image["width"], image["height"])
    mask = usable_mask(record.get("segmentation"), size_wh)
    if mask is None:
        return []
    if isinstance(mask, Mapping):
        rle = as_rle(mask, size_wh)
        traced = None if rle is None else to_polygons(decoded(rle))
        return traced or []
    inside = [_clipped([float(v) for v in polygon], size_wh) for polygon in mask]
    return [polygon for polygon in inside if len(polygon) >= 6]


def _clipped(polygon: list[float], size_wh: tuple[int, int]) -> list[float]:
    """Return the part of a polygon inside the image, edge by edge (Sutherland, Hodgman 1974)."""
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    for axis, limit in enumerate(size_wh):
        for low in (True, False):
            edge = 0.0 if low else float(limit)
            inside = [(p[axis] >= edge) if low else (p[axis] <= edge) for p in points]
            if all(inside):
                continue
            kept: list[tuple[float, float]] = []
            for k, point in enumerate(points):
                if inside[k] != inside[k - 1]:
                    kept.append(_crossing(points[k - 1], point, axis, edge))
                if inside[k]:
                    kept.append(point)
            points = kept
    return [value for point in points for value in point]


def _crossing(
    before: tuple[float, float], after: tuple[float, float], axis: int, edge: float
) -> tuple[float, float]:
    share = (edge - before[axis]) / (after[axis] - before[axis])
    other = before[1 - axis] + share * (after[1 - axis] - before[1 - axis])
    return (edge, other) if axis == 0 else (other, edge)


def own_names(images: Sequence[Record], *, flat: bool = False, forbidden: str = "") -> dict[int, str]:
    """Return image id -> file name whose stem no other image has, whatever its suffix.

    Args:
        images: COCO records.
        flat: Without folders and white space: both become underscores.
        forbidden: Name of a folder that may not occur.
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    for record in images:
        path = PurePosixPath(record["file_name"])
        parts = [f"{p}_" if p == forbidden else p for p in path.parent.parts]
        stem = PurePosixPath(*parts, path.stem).as_posix()
        if flat:
            stem = "_".join(stem.replace("/", "_").split())
        own, number = stem, 2
        while own.casefold() in taken:
            own, number = f"{stem}_{number}", number + 1
        taken.add(own.casefold())
        names[record["id"]] = own + path.suffix
    return names
