"""Surrounding-region alignment: choose the region that a new object belongs in (docs/method.md §3).

score = log p(place | scene, category) + size_weight * log p(size | category, position, scene)
        + appearance_weight * log odds(surroundings | category) - overlap_weight * overlap
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import (
    box_areas,
    clip_boxes,
    fit_inside,
    hold_a_window,
    intersections,
    least_window,
)
from augsynth.core.options import check_options, internal, option
from augsynth.core.scene import FloatArray, Image, IntArray, Placement, Reason, Scene
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.placement.negatives import COMPARED
from augsynth.placement.ring_features import Rings

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class PlacementRules:
    """What a region must fulfil, and how regions are compared.

    Attributes:
        model_window: Side of the model's window in pixels; the least size of an edit window follows from it.
        overlap_share: Share of the drawn regions that may overlap an annotated object at all, in [0, 1]. The
            layout learns from random places of which few do and so overrates those that do; drawing as few
            here undoes that.
        num_candidates: Regions that are scored.
        anchored_share: Share of them that the layout proposes next to an anchor, in [0, 1].
        size_weight: Weight of log p(size | category, position, scene).
        appearance_weight: Weight of the surroundings' log odds.
        overlap_weight: Price of covering a whole annotated object.
        num_best: The choice is made among this many best regions.
        temperature: Their chances are ∝ exp(score / temperature); towards 0 the best one is taken.

    Raises:
        ConfigError: A field lies outside its range.
    """

    placement: Literal["aligned", "uniform"] = option(
        "aligned", "Place new objects where they fit their surroundings, or anywhere in the image."
    )
    max_overlap: float = option(
        0.1,
        "Share of an annotated object that may be repainted; of a crowd or ignore region, also the share of the new "
        "box that may lie in it.",
        low=0,
        high=1,
    )
    min_size: float = option(8.0, "Least side of a new box in pixels.", low=1, high=10_000)
    context: float | None = option(
        None,
        "Side of the edit window over the longer side of the mask.",
        low=1,
        high=10,
        unset="1.35 for models whose window has up to 256 pixels, otherwise 1.8",
    )
    max_zoom: float = option(
        4.0, "How much the window of a small object is enlarged for the model, at most.", low=1, high=32
    )
    mask_growth: float = option(
        1.15, "Factor by which the box is grown into what is repainted.", low=1, high=3
    )
    model_window: int = internal(256, low=8, high=100_000)
    overlap_share: float = internal(COMPARED["free_share"], low=0, high=1)
    num_candidates: int = internal(240, low=1, high=100_000)
    anchored_share: float = internal(0.6, low=0, high=1)
    size_weight: float = internal(0.5, low=0, high=100)
    appearance_weight: float = internal(0.5, low=0, high=100)
    overlap_weight: float = internal(1.0, low=0, high=1e6)
    num_best: int = internal(12, low=1, high=100_000)
    temperature: float = internal(0.5, low=1e-6, high=1e6)

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def window_context(self) -> float:
        """Side of the edit window over the longer side of the mask, ≥ 1.

        Where the model's pixels are few, they go to the object: it has to be as sharp as what surrounds it.
        """
        return self.context or (1.8 if self.model_window > 256 else 1.35)

    @property
    def min_side(self) -> int:
        """Least side of the edit window in pixels; a smaller image bounds it."""
        return least_window(self.model_window, max_zoom=self.max_zoom)


@dataclass(frozen=True, slots=True)
class BoxShape:
    """The boxes that an object of a given shape can have.

    Attributes:
        log_aspect: log(width / height).
        min_side, max_side: Of the longer side in pixels.
    """

    log_aspect: float
    min_side: float
    max_side: float

    def of(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Return (N, 4) boxes of this shape with the centres, and as far as can be the areas, of others."""
        centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
        root = np.sqrt(box_areas(boxes_xyxy))
        side = np.clip(root * np.exp(abs(self.log_aspect) / 2), self.min_side, self.max_side)
        half = side[:, None] / 2 * np.exp(np.minimum([self.log_aspect, -self.log_aspect], 0))
        return np.hstack([centres - half, centres + half])


def propose(
    scene: Scene,
    image: Image | Rings | None,
    *,
    category_id: int,
    layout: Layout,
    appearance: Appearance | None,
    rng: np.random.Generator,
    rules: PlacementRules,
    shape: BoxShape | None = None,
) -> Placement | Reason:
    """Choose where to add an object of a category to a scene.

    Args:
        scene: The objects that are there.
        image: (H, W, 3) uint8, or its `Rings` where several objects are placed in one image; looked at only with
            `appearance`.
        category_id: What to add.
        layout: Proposes and scores regions.
        appearance: Scores their surroundings; None leaves that term out.
        rng: All chance comes from here: same generator state, same placement.
        rules: Hard rules, weights and the width of the choice.
        shape: Of the box; None draws shapes of the category's objects.

    Returns:
        The placement, or `Reason.NO_REGION` where no region fulfils the rules.

    Raises:
        ValueError: The category is unknown to the layout.
    """
    boxes, anchors = _admissible(scene, category_id, layout, rng, rules, shape)
    if not len(boxes):
        return Reason.NO_REGION
    scores = score_boxes(scene, image, boxes, category_id, layout=layout, appearance=appearance, rules=rules)
    best = np.argsort(-scores, kind="stable")[: rules.num_best]
    weights = np.exp((scores[best] - scores[best[0]]) / rules.temperature)
    chosen = int(rng.choice(best, p=weights / weights.sum()))
    anchor = int(anchors[chosen])
    anchor_id = None if anchor < 0 else int(scene.annotation_ids[anchor])
    return Placement(category_id, boxes[chosen], anchor_id, float(scores[chosen]))


