"""Where a YOLO dataset has its class names, images and labels: data.yaml as Ultralytics reads it, and older layouts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augsynth.coco.faults import fault, kind_of, shown
from augsynth.coco.formats.draft import SPLIT_NAMES, class_names_of, image_index, read_text
from augsynth.core.yaml_file import read_yaml


@dataclass(frozen=True, slots=True)
class Layout:
    """What the files beside the labels say.

    Attributes:
        source: The file that says it.
        names: Class names, by number.
        parts: Split -> what holds its images: folders, or text files that list images.
        root: What relative paths start from.
        keypoints: Points of an object and numbers of each, (0, 0) where labels have none.
    """

    source: Path
    names: Mapping[int, str]
    parts: Mapping[str, tuple[Path, ...]]
    root: Path
    keypoints: tuple[int, int] = (0, 0)


def find_layout_file(path: Path) -> Path | None:
    """Return the file that describes a YOLO dataset, None where the path is none."""
    if path.suffix.lower() in (".yaml", ".yml") or path.name in ("obj.data", "classes.txt"):
        return path
    if not path.is_dir():
        return None
    for name in ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "obj.data"):
        if (path / name).is_file():
            return path / name
    labelled = (path / "classes.txt").is_file() and (path / "labels").is_dir()
    return path / "classes.txt" if labelled else None


def read_layout(path: Path) -> Layout:
    """Return what a dataset's file says.

    Raises:
        ConfigError: It isn't YAML.
        DatasetError: It can't be read, or lacks names or images.
    """
    if path.name == "obj.data":
        return _read_darknet(path)
    if path.name == "classes.txt":
        root = path.absolute().parent
        return Layout(path, _listed_names(path), {"": (root / "images",)}, root)
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise fault(path, "", "document", f"is a {kind_of(data)}, no YOLO dataset", "give its data.yaml")
    root = _root(path, data)
    parts = {}
    for split, keys in SPLIT_NAMES.items():
        given = next((data[key] for key in keys if data.get(key)), None)
        if given is not None:
            each = given if isinstance(given, list) else [given]
            if not all(isinstance(item, str) for item in each):
                raise fault(path, "", split, f"is {shown(given)}, not a path", "name a folder or a list")
            parts[split] = tuple(_place(root, item) for item in each)
    for split in ("val", "test"):
        if split in parts and parts[split] == parts.get("train"):
            del parts[split]  # a name for what isn't there: Ultralytics asks for val
    if not parts and (root / "images").is_dir():  # supervision names no splits
        parts[""] = (root / "images",)
    if not parts:
        remedy = "name folders or lists of images, or give the file of a YOLO dataset"
        raise fault(path, "", "train", "is missing, and so are val and test", remedy)
    return Layout(path, _names(path, data), parts, root, _keypoints(path, data))


def image_files(layout: Layout, split: str) -> list[Path]:
    """Return the images of a split, each once, in order.

    Raises:
        DatasetError: A folder or list isn't there.
    """
    found: dict[str, Path] = {}
    for part in layout.parts[split]:
        if part.is_dir():
            paths = [Path(p) for group in image_index(part).values() for p in group]
            paths.sort()
        elif part.is_file() and part.suffix.lower() == ".txt":
            paths = list(_listed_images(part, layout.root))
        else:
            remedy = f"correct it in {layout.source}; relative paths start from {layout.root}"
            raise fault(part, "", split or "images", "isn't a folder or a list of images", remedy)
        for each in paths:
            found.setdefault(os.path.abspath(each), each)
    return list(found.values())


def label_file(image: Path) -> Path:
    """Return where an image's labels are: the last folder `images` of its path becomes `labels`."""
    before, folder, after = str(image).rpartition(f"{os.sep}images{os.sep}")
    return Path(f"{before}{os.sep}labels{os.sep}{after}" if folder else image).with_suffix(".txt")


def _root(path: Path, data: Mapping[str, Any]) -> Path:
    """Return what relative paths start from: `path`, looked for beside the file, or the file's folder."""
    own = path.absolute().parent
    given = data.get("path")
    if isinstance(given, str) and given:
        for place in (own, own.parent, Path.cwd()):
            if (place / given).is_dir():
                return place / given
    return own


def _place(root: Path, item: str) -> Path:
    posix = item.replace("\\", "/")
    place = root / posix
    if not place.exists() and posix.startswith("../"):  # Roboflow writes so, and Ultralytics forgives it
        place = root / posix.removeprefix("../")
    return Path(os.path.normpath(place))


def _names(path: Path, data: Mapping[str, Any]) -> dict[int, str]:
    names, count = data.get("names"), data.get("nc")
    if names is None and type(count) is int and 0 < count < 100_000:
        return {k: f"class_{k}" for k in range(count)}
    if isinstance(names, str):
        names = [names]
    return class_names_of(path, names)


def _keypoints(path: Path, data: Mapping[str, Any]) -> tuple[int, int]:
    shape = data.get("kpt_shape")
    if shape is None:
        return 0, 0
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or {type(v) for v in shape} != {int}
        or shape[0] < 1
        or shape[1] not in (2, 3)
    ):
        raise fault(path, "", "kpt_shape", f"is {shown(shape)}", "write [number of points, 2 or 3]")
    return shape[0], shape[1]


def _listed_names(path: Path) -> dict[int, str]:
    names = [line.strip() for line in read_text(path).splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise fault(path, "", "names", "aren't there", "write one class name a line")
    return dict(enumerate(names))


def _listed_images(listing: Path, root: Path) -> Iterable[Path]:
    """Yield the images of a list; its paths may begin with ./ or with a folder `data` that isn't there."""
    for k, line in enumerate(read_text(listing).splitlines(), start=1):
        name = line.strip().replace("\\", "/")
        if name and not Path(os.path.normpath(name)).name:
            raise fault(
                listing,
                f"line {k}",
                "path",
                f"is {shown(name)}, no file",
                "name an image, or delete the line",
            )
        if name:
            starts = [listing.parent] if name.startswith("./") else [root, listing.parent]
            places = [start / each for each in (name, name.removeprefix("data/")) for start in starts]
            yield Path(os.path.normpath(next((p for p in places if p.exists()), places[0])))


def _read_darknet(path: Path) -> Layout:
    """Read obj.data, as CVAT and Datumaro write it; its paths may begin with a folder `data` that isn't there."""
    own = path.absolute().parent
    values = {}
    for line in read_text(path).splitlines():
        key, _, value = line.partition("=")
        values[key.strip()] = value.strip().replace("\\", "/")

    def place(text: str) -> Path:
        return own / text if (own / text).exists() else own / text.removeprefix("data/")

    if not values.get("names"):
        raise fault(path, "", "names", "is missing", "name the file that lists the classes")
    given = {s: next((values[k] for k in keys if values.get(k)), "") for s, keys in SPLIT_NAMES.items()}
    parts = {split: (place(text),) for split, text in given.items() if text}
    if not parts:
        raise fault(path, "", "train", "is missing", "name the file that lists the images")
    return Layout(path, _listed_names(place(values["names"])), parts, own)
