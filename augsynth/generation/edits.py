"""What is done to a new image next: an object is inserted, or one makes way for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from augsynth.core.scene import FloatArray, Placement, Reason
from augsynth.core.seeding import derive_rng
from augsynth.generation.context import Studio
from augsynth.generation.stages import Canvas, draw_place
from augsynth.generation.statistics import Counts
from augsynth.placement.replacement import Replaced, affinity_sums, object_chances, replaceable


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What an attempt is about.

    Attributes:
        category_id: What is to be painted; None where no category is left.
        placement: Where, or why nowhere.
        replaced: The object that makes way, None for an insertion.
        notes: For provenance; empty in runs that only insert, whose configuration says so.
    """

    category_id: int | None
    placement: Placement | Reason
    replaced: Replaced | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


def draw_edit(studio: Studio, canvas: Canvas, counts: Counts, rng: np.random.Generator, *, slot: int) -> Edit:
    """Choose what an attempt does to a canvas, by the run's `mode`.

    In `mix` an object replaces one with the chance `replace_share`, drawn once for all attempts at it; where none may
    be replaced it is inserted. An insertion is drawn as it is in a run that only inserts.

    Args:
        studio: What the run works with.
        canvas: The new image.
        counts: What the run has done so far.
        rng: Draws category, object and place.
        slot: Number of the new object in its image.
    """
    config = studio.config
    if config.replacement.mode == "insert":
        return _insertion(studio, canvas, counts, rng, {})
    chances = _chances(studio, canvas, counts)
    if config.replacement.mode == "mix":
        turn = derive_rng(config.run.seed, "mode", canvas.job, canvas.source.image_id, slot).random()
        if turn >= config.replacement.replace_share or not chances.any():
            return _insertion(studio, canvas, counts, rng, {"mode": "insert"})
    return _replacement(studio, canvas, counts, rng, chances)


def _insertion(
    studio: Studio, canvas: Canvas, counts: Counts, rng: np.random.Generator, notes: Mapping[str, Any]
) -> Edit:
    category = studio.choose_category(canvas.scene, counts, rng)
    if category is None:
        return Edit(None, Reason.NO_CATEGORY, notes=notes)
    place = draw_place(studio, canvas, category, rng, rules=studio.placement_rules)
    return Edit(category, place, notes=notes)


def _replacement(
    studio: Studio, canvas: Canvas, counts: Counts, rng: np.random.Generator, chances: FloatArray
) -> Edit:
    notes: dict[str, Any] = {"mode": "replace"}
    if not chances.any():
        reason = Reason.NO_OBJECT if studio.open_categories(counts) else Reason.NO_CATEGORY
        return Edit(None, reason, notes=notes)
    replaced = Replaced.of(canvas.scene, int(rng.choice(len(chances), p=chances)))
    notes.update(replaced_annotation_id=replaced.annotation_id, replaced_category_id=replaced.category_id)
    related = studio.related[replaced.category_id]
    category = studio.choose_category(replaced.rest, counts, rng, among=related)
    if category is None:
        return Edit(None, Reason.NO_CATEGORY, replaced, notes)
    return Edit(category, Placement(category, replaced.box_xyxy, None, 0.0), replaced, notes)


def _chances(studio: Studio, canvas: Canvas, counts: Counts) -> FloatArray:
    """Return (N,) chances of the objects to be replaced, all zero when none may be; new objects stay.

    Where `category_choice` is uniform, affinity has no say.
    """
    scene, config = canvas.scene, studio.config
    allowed = replaceable(
        scene,
        keep_ids=np.setdiff1d(scene.annotation_ids, canvas.source.annotation_ids).tolist(),
        related=studio.related,
        open_ids=studio.open_categories(counts),
        rules=studio.placement_rules,
    )
    by_affinity = config.categories.category_choice != "uniform"
    sums = affinity_sums(scene, studio.affinity.category_ids, studio.affinity.matrix) if by_affinity else None
    return object_chances(scene, allowed, sums=sums, area_share=config.replacement.replace_area)
