"""YOLO datasets: label files with boxes, outlines, oriented boxes or keypoints, in shares of width and height."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from augsynth.coco.faults import Record, fault, shown
from augsynth.coco.formats.draft import Draft, number, read_text
from augsynth.coco.formats.yolo_layout import (
    Layout,
    find_layout_file,
    image_files,
    label_file,
    read_layout,
)
from augsynth.core.errors import DatasetError

_FARTHEST = 2.0  # shares of the side; what lies farther out is in pixels
Row = tuple[int, list[float]]


def fits(path: Path) -> bool:
    """Say whether a path is a YOLO dataset: its data.yaml or another file that names classes, or the folder."""
    return find_layout_file(path) is not None


def splits(path: Path) -> tuple[str, ...]:
    """Return the splits that a dataset names."""
    return tuple(split for split in _layout(path).parts if split)


def read(path: Path, split: str, images: Path | None) -> Draft:
    """Read one split.

    Args:
        path: As for `fits`.
        split: One of `splits`, "" where there are none.
        images: Must be None: the dataset says where its images are.

    Raises:
        DatasetError: A file can't be read, a row isn't one of YOLO's, a class has no name, or no image has labels.
    """
    layout = _layout(path)
    if images is not None:
        remedy = "leave --images out, or correct the paths there"
        raise fault(path, "", "images", "are where the dataset says", remedy)
    draft = Draft(path)
    draft.name_categories(layout.names.values())
    numbers = {key: k for k, key in enumerate(layout.names, start=1)}
    files = image_files(layout, split)
    labels = [label_file(image) for image in files]
    rows = [_read_rows(label, layout) if label.is_file() else None for label in labels]
    if files and all(each is None for each in rows):
        remedy = "put label files there: the folder images of an image's path becomes labels"
        raise fault(labels[0], "", "labels", "aren't there, nor those of any other image", remedy)
    held = [row for each in rows if each for row in each]
    corners = bool(held) and not layout.keypoints[0] and all(len(values) == 8 for _, values in held)
    oriented = corners and all(_has_only_corners(layout, other) for other in layout.parts if other != split)
    for image, own in zip(files, rows, strict=True):
        size_wh = draft.measure(image)
        record = draft.add_image(image, size_wh)
        if own is None:
            draft.found["missing_labels"].append(image.name)
        elif size_wh is not None:
            _add_rows(draft, record, own, numbers, layout, oriented=oriented)
    if layout.keypoints[0]:
        for category in draft.categories:
            category["keypoints"] = [f"{k}" for k in range(layout.keypoints[0])]
    return draft


def _has_only_corners(layout: Layout, split: str) -> bool:
    """Say whether each row of a split is an oriented box; a split that can't be read says nothing against it."""
    with contextlib.suppress(DatasetError):
        labels = (label_file(image) for image in image_files(layout, split))
        texts = (read_text(label) for label in labels if label.is_file())
        return all(len(row.split()) in (0, 9) for text in texts for row in text.split("\n"))
    return True


def _layout(path: Path) -> Layout:
    file = find_layout_file(path)
    assert file is not None  # it fits
    return read_layout(file)


def _add_rows(
    draft: Draft,
    image: Record,
    rows: Sequence[Row],
    numbers: dict[int, int],
    layout: Layout,
    *,
    oriented: bool,
) -> None:
    """Add an image's objects, each once."""
    width, height = image["width"], image["height"]
    seen = set()
    for kind, values in rows:
        if (kind, *values) in seen:
            draft.found["repeated_annotations"].append(f"a row of {Path(image['file_name']).name}")
            continue
        seen.add((kind, *values))
        category_id = numbers[kind]
        if len(values) == 4 or layout.keypoints[0]:
            x, y, w, h = values[0] * width, values[1] * height, values[2] * width, values[3] * height
            box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            points = _points(values[4:], layout.keypoints[1], (width, height))
            visible = None if points is None else sum(v > 0 for v in points[2::3])
            draft.add_object(image, category_id, box, keypoints=points, num_keypoints=visible)
            continue
        scaled = [v * side for v, side in zip(values, (width, height) * (len(values) // 2), strict=True)]
        if oriented:
            draft.add_oriented(image, category_id, scaled)
        else:
            draft.add_outlined(image, category_id, [scaled])


def _points(values: Sequence[float], numbers: int, size_wh: tuple[int, int]) -> list[float] | None:
    """Return COCO keypoints, x, y and visibility each, None where a row has none."""
    if not values:
        return None
    found: list[float] = []
    for start in range(0, len(values), numbers):
        x, y = values[start], values[start + 1]
        seen = values[start + 2] if numbers == 3 else 2.0 * (x >= 0 and y >= 0)
        found += [x * size_wh[0], y * size_wh[1], seen] if seen else [0.0, 0.0, 0.0]
    return found


def _read_rows(path: Path, layout: Layout) -> list[Row]:
    """Return class and numbers of each row of a label file."""
    rows = []
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        words = text.split()
        if words:
            rows.append(_row(path, f"line {line}", words, layout))
    return rows


def _row(path: Path, where: str, words: Sequence[str], layout: Layout) -> Row:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [number(path, where, "row", word) for word in words]
    kind = values[0]
    if kind not in layout.names:
        problem = f"is {shown(words[0])}, and {layout.source.name} names {len(layout.names)} classes"
        raise fault(path, where, "class", problem, "correct it, or name the class")
    count = len(values) - 1
    points, each = layout.keypoints
    if (count not in (4, 4 + points * each)) if points else (count != 4 and (count < 6 or count % 2)):
        raise _wrong_count(path, where, count, layout)
    for value, word in zip(values[1:], words[1:], strict=True):
        if not -_FARTHEST < value < 1 + _FARTHEST:
            remedy = "divide x by the image's width and y by its height"
            raise fault(path, where, "row", f"has {shown(word)}, which is no share of the image", remedy)
    return int(kind), values[1:]


def _wrong_count(path: Path, where: str, count: int, layout: Layout) -> DatasetError:
    wanted = "a class and 4 numbers (box) or at least 6 (outline: x and y of each corner)"
    if layout.keypoints[0]:
        wanted = f"a class and {4 + layout.keypoints[0] * layout.keypoints[1]} numbers, as kpt_shape says"
    remedy = f"write {wanted}"
    if count == 5:
        remedy += "; a confidence at the end makes it a prediction: delete it"
    return fault(path, where, "row", f"has a class and {count} numbers", remedy)
