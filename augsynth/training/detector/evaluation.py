"""COCO average precision of a detector, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from augsynth.core.errors import ConfigError
from augsynth.core.hub import plain_name
from augsynth.core.scene import Category, Dataset, Detections, Image, Scene
from augsynth.detectors.port import Detector

CHUNK = 32


@dataclass(frozen=True, slots=True)
class Evaluation:
    """COCO figures, each in [0, 1].

    Attributes:
        ap: Average precision over IoU 0.50:0.95 and categories.
        ap50: At IoU 0.5.
        ap75: At IoU 0.75.
        ar: Average recall at 100 detections over IoU 0.50:0.95.
        category_ap50: AP at IoU 0.5 of each category that has objects, by name.
        num_images: Images judged.
        num_objects: Objects judged, crowds excluded.
        category_ap: AP over IoU 0.50:0.95 of the same categories.
    """

    ap: float
    ap50: float
    ap75: float
    ar: float
    category_ap50: dict[str, float]
    num_images: int
    num_objects: int
    category_ap: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        categories = ", ".join(f"{name} {ap50:.3f}" for name, ap50 in self.category_ap50.items())
        return (
            f"AP {self.ap:.3f}  AP50 {self.ap50:.3f}  AP75 {self.ap75:.3f}  AR {self.ar:.3f} on "
            f"{self.num_objects} objects of {self.num_images} images (AP50: {categories})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the figures rounded to four places, for JSON."""

        def rounded(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: rounded(each) for name, each in value.items()}
            return round(value, 4) if isinstance(value, float) else value

        return {key: rounded(value) for key, value in asdict(self).items()}


def match_judged(judged: Dataset, categories: Sequence[Category]) -> tuple[Dataset, list[str]]:
    """Give a dataset to judge on the category ids of the one to learn from, by name.

    Names are compared without case, with underscores and hyphens as spaces. Objects of other categories are left out.

    Args:
        judged: The dataset to judge on.
        categories: Of the dataset to learn from.

    Returns:
        The dataset with those categories, and a line for each kind of category that only one of the two has.

    Raises:
        ConfigError: They have no category in common.
    """
    id_of = {plain_name(category.name): category.id for category in reversed(categories)}
    known = {c.id: id_of[plain_name(c.name)] for c in judged.categories if plain_name(c.name) in id_of}
    if not known:
        raise ConfigError(
            f"val_annotations: {judged.source} has none of the categories to learn "
            f"({_listed(c.name for c in categories)}; it has {_listed(c.name for c in judged.categories)}); name them "
            "alike"
        )
    scenes = []
    for scene in judged.scenes:
        kept = np.isin(scene.category_ids, list(known))
        ids = np.array([known[int(c)] for c in scene.category_ids[kept]], np.int64)
        scenes.append(replace(scene.keeping(kept), category_ids=ids))
    matched = replace(judged, categories=tuple(categories), scenes=tuple(scenes))
    unlearnt = [c.name for c in judged.categories if c.id not in known]
    unjudged = [c.name for c in categories if c.id not in known.values()]
    lines = [f"{judged.source}: not judged, for they aren't learnt: {_listed(unlearnt)}"] if unlearnt else []
    if unjudged:
        lines.append(
            f"{judged.source}: has none of these categories, which aren't judged: {_listed(unjudged)}"
        )
    return matched, lines


def _listed(names: Iterable[str], *, most: int = 12) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def evaluate_detector(
    detector: Detector, dataset: Dataset, read_image: Callable[[Scene], Image]
) -> Evaluation:
    """Return the detector's COCO figures on every image of a dataset.

    Args:
        detector: Its detections carry the dataset's category ids.
        dataset: Ground truth; crowds are ignore regions as in COCO.
        read_image: Returns a scene's image, HWC uint8 RGB.
    """
    found: list[Detections] = []
    for start in range(0, len(dataset.scenes), CHUNK):
        scenes = dataset.scenes[start : start + CHUNK]
        found.extend(detector.detect([read_image(scene) for scene in scenes]))
    return evaluate_detections(found, dataset.scenes, dataset.categories)


def evaluate_detections(
    found: Sequence[Detections], scenes: Sequence[Scene], categories: Sequence[Category]
) -> Evaluation:
    """Return COCO figures of detections, one entry per scene.

    Ids are counted anew from 1 (pycocotools scores a match with annotation id 0 as a miss) and the size of
    an object is the area of its box.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    objects = int(sum((~scene.is_crowd).sum() for scene in scenes))
    results = result_rows(found, range(1, len(scenes) + 1))
    if not results or not objects:
        empty = {c.name: 0.0 for c in categories if any((s.category_ids == c.id).any() for s in scenes)}
        return Evaluation(0.0, 0.0, 0.0, 0.0, empty, len(scenes), objects, dict(empty))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _truth_document(scenes, categories)
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][:, :, :, 0, -1]  # IoU, recall, category; all sizes, 100 detections
    by_id = {c.id: c.name for c in categories}
    judged = {
        by_id[category_id]: precision[:, :, k]
        for k, category_id in enumerate(judge.params.catIds)
        if (precision[:, :, k] >= 0).all()
    }
    category_ap50 = {name: float(curves[0].mean()) for name, curves in judged.items()}
    category_ap = {name: float(curves.mean()) for name, curves in judged.items()}
    ap, ap50, ap75, ar = (max(0.0, float(judge.stats[k])) for k in (0, 1, 2, 8))
    return Evaluation(ap, ap50, ap75, ar, category_ap50, len(scenes), objects, category_ap)


def _xywh(box_xyxy: np.ndarray[Any, Any]) -> list[float]:
    x1, y1, x2, y2 = (float(v) for v in box_xyxy)
    return [x1, y1, x2 - x1, y2 - y1]


def result_rows(found: Sequence[Detections], image_ids: Iterable[int]) -> list[dict[str, Any]]:
    """Return COCO results of the detections of each image; boxes (xywh, pixels) to 0.01 px as detectors give them."""
    return [
        {
            "image_id": image_id,
            "category_id": int(category),
            "bbox": [round(v, 2) for v in _xywh(box)],
            "score": float(score),
        }
        for image_id, result in zip(image_ids, found, strict=True)
        for box, score, category in zip(result.boxes_xyxy, result.scores, result.category_ids, strict=True)
    ]


def _truth_document(scenes: Sequence[Scene], categories: Sequence[Category]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image_id, scene in enumerate(scenes, start=1):
        for box, category, crowd in zip(scene.boxes_xyxy, scene.category_ids, scene.is_crowd, strict=True):
            bbox = _xywh(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(category),
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": int(crowd),
                }
            )
    return {
        "info": {},
        "images": [
            {"id": k, "width": scene.size_wh[0], "height": scene.size_wh[1]}
            for k, scene in enumerate(scenes, start=1)
        ],
        "categories": [{"id": c.id, "name": c.name} for c in categories],
        "annotations": annotations,
    }