def propose_uniform(
    scene: Scene,
    *,
    category_id: int,
    layout: Layout,
    rng: np.random.Generator,
    rules: PlacementRules,
    shape: BoxShape | None = None,
) -> Placement | Reason:
    """Choose a region that fulfils the hard rules and nothing else: what alignment is compared with.

    The size is one of the category's, whatever the position and the scene; the centre is uniform over the image;
    draws that break a rule are drawn again. Arguments as for `propose`.

    Returns:
        The placement, with score 0 and without an anchor, or `Reason.NO_REGION` where no draw fulfils the rules.

    Raises:
        ValueError: The category is unknown to the layout.
    """
    kind, num = layout.index_of(category_id), rules.num_candidates
    for _ in range(_ROUNDS):
        centres = rng.random((num, 2)) * scene.size_wh
        half = layout.sizes.draw(np.zeros(num), kind, scene.size_wh, deviation=0.0, rng=rng) / 2
        boxes = np.hstack([centres - half, centres + half])
        boxes = boxes if shape is None else shape.of(boxes)
        allowed = np.flatnonzero(fulfils(scene, boxes, rules))
        if len(allowed):
            return Placement(category_id, boxes[allowed[0]], None, 0.0)
    return Reason.NO_REGION


def score_boxes(
    scene: Scene,
    image: Image | Rings | None,
    boxes_xyxy: FloatArray,
    category_id: int,
    *,
    layout: Layout,
    appearance: Appearance | None,
    rules: PlacementRules,
) -> FloatArray:
    """Return (N,) alignment scores of regions for a category: log densities up to a constant.

    The image is looked at only around a box, never inside it. Arguments as for `propose`.
    """
    scores = layout.log_densities(scene, boxes_xyxy, category_id)
    if rules.size_weight:
        scores = scores + rules.size_weight * layout.log_sizes(scene, boxes_xyxy, category_id)
    if appearance is not None and rules.appearance_weight and image is not None:
        rings = image if isinstance(image, Rings) else Rings.of(image)
        odds = appearance.log_odds(scene, rings, boxes_xyxy, category_id)
        scores = scores + rules.appearance_weight * odds
    return scores - rules.overlap_weight * overlaps(scene, boxes_xyxy)


def overlaps(scene: Scene, boxes_xyxy: FloatArray) -> FloatArray:
    """Return (N,) largest shares of an annotated object, crowd or ignore region that boxes cover.

    For crowds and ignore regions the share of the box that lies inside counts as well.
    """
    if not len(scene):
        return np.zeros(len(boxes_xyxy))
    shared = intersections(boxes_xyxy, scene.boxes_xyxy)
    covered = shared / box_areas(scene.boxes_xyxy)
    if scene.is_crowd.any():
        inside = shared / box_areas(boxes_xyxy)[:, None] * scene.is_crowd
        covered = np.maximum(covered, inside)
    return np.asarray(covered.max(axis=1))


def _admissible(
    scene: Scene,
    category_id: int,
    layout: Layout,
    rng: np.random.Generator,
    rules: PlacementRules,
    shape: BoxShape | None,
) -> tuple[FloatArray, IntArray]:
    """Return up to `num_candidates` regions that fulfil the hard rules, and their anchors' indices.

    All are of one size, unless there is hardly a region of that size.
    """
    found: list[tuple[FloatArray, IntArray]] = []
    for attempt in range(_ROUNDS):
        share = rules.anchored_share if attempt < _ROUNDS - 1 else 0.0
        boxes, anchors = layout.draw(
            scene, category_id, num=rules.num_candidates, anchored_share=share, rng=rng
        )
        boxes = boxes if shape is None else shape.of(boxes)
        keep = fulfils(scene, boxes, rules)
        keep &= (overlaps(scene, boxes) <= 0) | (rng.random(len(boxes)) < rules.overlap_share)
        found.append((boxes[keep], anchors[keep]))
        if len(found[-1][0]) >= rules.num_best:
            return found[-1]
    boxes = np.concatenate([b for b, _ in found])[: rules.num_candidates]
    return boxes, np.concatenate([a for _, a in found])[: rules.num_candidates]


def fulfils(scene: Scene, boxes: FloatArray, rules: PlacementRules) -> NDArray[np.bool_]:
    """Return (N,) bool: inside the image, large enough, covers little, and its edit window fits."""
    if not len(boxes):
        return np.zeros(0, bool)
    wh = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = wh / 2 * rules.mask_growth
    masks = clip_boxes(np.hstack([centres - half, centres + half]), scene.size_wh)
    keep = fit_inside(boxes, scene.size_wh, min_side=rules.min_size)
    keep &= overlaps(scene, masks) <= rules.max_overlap
    return np.asarray(keep & hold_a_window(masks, scene.size_wh), np.bool_)
