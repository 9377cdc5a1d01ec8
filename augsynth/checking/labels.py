"""Labels that a detector disputes, and objects that it sees where nothing is labelled."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from augsynth.checking.findings import Case, Finding, case_of, suspicious, xywh
from augsynth.core.boxes import box_areas, intersections, ious
from augsynth.core.errors import DatasetError
from augsynth.core.scene import Dataset, Detections, FloatArray, Image, IntArray, Scene
from augsynth.detectors.port import Detector, without_doubles
from augsynth.filtering.thresholds import MIN_INSTANCES, SAME_PLACE_IOU, Thresholds, thresholds_from_scores

MIN_RIGHT = (
    0.8  # share of the detections with a score or a higher one that are labelled so, for the score to count
)
SURE_QUANTILE = (
    0.5  # of the scores of a category's found objects, for a detection where nothing is labelled to count
)
DISPUTE_QUANTILE = 0.3  # for one of another category to count where the labelled one isn't seen
LOW_QUANTILE = 0.05  # below, the detector doesn't see the category
MAX_FREE_IOU = 0.3  # of a sure detection and any labelled object, where nothing is labelled
MAX_INSIDE = 0.6  # share of a sure detection inside one labelled object, or the other way round
_OVERLAP = 0.25  # of neighbouring views of a large picture, as a share of their side
_MAX_DOUBLE_IOU = 0.6

Progress = Callable[[int, int], None]


def check_labels(
    dataset: Dataset,
    detector: Detector,
    read_image: Callable[[Scene], Image],
    progress: Progress = lambda done, of: None,
) -> list[Finding]:
    """Compare labels with what a detector sees, each category by the scores that its own objects get.

    Args:
        dataset: Crowds and regions to ignore neither count nor miss anything.
        detector: Trained on other pictures, or it repeats what it was told.
        read_image: Returns a scene's image; what can't be decoded is passed over.
        progress: Called with the images looked at and all.
    """
    seen: list[tuple[Scene, Detections]] = []
    for number, scene in enumerate(dataset.scenes, start=1):
        with contextlib.suppress(DatasetError):  # told by check_pictures
            seen.append((scene, detect_all(detector, read_image(scene))))
        progress(number, len(dataset.scenes))
    evidence = gather_evidence(seen)
    sure = {c: own.sure(own.free, SURE_QUANTILE) for c, own in evidence.items()}
    rival = {c: own.sure(own.other, DISPUTE_QUANTILE) for c, own in evidence.items()}
    low = thresholds_from_scores({c: own.right for c, own in evidence.items()}, quantile=LOW_QUANTILE)
    names = {category.id: category.name for category in dataset.categories}
    disputed, unlabelled = [], []
    for scene, found in seen:
        disputed += _disputed(scene, found, rival, low, names)
        unlabelled += _unlabelled(scene, found, sure, names)
    source = str(dataset.source)
    return [
        *suspicious("disputed_labels", source, sorted(disputed, key=lambda case: -(case.value or 0))),
        *suspicious("unlabelled_objects", source, sorted(unlabelled, key=lambda case: -(case.value or 0))),
    ]


@dataclass(slots=True)
class Evidence:
    """The scores of a category's detections, by what is labelled at their places.

    Attributes:
        right: The category.
        other: Another one, and not this one.
        free: Nothing.
    """

    right: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    free: list[float] = field(default_factory=list)

    def sure(self, wrong: Sequence[float], quantile: float) -> float:
        """Return the score from which on a detection counts against the labels, infinity where none does.

        Most detections with it or a higher one are labelled so, and of the category's found objects `quantile` have a
        lower one.

        Args:
            wrong: Scores of the detections that speak against the labels.
            quantile: In [0, 1].
        """
        if len(self.right) < MIN_INSTANCES:
            return math.inf
        scores = np.array([*self.right, *wrong])
        order = np.argsort(-scores, kind="stable")
        scores, ranks = scores[order], np.arange(1, len(order) + 1)
        is_right = (order < len(self.right)).cumsum() / ranks
        is_last = np.append(scores[1:] < scores[:-1], True)  # of those with one score
        enough = np.flatnonzero((is_right >= MIN_RIGHT) & (ranks >= MIN_INSTANCES) & is_last)
        if not len(enough):
            return math.inf
        return max(float(scores[enough[-1]]), float(np.quantile(self.right, quantile)))


def gather_evidence(seen: Sequence[tuple[Scene, Detections]]) -> dict[int, Evidence]:
    """Return the evidence of each category; where crowds are nothing counts."""
    evidence: dict[int, Evidence] = {}
    for scene, found in seen:
        there = ious(found.boxes_xyxy, scene.boxes_xyxy) >= SAME_PLACE_IOU
        same = found.category_ids[:, None] == scene.category_ids[None]
        right, other = (there & same & ~scene.is_crowd).any(1), (there & ~same & ~scene.is_crowd).any(1)
        free = are_free(found.boxes_xyxy, scene.boxes_xyxy)
        for k, (score, category_id) in enumerate(
            zip(found.scores.tolist(), found.category_ids.tolist(), strict=True)
        ):
            own = evidence.setdefault(category_id, Evidence())
            if right[k]:
                own.right.append(score)
            elif other[k]:
                own.other.append(score)
            elif free[k]:
                own.free.append(score)
    return evidence


def detect_all(detector: Detector, image: Image) -> Detections:
    """Return all detections in an image: of a large one in overlapping views, what their borders cut left out."""
    height, width = image.shape[:2]
    views = _views((width, height), side=detector.view_px)
    crops = [np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in views]
    parts = []
    for view, found in zip(views, detector.detect(crops), strict=True):
        boxes = found.boxes_xyxy + np.tile(view[:2], 2)
        inner = (view != (0, 0, width, height)) if len(views) > 1 else np.zeros(4, np.bool_)
        cut = ((np.abs(boxes - view) < 2) & inner).any(1)
        parts.append((boxes[~cut], found.scores[~cut], found.category_ids[~cut]))
    boxes, scores, kinds = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    merged = Detections(boxes[order], scores[order], kinds[order])
    return merged if len(views) == 1 else without_doubles(merged, max_iou=_MAX_DOUBLE_IOU)


def _views(size_wh: tuple[int, int], *, side: int) -> list[IntArray]:
    """Return the (4,) views of an image, the whole where it is at most half as large again as a view."""
    if max(size_wh) <= 1.5 * side:
        return [np.array([0, 0, *size_wh], np.int64)]
    starts = []
    for length in size_wh:
        room = max(0, length - side)
        num = 1 + int(np.ceil(room / (side * (1 - _OVERLAP))))
        starts.append(np.unique(np.round(np.linspace(0, room, num)).astype(np.int64)))
    extent = np.minimum(side, size_wh)
    return [np.array([x, y, x + extent[0], y + extent[1]], np.int64) for y in starts[1] for x in starts[0]]


def _score_at(scene: Scene, k: int, found: Detections, category_id: int) -> float:
    """Return the best score of a category at the place of an object, 0 where it isn't found."""
    there = ious(scene.boxes_xyxy[k][None], found.boxes_xyxy)[0] >= SAME_PLACE_IOU
    return float(found.scores[there & (found.category_ids == category_id)].max(initial=0.0))


