"""Replacing an object by one of another category: which object, and what takes its place.

The object by the rule of Nie et al. (arXiv 2408.02891, docs/method.md §3):

    p(o) ∝ exp(Ĉ1(o) + Ĉ2(o)),   C1(o) = Σ_{o' ≠ o} A[l(o'), l(o)],   C2(o) = 1 − |s(o) − α·s(I)| / s(I)

with A the affinity of categories, l(o) an object's category, s(o) the area of its box and s(I) that of the image.
The hats aren't defined there; they are read as scaling to [0, 1] over the objects to choose from, so that a sum of
log odds weighs no more than one of cosines, and many objects no more than few.

The category is one of the share θ of all others that are most affine to the one replaced. Summaries of the paper
give θ as a percentage that differs between datasets (3 % of COCO's 80 categories), and not how one of several is
drawn; here that is as for an insertion: by affinity to what stays, rarity and quota.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import box_areas
from augsynth.core.options import check_options, option
from augsynth.core.scene import FloatArray, IntArray, Scene
from augsynth.placement.negatives import without_object
from augsynth.placement.proposal import PlacementRules, fulfils


@dataclass(frozen=True, slots=True)
class ReplacementRules:
    """Whether a new object is added or takes the place of another, and of which.

    Raises:
        ConfigError: A value is out of range.
    """

    mode: Literal["insert", "replace", "mix"] = option(
        "insert", "Insert objects, repaint one existing object of an image as another category, or mix both."
    )
    replace_share: float = option(
        0.5,
        "In mix the chance that a new object replaces one, where one may be replaced.",
        low=0,
        high=1,
    )
    replace_area: float = option(
        0.35, "Share of the image that the object best replaced has (α of Nie et al.).", low=0, high=1
    )
    replace_affinity: float = option(
        0.25,
        "Share of all other categories, the most affine to the replaced one, that may take its place (θ of Nie et "
        "al.).",
        low=0,
        high=1,
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, eq=False)
class Replaced:
    """The object that makes way for a new one.

    Attributes:
        annotation_id: Its COCO annotation id.
        category_id: Its category.
        box_xyxy: (4,) its box, where the new object is planned.
        rest: The scene without it.
    """

    annotation_id: int
    category_id: int
    box_xyxy: FloatArray
    rest: Scene

    @classmethod
    def of(cls, scene: Scene, index: int) -> Replaced:
        """Take the object at an index out of a scene."""
        return cls(
            int(scene.annotation_ids[index]),
            int(scene.category_ids[index]),
            scene.boxes_xyxy[index].copy(),
            without_object(scene, index),
        )


def related_categories(
    category_ids: IntArray, affinities: FloatArray, *, share: float
) -> dict[int, frozenset[int]]:
    """Return for each category those that may take its place: the most affine share of all others.

    Args:
        category_ids: (C,) COCO ids.
        affinities: (C, C) affinity, row = the category that is replaced.
        share: θ in [0, 1]; the number is rounded up and at least one.

    Returns:
        COCO ids by COCO id; of equally affine ones the first in the dataset's order.
    """
    ids = category_ids.tolist()
    num = max(1, int(np.ceil(share * (len(ids) - 1) - 1e-9)))
    related: dict[int, frozenset[int]] = {}
    for row, category_id in enumerate(ids):
        order = [i for i in np.argsort(-affinities[row], kind="stable").tolist() if i != row]
        related[category_id] = frozenset(ids[i] for i in order[:num])
    return related


def replaceable(
    scene: Scene,
    *,
    keep_ids: Collection[int] = (),
    related: Mapping[int, frozenset[int]],
    open_ids: Collection[int],
    rules: PlacementRules,
) -> NDArray[np.bool_]:
    """Tell which objects of a scene may be replaced.

    An object may when it is no crowd or ignore region, a category is open that may take its place, and its box is a
    region that an insertion might choose if it weren't there: large enough, the edit window fits, and what is
    repainted covers no more than `max_overlap` of any other object, crowd or ignore region.

    Args:
        scene: The objects.
        keep_ids: Annotation ids that stay, such as those of new objects.
        related: Of `related_categories`.
        open_ids: Categories that are wanted and have quota left.
        rules: Hard rules of placement.

    Returns:
        (N,) bool.
    """
    allowed = ~scene.is_crowd & ~np.isin(scene.annotation_ids, list(keep_ids))
    for k in np.flatnonzero(allowed):
        allowed[k] = not related[int(scene.category_ids[k])].isdisjoint(open_ids) and bool(
            fulfils(without_object(scene, int(k)), scene.boxes_xyxy[k][None], rules)[0]
        )
    return allowed


def object_chances(
    scene: Scene, allowed: NDArray[np.bool_], *, sums: FloatArray | None, area_share: float
) -> FloatArray:
    """Return (N,) chances of the objects to be replaced, which sum to 1; all zero when none is allowed.

    The formula is at the head of this module; crowds and ignore regions count among the rest.

    Args:
        scene: The objects.
        allowed: (N,) bool, those to choose from.
        sums: (N,) of `affinity_sums`; None leaves C1 out.
        area_share: α in [0, 1], the share of the image that the best object has.
    """
    if not allowed.any():
        return np.zeros(len(scene))
    image_area = float(scene.size_wh[0] * scene.size_wh[1])
    fit = 1 - np.abs(box_areas(scene.boxes_xyxy) - area_share * image_area) / image_area
    logits = _scaled(fit[allowed])
    if sums is not None:
        logits = logits + _scaled(sums[allowed])
    weights = np.exp(logits)
    chances = np.zeros(len(scene))
    chances[allowed] = weights / weights.sum()
    return chances


def affinity_sums(scene: Scene, category_ids: IntArray, affinities: FloatArray) -> FloatArray:
    """Return (N,) C1: the summed affinity of each object with all others.

    Args:
        scene: The objects.
        category_ids: (C,) COCO ids.
        affinities: (C, C) affinity, row = other, column = object.
    """
    places = {c: i for i, c in enumerate(category_ids.tolist())}
    columns = np.array([places[c] for c in scene.category_ids.tolist()], np.int64)
    pairs = affinities[np.ix_(columns, columns)]
    return np.asarray(pairs.sum(axis=0) - np.diag(pairs), np.float64)


def _scaled(values: FloatArray) -> FloatArray:
    """Return values moved and scaled to [0, 1]; zeros where all are alike."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-12 * max(abs(low), abs(high), 1.0):
        return np.zeros_like(values)
    return np.asarray((values - low) / (high - low))
