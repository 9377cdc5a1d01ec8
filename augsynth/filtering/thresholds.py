"""Score thresholds from the scores that a dataset's own objects get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import ious, view_around
from augsynth.core.scene import Dataset, Detections, FloatArray, Image, IntArray, Scene
from augsynth.core.seeding import derive_rng
from augsynth.detectors.port import Detector, detect_all

SAME_PLACE_IOU = 0.5
MIN_INSTANCES = 10
MAX_VIEWS = 6
_TOGETHER = 8  # images whose views are looked at in one go


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Least detector score of each category.

    Attributes:
        pooled: For categories without an entry of their own.
        by_category: COCO id -> score.
        num_instances: COCO id -> real objects that the score was taken from.
    """

    pooled: float
    by_category: Mapping[int, float] = field(default_factory=dict)
    num_instances: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for score in (self.pooled, *self.by_category.values()):
            if not 0 <= score <= 1:
                raise ValueError(f"a score threshold must be in [0, 1], got {score}")

    def __getitem__(self, category_id: int) -> float:
        return self.by_category.get(category_id, self.pooled)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON document; `from_dict` reads it."""
        return {
            "pooled": self.pooled,
            "by_category": {str(k): v for k, v in sorted(self.by_category.items())},
            "num_instances": {str(k): v for k, v in sorted(self.num_instances.items())},
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Thresholds:
        """Read what `as_dict` wrote."""
        return cls(
            float(document["pooled"]),
            {int(k): float(v) for k, v in document.get("by_category", {}).items()},
            {int(k): int(v) for k, v in document.get("num_instances", {}).items()},
        )


def calibrate(
    detector: Detector,
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    *,
    quantile: float = 0.1,
    max_images: int = 200,
    seed: int = 42,
    floor: float = 0.05,
) -> Thresholds:
    """Return thresholds from the scores that the dataset's own objects get.

    An object's score is that of the best detection of its category at IoU ≥ 0.5; objects that are not found
    don't count. A category with fewer than 10 found objects takes the quantile that is expected of it from these and
    from how scores are spread in the others; one with none takes the quantile of all objects.

    Args:
        detector: The detector that will judge.
        dataset: Real objects; crowds don't count.
        read_image: Returns a scene's image, HWC uint8 RGB.
        quantile: Share of real objects that the threshold would reject, in [0, 1].
        max_images: At most so many images with objects are looked at, drawn by the seed.
        seed: The run's seed.
        floor: Least threshold.

    Raises:
        ValueError: The quantile is outside [0, 1].
    """
    views = observe_objects(detector, dataset, read_image, max_images=max_images, seed=seed)
    return thresholds_from_views(views, quantile=quantile, floor=floor)


@dataclass(frozen=True, slots=True, eq=False)
class ObservedView:
    """What a detector found around real objects, in pixels of the image.

    Attributes:
        scene: All that is annotated.
        view_xyxy: (4,) part of the image that was looked at.
        counted: (N,) bool, objects of the scene that count in this view; each does in one.
        found: The detections.
    """

    scene: Scene
    view_xyxy: IntArray
    counted: NDArray[np.bool_]
    found: Detections


def observe_objects(
    detector: Detector,
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    *,
    max_images: int,
    seed: int,
) -> list[ObservedView]:
    """Look at real objects as the filter will. Arguments as for `calibrate`."""
    observed: list[ObservedView] = []
    scenes = observed_scenes(dataset, max_images=max_images, seed=seed)
    for low in range(0, len(scenes), _TOGETHER):
        views, crops = list[tuple[Scene, IntArray, NDArray[np.bool_]]](), list[Image]()
        for scene in scenes[low : low + _TOGETHER]:
            image = read_image(scene)
            for view, counted in _views(scene, side=detector.view_px):
                views.append((scene, view, counted))
                crops.append(np.ascontiguousarray(image[view[1] : view[3], view[0] : view[2]]))
        for (scene, view, counted), found in zip(views, detect_all(detector, crops), strict=True):
            boxes = found.boxes_xyxy + np.tile(view[:2], 2)
            moved = Detections(boxes, found.scores, found.category_ids)
            observed.append(ObservedView(scene, view, counted, moved))
    return observed


def observed_scenes(dataset: Dataset, *, max_images: int, seed: int) -> list[Scene]:
    """Return the scenes whose images `observe_objects` reads with the same arguments."""
    scenes = [scene for scene in dataset.scenes if (~scene.is_crowd).any()]
    order = derive_rng(seed, "calibrate").permutation(len(scenes))[:max_images]
    return [scenes[k] for k in sorted(order.tolist())]


def thresholds_from_views(
    views: Sequence[ObservedView], *, quantile: float, floor: float = 0.05
) -> Thresholds:
    """Return the thresholds of `calibrate` from what a detector found around real objects.

    Raises:
        ValueError: The quantile is outside [0, 1].
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must be in [0, 1], got {quantile}")
    scores: dict[int, list[float]] = {}
    for view in views:
        _collect_scores(view.scene, view.counted, view.found, scores)
    return thresholds_from_scores(scores, quantile=quantile, floor=floor)