def _disputed(
    scene: Scene, found: Detections, rival: Mapping[int, float], low: Thresholds, names: dict[int, str]
) -> list[Case]:
    """Return the objects where another category is sure and the labelled one isn't seen."""
    cases = []
    for k in np.flatnonzero(~scene.is_crowd).tolist():
        own = int(scene.category_ids[k])
        there = ious(scene.boxes_xyxy[k][None], found.boxes_xyxy)[0] >= SAME_PLACE_IOU
        others = np.flatnonzero(there & (found.category_ids != own))
        if not len(others) or _score_at(scene, k, found, own) >= low[own]:
            continue
        best = int(others[0])  # best score first
        other, score = int(found.category_ids[best]), float(found.scores[best])
        if score < rival[other] or _is_labelled(scene, found.boxes_xyxy[best], other):
            continue
        told = f"labelled {names.get(own, own)}, seen as {names.get(other, other)} ({score:.2f})"
        cases.append(case_of(scene, [k], value=round(score, 4), note=told))
    return cases


def _is_labelled(scene: Scene, box_xyxy: FloatArray, category_id: int) -> bool:
    """Say whether an object of the category is labelled at the place."""
    same = scene.boxes_xyxy[scene.category_ids == category_id]
    return bool((ious(box_xyxy[None], same) >= SAME_PLACE_IOU).any())


def _unlabelled(
    scene: Scene, found: Detections, sure: Mapping[int, float], names: dict[int, str]
) -> list[Case]:
    """Return the sure detections that share their place with no labelled object."""
    cases: list[Case] = []
    taken: list[FloatArray] = []
    free = are_free(found.boxes_xyxy, scene.boxes_xyxy)
    for k in range(len(found)):
        category_id, box, score = int(found.category_ids[k]), found.boxes_xyxy[k], float(found.scores[k])
        if score < sure[category_id] or not free[k]:
            continue
        if taken and (ious(box[None], np.stack(taken)) >= SAME_PLACE_IOU).any():
            continue
        taken.append(box)
        cases.append(
            Case(
                image_id=scene.image_id,
                file_name=scene.file_name,
                boxes_xywh=(xywh(box),),
                value=round(score, 4),
                note=f"{names.get(category_id, category_id)} ({score:.2f})",
            )
        )
    return cases


def are_free(boxes_xyxy: FloatArray, labelled_xyxy: FloatArray) -> NDArray[np.bool_]:
    """Return (N,) bool: a box is neither a labelled one nor mostly inside one, nor mostly filled by one.

    Args:
        boxes_xyxy: (N, 4).
        labelled_xyxy: (M, 4), crowds included.
    """
    if not len(labelled_xyxy) or not len(boxes_xyxy):
        return np.ones(len(boxes_xyxy), np.bool_)
    shared = intersections(boxes_xyxy, labelled_xyxy)
    own, theirs = box_areas(boxes_xyxy)[:, None], box_areas(labelled_xyxy)[None]
    apart = shared < MAX_INSIDE * np.minimum(own, theirs)
    apart &= shared < MAX_FREE_IOU * (own + theirs - shared)
    return np.asarray(apart.all(1), np.bool_)
