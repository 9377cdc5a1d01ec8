"""New objects: planned from the seed alone, or the record says why not; and how they are written down."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec import UNSET

from augsynth.affinity.model import Affinity
from augsynth.affinity.options import CategoryRules
from augsynth.core.records import Attempt
from augsynth.core.scene import Detections, Reason, Scene, Standing, Verdict
from augsynth.generation.context import CategoryChooser, Painting, Placing
from augsynth.generation.objects import plan_object, record_object, unread_image
from augsynth.generation.planning import InitImage, PlannedWindow
from augsynth.generation.statistics import CategoryYields
from augsynth.generation.working_image import WorkingImage
from augsynth.inpainting.prompts.book import PromptBook, PromptRules
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import PlacementRules
from augsynth.placement.replacement import Replaced, ReplacementRules
from tests.scenes import CATEGORIES, CUP, LID, cups_with_lids

DATASET = cups_with_lids(12)


class Blank:
    """Never asked to paint here."""

    name, size, cell, tokenizer = "blank", 32, 4, None


PAINTING = Painting(Blank(), PromptBook.open(PromptRules(), CATEGORIES))


def placing_of(**changes: object) -> Placing:
    everything = CategoryChooser(
        Affinity.fit(DATASET),
        frozenset(c.id for c in CATEGORIES),
        rules=CategoryRules(category_choice="uniform"),
    )
    rules = PlacementRules(placement="uniform", model_window=32)
    related = {c.id: frozenset(d.id for d in CATEGORIES if d is not c) for c in CATEGORIES}
    placing = Placing(everything, Layout.fit(DATASET), None, rules, related=related)
    return replace(placing, **changes)


def image_of(scene: Scene, job: int = 3) -> WorkingImage:
    return WorkingImage(job, scene, scene, np.zeros((scene.size_wh[1], scene.size_wh[0], 3), np.uint8))


def planned(placing: Placing, image: WorkingImage, *, retry: int = 0, seed: int = 42):
    return plan_object(placing, PAINTING, image, CategoryYields(), slot=1, retry=retry, seed=seed)


def test_the_plan_follows_from_the_seed_and_the_number_of_the_attempt() -> None:
    placing, image = placing_of(), image_of(DATASET.scenes[0])
    one, again, retried, other = (
        planned(placing, image),
        planned(placing, image),
        planned(placing, image, retry=1),
        planned(placing, image, seed=43),
    )
    for window in (one, again, retried, other):
        assert isinstance(window, PlannedWindow) and window.init is None and window.cells.any()
        assert (window.slot, window.image) == (1, image) and window.mode is None
    assert one.plan.seed == again.plan.seed and one.plan.prompt == again.plan.prompt
    assert one.plan.placement.box_xyxy.tolist() == again.plan.placement.box_xyxy.tolist()
    assert len({one.plan.seed, retried.plan.seed, other.plan.seed}) == 3


def test_where_nothing_is_wanted_or_fits_the_record_says_so() -> None:
    placing, image = placing_of(), image_of(DATASET.scenes[0])
    spent = replace(
        placing, chooser=replace(placing.chooser, quotas=dict.fromkeys((c.id for c in CATEGORIES), 0))
    )
    found = planned(spent, image)
    assert found == Attempt(
        job=3, source_image_id=0, reason=Reason.NO_CATEGORY, slot=1, retry=0, category_id=None
    )
    tight = replace(placing, rules=replace(placing.rules, min_size=10_000))
    found = planned(tight, image, retry=2)
    assert isinstance(found, Attempt) and found.reason is Reason.NO_REGION and found.retry == 2
    assert found.category_id in {c.id for c in CATEGORIES} and found.plan is None


def test_without_an_object_to_replace_one_attempt_is_enough() -> None:
    placing = placing_of(replacement=ReplacementRules(mode="replace"))
    empty = image_of(Scene(5, "e.png", (320, 240)))
    first = planned(placing, empty)
    assert isinstance(first, Attempt) and first.reason is Reason.NO_OBJECT and first.mode == "replace"
    assert planned(placing, empty, retry=1) is None
    window = planned(placing, image_of(DATASET.scenes[0]))
    assert isinstance(window, PlannedWindow) and window.replaced is not None and window.mode == "replace"
    old = window.replaced
    assert old.box_xyxy.tolist() == window.plan.placement.box_xyxy.tolist()
    assert window.category_id in placing.related[old.category_id]


def window_of(**changes: object) -> PlannedWindow:
    window = planned(placing_of(), image_of(DATASET.scenes[0]))
    assert isinstance(window, PlannedWindow)
    return replace(window, **changes)


def test_a_record_holds_the_plan_and_the_verdict() -> None:
    window = window_of()
    box, second = np.array([10.0, 20, 30, 40]), np.array([[1.0, 2, 3, 4]])
    extras = Detections(second, np.array([0.7]), np.array([LID]))
    verdict = Verdict(Reason.ACCEPTED, box, 0.9, 0.8, extras, Standing(2, 0.25))
    record = record_object(window, verdict, tile=6)
    assert (record.job, record.source_image_id, record.slot, record.retry) == (3, 0, 1, 0)
    assert record.kept and record.category_id == window.category_id and record.replaced_annotation_id is None
    _, plan, judgement = (record.painted.category_id, record.painted.plan, record.painted.judgement)
    assert plan.planned_xyxy == tuple(window.plan.placement.box_xyxy)
    assert plan.window_xyxy == tuple(window.plan.window_xyxy)
    painted = np.array(plan.painted_xyxy)
    assert np.array_equal(np.concatenate([np.floor(painted[:2]), np.ceil(painted[2:])]), window.painted_xyxy)
    assert (plan.prompt, plan.seed, plan.init_image) == (window.plan.prompt, window.plan.seed, UNSET)
    assert (judgement.score, judgement.iou, judgement.tile) == (0.9, 0.8, 6)
    assert record.painted.label_xyxy == (10, 20, 30, 40)
    assert (judgement.class_rank, judgement.class_probability) == (2, 0.25)
    (extra,) = judgement.extras
    assert (extra.category_id, extra.box_xyxy, extra.score) == (LID, (1, 2, 3, 4), 0.7)
    assert Attempt.from_json(record.to_json()) == record


def test_a_record_says_what_made_way_and_where_painting_started() -> None:
    scene = DATASET.scenes[0]
    window = window_of(
        replaced=Replaced.of(scene, 0),
        mode="replace",
        init=InitImage(np.zeros((96, 96, 3), np.uint8), np.ones((8, 8))),
    )
    record = record_object(window, Verdict(Reason.NOT_FOUND, None, 0.0, 0.0), tile=None)
    assert record.replaced_annotation_id == scene.annotation_ids[0] and record.mode == "replace"
    assert record.replaced_category_id == scene.category_ids[0] == CUP
    assert (
        record.painted.plan.init_image is UNSET
        and not record.accepted
        and record.painted.judgement.extras == ()
    )
    with pytest.raises(ValueError, match="wasn't found"):
        _ = record.painted.label_xyxy
    lost = unread_image(4, 9, detail="a.png: truncated")
    assert lost.to_json() == {
        "job": 4,
        "source_image_id": 9,
        "reason": "bad_image",
        "detail": "a.png: truncated",
    }
