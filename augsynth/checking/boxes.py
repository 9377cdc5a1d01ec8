"""Boxes that stand out: over the whole image, far longer than others of their category, tiny, or drawn twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from augsynth.checking.findings import Case, Finding, case_of, suspicious
from augsynth.core.boxes import ious
from augsynth.core.scene import Dataset, FloatArray, Scene

MIN_WHOLE_SHARE = 0.98  # of the image's area
MIN_SIDE = 3.0  # pixels
MIN_ASPECT = 10.0  # longer over shorter side
MAX_SPREAD = 5.0  # robust standard deviations of the log aspect from the category's median
MIN_OBJECTS = 10  # of a category, before its objects say what is usual
SAME_IOU = 0.9  # from here on two boxes are one
MIN_MASK_IOU = 0.5  # below, two masks in one box are two objects


def check_boxes(dataset: Dataset) -> list[Finding]:
    """Find outliers among the boxes; crowds and regions to ignore don't count.

    Thresholds are those of docs/check.md, chosen on real datasets.
    """
    found: dict[str, list[Case]] = {
        kind: []
        for kind in (
            "whole_image_boxes",
            "extreme_shapes",
            "tiny_boxes",
            "repeated_boxes",
            "contradicting_boxes",
        )
    }
    usual = _usual_shapes(dataset)
    names = {category.id: category.name for category in dataset.categories}
    for scene in dataset.scenes:
        if not len(scene):
            continue
        for k in np.flatnonzero(~scene.is_crowd & _stands_out(scene)).tolist():
            _check_one(scene, k, usual, names, found)
    masks = Masks(dataset)
    for scene, i, j, iou in same_places(dataset):
        one = scene.category_ids[i] == scene.category_ids[j]
        if one and not masks.agree(scene, i, j):
            continue
        kind = "repeated_boxes" if one else "contradicting_boxes"
        told = " / ".join(dict.fromkeys(names.get(int(scene.category_ids[k]), "?") for k in (i, j)))
        found[kind].append(
            case_of(scene, [i, j], value=round(iou, 4), note=f"{told}, IoU {np.floor(iou * 100) / 100:.2f}")
        )
    return [
        finding for kind, cases in found.items() for finding in suspicious(kind, str(dataset.source), cases)
    ]


def _stands_out(scene: Scene) -> NDArray[np.bool_]:
    """Return (N,) bool: one of the thresholds is passed, that of shapes before a look at the category."""
    wh = scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]
    shares = wh.prod(1) / np.prod(scene.size_wh)
    return np.asarray(
        (shares >= MIN_WHOLE_SHARE) | (wh.min(1) < MIN_SIDE) | (wh.max(1) >= MIN_ASPECT * wh.min(1))
    )


def _check_one(
    scene: Scene,
    k: int,
    usual: dict[int, tuple[float, float]],
    names: dict[int, str],
    found: dict[str, list[Case]],
) -> None:
    """Note an object under the first of the kinds that it is of."""
    w, h = (scene.boxes_xyxy[k, 2:] - scene.boxes_xyxy[k, :2]).tolist()
    category_id = int(scene.category_ids[k])
    name = names.get(category_id, "?")
    share = w * h / float(np.prod(scene.size_wh))
    if share >= MIN_WHOLE_SHARE:
        found["whole_image_boxes"].append(
            case_of(scene, [k], value=round(share, 4), note=f"{name}, {share:.0%} of the image")
        )
    elif min(w, h) < MIN_SIDE:
        found["tiny_boxes"].append(
            case_of(scene, [k], value=round(min(w, h), 3), note=f"{name}, {w:.3g}×{h:.3g} pixels")
        )
    elif category_id in usual:
        median, spread = usual[category_id]
        if abs(np.log(w / h)) - median > MAX_SPREAD * spread:
            aspect = max(w, h) / min(w, h)
            told = f"{name}, {aspect:.0f}:1 where {np.exp(median):.1f}:1 is usual"
            found["extreme_shapes"].append(case_of(scene, [k], value=round(aspect, 2), note=told))


def _usual_shapes(dataset: Dataset) -> dict[int, tuple[float, float]]:
    """Return each category's median of |log(width / height)| and its robust spread, where there are enough objects."""
    shapes: dict[int, list[float]] = {}
    for scene in dataset.scenes:
        wh = scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]
        logs = np.abs(np.log(wh[:, 0] / wh[:, 1])).tolist() if len(scene) else []
        for category_id, crowd, log in zip(
            scene.category_ids.tolist(), scene.is_crowd.tolist(), logs, strict=True
        ):
            if not crowd:
                shapes.setdefault(category_id, []).append(log)
    usual = {}
    for category_id, values in shapes.items():
        if len(values) >= MIN_OBJECTS:
            logs = np.array(values)
            median = float(np.median(logs))
            usual[category_id] = median, max(0.1, 1.4826 * float(np.median(np.abs(logs - median))))
    return usual


def same_places(dataset: Dataset) -> Iterator[tuple[Scene, int, int, float]]:
    """Yield pairs of objects, by position in their scene, whose boxes are nearly one, with their IoU."""
    for scene in dataset.scenes:
        if len(scene) < 2:
            continue
        counted = np.flatnonzero(~scene.is_crowd)
        boxes: FloatArray = scene.boxes_xyxy[counted]
        overlap = np.triu(ious(boxes, boxes), 1)
        for i, j in np.argwhere(overlap >= SAME_IOU).tolist():
            yield scene, int(counted[i]), int(counted[j]), float(overlap[i, j])


class Masks:
    """The masks of a dataset by annotation id, decoded only where two objects are compared."""

    def __init__(self, dataset: Dataset) -> None:
        self._of = {r["id"]: r.get("segmentation") for r in dataset.document["annotations"]}

    def has(self, annotation_id: int) -> bool:
        """Say whether an object has a mask."""
        return bool(self._of.get(annotation_id))

    def agree(self, scene: Scene, i: int, j: int) -> bool:
        """Say whether two objects may be one: a mask is missing, or both are about the same."""
        from pycocotools import mask as coco_mask

        rles = []
        width, height = scene.size_wh
        for k in (i, j):
            mask = self._of.get(int(scene.annotation_ids[k]))
            if not mask:
                return True
            if isinstance(mask, list) or isinstance(mask["counts"], list):
                mask = coco_mask.frPyObjects(mask, height, width)
            rles.append(coco_mask.merge(mask) if isinstance(mask, list) else mask)
        return bool(coco_mask.iou(rles[:1], rles[1:], [0])[0, 0] >= MIN_MASK_IOU)
