"""The images and categories of a COCO document, checked and repaired one block at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from augsynth.coco.faults import Record, Repairs, fault, id_fault, is_id, shown
from augsynth.core.images import Header, relative_name
from augsynth.core.scene import Category

MAX_SIDE = 1_000_000


def distinct(path: Path, document: Record, key: str, repairs: Repairs) -> list[Record]:
    """Return the images or categories with integer ids and without repeats."""
    seen: dict[int, Record] = {}
    repeated = []
    for index, record in enumerate(document[key]):
        number = record.get("id")
        if not is_id(number):
            raise id_fault(path, key, index, record, "id")
        first = seen.setdefault(number, record)
        if first is not record:
            if first != record:
                remedy = f"give the {key} different ids"
                problem = "is that of an earlier, different record"
                raise fault(path, f"{key}[{index}] (id {number})", "id", problem, remedy)
            repeated.append(number)
    repairs.add(f"repeated_{key}", repeated)
    return list(seen.values()) if repeated else document[key]


def file_names(path: Path, document: Record, repairs: Repairs) -> list[str]:
    """Return the clean relative path of each image, safe to join to the image directory."""
    names, backslashes = [], []
    for index, record in enumerate(document["images"]):
        where = f"images[{index}] (id {record['id']})"
        raw = record.get("file_name")
        if type(raw) is not str:
            raise fault(path, where, "file_name", f"is {shown(raw)}, not a path", "name the image's file")
        try:
            names.append(relative_name(raw))
        except ValueError as error:
            remedy = "write it relative to the image directory"
            raise fault(path, where, "file_name", f"{raw!r} {error}", remedy) from None
        if "\\" in raw:
            backslashes.append(record["id"])
            document["images"][index] = {**record, "file_name": names[-1]}
    repairs.add("backslash_file_names", backslashes)
    return names


def check_sizes(path: Path, document: Record, *, measured: bool) -> None:
    """Raise unless width and height of every image are positive whole numbers, or missing but to be measured."""
    for index, record in enumerate(document["images"]):
        where = f"images[{index}] (id {record['id']})"
        for field in ("width", "height"):
            side = record.get(field)
            if side is None and not measured:
                raise fault(path, where, field, "is missing", "add it, or give the image directory too")
            if side is None:
                continue
            if type(side) not in (int, float) or not 1 <= side <= MAX_SIDE or side != int(side):
                remedy = f"write the pixels of the file, ≥ 1 and at most {MAX_SIDE:,}"
                raise fault(path, where, field, f"is {shown(side)}", remedy)


def join_shared_files(path: Path, document: Record, names: list[str], repairs: Repairs) -> list[int]:
    """Join images that name one file: the first gets the annotations of the others, each object once.

    Returns:
        Positions of the images that stay.

    Raises:
        DatasetError: They differ in size.
    """
    if len(set(names)) == len(names):
        return list(range(len(names)))
    first: dict[str, Record] = {}
    target: dict[int, int] = {}
    kept = []
    for index, (record, name) in enumerate(zip(document["images"], names, strict=True)):
        other = first.setdefault(name, record)
        if other is record:
            kept.append(index)
            continue
        if (record.get("width"), record.get("height")) != (other.get("width"), other.get("height")):
            problem = f"{name!r} is also that of image {other['id']}, which has another size"
            where = f"images[{index}] (id {record['id']})"
            raise fault(path, where, "file_name", problem, "correct one of them or delete it")
        target[record["id"]] = other["id"]
    document["images"] = [document["images"][index] for index in kept]
    repairs.add("shared_files", [names[index] for index in sorted(set(range(len(names))).difference(kept))])
    _join_annotations(document, target, repairs)
    return kept


def _join_annotations(document: Record, target: Mapping[int, int], repairs: Repairs) -> None:
    """Move annotations to the image that theirs is joined with; one that is already there is dropped."""
    joined = set(target.values())
    known = {_looks(r, r["image_id"]) for r in document["annotations"] if r.get("image_id") in joined}
    annotations, repeated = [], []
    for record in document["annotations"]:
        image_id = target.get(record.get("image_id"))
        if image_id is None:
            annotations.append(record)
        elif _looks(record, image_id) in known:
            repeated.append(record.get("id"))
        else:
            known.add(_looks(record, image_id))
            annotations.append({**record, "image_id": image_id})
    repairs.add("repeated_annotations", repeated)
    document["annotations"] = annotations


def _looks(record: Record, image_id: int) -> tuple[int, int, str]:
    return image_id, record["category_id"], repr((record.get("bbox"), record.get("segmentation")))


def image_sizes(document: Record, headers: Sequence[Header], repairs: Repairs) -> list[tuple[int, int]]:
    """Return width and height of each image as recorded, or as measured where nothing is recorded."""
    sizes, measured = [], []
    for index, record in enumerate(document["images"]):
        size = record.get("width"), record.get("height")
        if None in size:
            size = headers[index].size_wh
            document["images"][index] = {**record, "width": size[0], "height": size[1]}
            measured.append(record["id"])
        sizes.append((int(size[0]), int(size[1])))
    repairs.add("missing_sizes", measured)
    return sizes


def read_categories(path: Path, document: Record, repairs: Repairs) -> tuple[Category, ...]:
    """Return the categories in file order; of several with one name only the one with objects is offered."""
    used = {record["category_id"] for record in document["annotations"]}
    by_name: dict[str, Category] = {}
    shadowed = []
    for index, record in enumerate(document["categories"]):
        where = f"categories[{index}] (id {record['id']})"
        name, group = record.get("name"), record.get("supercategory")
        if type(name) is not str or not name.strip():
            raise fault(path, where, "name", f"is {shown(name)}", "name the category in words")
        category = Category(record["id"], name, group if type(group) is str else "")
        other = by_name.setdefault(name.strip().casefold(), category)
        if other is category:
            continue
        if other.id in used and category.id in used:
            problem = f"{name!r} is also the name of category {other.id} (case aside)"
            raise fault(path, where, "name", problem, "merge the two or rename one")
        kept, dropped = (category, other) if category.id in used else (other, category)
        by_name[name.strip().casefold()] = kept
        shadowed.append(dropped.id)
    repairs.add("shadowed_categories", shadowed)
    offered = {category.id: category for category in by_name.values()}
    repairs.add("categories_without_objects", [c.name for c in offered.values() if c.id not in used])
    return tuple(offered[record["id"]] for record in document["categories"] if record["id"] in offered)
