"""Hugging Face image folders: images beside a metadata.jsonl whose `objects` have boxes and categories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from augsynth.coco.faults import Record, fault, kind_of, shown
from augsynth.coco.formats.draft import Draft, number, read_text, scalars
from augsynth.core.errors import ConfigError
from augsynth.core.images import relative_name
from augsynth.core.yaml_file import parse_yaml

METADATA, CARD = "metadata.jsonl", "README.md"
_FOLDERS = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}
_KINDS = ("categories", "category", "labels", "label", "class", "name")
_BOXES = ("bbox", "bboxes", "boxes")
_OWN = {*_KINDS, *_BOXES, "area", "iscrowd", "segmentation", "id", "bbox_id"}


def fits(path: Path) -> bool:
    """Say whether a path is an image folder, or its metadata.jsonl."""
    return bool(_places(path))


def splits(path: Path) -> tuple[str, ...]:
    """Return the splits that have a folder of their own."""
    return tuple(split for split in _places(path) if split)


def read(path: Path, split: str, images: Path | None) -> Draft:
    """Read one split; boxes are x, y, width and height in pixels.

    Categories that are numbers have the names that the card (README.md) gives them, else the numbers as names.

    Args:
        path: The folder, or its metadata.jsonl.
        split: One of `splits`, "" where there are none.
        images: Where its images are, if not beside metadata.jsonl.

    Raises:
        DatasetError: A line isn't an object with `file_name`, or its boxes and categories don't go together.
    """
    places = _places(path)
    file = places[split]
    folder = images or file.parent
    names = _card_names(path if path.is_dir() else path.parent)
    used = [] if names else _used_names(places.values())
    draft = Draft(path, root=folder)
    draft.name_categories(names or used)
    for where, line in _lines(file):
        _add_line(draft, folder, file, where, line, names)
    return draft


def _places(path: Path) -> dict[str, Path]:
    if path.name == METADATA:
        return {"": path}
    if not path.is_dir():
        return {}
    if (path / METADATA).is_file():
        return {"": path / METADATA}
    return {
        split: path / name / METADATA
        for split, names in _FOLDERS.items()
        for name in names
        if (path / name / METADATA).is_file()
    }


def _lines(file: Path) -> Iterator[tuple[str, Record]]:
    """Yield each line of a metadata.jsonl with its place."""
    for number_, text in enumerate(read_text(file).split("\n"), start=1):
        if not text.strip():
            continue
        where = f"line {number_}"
        try:
            line = msgspec.json.decode(text.strip())
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise fault(file, where, "line", f"isn't JSON: {error}", "write one JSON object a line") from None
        if not isinstance(line, dict) or not isinstance(line.get("file_name"), str):
            raise fault(file, where, "file_name", "is missing", "name the image's file")
        yield where, line


def _used_names(files: Iterable[Path]) -> list[str]:
    """Return the categories of all splits in order, so that each split has the same; numbers by value."""
    kinds = {
        kind
        for file in files
        for where, line in _lines(file)
        for each in _objects(file, where, line.get("objects"))
        if isinstance(kind := _kind_of(each), str | int) and str(kind).strip()
    }
    return [
        str(kind)
        for kind in sorted(kinds, key=lambda k: (isinstance(k, str), k if isinstance(k, int) else 0, str(k)))
    ]


def _kind_of(given: Mapping[str, Any]) -> Any:
    return next((given[key] for key in _KINDS if key in given), None)


def _add_line(draft: Draft, folder: Path, file: Path, where: str, line: Record, names: list[str]) -> None:
    try:
        image = folder / relative_name(line["file_name"])
    except ValueError as error:
        remedy = "write it relative to metadata.jsonl"
        raise fault(file, where, "file_name", f"{line['file_name']!r} {error}", remedy) from None
    carried = {k: v for k, v in line.items() if k not in ("file_name", "objects", "id", "width", "height")}
    record = draft.add_image(image, draft.measure(image), **carried)
    for index, each in enumerate(_objects(file, where, line.get("objects"))):
        _add_object(draft, record, file, f"{where}: objects[{index}]", each, names)


def _objects(file: Path, where: str, objects: Any) -> list[Record]:
    """Return the objects of an image as one record each, from lists beside each other or records."""
    if objects is None:
        return []
    if isinstance(objects, list) and all(isinstance(each, dict) for each in objects):
        return objects
    if not isinstance(objects, dict) or not all(isinstance(v, list) for v in objects.values()):
        problem = f"is a {kind_of(objects)}, not lists of boxes and categories"
        raise fault(file, where, "objects", problem, 'write {"bbox": […], "categories": […]}')
    lengths = {key: len(values) for key, values in objects.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{n} {key}" for key, n in lengths.items())
        raise fault(file, where, "objects", f"have {told}", "give each object one of each")
    return [dict(zip(objects, values, strict=True)) for values in zip(*objects.values(), strict=True)]


def _add_object(
    draft: Draft, image: Record, file: Path, where: str, given: Mapping[str, Any], names: list[str]
) -> None:
    box = next((given[key] for key in _BOXES if key in given), None)
    kind = _kind_of(given)
    if not isinstance(box, list) or len(box) != 4:
        remedy = "write [x, y, width, height] in pixels"
        raise fault(file, where, "bbox", f"is {shown(box)}, not four numbers", remedy)
    x, y, width, height = (number(file, where, "bbox", value) for value in box)
    if type(kind) is int and names:
        if not 0 <= kind < len(names):
            problem = f"is {kind}, and {CARD} names {len(names)}"
            raise fault(file, where, "categories", problem, "correct it, or name the category")
        name = names[kind]
    elif isinstance(kind, str | int) and str(kind).strip():
        name = str(kind)
    else:
        raise fault(file, where, "categories", f"is {shown(kind)}", "write a name or a number")
    outline, area, crowd = (given.get(key) for key in ("segmentation", "area", "iscrowd"))
    draft.add_object(
        image,
        draft.category_id(name),
        (x, y, x + width, y + height),
        area=float(area) if isinstance(area, int | float) else 0.0,
        segmentation=outline or None,
        iscrowd=int(crowd) if crowd in (0, 1) else 0,
        attributes=scalars({k: v for k, v in given.items() if k not in _OWN}),
    )


def _card_names(folder: Path) -> list[str]:
    """Return the category names of a dataset card, [] where it gives none."""
    card = folder / CARD
    if not card.is_file():
        return []
    text = read_text(card)
    head = text.removeprefix("---").split("\n---", 1)[0] if text.startswith("---") else ""
    try:
        return _find_names(parse_yaml(head, source=str(card)), depth=0)
    except ConfigError:
        return []


def _find_names(value: Any, *, depth: int) -> list[str]:
    """Return the first `class_label: names:` within a card's features."""
    if depth > 12:
        return []
    if isinstance(value, dict):
        label = value.get("class_label")
        names = label.get("names") if isinstance(label, dict) else None
        if isinstance(names, dict):
            return [str(names[key]) for key in names]
        if isinstance(names, list):
            return [str(name) for name in names]
        value = list(value.values())
    parts = value if isinstance(value, list) else []
    return next((found for part in parts if (found := _find_names(part, depth=depth + 1))), [])
