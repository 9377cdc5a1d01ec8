"""What a COCO file says, read with json alone, and how far what a library holds equals it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.core.masks import Mask, as_rle, decoded

MAX_SHIFT_PX = 0.01  # of a box's corners: libraries keep them as 32-bit numbers or as text
MIN_MEAN_IOU = 0.85  # of the masks of a library that draws them by rules of its own


@dataclass(frozen=True)
class Limits:
    """What a library is known not to do as the file says.

    Attributes:
        crowds: Leaves them out.
        crowd_masks: Has no masks of crowds, which are RLEs.
        boxes: Takes an object's box from its mask where there is one.
        masks: Draws masks by rules of its own, or keeps a part of them.
        why: The same in words, and where it is said.
    """

    crowds: bool = False
    crowd_masks: bool = False
    boxes: bool = False
    masks: bool = False
    why: str = ""


NO_LIMITS = Limits()


@dataclass
class Comparison:
    """How far a library agrees with the file.

    Attributes:
        objects: How many the library holds.
        expected: How many it should: all of the file, less the crowds that it is known to leave out.
        boxes: How many boxes are equal.
        masks: How many masks are equal, pixel for pixel.
        expected_masks: How many there should be.
        ious: Mask IoU of those that aren't equal.
        faults: What isn't as the file says, and isn't a known limit.
    """

    objects: int = 0
    expected: int = 0
    boxes: int = 0
    masks: int = 0
    expected_masks: int = 0
    ious: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def has_masks(annotations: Path) -> bool:
    """Return whether all objects of a file that are no crowds have masks, and there is one.

    Raises:
        ValueError: Some have masks and some have none.
    """
    document = json.loads(annotations.read_text(encoding="utf-8"))
    having = {"segmentation" in a for a in document["annotations"] if not a["iscrowd"]}
    if len(having) > 1:
        raise ValueError(f"{annotations}: some objects have masks and some have none")
    return having == {True}


def compare(annotations: Path, images: list[dict[str, Any]], limits: Limits) -> Comparison:
    """Compare what a library holds with the file, image by image and object by object.

    Args:
        annotations: The file.
        images: `file_name` and `objects` of each, as `readers.shared.found_object` makes them, in any order of
            images; objects stand in the order of the file, or say their ids.
        limits: What is known of the library.
    """
    document = json.loads(annotations.read_text(encoding="utf-8"))
    names = {c["id"]: c["name"] for c in document["categories"]}
    masks = has_masks(annotations)
    given: dict[int, list[Mapping[str, Any]]] = {record["id"]: [] for record in document["images"]}
    for annotation in document["annotations"]:
        if not (limits.crowds and annotation["iscrowd"]):
            given[annotation["image_id"]].append(annotation)
    held = {image["file_name"]: image["objects"] for image in images}
    result = Comparison(sum(map(len, held.values())), sum(map(len, given.values())))
    wanted = {record["file_name"] for record in document["images"]}
    if set(held) != wanted or len(held) != len(images):
        result.faults.append(f"images: {len(set(held) & wanted)} of {len(wanted)}, {len(images)} held")
    for record in document["images"]:
        expected, found = given[record["id"]], held.get(record["file_name"], [])
        if all(one["id"] is not None for one in found):
            expected, found = sorted(expected, key=_id), sorted(found, key=_id)
        where = record["file_name"]
        if len(expected) != len(found):
            result.faults.append(f"{where}: {len(found)} objects instead of {len(expected)}")
            continue
        for says, has in zip(expected, found, strict=True):
            _compare_object(result, says, has, names[says["category_id"]], limits)
            if masks:
                size = record["width"], record["height"]
                _compare_masks(result, says, has, size, limits)
    if result.ious and np.mean(result.ious) < MIN_MEAN_IOU:
        result.faults.append(f"masks: mean IoU {np.mean(result.ious):.3f}")
    return result


def _id(record: Mapping[str, Any]) -> int:
    return int(record["id"])


def _compare_object(
    result: Comparison, says: Mapping[str, Any], has: Mapping[str, Any], category: str, limits: Limits
) -> None:
    where = f"object {says['id']}"
    if has["id"] is not None and has["id"] != says["id"]:
        result.faults.append(f"{where}: id {has['id']}")
    if has["category"] != category:
        result.faults.append(f"{where}: {has['category']} instead of {category}")
    if has["crowd"] is not None and has["crowd"] != bool(says["iscrowd"]):
        result.faults.append(f"{where}: crowd {has['crowd']}")
    x, y, width, height = says["bbox"]
    box = np.array([x, y, x + width, y + height])
    if np.abs(np.array(has["box_xyxy"]) - box).max() <= MAX_SHIFT_PX:
        result.boxes += 1
    elif not (limits.boxes and has["mask"]):
        result.faults.append(f"{where}: box {has['box_xyxy']} instead of {box.tolist()}")


def _compare_masks(
    result: Comparison,
    says: Mapping[str, Any],
    has: Mapping[str, Any],
    size_wh: tuple[int, int],
    limits: Limits,
) -> None:
    if says["iscrowd"] and limits.crowd_masks:
        return
    result.expected_masks += 1
    expected, found = (_pixels(mask, size_wh) for mask in (says["segmentation"], has["mask"]))
    assert expected is not None  # a file's own masks can be read
    if found is None:
        result.faults.append(f"object {says['id']}: no mask")
    elif (expected == found).all():
        result.masks += 1
    else:
        result.ious.append(float((expected & found).sum() / max((expected | found).sum(), 1)))
        if not limits.masks:
            result.faults.append(f"object {says['id']}: mask of IoU {result.ious[-1]:.3f}")


def _pixels(mask: object, size_wh: tuple[int, int]) -> Mask | None:
    rle = as_rle(mask, size_wh) if mask else None
    return None if rle is None else decoded(rle)
