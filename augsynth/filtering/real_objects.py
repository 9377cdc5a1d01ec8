"""What the filter says of a dataset's own objects, and whether scores tell them from background."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
import numpy as np

from augsynth.core.boxes import clip_boxes, grow_box, intersections, ious
from augsynth.core.errors import ConfigError
from augsynth.core.scene import (
    FloatArray,
    Image,
    IntArray,
    Placement,
    Plan,
    Reason,
    Scene,
    Standing,
    Verdict,
)
from augsynth.core.seeding import derive_rng
from augsynth.filtering.classifiers import Classifier, crop_object
from augsynth.filtering.judge import judge, judge_class
from augsynth.filtering.options import FilterRules
from augsynth.filtering.thresholds import MIN_INSTANCES, SAME_PLACE_IOU, ObservedView, Thresholds
from augsynth.placement.replacement import Replaced

MASK_GROWTH = 1.15  # as a painted object's box is grown
MAX_OBJECTS = 300  # of a category that are judged
PLACES = 3  # of background for each object
LOW_SHARE = 0.5
_TOUCHING_IOU = 0.1
_MOST_ROWS, _MOST_NAMES = 20, 5
Standings = dict[tuple[int, int], Standing]
"""By image id and position of the object in its scene."""


class FilterRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the filter says of a category's real objects.

    Attributes:
        objects: Real objects that were judged.
        accepted: Those of them that the filter accepts.
        rejected: Reason -> number.
        threshold: Least score of a detection; None where no detector looks.
        threshold_objects: Real objects that the threshold comes from; None for a fixed one, or for none.
        auc: Chance that an accepted real object scores higher than a random background place of its size, ties
            counting half; None where there is nothing to compare.
        scores: Score of each, rejected ones included; empty where no detector looks.
    """

    category_id: int
    category: str
    objects: int
    accepted: int
    rejected: dict[str, int]
    threshold: float | None
    threshold_objects: int | None
    auc: float | None
    scores: tuple[float, ...] = ()

    @property
    def share(self) -> float:
        """Accepted share of the real objects, 1 without any."""
        return self.accepted / self.objects if self.objects else 1.0


def judge_real_objects(
    views: Sequence[ObservedView],
    *,
    names: Mapping[int, str],
    thresholds: Thresholds,
    rules: FilterRules,
    seed: int,
    standings: Standings | None = None,
) -> tuple[FilterRow, ...]:
    """Judge real objects as if they had just been painted where they are, and score random background.

    Args:
        views: What the detector found around real objects.
        names: Category names by COCO id; only these are judged.
        thresholds: Scores from which a detection counts.
        rules: What must hold.
        seed: Draws the background places.
        standings: From `classify_real_objects`, where a classifier is asked as well.
    """
    rng = derive_rng(seed, "background")
    verdicts: dict[int, list[Verdict]] = {c: [] for c in names}
    background: dict[int, list[float]] = {c: [] for c in names}
    for view in views:
        for k in np.flatnonzero(view.counted):
            category_id = int(view.scene.category_ids[k])
            if category_id in names and len(verdicts[category_id]) < MAX_OBJECTS:
                verdict = _judge_one(view, int(k), thresholds, rules)
                if verdict.accepted and standings is not None:
                    verdict = judge_class(verdict, standings[view.scene.image_id, int(k)], rules=rules)
                verdicts[category_id].append(verdict)
                background[category_id] += _background_scores(view, int(k), rng)
    rows = []
    for category_id, name in names.items():
        reasons = Counter(str(verdict.reason) for verdict in verdicts[category_id])
        scores = [verdict.score for verdict in verdicts[category_id] if verdict.accepted]
        fixed = rules.min_score is not None
        rows.append(
            FilterRow(
                category_id=category_id,
                category=name,
                objects=reasons.total(),
                accepted=reasons.pop(Reason.ACCEPTED, 0),
                rejected=dict(reasons.most_common()),
                threshold=thresholds[category_id] if rules.min_score is None else rules.min_score,
                threshold_objects=None if fixed else thresholds.num_instances.get(category_id, 0),
                auc=area_under_curve(scores, background[category_id]),
                scores=tuple(round(verdict.score, 4) for verdict in verdicts[category_id]),
            )
        )
    return tuple(rows)


