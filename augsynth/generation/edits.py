"""What is done to a new image next: an object is inserted, or one makes way for another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from augsynth.core.records import Side
from augsynth.core.scene import FloatArray, Placement, Reason, Scene
from augsynth.core.seeding import derive_rng
from augsynth.generation.context import Placing
from augsynth.generation.statistics import CategoryYields
from augsynth.generation.working_image import WorkingImage
from augsynth.pasting.init_images import StartObject
from augsynth.placement.replacement import Replaced, affinity_sums, object_chances, replaceable


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What an attempt is about.

    Attributes:
        category_id: What is to be painted; None where no category is left.
        placement: Where, or why nowhere.
        replaced: The object that makes way, None for an insertion.
        mode: Which of both it is; None in runs that only insert, whose configuration says so.
        start: The real object that painting starts from, None for noise.
    """

    category_id: int | None
    placement: Placement | Reason
    replaced: Replaced | None = None
    mode: Side | None = None
    start: StartObject | None = None


def draw_edit(
    placing: Placing,
    image: WorkingImage,
    yields: CategoryYields,
    rng: np.random.Generator,
    *,
    slot: int,
    seed: int,
) -> Edit:
    """Choose what an attempt does to an image, by the run's `mode`.

    In `mix` an object replaces one with the chance `replace_share`, drawn once for all attempts at it; where none may
    be replaced it is inserted. An insertion is drawn as it is in a run that only inserts.

    Args:
        placing: Draws category and place.
        image: The new image.
        yields: What the run has done so far.
        rng: Draws category, object and place.
        slot: Number of the new object in its image.
        seed: Of the run.
    """
    rules = placing.replacement
    if rules.mode == "insert":
        return _insertion(placing, image, yields, rng, mode=None)
    chances = _chances(placing, image, yields)
    if rules.mode == "mix":
        turn = derive_rng(seed, "mode", image.job, image.source.image_id, slot).random()
        if turn >= rules.replace_share or not chances.any():
            return _insertion(placing, image, yields, rng, mode="insert")
    return _replacement(placing, image, yields, rng, chances)


def _insertion(
    placing: Placing,
    image: WorkingImage,
    yields: CategoryYields,
    rng: np.random.Generator,
    *,
    mode: Side | None,
) -> Edit:
    category = placing.chooser.choose(image.scene, yields, rng)
    if category is None:
        return Edit(None, Reason.NO_CATEGORY, mode=mode)
    start = _start(placing, image.scene, yields, category, rng)
    if start is None and placing.init_images is not None:
        return Edit(None, Reason.NO_CATEGORY, mode=mode)
    shape = None if start is None else start.shape
    place = placing.place(image.scene, image.pixels, category_id=category, rng=rng, shape=shape)
    return Edit(category, place, mode=mode, start=start)


def _start(
    placing: Placing, scene: Scene, yields: CategoryYields, category_id: int, rng: np.random.Generator
) -> StartObject | None:
    if placing.init_images is None:
        return None
    return placing.init_images.choose(category_id, scene, placing.layout, uses=yields.started, rng=rng)


def _replacement(
    placing: Placing,
    image: WorkingImage,
    yields: CategoryYields,
    rng: np.random.Generator,
    chances: FloatArray,
) -> Edit:
    if not chances.any():
        reason = Reason.NO_OBJECT if placing.chooser.open_ids(yields) else Reason.NO_CATEGORY
        return Edit(None, reason, mode="replace")
    replaced = Replaced.of(image.scene, int(rng.choice(len(chances), p=chances)))
    related = placing.related[replaced.category_id]
    category = placing.chooser.choose(replaced.rest, yields, rng, among=related)
    if category is None:
        return Edit(None, Reason.NO_CATEGORY, replaced, "replace")
    start = _start(placing, replaced.rest, yields, category, rng)
    if start is None and placing.init_images is not None:
        return Edit(None, Reason.NO_CATEGORY, replaced, "replace")
    return Edit(category, Placement(category, replaced.box_xyxy, None, 0.0), replaced, "replace", start)


def _chances(placing: Placing, image: WorkingImage, yields: CategoryYields) -> FloatArray:
    """Return (N,) chances of the objects to be replaced, all zero when none may be; new objects stay.

    Where categories are drawn each alike, affinity has no say.
    """
    scene, chooser = image.scene, placing.chooser
    allowed = replaceable(
        scene,
        keep_ids=np.setdiff1d(scene.annotation_ids, image.source.annotation_ids).tolist(),
        related=placing.related,
        open_ids=chooser.open_ids(yields),
        rules=placing.rules,
    )
    affinity = chooser.affinity
    sums = None if chooser.is_uniform else affinity_sums(scene, affinity.category_ids, affinity.matrix)
    return object_chances(scene, allowed, sums=sums, area_share=placing.replacement.replace_area)
