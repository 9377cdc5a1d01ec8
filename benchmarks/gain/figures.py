"""COCO figures of what a detector found, and how far its scores can be believed."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 10
LEAST_SCORE = 0.05


def judge(test: Path, found: dict[str, NDArray[Any]], *, rare: list[str]) -> dict[str, Any]:
    """Return AP, AP50, those of the rare categories and of each category, and the calibration error.

    Args:
        test: COCO file of the test images.
        found: As returned by `training.detect`; labels count the file's categories.
        rare: Names of the rare categories.

    Returns:
        Numbers in [0, 1]. `calibration` is the detection expected calibration error: over ten bins of the score,
        the mean distance of score and share of right detections (right class, IoU ≥ 0.5), weighted by count,
        of detections from 0.05 up (Küppers et al., "Multivariate Confidence Calibration for Object Detection",
        2020, with the score alone).
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    document = json.loads(test.read_text("utf-8"))
    names = [c["name"] for c in document["categories"]]
    ids = np.array([c["id"] for c in document["categories"]])
    document.setdefault("info", {})
    for k, annotation in enumerate(document["annotations"], start=1):
        annotation["id"] = k  # a match with id 0 counts as a miss in pycocotools
        annotation.setdefault("iscrowd", 0)
    rows = np.column_stack(
        [
            found["image_ids"],
            found["boxes_xyxy"][:, :2],
            found["boxes_xyxy"][:, 2:] - found["boxes_xyxy"][:, :2],
            found["scores"],
            ids[found["labels"]],
        ]
    ).astype(np.float64)
    zeros = dict.fromkeys(names, 0.0)
    if not len(rows):
        empty = {"ap": 0.0, "ap50": 0.0, "rare_ap": 0.0, "rare_ap50": 0.0, "calibration": 0.0}
        return empty | {"category_ap": zeros, "category_ap50": dict(zeros)}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # IoU, recall, category
    per_category = {
        names[k]: precision[:, :, k] for k in range(len(names)) if (precision[:, :, k] > -1).all()
    }
    ap = {name: float(values.mean()) for name, values in per_category.items()}
    ap50 = {name: float(values[0].mean()) for name, values in per_category.items()}
    some = [name for name in rare if name in ap]
    return {
        "ap": float(np.mean(list(ap.values()))),
        "ap50": float(np.mean(list(ap50.values()))),
        "rare_ap": float(np.mean([ap[n] for n in some])) if some else None,
        "rare_ap50": float(np.mean([ap50[n] for n in some])) if some else None,
        "calibration": _calibration_error(evaluation.evalImgs),
        "category_ap": ap,
        "category_ap50": ap50,
    }


def _calibration_error(images: list[dict[str, Any] | None]) -> float:
    scores, right = [], []
    for image in images:
        if image is None:
            continue
        fair = ~image["dtIgnore"][0].astype(bool)
        scores.append(np.array(image["dtScores"])[fair])
        right.append(image["dtMatches"][0][fair] > 0)
    score = np.concatenate(scores) if scores else np.zeros(0)
    hit = np.concatenate(right) if right else np.zeros(0, bool)
    hit, score = hit[score >= LEAST_SCORE], score[score >= LEAST_SCORE]
    if not len(score):
        return 0.0
    bins = np.minimum((score * NUM_BINS).astype(int), NUM_BINS - 1)
    gaps = [abs(score[bins == b].mean() - hit[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)]
    return float(np.sum(gaps) / len(score))