def thresholds_from_scores(
    scores: Mapping[int, Sequence[float]], *, quantile: float, floor: float = 0.05
) -> Thresholds:
    """Return the low quantile of each category's scores, where there are few with the help of the other categories.

    Args:
        scores: COCO id -> scores of its real objects, in [0, 1].
        quantile: As for `calibrate`.
        floor: Least threshold.
    """
    groups = {k: group for k, group in scores.items() if len(group)}
    everything = [score for group in groups.values() for score in group]
    pooled = max(floor, float(np.quantile(everything, quantile))) if everything else floor
    expected = _expected_quantiles({k: _logits(group) for k, group in groups.items()}, quantile)
    own = {
        k: float(np.quantile(group, quantile)) if len(group) >= MIN_INSTANCES else expected[k]
        for k, group in groups.items()
    }
    rounded = {k: round(max(floor, score), 4) for k, score in own.items()}
    return Thresholds(round(pooled, 4), rounded, {k: len(group) for k, group in scores.items()})


def _expected_quantiles(logits: Mapping[int, FloatArray], quantile: float) -> dict[int, float]:
    """Return the score under which that share of a category's further objects is expected, however few were seen.

    One-way random effects: an object's logit is its category's level plus a deviation. Deviations are spread alike
    everywhere, so all categories together say how far down the quantile lies, each counting the same. A level is
    the mean of the category's own objects, drawn towards the mean level by as much as it is uncertain beside the
    variance between categories (Hedges, "A random effects model for effect sizes", 1983); what is left of that
    uncertainty moves the quantile further out.

    Args:
        logits: COCO id -> (n,) logits of its objects' scores, n ≥ 1.
    """
    if not logits:
        return {}
    nums = np.array([len(x) for x in logits.values()], np.float64)
    means = np.array([x.mean() for x in logits.values()])
    several = [x for x in logits.values() if len(x) > 1] or [np.concatenate(list(logits.values()))]
    within = max(1e-6, float(np.mean([x.var(ddof=min(1, len(x) - 1)) for x in several])))
    between = max(0.0, means.var(ddof=1) - float(np.mean(within / nums))) if len(means) > 1 else 0.0
    certainty = 1 / (between + within / nums)
    own = between * certainty
    levels = own * means + (1 - own) * (certainty @ means) / certainty.sum()
    deviations = np.concatenate([(x - x.mean()) * np.sqrt(len(x) / max(1, len(x) - 1)) for x in several])
    weights = np.concatenate([np.full(len(x), 1 / len(x)) for x in several])
    lowest = np.quantile(deviations, quantile, weights=weights, method="inverted_cdf")
    low = levels + lowest * np.sqrt(1 + own / nums)
    return dict(zip(logits, (1 / (1 + np.exp(-low))).tolist(), strict=True))


def _logits(scores: Sequence[float]) -> NDArray[np.float64]:
    clipped = np.clip(np.asarray(scores, np.float64), 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _views(scene: Scene, *, side: int) -> list[tuple[IntArray, NDArray[np.bool_]]]:
    """Return the views that show the scene's objects as the filter will see them, and whom each counts.

    Each real object is counted once, in a view that holds all of it (or in the one drawn around it).
    """
    views: list[tuple[IntArray, NDArray[np.bool_]]] = []
    left = ~scene.is_crowd
    while left.any() and len(views) < MAX_VIEWS:
        first = int(np.flatnonzero(left)[0])
        box = scene.boxes_xyxy[first]
        view = view_around(np.round(box).astype(np.int64), scene.size_wh, side=side)
        inside = (scene.boxes_xyxy[:, :2] >= view[:2]).all(1) & (scene.boxes_xyxy[:, 2:] <= view[2:]).all(1)
        counted = left & inside
        counted[first] = True
        views.append((view, counted))
        left = left & ~counted
    return views


def _collect_scores(
    scene: Scene, counted: NDArray[np.bool_], found: Detections, scores: dict[int, list[float]]
) -> None:
    """Append the score of each counted object: its category's best detection at the same place."""
    same = ious(scene.boxes_xyxy, found.boxes_xyxy) >= SAME_PLACE_IOU
    same &= scene.category_ids[:, None] == found.category_ids[None]
    for category_id, row in zip(scene.category_ids[counted], same[counted], strict=True):
        if row.any():
            scores.setdefault(int(category_id), []).append(float(found.scores[row].max()))
