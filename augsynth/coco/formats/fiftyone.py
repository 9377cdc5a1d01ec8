"""FiftyOne datasets on disk: samples.json with boxes and masks, and COCO as FiftyOne exports it."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from augsynth.coco.faults import Record, fault, shown
from augsynth.coco.formats.draft import SPLIT_NAMES, Draft, number, read_text, scalars, split_named
from augsynth.core.masks import Mask, to_rle

SAMPLES = "samples.json"
_MAX_MASK_BYTES = 2**28
_OWN = {"label", "bounding_box", "mask", "iscrowd", "tags", "attributes"}


def fits(path: Path) -> bool:
    """Say whether a folder, or its samples.json, is a dataset of `fiftyone.types.FiftyOneDataset`."""
    return _file(path) is not None


def splits(path: Path) -> tuple[str, ...]:
    """Return the splits that samples are tagged with, () where a sample has no such tag."""
    file = _file(path)
    assert file is not None  # it fits
    tags = [_split(sample) for sample in _samples(file)]
    return tuple(sorted(set(tags), key=list(SPLIT_NAMES).index)) if tags and "" not in tags else ()


def read(path: Path, split: str, images: Path | None) -> Draft:
    """Read one split: the field `ground_truth`, or the only one that has detections.

    Args:
        path: The folder, or its samples.json.
        split: One of `splits`, "" for all samples.
        images: What relative paths of samples start from, if not the folder.

    Raises:
        DatasetError: It isn't such a file, it has several fields of detections, or a box isn't four numbers.
    """
    file = _file(path)
    assert file is not None  # it fits
    everything = _samples(file)
    samples = [s for s in everything if not split or _split(s) == split]
    field = _label_field(file, everything)
    draft = Draft(path)
    draft.name_categories(_class_names(everything, field))
    for index, sample in enumerate(samples):
        where = f"samples[{index}]"
        name = sample.get("filepath")
        if not isinstance(name, str) or not name:
            raise fault(file, where, "filepath", f"is {shown(name)}", "name the image's file")
        picture = (images or file.parent) / name.replace("\\", "/")
        size_wh = draft.measure(picture)
        record = draft.add_image(picture, size_wh)
        for k, each in enumerate(_detections(sample, field)):
            if size_wh is not None:
                _add(draft, record, file, f"{where}: {field}[{k}]", each)
    return draft


def _file(path: Path) -> Path | None:
    if path.name == SAMPLES and path.is_file():
        return path
    return path / SAMPLES if (path / SAMPLES).is_file() and (path / "metadata.json").is_file() else None


def _samples(file: Path) -> list[Record]:
    try:
        document = msgspec.json.decode(read_text(file))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise fault(file, "", "samples", f"isn't JSON: {error}", "export it again") from None
    samples = document.get("samples") if isinstance(document, dict) else None
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        raise fault(file, "", "samples", "is no list of objects", "export it again")
    return samples


def _split(sample: Mapping[str, Any]) -> str:
    tags = sample.get("tags")
    named = (split_named(tag) for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return next(filter(None, named), "")


def _label_field(file: Path, samples: list[Record]) -> str:
    """Return the field that has the objects, "" where none has."""
    fields = {
        key: None
        for sample in samples
        for key, value in sample.items()
        if isinstance(value, dict) and isinstance(value.get("detections"), list)
    }
    if "ground_truth" in fields or len(fields) < 2:
        return "ground_truth" if "ground_truth" in fields else next(iter(fields), "")
    remedy = "export the dataset with one of them, or name it ground_truth"
    raise fault(file, "", "label fields", f"are several: {', '.join(fields)}", remedy)


def _detections(sample: Mapping[str, Any], field: str) -> list[Any]:
    found = sample.get(field)
    detections = found.get("detections") if isinstance(found, dict) else None
    return detections if isinstance(detections, list) else []


def _class_names(samples: list[Record], field: str) -> list[str]:
    """Return the labels of all samples in order, so that each split has the same categories."""
    labels = {d.get("label") for s in samples for d in _detections(s, field) if isinstance(d, dict)}
    return sorted(label for label in labels if isinstance(label, str) and label.strip())


def _add(draft: Draft, image: Record, file: Path, where: str, given: Any) -> None:
    given = given if isinstance(given, dict) else {}
    box, label = given.get("bounding_box"), given.get("label")
    if not isinstance(box, list) or len(box) != 4:
        remedy = "give x, y, width and height in shares of the image"
        raise fault(file, where, "bounding_box", f"is {shown(box)}", remedy)
    if not isinstance(label, str) or not label.strip():
        raise fault(file, where, "label", f"is {shown(label)}", "name the class")
    width, height = image["width"], image["height"]
    x, y, w, h = (
        number(file, where, "bounding_box", value) * side
        for value, side in zip(box, (width, height, width, height), strict=True)
    )
    box_xyxy = (x, y, x + w, y + h)
    outline, area = None, 0.0
    if given.get("mask") is not None:
        mask = _decode_mask(given["mask"])
        whole = None if mask is None else _placed(mask, box_xyxy, (width, height))
        if whole is None or not whole.any():
            draft.found["unusable_segmentation"].append(len(draft.annotations) + 1)
        else:
            outline, area = to_rle(whole), float(whole.sum())
    kept = {k: v for k, v in given.items() if k not in _OWN and not k.startswith("_")}
    attributes = {**(scalars(kept) or {}), **_attributes(given.get("attributes"))}
    draft.add_object(
        image,
        draft.category_id(label),
        box_xyxy,
        area=area,
        segmentation=outline,
        iscrowd=int(given.get("iscrowd") in (1, True)),
        attributes=attributes or None,
    )


def _attributes(given: object) -> dict[str, Any]:
    """Return the values of FiftyOne's own attributes, which are objects with a `value`."""
    if not isinstance(given, dict):
        return {}
    return scalars({k: v.get("value") if isinstance(v, dict) else v for k, v in given.items()}) or {}


def _decode_mask(given: Any) -> Mask | None:
    """Return the pixels of a mask as FiftyOne stores it: a zlib stream of a numpy file; None where it is none."""
    text = given.get("$binary") if isinstance(given, dict) else given
    text = text.get("base64") if isinstance(text, dict) else text
    if not isinstance(text, str):
        return None
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(text), _MAX_MASK_BYTES)
        pixels = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, zlib.error, OSError, EOFError, SyntaxError, MemoryError):
        return None
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.ndim != 2
        or 0 in pixels.shape
        or pixels.dtype.kind not in "biuf"
    ):
        return None
    return np.asarray(pixels > 0, np.bool_)


def _placed(mask: Mask, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> Mask | None:
    """Return a box's mask as one of the image, each pixel of its rounded box with the nearest of the mask's."""
    width, height = size_wh
    x1, y1, x2, y2 = (round(value) for value in box_xyxy)
    columns, rows = np.arange(max(x1, 0), min(x2, width)), np.arange(max(y1, 0), min(y2, height))
    if not len(columns) or not len(rows):
        return None
    whole = np.zeros((height, width), np.bool_)
    own_rows = ((rows - y1 + 0.5) * mask.shape[0] / (y2 - y1)).astype(np.int64)
    own_columns = ((columns - x1 + 0.5) * mask.shape[1] / (x2 - x1)).astype(np.int64)
    whole[np.ix_(rows, columns)] = mask[np.ix_(own_rows, own_columns)]
    return whole
