"""The images and categories of a COCO document, checked and repaired one block at a time."""

from __future__ import annotations

import os
from pathlib import Path

from augsynth.coco.faults import Record, Repairs, fault, id_fault, is_id, shown
from augsynth.core.images import IMAGE_SUFFIXES, measure_image, relative_name
from augsynth.core.scene import Category


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
    if len(set(names)) < len(names):
        seen: set[str] = set()
        repairs.add("shared_files", [name for name in names if name in seen or seen.add(name)])  # type: ignore[func-returns-value]
    return names


def drop_missing_files(
    path: Path, root: Path, document: Record, names: list[str], repairs: Repairs
) -> list[str]:
    """Drop images without a file, and their annotations; one walk of the directory finds all others."""
    if not root.is_dir():
        raise fault(
            root, "", "images", "isn't a directory", f"give the one that file_name in {path} starts from"
        )
    found = {
        Path(folder, name).relative_to(root).as_posix()
        for folder, _, files in os.walk(root)
        for name in files
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    }
    present = [name in found or (root / name).is_file() for name in names]  # is_file: links, other suffixes
    if not any(present):
        where = f"images[0] (id {document['images'][0]['id']})"
        problem = f"{names[0]!r} and all the others aren't in {root}"
        raise fault(path, where, "file_name", problem, _other_root(root, names[0], found))
    repairs.add("unlisted_files", sorted(found.difference(names)))
    if not all(present):
        gone = {r["id"] for r, here in zip(document["images"], present, strict=True) if not here}
        lost = [r.get("id") for r in document["annotations"] if r.get("image_id") in gone]
        repairs.add("missing_files", [n for n, here in zip(names, present, strict=True) if not here])
        repairs.add("annotations_of_missing_files", lost)
        document["images"] = [r for r in document["images"] if r["id"] not in gone]
        document["annotations"] = [r for r in document["annotations"] if r.get("image_id") not in gone]
        names = [name for name, here in zip(names, present, strict=True) if here]
    return names


def _other_root(root: Path, name: str, found: set[str]) -> str:
    """Return the remedy when no file was found: the directory that was probably meant."""
    for candidate in sorted(found, key=lambda path: (path.count("/"), path)):
        if candidate.endswith("/" + name):
            return f"give {root / candidate.removesuffix('/' + name)} as the image directory"
    head, _, tail = name.partition("/")
    if tail in found and root.resolve().name == head:
        return f"give {root.resolve().parent} as the image directory"
    return "give the directory that file_name starts from"


def image_sizes(
    path: Path, root: Path | None, document: Record, names: list[str], repairs: Repairs
) -> list[tuple[int, int]]:
    """Return width and height of each image as recorded, or as measured where nothing is recorded."""
    sizes, measured = [], []
    for index, record in enumerate(document["images"]):
        size = record.get("width"), record.get("height")
        for field, side in zip(("width", "height"), size, strict=True):
            if side is not None and (type(side) not in (int, float) or side != int(side) or side < 1):
                where = f"images[{index}] (id {record['id']})"
                raise fault(path, where, field, f"is {shown(side)}", "write the pixels of the file, ≥ 1")
        if None in size:
            if root is None:
                where = f"images[{index}] (id {record['id']})"
                field = "width" if size[0] is None else "height"
                raise fault(path, where, field, "is missing", "add it, or give the image directory too")
            size = measure_image(root / names[index])
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
