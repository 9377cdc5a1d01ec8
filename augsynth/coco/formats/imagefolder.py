"""Hugging Face image folders: images beside a metadata.jsonl whose `objects` have boxes and categories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from augsynth.coco.faults import Record, fault, kind_of, shown
from augsynth.coco.formats.draft import (
    Draft,
    class_names_of,
    number,
    read_text,
    scalars,
    split_folders,
    split_named,
    usable_size,
)
from augsynth.core.errors import ConfigError
from augsynth.core.images import relative_name
from augsynth.core.yaml_file import parse_yaml

METADATA, CARD = "metadata.jsonl", "README.md"
_DEEPEST = 12  # lists and objects within each other that a card is searched for
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
    home = path.absolute() if path.is_dir() else path.absolute().parent
    names = _card_names(home) or (_card_names(home.parent) if split_named(home.name) else {})
    draft = Draft(path, root=folder)
    draft.name_categories(names.values() if names else _used_names(places.values()))
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
    folders = split_folders(path, lambda folder: (folder / METADATA).is_file())
    return {split: folder / METADATA for split, folder in folders.items()}


def _lines(file: Path) -> Iterator[tuple[str, Record]]:
    """Yield each line of a metadata.jsonl with its place."""
    for k, text in enumerate(read_text(file).split("\n"), start=1):
        if not text.strip():
            continue
        where = f"line {k}"
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


def _add_line(
    draft: Draft, folder: Path, file: Path, where: str, line: Record, names: dict[int, str]
) -> None:
    try:
        image = folder / relative_name(line["file_name"])
    except ValueError as error:
        remedy = "write it relative to metadata.jsonl"
        raise fault(file, where, "file_name", f"{line['file_name']!r} {error}", remedy) from None
    carried = {k: v for k, v in line.items() if k not in ("file_name", "objects", "id", "width", "height")}
    measured, recorded = draft.measure(image), usable_size(line.get("width"), line.get("height"))
    record = draft.add_image(image, recorded or measured, **carried)
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
        counts = ", ".join(f"{n} {key}" for key, n in lengths.items())
        raise fault(file, where, "objects", f"have {counts}", "give each object one of each")
    return [dict(zip(objects, values, strict=True)) for values in zip(*objects.values(), strict=True)]


def _add_object(
    draft: Draft, image: Record, file: Path, where: str, given: Mapping[str, Any], names: dict[int, str]
) -> None:
    box = next((given[key] for key in _BOXES if key in given), None)
    kind = _kind_of(given)
    if not isinstance(box, list) or len(box) != 4:
        remedy = "write [x, y, width, height] in pixels"
        raise fault(file, where, "bbox", f"is {shown(box)}, not four numbers", remedy)
    x, y, width, height = (number(file, where, "bbox", value) for value in box)
    if type(kind) is int and names:
        if kind not in names:
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
        area=number(file, where, "area", area) if isinstance(area, int | float) else 0.0,
        segmentation=outline or None,
        iscrowd=int(crowd) if crowd in (0, 1) else 0,
        attributes=scalars({k: v for k, v in given.items() if k not in _OWN}),
    )


def _card_names(folder: Path) -> dict[int, str]:
    """Return class number -> name of a dataset card, {} where it gives none.

    Raises:
        DatasetError: The classes aren't numbered.
    """
    card = folder / CARD
    if not card.is_file():
        return {}
    text = read_text(card)
    head = text.removeprefix("---").split("\n---", 1)[0] if text.startswith("---") else ""
    try:
        document = parse_yaml(head, source=str(card))
    except ConfigError:
        return {}
    nodes = list(_nodes(document, depth=0))
    of_objects = [each for node in nodes if node.get("name") == "objects" for each in _nodes(node, depth=0)]
    for node in [*of_objects, *nodes]:
        label = node.get("class_label")
        names = label.get("names") if isinstance(label, dict) else None
        if isinstance(names, dict | list) and names:
            return class_names_of(card, names)
    return {}


def _nodes(value: Any, *, depth: int) -> Iterator[dict[Any, Any]]:
    """Yield the objects within a card, down to a depth that no features have."""
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(part, depth=depth + 1)
