"""Exports of Label Studio: JSON and JSON-MIN, rectangles (turned ones too), polygons and ellipses in percent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import msgspec

from augsynth.coco.faults import Record, fault, shown
from augsynth.coco.formats.draft import Draft, image_index, number, read_text, turned
from augsynth.core.errors import DatasetError
from augsynth.core.images import IMAGE_SUFFIXES, is_plain_file

_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels", "choices")
_PREFIX = (
    9  # eight hexadecimal digits and a hyphen, which Label Studio puts before the name of an uploaded file
)


def fits(path: Path) -> bool:
    """Say whether a file is a list of Label Studio's tasks."""
    if path.suffix.lower() != ".json" or not is_plain_file(path):
        return False
    with path.open("rb") as file:
        if not file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            return False
    try:
        tasks = msgspec.json.decode(read_text(path))
    except (DatasetError, msgspec.DecodeError, ValueError, RecursionError):
        return False
    return isinstance(tasks, list) and bool(tasks) and isinstance(tasks[0], dict) and _is_task(tasks[0])


def splits(path: Path) -> tuple[str, ...]:
    """Return (): Label Studio knows no splits."""
    return ()


def read(path: Path, split: str, images: Path | None) -> Draft:
    """Read all tasks; of several annotations of a task, the one marked as ground truth, or the first.

    Args:
        path: The JSON file.
        split: Must be "".
        images: Where its images are, if not beside the file or in a folder `images` there.

    Raises:
        DatasetError: A task names no image, or a shape has no label or no numbers.
    """
    folder = images or path.parent
    index = image_index(folder)
    files = {Path(name).relative_to(folder).as_posix(): name for group in index.values() for name in group}
    by_name = {PurePosixPath(name).name: file for name, file in files.items()}
    draft = Draft(path, root=folder)
    for k, task in enumerate(msgspec.json.decode(read_text(path))):
        where = f"tasks[{k}]"
        if not isinstance(task, dict) or not _is_task(task):
            raise fault(path, where, "image", "isn't named", "export it again as JSON")
        url, results = _image_of(task), _results(draft, task)
        picture = Path(_file_of(url, files, by_name) or folder / PurePosixPath(_path_of(url)).name)
        size_wh = draft.measure(picture)
        record = draft.add_image(picture, size_wh, label_studio_image=url)
        for n, result in enumerate(results):
            if size_wh is not None:
                _add(draft, record, path, f"{where}: result[{n}]", result)
    return draft


def _is_task(task: Mapping[str, Any]) -> bool:
    return bool(_image_of(task)) and not ({"score", "bbox"} <= task.keys())


def _image_of(task: Mapping[str, Any]) -> str:
    """Return the address of a task's image: the first value of its data that looks like one."""
    data = task["data"] if isinstance(task.get("data"), dict) else task
    texts = [value for value in (data.get("image"), *data.values()) if isinstance(value, str)]
    found = (t for t in texts if PurePosixPath(_path_of(t)).suffix.lower() in IMAGE_SUFFIXES)
    return next(found, "")


def _path_of(url: str) -> str:
    """Return the path within an address: of a local file the one after ?d=."""
    try:
        parts = urlparse(url.replace("\\", "/"))
        local = parse_qs(parts.query).get("d")
    except ValueError:
        return ""
    return local[0] if local else unquote(parts.path)


def _file_of(url: str, files: Mapping[str, str], by_name: Mapping[str, str]) -> str | None:
    """Return the file that an address means: by the longest end of its path, or by its name."""
    path = PurePosixPath(_path_of(url))
    for k in range(len(path.parts)):
        found = files.get("/".join(path.parts[k:]))
        if found is not None:
            return found
    bare = path.name[_PREFIX:] if path.name[_PREFIX - 1 : _PREFIX] == "-" else path.name
    return by_name.get(path.name) or by_name.get(bare)


def _results(draft: Draft, task: Mapping[str, Any]) -> list[Any]:
    """Return the shapes of a task, from JSON or JSON-MIN."""
    annotations = task.get("annotations", task.get("completions"))
    if isinstance(annotations, list):
        kept = [a for a in annotations if isinstance(a, dict) and not a.get("was_cancelled")]
        if len(kept) > 1:
            draft.found["other_annotators"].append(task.get("id"))
        best = next((a for a in kept if a.get("ground_truth")), kept[0] if kept else {})
        results = best.get("result")
        return results if isinstance(results, list) else []
    lists = [v for v in task.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    return [{"value": each} for values in lists for each in values if "original_width" in each]


def _add(draft: Draft, image: Record, path: Path, where: str, result: Any) -> None:
    value = result.get("value") if isinstance(result, dict) else None
    value = value if isinstance(value, dict) else {}
    names: list[Any] = next(
        (value[key] for key in _LABELS if isinstance(value.get(key), list) and value[key]), []
    )
    name = next((n for n in names if isinstance(n, str) and n.strip()), None)
    scale_x, scale_y = image["width"] / 100, image["height"] / 100
    if name is None or not ({"points"} <= value.keys() or {"x", "y"} <= value.keys()):
        if name is not None or "rle" in value or "keypointlabels" in value:
            draft.found["unread_shapes"].append(result.get("type", where))
        return
    category = draft.category_id(name)

    def own(field: str) -> float:
        return number(path, where, field, value.get(field))

    if "points" in value:
        points = value["points"]
        if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
            raise fault(path, where, "points", f"is {shown(points)}", "export it again")
        scale = (scale_x, scale_y)
        flat = [number(path, where, "points", v) * scale[k] for p in points for k, v in enumerate(p)]
        if len(flat) >= 6:
            draft.add_outlined(image, category, [flat])
        else:
            draft.found["unread_shapes"].append(f"polygon of {len(points)} points")
    elif "radiusX" in value:
        centre, radii = (
            (own("x") * scale_x, own("y") * scale_y),
            (own("radiusX") * scale_x, own("radiusY") * scale_y),
        )
        draft.add_outlined(
            image, category, [ellipse(centre, radii, math.radians(own_or_0(value, "rotation")))]
        )
    else:
        _add_rectangle(draft, image, category, [own(f) for f in ("x", "y", "width", "height")], value)


def _add_rectangle(
    draft: Draft, image: Record, category: int, percent: list[float], value: Mapping[str, Any]
) -> None:
    """Add a rectangle, turned clockwise about its top left corner."""
    x, y, width, height = (
        v * image[side] / 100 for v, side in zip(percent, ("width", "height") * 2, strict=True)
    )
    angle = math.radians(own_or_0(value, "rotation"))
    if not angle:
        draft.add_object(image, category, (x, y, x + width, y + height))
        return
    offsets = ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
    draft.add_oriented(image, category, turned(offsets, (x, y), angle))


def own_or_0(value: Mapping[str, Any], field: str) -> float:
    """Return a finite number of a mapping, 0 where it has none."""
    found = value.get(field)
    return float(found) if isinstance(found, int | float) and abs(found) < 1e9 else 0.0


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], angle: float, *, corners: int = 64
) -> list[float]:
    """Return the polygon of an ellipse turned clockwise by radians, its area within 0.2 % of the ellipse's."""
    turns = [2 * math.pi * k / corners for k in range(corners)]
    return turned([(radii[0] * math.cos(t), radii[1] * math.sin(t)) for t in turns], centre, angle)