def classify_real_objects(
    classifier: Classifier,
    scenes: Sequence[Scene],
    read_image: Callable[[Scene], Image],
    *,
    ids: Collection[int],
) -> Standings:
    """Return where real objects stand for a classifier.

    Args:
        classifier: Sees a crop of each object.
        scenes: Their objects are looked at, but for crowds, until a category has `MAX_OBJECTS` in the scenes before.
        read_image: Returns a scene's image, HWC uint8 RGB.
        ids: COCO ids of the categories that are looked at.
    """
    found: Standings = {}
    seen: Counter[int] = Counter()
    for scene in scenes:
        wanted = [category_id for category_id in ids if seen[category_id] < MAX_OBJECTS]
        chosen = np.flatnonzero(~scene.is_crowd & np.isin(scene.category_ids, wanted)).tolist()
        if not chosen:
            continue
        image, category_ids = read_image(scene), scene.category_ids[chosen].tolist()
        standings = classifier.standings(
            [crop_object(image, scene.boxes_xyxy[k]) for k in chosen], category_ids
        )
        seen.update(category_ids)
        found |= {(scene.image_id, k): standing for k, standing in zip(chosen, standings, strict=True)}
    return found


def rows_of_classifier(
    standings: Standings, scenes: Sequence[Scene], *, names: Mapping[int, str], rules: FilterRules
) -> tuple[FilterRow, ...]:
    """Return what a classifier alone says of real objects: accepted are those within its best `top_k` labels."""
    by_id = {scene.image_id: scene for scene in scenes}
    passed: dict[int, list[bool]] = {c: [] for c in names}
    for (image_id, k), standing in standings.items():
        passed[int(by_id[image_id].category_ids[k])].append(standing.rank <= rules.top_k)
    return tuple(
        FilterRow(
            category_id=category_id,
            category=name,
            objects=len(passed[category_id]),
            accepted=sum(passed[category_id]),
            rejected={str(Reason.NOT_IN_TOP_K): num} if (num := passed[category_id].count(False)) else {},
            threshold=None,
            threshold_objects=None,
            auc=None,
        )
        for category_id, name in names.items()
    )


def _judge_one(view: ObservedView, k: int, thresholds: Thresholds, rules: FilterRules) -> Verdict:
    """Return the verdict on an object that is there before and after: nothing around it can have changed."""
    scene = view.scene
    box, category_id = scene.boxes_xyxy[k], int(scene.category_ids[k])
    mask = clip_boxes(grow_box(box, factor=MASK_GROWTH, pad=0.5)[None], scene.size_wh)[0]
    return judge(
        Plan(Placement(category_id, box, None, 0.0), view.view_xyxy, mask, "", 0),
        before=view.found,
        after=view.found,
        scene=Replaced.of(scene, k).rest,
        thresholds=thresholds,
        rules=rules,
    )


def _background_scores(view: ObservedView, k: int, rng: np.random.Generator) -> list[float]:
    """Return the best score of an object's category at places of its size without an annotated object, 0 for none."""
    scene, found = view.scene, view.found
    places = _background_places(view.view_xyxy, scene.boxes_xyxy, scene.boxes_xyxy[k], rng)
    other = ious(found.boxes_xyxy, scene.boxes_xyxy).max(1, initial=0.0) < SAME_PLACE_IOU
    fits = ious(places, found.boxes_xyxy) > _TOUCHING_IOU
    fits &= other & (found.category_ids == scene.category_ids[k])
    return [float(score) for score in np.where(fits, found.scores, 0.0).max(1, initial=0.0)]


