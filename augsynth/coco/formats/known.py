"""Which format a dataset has, which splits, and the COCO document that it stands for."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from augsynth.coco.blocks import recorded_name
from augsynth.coco.document import decode_document
from augsynth.coco.faults import Record, Repairs, fault
from augsynth.coco.formats import cvat, fiftyone, imagefolder, label_studio, voc, yolo
from augsynth.coco.formats.draft import Draft
from augsynth.core.images import Header, is_plain_file, relative_name
from augsynth.core.scene import Dataset

ANNOTATIONS = (
    "COCO file, or a dataset of another format: YOLO data.yaml, VOC folder and others; #val names a split."
)
IMAGES = "Image directory."
NEAR = "found near a COCO file, or by the format"  # what stands for images that aren't given
_LOOKED_FOR = 20  # images of a COCO file
_COCO_BESIDE = ("labels.json", "data")  # FiftyOne's COCO export: the file, and the folder of its images


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is told and read.

    Attributes:
        name: As its users call it.
        fits: Says whether a path is such a dataset; only looks at names and beginnings of files.
        splits: Returns the splits of one.
        read: Reads one split of it, with another image directory where one is given.
    """

    name: str
    fits: Callable[[Path], bool]
    splits: Callable[[Path], tuple[str, ...]]
    read: Callable[[Path, str, Path | None], Draft]


FORMATS = (
    Format("FiftyOne", fiftyone.fits, fiftyone.splits, fiftyone.read),
    Format("Hugging Face image folder", imagefolder.fits, imagefolder.splits, imagefolder.read),
    Format("YOLO", yolo.fits, yolo.splits, yolo.read),
    Format("CVAT", cvat.fits, cvat.splits, cvat.read),
    Format("Pascal VOC", voc.fits, voc.splits, voc.read),
    Format("Label Studio", label_studio.fits, label_studio.splits, label_studio.read),
)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A dataset of any format as a COCO document, not yet checked.

    Attributes:
        source: What was opened.
        document: Images, annotations and categories.
        images: The directory that `file_name` is relative to, None where no image is looked for.
        headers: Sizes of images that were measured already, by `file_name`; None for a COCO file.
        repairs: What was recovered so far.
    """

    source: Path
    document: Record
    images: Path | None
    headers: Mapping[str, Header] | None
    repairs: Repairs


def locate(annotations: Path) -> tuple[Path, str]:
    """Return a dataset's path and the split that is named after `#`, "" for none: `data.yaml#val`."""
    if not os.path.lexists(annotations):
        before, mark, split = str(annotations).rpartition("#")
        if mark and before and split and "/" not in split:
            return Path(before), split
    return annotations, ""


def input_paths(*given: Path | None) -> list[Path]:
    """Return the paths that a command reads, of annotations without the split, and without those not given."""
    return [locate(path)[0] for path in given if path is not None]


def find_format(path: Path) -> Format | None:
    """Return the format of a dataset, None for a COCO file and for what isn't known.

    Raises:
        DatasetError: A folder is of no known format.
    """
    try:
        found = next((each for each in FORMATS if each.fits(path)), None)
    except OSError as error:
        raise fault(path, "", "annotations", f"can't be read ({error.strerror})", "check the path") from None
    if found is None and path.is_dir() and not (path / _COCO_BESIDE[0]).is_file():
        known = ", ".join(["COCO", *(each.name for each in FORMATS)])
        files = sorted(str(file) for place in (path, path / "annotations") for file in place.glob("*.json"))
        which = f", such as {files[0]}" if files else ""
        remedy = f"give a dataset of {known}, or the file of its annotations{which}"
        raise fault(path, "", "folder", "isn't a dataset of a known format", remedy)
    return found


def splits_of(path: Path) -> tuple[str, ...]:
    """Return the splits that a dataset says it has, () for none; a COCO file has none."""
    found = find_format(path)
    return () if found is None else found.splits(path)


def is_foreign(annotations: Path) -> bool:
    """Say whether annotations are in another format than a COCO file."""
    path, split = locate(annotations)
    return bool(split) or path.is_dir() or find_format(path) is not None


def source_digest(dataset: Dataset) -> str:
    """Return the SHA-256 of a COCO file, or of what was read of a dataset of another format, which is many files."""
    if is_foreign(dataset.source):
        return hashlib.sha256(msgspec.json.encode(dataset.document)).hexdigest()
    return hashlib.sha256(dataset.source.read_bytes()).hexdigest()


def images_beside(path: Path, names: Sequence[object], *, needed: bool = True) -> Path | None:
    """Return the directory that the images of a COCO file are in, looked for near it.

    Args:
        path: The COCO file.
        names: `file_name` of its images, as recorded; one of the first must be there.
        needed: Raise where they aren't found, instead of returning None.

    Raises:
        DatasetError: They aren't found.
    """
    here = path.absolute().parent
    places = (here / "images", here / "data", here.parent / "images", here.parent / "data", here, here.parent)
    first = []
    for name in names[:_LOOKED_FOR]:
        with contextlib.suppress(ValueError):  # absolute, or leaves the directory
            first += [relative_name(name)] if isinstance(name, str) else []
    for place in places:
        if any(is_plain_file(place / name) for name in first):
            return place
    if not needed:
        return None
    problem = f"{first[0]!r} and the next ones aren't" if first else "are not"
    raise fault(path, "", "images", f"{problem} found near it", "give --images, what file_name starts from")


def open_document(annotations: Path, images: Path | None, *, look: bool, needed: bool = True) -> Opened:
    """Return a dataset of any format as a COCO document.

    Of another format than COCO without a split after `#` it is the training split, or all where there are no splits.

    Args:
        annotations: COCO file, or a path that one of `FORMATS` fits.
        images: The image directory, where it is given.
        look: Look for the images of a COCO file near it, where no directory is given.
        needed: Raise where they aren't found there.

    Raises:
        DatasetError: The file can't be read or isn't of the format; the split isn't there, or which one isn't known.
    """
    path, asked = locate(annotations)
    found = find_format(path)
    if found is None:
        if asked:
            raise fault(path, "", f"#{asked}", "is a split, and COCO files have none", "leave it out")
        file = path / _COCO_BESIDE[0] if path.is_dir() else path
        document = decode_document(file)
        if look and images is None:
            names = [recorded_name(record) for record in document["images"]]
            images = images_beside(file, names, needed=needed)
        return Opened(file, document, images, None, Repairs())
    splits = found.splits(path)
    split = asked or ("train" if "train" in splits else splits[0] if len(splits) == 1 else "")
    if splits and split not in splits:
        problem = f"has the splits {', '.join(splits)}" + (f", not {asked}" if asked else "")
        raise fault(path, "", "dataset", problem, f"name one of them, as in {path}#{splits[0]}")
    if asked and not splits:
        raise fault(path, "", f"#{asked}", "is a split, and the dataset has none", "leave it out")
    return Opened(annotations, *found.read(path, split, images).finish())
