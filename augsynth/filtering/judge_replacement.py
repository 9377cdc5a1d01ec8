"""The filter where an object was replaced: the new one must be there, and the old one gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from augsynth.core.boxes import ious
from augsynth.core.scene import Detections, Plan, Reason, Verdict
from augsynth.filtering.judge import FilterRules, judge
from augsynth.filtering.thresholds import SAME_PLACE_IOU, Thresholds
from augsynth.placement.replacement import Replaced


def judge_replacement(
    plan: Plan,
    replaced: Replaced,
    *,
    before: Detections,
    after: Detections,
    thresholds: Thresholds,
    rules: FilterRules,
) -> Verdict:
    """Return the verdict on an object painted over another; everything is in image pixels.

    Args:
        plan: What was to be painted, and where.
        replaced: The object that was there.
        before: Detections on the image before the edit, of the same view as `after`.
        after: Detections after it.
        thresholds: Scores from which a detection counts.
        rules: What must hold.

    Returns:
        STILL_THERE where the old object's category is still found at its place, else the verdict of `judge`, to
        which what was detected at the old object's place before says nothing.
    """
    elsewhere = ious(before.boxes_xyxy, replaced.box_xyxy[None])[:, 0] < SAME_PLACE_IOU
    verdict = judge(
        plan,
        before=Detections(
            before.boxes_xyxy[elsewhere], before.scores[elsewhere], before.category_ids[elsewhere]
        ),
        after=after,
        scene=replaced.rest,
        thresholds=thresholds,
        rules=rules,
    )
    if still_there(replaced, after, new_score=verdict.score, thresholds=thresholds, rules=rules):
        return replace(verdict, reason=Reason.STILL_THERE)
    return verdict


def still_there(
    replaced: Replaced, after: Detections, *, new_score: float, thresholds: Thresholds, rules: FilterRules
) -> bool:
    """Tell whether the old category is found at the old place and at no neighbour of that category.

    It is found where its score is at least the share `lost_factor` of its threshold, which would save a neighbour from
    counting as lost, and more than the share `rival_factor` of the new object's: a detector that must name one of two
    names the new one.

    Args:
        replaced: The object that was there.
        after: Detections after the edit.
        new_score: Of the new object; 0 where it isn't found.
        thresholds: Scores from which a detection counts.
        rules: What must hold.
    """
    rest = replaced.rest
    same = rest.boxes_xyxy[rest.category_ids == replaced.category_id]
    here = ious(after.boxes_xyxy, replaced.box_xyxy[None])[:, 0]
    of_neighbour = ious(after.boxes_xyxy, same).max(1, initial=0.0)
    least = thresholds[replaced.category_id] if rules.min_score is None else rules.min_score
    sure = (after.scores >= rules.lost_factor * least) & (after.scores > rules.rival_factor * new_score)
    found = (after.category_ids == replaced.category_id) & sure
    return bool(np.any(found & (here >= SAME_PLACE_IOU) & (here > of_neighbour)))
