"""Judge an object that anything painted: from two pictures and a detector to a verdict."""

from __future__ import annotations

import numpy as np

from augsynth.core.boxes import clip_boxes, grow_box, square_window, view_around
from augsynth.core.errors import ConfigError
from augsynth.core.scene import Detections, Image, IntArray, Placement, Plan, Scene, Verdict
from augsynth.detectors.port import Detector, detect_all
from augsynth.filtering.judge import judge
from augsynth.filtering.options import FilterRules
from augsynth.filtering.thresholds import Thresholds
from augsynth.placement.proposal import PlacementRules


def judge_pictures(
    before: Image,
    after: Image,
    *,
    scene: Scene,
    placement: Placement,
    detector: Detector,
    min_score: float | Thresholds = 0.3,
    rules: FilterRules | None = None,
) -> Verdict:
    """Judge whether an object was painted as planned, without breaking what is around it.

    Args:
        before: (H, W, 3) uint8 RGB, the image as it was.
        after: The same with the object painted in.
        scene: What is annotated in `before`.
        placement: Category and box of the new object, as from `propose_places`.
        detector: From `load_detector`.
        min_score: Least score of a detection in [0, 1], or one for each category, as from
            `augsynth.filtering.thresholds.calibrate`.
        rules: What an accepted object must satisfy.

    Returns:
        The verdict: `accepted`, the reason, the box that the detector saw and its score.

    Raises:
        ConfigError: The pictures don't have the size of the scene, or the box lies outside.
    """
    for name, picture in (("before", before), ("after", after)):
        if picture.shape != (scene.size_wh[1], scene.size_wh[0], 3):
            raise ConfigError(
                f"{name} has shape {picture.shape}; give (height, width, 3) of the scene's image"
            )
    places = PlacementRules()
    grown = grow_box(placement.box_xyxy, factor=places.mask_growth, pad=0.5)
    mask = clip_boxes(grown[None], scene.size_wh)[0]
    window = square_window(mask, scene.size_wh, context=places.window_context, min_side=1)
    if window is None:
        raise ConfigError(f"no square window of the image holds the box {placement.box_xyxy.tolist()}")
    view = view_around(window, scene.size_wh, side=detector.view_px)
    seen, found = _detect(detector, [before, after], view)
    return judge(
        Plan(placement, window, mask, "", 0),
        before=seen,
        after=found,
        scene=scene,
        thresholds=min_score if isinstance(min_score, Thresholds) else Thresholds(min_score),
        rules=rules or FilterRules(),
    )


def _detect(detector: Detector, pictures: list[Image], view_xyxy: IntArray) -> list[Detections]:
    x1, y1, x2, y2 = view_xyxy.tolist()
    crops = [np.ascontiguousarray(picture[y1:y2, x1:x2]) for picture in pictures]
    shift = np.tile(view_xyxy[:2], 2)
    return [
        Detections(d.boxes_xyxy + shift, d.scores, d.category_ids, d.masks)
        for d in detect_all(detector, crops)
    ]
