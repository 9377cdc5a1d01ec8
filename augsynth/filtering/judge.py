"""The instance-level filter: is the new object what it was meant to be, and did nothing else break?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import box_areas, clip_boxes, intersections, ious
from augsynth.core.scene import (
    Detections,
    FloatArray,
    IntArray,
    Plan,
    Reason,
    Scene,
    Standing,
    Verdict,
)
from augsynth.filtering.options import FilterRules
from augsynth.filtering.thresholds import SAME_PLACE_IOU, Thresholds, calibrate

__all__ = [
    "FilterRules",
    "Thresholds",
    "calibrate",
    "judge",
    "judge_class",
    "judge_decoy",
    "refit_box",
    "unfiltered",
]


def judge(
    plan: Plan,
    *,
    before: Detections,
    after: Detections,
    scene: Scene,
    thresholds: Thresholds,
    rules: FilterRules,
) -> Verdict:
    """Return the verdict on one painted object; everything is in image pixels.

    Args:
        plan: What was to be painted, and where.
        before: Detections on the image before the edit, of the same view as `after`.
        after: Detections after it.
        scene: The image's annotations without the new object.
        thresholds: Scores from which a detection counts.
        rules: What must hold.

    Returns:
        Accepted with the re-fitted box, or the first of these that holds: WRONG_CLASS, NOT_FOUND, LOW_SCORE,
        LOW_IOU, BAD_SIZE, AMBIGUOUS, LOST_NEIGHBOUR, EXTRA_OBJECT.
    """
    target, planned = plan.placement.category_id, plan.placement.box_xyxy
    overlap = ious(after.boxes_xyxy, planned[None])[:, 0]
    is_new = ~_belongs_to_another(after, overlap, scene)
    best = _best(after, (after.category_ids == target) & is_new, overlap, min_iou=rules.min_iou)
    rival = _best_rival(after, best, target=target, is_new=is_new, overlap=overlap, rules=rules)
    passes = _score_passes(after, thresholds, rules)
    if rival is not None and passes[rival] and (best is None or after.scores[rival] > after.scores[best]):
        return _rejected(Reason.WRONG_CLASS, after, best, overlap, rival)
    if best is None:
        return _rejected(Reason.NOT_FOUND, after, None, overlap, rival)
    box = refit_box(after.boxes_xyxy[best], plan, scene, rules)
    extra = _extra_objects(plan, before, after, scene, best, passes, rules)
    labelled = _labelled_extras(after, extra, best, rules)
    ratio = float(np.sqrt(box_areas(box[None])[0] / box_areas(planned[None])[0]))
    faults = {
        Reason.LOW_SCORE: not passes[best],
        Reason.LOW_IOU: overlap[best] < rules.min_iou,
        Reason.BAD_SIZE: not rules.min_size_ratio <= ratio <= rules.max_size_ratio,
        Reason.AMBIGUOUS: rival is not None and after.scores[rival] > rules.rival_factor * after.scores[best],
        Reason.LOST_NEIGHBOUR: _lost_neighbours(plan, before, after, scene, thresholds, rules).any(),
        Reason.EXTRA_OBJECT: labelled is None,
    }
    for reason, holds in faults.items():
        if holds:
            return _rejected(reason, after, best, overlap, rival)
    extras = None
    if labelled is not None and len(labelled):
        boxes = np.array([refit_box(after.boxes_xyxy[k], plan, scene, rules) for k in labelled])
        extras = Detections(boxes, after.scores[labelled], after.category_ids[labelled])
    return Verdict(Reason.ACCEPTED, box, float(after.scores[best]), float(overlap[best]), extras)


def judge_decoy(
    plan: Plan,
    *,
    before: Detections,
    after: Detections,
    scene: Scene,
    thresholds: Thresholds,
    rules: FilterRules,
) -> Reason:
    """Return the verdict on a window that was repainted without an object; everything is in image pixels.

    Arguments as for `judge`; `scene` holds the new objects of the image, too.

    Returns:
        ACCEPTED, or the first of these that holds: EXTRA_OBJECT, where something is detected around the edit that is
        neither annotated nor was there before; LOST_NEIGHBOUR, where an annotated or new object isn't found any more.
    """
    passes = _score_passes(after, thresholds, rules, factor=rules.decoy_factor)
    same = ious(after.boxes_xyxy, before.boxes_xyxy) >= SAME_PLACE_IOU
    same &= before.scores[None] >= rules.decoy_factor * after.scores[:, None]
    annotated = ious(after.boxes_xyxy, scene.boxes_xyxy).max(1, initial=0.0) >= SAME_PLACE_IOU
    if (passes & _is_around(after.boxes_xyxy, plan) & ~same.any(1) & ~annotated).any():
        return Reason.EXTRA_OBJECT
    if _lost_neighbours(plan, before, after, scene, thresholds, rules).any():
        return Reason.LOST_NEIGHBOUR
    return Reason.ACCEPTED


def unfiltered(plan: Plan) -> Verdict:
    """Return the verdict where no detector looks: accepted as planned, score and IoU 1."""
    return Verdict(Reason.ACCEPTED, plan.placement.box_xyxy, 1.0, 1.0)


def judge_class(verdict: Verdict, standing: Standing, *, rules: FilterRules) -> Verdict:
    """Return the verdict on an accepted object once a classifier has looked: NOT_IN_TOP_K when it isn't that."""
    reason = verdict.reason if standing.rank <= rules.top_k else Reason.NOT_IN_TOP_K
    return replace(verdict, reason=reason, standing=standing)


