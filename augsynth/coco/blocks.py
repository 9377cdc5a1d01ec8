"""The images and categories of a COCO document, checked and repaired one block at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from augsynth.coco.faults import Fault, Record, Refusals, Repairs, id_fault, is_id, shown
from augsynth.core.images import Header, relative_name
from augsynth.core.scene import Category

MAX_SIDE = 1_000_000


def drop_repeats(document: Record, key: str, repairs: Repairs, refusals: Refusals) -> None:
    """Drop images or categories that are repeats; all must have integer ids of their own."""
    seen: dict[int, Record] = {}
    repeated = []
    for index, record in enumerate(document[key]):
        number = record.get("id")
        if not is_id(number):
            refusals.note(id_fault(key, index, record, "id"))
            continue
        first = seen.setdefault(number, record)
        if first is not record:
            if first != record:
                remedy = f"give the {key} different ids"
                problem = "is that of an earlier, different record"
                refusals.note(Fault("conflicting_ids", key, index, record, "id", problem, remedy))
                continue
            repeated.append(number)
    refusals.leave_out(document, key)
    repairs.add(f"repeated_{key}", repeated)
    if repeated:
        document[key] = list(seen.values())


def recorded_name(record: Record) -> Any:
    """Return an image's `file_name`, or in LVIS, which has none, folder and file at the end of `coco_url`."""
    url = record.get("coco_url")
    if "file_name" not in record and type(url) is str and url.count("/") >= 2:
        return "/".join(url.split("/")[-2:])
    return record.get("file_name")


def file_names(document: Record, repairs: Repairs, refusals: Refusals) -> list[str]:
    """Return the clean relative path of each image, safe to join to the image directory."""
    names, backslashes, urls = [], [], []
    for index, record in enumerate(document["images"]):
        raw = recorded_name(record)
        if raw is not None and "file_name" not in record:
            record = document["images"][index] = {**record, "file_name": raw}  # noqa: PLW2901
            urls.append(raw)
        problem, remedy = f"is {shown(raw)}, not a path", "name the image's file"
        try:
            name = relative_name(raw) if type(raw) is str else ""
        except ValueError as error:
            name, problem, remedy = "", f"{raw!r} {error}", "write it relative to the image directory"
        if not name:
            refusals.note(Fault("bad_file_name", "images", index, record, "file_name", problem, remedy))
            continue
        names.append(name)
        if "\\" in raw:
            backslashes.append(record["id"])
            document["images"][index] = {**record, "file_name": names[-1]}
    refusals.leave_out(document, "images")
    repairs.add("backslash_file_names", backslashes)
    repairs.add("names_from_urls", urls)
    return names


def check_sizes(document: Record, refusals: Refusals, *, measured: bool) -> None:
    """Refuse images whose width or height is no positive whole number, unless it is missing but to be measured."""
    for index, record in enumerate(document["images"]):
        for field in ("width", "height"):
            side = record.get(field)
            problem, remedy = "is missing", "add it, or give the image directory too"
            if side is None and measured:
                continue
            if side is not None:
                if type(side) in (int, float) and 1 <= side <= MAX_SIDE and side == int(side):
                    continue
                problem = f"is {shown(side)}"
                remedy = f"write the pixels of the file, ≥ 1 and at most {MAX_SIDE:,}"
            refusals.note(Fault("bad_size", "images", index, record, field, problem, remedy))
            break
    refusals.leave_out(document, "images")


def join_shared_files(document: Record, names: list[str], repairs: Repairs, refusals: Refusals) -> list[int]:
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
    kept, joined = [], []
    for index, (record, name) in enumerate(zip(document["images"], names, strict=True)):
        other = first.setdefault(name, record)
        if other is record:
            kept.append(index)
            continue
        if (record.get("width"), record.get("height")) != (other.get("width"), other.get("height")):
            problem = f"{name!r} is also that of image {other['id']}, which has another size"
            remedy = "correct one of them or delete it"
            refusals.note(Fault("shared_file_sizes", "images", index, record, "file_name", problem, remedy))
            continue
        target[record["id"]] = other["id"]
        joined.append(index)
    repairs.add("shared_files", [names[index] for index in joined])
    refusals.leave_out(document, "images")
    document["images"] = [record for record in document["images"] if record["id"] not in target]
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


def read_categories(document: Record, repairs: Repairs, refusals: Refusals) -> tuple[Category, ...]:
    """Return the categories in file order; of several with one name only the one with objects is offered."""
    used = {record["category_id"] for record in document["annotations"]}
    by_name: dict[str, Category] = {}
    shadowed = []
    for index, record in enumerate(document["categories"]):
        name, group = record.get("name"), record.get("supercategory")
        if type(name) is not str or not name.strip():
            problem, remedy = f"is {shown(name)}", "name the category in words"
            named = Fault("bad_category_name", "categories", index, record, "name", problem, remedy)
            refusals.note(named, left_out=False)
            name = f"category {record['id']}"
        category = Category(record["id"], name, group if type(group) is str else "")
        other = by_name.setdefault(name.strip().casefold(), category)
        if other is category:
            continue
        if other.id in used and category.id in used:
            problem = f"{name!r} is also the name of category {other.id} (case aside)"
            remedy = "merge the two or rename one"
            twice = Fault("same_category_names", "categories", index, record, "name", problem, remedy)
            refusals.note(twice, left_out=False)
            by_name[f"{name} {category.id}"] = category
            continue
        kept, dropped = (category, other) if category.id in used else (other, category)
        by_name[name.strip().casefold()] = kept
        shadowed.append(dropped.id)
    repairs.add("shadowed_categories", shadowed)
    offered = {category.id: category for category in by_name.values()}
    repairs.add("categories_without_objects", [c.name for c in offered.values() if c.id not in used])
    return tuple(offered[record["id"]] for record in document["categories"] if record["id"] in offered)
