"""The images of a COCO document and their files: what can't be used is dropped and named, nothing else is opened."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from augsynth.coco.faults import REPAIRS, Record, Repairs, fault
from augsynth.core.errors import DatasetError
from augsynth.core.images import IMAGE_SUFFIXES, Header, is_plain_file, lies_inside, read_header

_LOST = ("missing_files", "linked_files", "special_files", "unopened_files", "other_sizes")


def drop_lost_images(
    path: Path,
    root: Path,
    document: Record,
    names: list[str],
    repairs: Repairs,
    *,
    known: Mapping[str, Header] | None = None,
) -> tuple[list[str], list[Header]]:
    """Drop images that have no picture of their size in the image directory, with their annotations.

    Nothing is opened but ordinary files below the directory, symbolic links followed.

    Args:
        path: The annotation file.
        root: The image directory.
        document: Loses the images and their annotations.
        names: The images' clean file names.
        repairs: Where they are counted.
        known: Headers by file name, where the format of the dataset says itself which images it has and these were
            measured: no other files are looked for then.

    Returns:
        Names and headers of the images that stay.
    """
    if not root.is_dir():
        raise fault(
            root, "", "images", "isn't a directory", f"give the one that file_name in {path} starts from"
        )
    found = set(_plain_files(root)) if known is None else set()
    headers: dict[str, Header] = {}
    lost: dict[str, list[str]] = defaultdict(list)
    gone = set()
    for record, name in zip(document["images"], names, strict=True):
        kind = _what_is_wrong(root, name, found) if name not in headers else ""
        if not kind and name not in headers:
            try:
                headers[name] = (known or {}).get(name) or read_header(root / name)
            except DatasetError:
                kind = "unopened_files"
        if not kind and not _agrees(record, headers[name]):
            kind = "other_sizes"
        if kind:
            lost[kind].append(name)
            gone.add(record["id"])
    if len(gone) == len(document["images"]):
        raise _nothing_left(path, root, document, names, lost, headers, found)
    repairs.add("unlisted_files", sorted(n for n in found.difference(names) if _is_named_as_image(n)))
    for kind in _LOST:
        repairs.add(kind, lost[kind])
    if gone:
        orphans = [r.get("id") for r in document["annotations"] if r.get("image_id") in gone]
        repairs.add("annotations_of_lost_images", orphans)
        names = [n for r, n in zip(document["images"], names, strict=True) if r["id"] not in gone]
        document["images"] = [r for r in document["images"] if r["id"] not in gone]
        document["annotations"] = [r for r in document["annotations"] if r.get("image_id") not in gone]
    return names, [headers[name] for name in names]


def _plain_files(root: Path) -> Iterator[str]:
    """Yield the relative POSIX paths of all ordinary files below a directory; no link is followed."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{folder}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                yield folder + entry.name


def _is_named_as_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _what_is_wrong(root: Path, name: str, found: set[str]) -> str:
    """Return the kind of repair for a listed file that can't be read as it is, "" for an ordinary one."""
    path = root / name
    if name in found:
        return ""
    if not os.path.exists(path):
        return "missing_files"
    if not lies_inside(root, path):
        return "linked_files"
    return "" if is_plain_file(path) else "special_files"


def _agrees(record: Record, header: Header) -> bool:
    """Say whether the recorded size, as far as there is one, is the file's before or after EXIF orientation."""
    recorded = record.get("width"), record.get("height")
    return any(
        all(side in (None, own) for side, own in zip(recorded, size, strict=True))
        for size in (header.size_wh, header.raw_wh)
    )


def _nothing_left(
    path: Path,
    root: Path,
    document: Record,
    names: list[str],
    lost: Mapping[str, list[str]],
    headers: Mapping[str, Header],
    found: set[str],
) -> DatasetError:
    """Return the error for a dataset without a single usable image, in the words for the first of them."""
    first = names[0]
    where = f"images[0] (id {document['images'][0]['id']})"
    others = " and so with all the others" if len(set(names)) > 1 else ""
    kind = next(kind for kind in _LOST if first in lost[kind])
    if kind == "missing_files":
        problem = f"{first!r} and all the others aren't in {root}"
        if len(lost[kind]) < len(names):
            problem = f"{first!r} isn't in {root}, and no other image can be used"
        return fault(path, where, "file_name", problem, _other_root(root, first, found))
    if kind == "other_sizes":
        width, height = (document["images"][0].get(field) for field in ("width", "height"))
        other_wh = headers[first].size_wh
        problem = f"is {width}×{height}, but {first} has {other_wh[0]}×{other_wh[1]} pixels{others}"
        return fault(path, where, "width/height", problem, "correct them and the boxes")
    field, what, remedy = REPAIRS[kind]
    what = what.removeprefix("images that ").removesuffix(" unopened").removesuffix(", dropped")
    return fault(path, where, field, f"{first!r}: {what}{others}", remedy)


def _other_root(root: Path, name: str, found: set[str]) -> str:
    """Return the remedy when no file was found: the directory that was probably meant."""
    for candidate in sorted(found, key=lambda path: (path.count("/"), path)):
        if candidate.endswith("/" + name):
            return f"give {root / candidate.removesuffix('/' + name)} as the image directory"
    head, _, tail = name.partition("/")
    if tail in found and root.resolve().name == head:
        return f"give {root.resolve().parent} as the image directory"
    return "give the directory that file_name starts from"