def refit_box(box_xyxy: FloatArray, plan: Plan, scene: Scene, rules: FilterRules) -> FloatArray:
    """Return the detected box cut to the mask and the image: the label of an accepted object."""
    box: FloatArray = clip_boxes(box_xyxy[None], scene.size_wh)[0]
    if rules.clip_to_mask:
        low = np.maximum(box[:2], plan.mask_xyxy[:2])
        high = np.minimum(box[2:], plan.mask_xyxy[2:])
        if (high > low).all():
            box = np.concatenate([low, high])
    return box


def _rejected(
    reason: Reason, after: Detections, best: int | None, overlap: FloatArray, rival: int | None
) -> Verdict:
    """Return a verdict with the best match, and with the class that was found instead."""
    verdict = Verdict(reason, None, 0.0, 0.0)
    if best is not None:
        box, score = after.boxes_xyxy[best].copy(), float(after.scores[best])
        verdict = Verdict(reason, box, score, float(overlap[best]))
    if rival is None:
        return verdict
    found = int(after.category_ids[rival])
    return replace(verdict, found_category_id=found, found_score=float(after.scores[rival]))


def _score_passes(
    found: Detections, thresholds: Thresholds, rules: FilterRules, *, factor: float = 1.0
) -> NDArray[np.bool_]:
    least = [factor * _least_score(int(c), thresholds, rules) for c in found.category_ids]
    return np.asarray(found.scores >= np.array(least, np.float64))


def _least_score(category_id: int, thresholds: Thresholds, rules: FilterRules) -> float:
    return thresholds[category_id] if rules.min_score is None else rules.min_score


def _belongs_to_another(after: Detections, overlap: FloatArray, scene: Scene) -> NDArray[np.bool_]:
    """Tell which detections fit an annotated object of their class better than the planned box."""
    with_scene = ious(after.boxes_xyxy, scene.boxes_xyxy)
    with_scene = np.where(after.category_ids[:, None] == scene.category_ids[None], with_scene, 0.0)
    closest = with_scene.max(1, initial=0.0)
    return np.asarray((closest >= SAME_PLACE_IOU) & (closest > overlap))


def _best(after: Detections, mask: NDArray[np.bool_], overlap: FloatArray, *, min_iou: float) -> int | None:
    """Return the best-scored detection that fits the planned box, else the one that fits it best."""
    fitting = np.flatnonzero(mask & (overlap >= min_iou))
    if len(fitting):
        return int(fitting[np.argmax(after.scores[fitting])])
    touching = np.flatnonzero(mask & (overlap > 0.1))
    return int(touching[np.argmax(overlap[touching])]) if len(touching) else None