def _background_places(
    view_xyxy: IntArray, boxes_xyxy: FloatArray, box_xyxy: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Draw up to `PLACES` (N, 4) boxes of an object's size in a view that touch no annotated object."""
    size = box_xyxy[2:] - box_xyxy[:2]
    room = view_xyxy[2:] - view_xyxy[:2] - size
    if (room < 0).any():
        return np.zeros((0, 4))
    low = view_xyxy[:2] + rng.random((4 * PLACES, 2)) * room
    drawn = np.hstack([low, low + size])
    return np.asarray(drawn[~intersections(drawn, boxes_xyxy).any(1)][:PLACES])


def area_under_curve(real: Sequence[float], background: Sequence[float]) -> float | None:
    """Return the chance that a real score is above a background score, ties counting half; None without either."""
    if not real or not background:
        return None
    ones, others = np.array(real)[:, None], np.array(background)[None]
    return round(float(((ones > others) + 0.5 * (ones == others)).mean()), 4)


def untold(rows: Sequence[FilterRow], *, min_auc: float) -> frozenset[int]:
    """Return the categories whose accepted real objects can't be told from background by score."""
    return frozenset(row.category_id for row in rows if row.auc is not None and row.auc < min_auc)


def check_filter(rows: Sequence[FilterRow], *, models: str, min_auc: float) -> None:
    """Raise ConfigError where nothing that is painted could be accepted rightly; not with a `min_auc` of 0.

    Args:
        rows: What the filter says of real objects.
        models: The option and the name of what judges, for the message: "--detector NAME".
        min_auc: Of `FilterModels`.
    """
    objects, accepted = sum(row.objects for row in rows), sum(row.accepted for row in rows)
    rejected = sum((Counter(row.rejected) for row in rows), Counter[str]())
    if min_auc and objects >= MIN_INSTANCES and not accepted:
        raise ConfigError(
            f"the filter accepts none of {objects} real objects (mostly {rejected.most_common(1)[0][0]}), so it won't "
            f"accept painted ones; choose another than {models}, or go on with --min-auc 0"
        )
    if rows and len(untold(rows, min_auc=min_auc)) == len(rows):
        raise ConfigError(
            f"the scores don't tell real objects from background in any category; choose another than {models}, or go "
            "on with --min-auc 0"
        )


def report_lines(rows: Sequence[FilterRow], *, min_auc: float) -> list[str]:
    """Return what the user should know of the filter before painting: a table, and what to beware of."""
    shown = sorted((row for row in rows if row.objects), key=lambda row: row.share)
    width = max((len(row.category) for row in shown[:_MOST_ROWS]), default=0)
    scored = any(row.threshold is not None for row in shown)
    lines = [f"the filter on real objects: accepted{', threshold' if scored else ''}" if shown else ""]
    lines += [
        f"  {row.category:<{width}}  {row.accepted:>3} of {row.objects:>3} ({row.share:4.0%})"
        + ("" if row.threshold is None else f"  {row.threshold:.2f}")
        for row in shown[:_MOST_ROWS]
    ]
    if len(shown) > _MOST_ROWS:
        lines.append(f"  … and {len(shown) - _MOST_ROWS} categories more, with higher shares")
    low = [f"{row.category} ({row.accepted} of {row.objects})" for row in shown if row.share < LOW_SHARE]
    few = [
        f"{row.category} ({row.threshold_objects})"
        for row in rows
        if row.threshold_objects is not None and row.threshold_objects < MIN_INSTANCES
    ]
    out = untold(rows, min_auc=min_auc)
    left_out = [f"{row.category} ({row.auc:.2f})" for row in rows if row.category_id in out]
    remedy = "a better --detector, or a lower --score-quantile"
    if not scored:
        remedy = "another --classifier, a higher --top-k, or a class_map"
    lines += [
        f"fewer than half of the real objects are accepted: {_some(low)}; good painted ones will be turned down as "
        f"well: {remedy}"
        if low
        else "",
        f"thresholds from fewer than {MIN_INSTANCES} real objects: {_some(few)}; these are uncertain: look closely at "
        "what is accepted, or set --min-score"
        if few
        else "",
        f"left out, since the detector's scores don't tell real objects from background (area under the curve below "
        f"--min-auc {min_auc:g}): {_some(left_out)}"
        if left_out
        else "",
    ]
    return [line for line in lines if line]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