def _best_rival(
    after: Detections,
    best: int | None,
    *,
    target: int,
    is_new: NDArray[np.bool_],
    overlap: FloatArray,
    rules: FilterRules,
) -> int | None:
    """Return the best-scored new detection of another class at the same place."""
    there = overlap >= min(rules.min_iou, SAME_PLACE_IOU)
    if best is not None:
        there |= ious(after.boxes_xyxy, after.boxes_xyxy[best][None])[:, 0] >= SAME_PLACE_IOU
    rivals = np.flatnonzero((after.category_ids != target) & is_new & there)
    return int(rivals[np.argmax(after.scores[rivals])]) if len(rivals) else None


def _lost_neighbours(
    plan: Plan,
    before: Detections,
    after: Detections,
    scene: Scene,
    thresholds: Thresholds,
    rules: FilterRules,
) -> NDArray[np.bool_]:
    """Tell which annotated objects around the edit were found before and aren't any more."""
    near = _is_around(scene.boxes_xyxy, plan)
    least = np.array([_least_score(int(c), thresholds, rules) for c in scene.category_ids]).reshape(-1)
    seen_before = _object_scores(scene, before) >= least
    seen_after = _object_scores(scene, after) >= least * rules.lost_factor
    return np.asarray(near & ~scene.is_crowd & seen_before & ~seen_after)


def _is_around(boxes_xyxy: FloatArray, plan: Plan) -> NDArray[np.bool_]:
    """Tell which boxes are around the edit: they touch the mask or half of them lies in the window."""
    touches = intersections(boxes_xyxy, plan.mask_xyxy[None])[:, 0] > 0
    in_window = intersections(boxes_xyxy, plan.window_xyxy[None].astype(np.float64))[:, 0]
    return np.asarray(touches | (in_window >= 0.5 * box_areas(boxes_xyxy)))


def _object_scores(scene: Scene, found: Detections) -> FloatArray:
    """Return the score of each annotated object's best detection at the same place, -1 for none."""
    same = ious(scene.boxes_xyxy, found.boxes_xyxy) >= SAME_PLACE_IOU
    same &= scene.category_ids[:, None] == found.category_ids[None]
    return np.asarray(np.where(same, found.scores[None], -1.0).max(1, initial=-1.0))


def _extra_objects(
    plan: Plan,
    before: Detections,
    after: Detections,
    scene: Scene,
    best: int,
    passes: NDArray[np.bool_],
    rules: FilterRules,
) -> NDArray[np.bool_]:
    """Tell which detections in the mask are neither the new object nor there before nor annotated.

    A weaker detection of the same class that lies inside the new object is a part of it.
    """
    boxes = after.boxes_xyxy
    in_mask = intersections(boxes, plan.mask_xyxy[None])[:, 0] > rules.max_extra_overlap * box_areas(boxes)
    with_best = ious(boxes, boxes[best][None])[:, 0]
    inside = intersections(boxes, boxes[best][None])[:, 0] >= 0.8 * box_areas(boxes)
    part = inside & (after.category_ids == after.category_ids[best])
    was_there = ious(boxes, before.boxes_xyxy).max(1, initial=0.0) >= SAME_PLACE_IOU
    annotated = ious(boxes, scene.boxes_xyxy).max(1, initial=0.0) >= SAME_PLACE_IOU
    sure = after.scores >= rules.extra_factor * after.scores[best]
    extra = passes & sure & in_mask & (with_best < SAME_PLACE_IOU) & ~part & ~was_there & ~annotated
    extra[best] = False
    return np.asarray(extra)


def _labelled_extras(
    after: Detections, extra: NDArray[np.bool_], best: int, rules: FilterRules
) -> IntArray | None:
    """Return the positions of the second objects that are labelled, or None when one speaks against the attempt."""
    if not extra.any():
        return np.zeros(0, np.int64)
    boxes, chosen = after.boxes_xyxy, np.zeros(len(after), np.bool_)
    inside = intersections(boxes, boxes[best][None])[:, 0] >= 0.8 * box_areas(boxes)
    for k in np.flatnonzero(extra):  # best score first
        same = ious(boxes, boxes[k][None])[:, 0] >= SAME_PLACE_IOU
        if (same & chosen).any():
            continue
        rival = same & (after.category_ids != after.category_ids[k])
        rival &= after.scores > rules.rival_factor * after.scores[k]
        if not rules.label_extras or inside[k] or rival.any():
            return None
        chosen[k] = True
    return np.flatnonzero(chosen)
