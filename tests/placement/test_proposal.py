"""Placement: hard rules hold whatever the draw, good regions win, chance comes from the generator only."""

import numpy as np
import pytest

from augsynth.core.boxes import square_window
from augsynth.core.errors import ConfigError
from augsynth.core.scene import Placement, Reason
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import (
    PlacementRules,
    overlaps,
    propose,
    propose_uniform,
    score_boxes,
)
from augsynth.placement.ring_features import Rings
from tests.placement.test_appearance import shore, shores
from tests.scenes import BOX, CUP, LID, around, cups_with_lids, dataset_of, scene_of

GREY = np.full((240, 320, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def layout():
    return Layout.fit(cups_with_lids(60))


def place(scene, layout, *, image=GREY, category_id=LID, seed=0, rules=None, **others):
    return propose(
        scene,
        image,
        category_id=category_id,
        layout=layout,
        rng=np.random.default_rng(seed),
        rules=rules or PlacementRules(),
        **{"appearance": None, **others},
    )


def test_hard_rules_hold_for_every_draw(layout):
    rules = PlacementRules(max_overlap=0.05, min_size=10, context=1.8, model_window=192)
    scenes = cups_with_lids(12, seed=3).scenes
    for seed, scene in enumerate(scenes):
        for category in (CUP, LID, BOX):
            placement = place(scene, layout, category_id=category, seed=seed, rules=rules)
            assert isinstance(placement, Placement)
            box = placement.box_xyxy
            assert (box[:2] >= 0).all() and (box[2:] <= scene.size_wh).all()
            assert (box[2:] - box[:2]).min() >= 10
            assert overlaps(scene, box[None])[0] <= 0.05
            assert square_window(box, scene.size_wh, context=1.8, min_side=48) is not None
            assert placement.category_id == category
            assert placement.anchor_annotation_id in {None, *scene.annotation_ids.tolist()}
            assert np.isfinite(placement.score)


def test_the_same_generator_gives_the_same_placement(layout):
    scene = cups_with_lids(2, seed=6).scenes[0]
    one, two, other = (place(scene, layout, seed=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(one.box_xyxy, two.box_xyxy)
    assert one.score == two.score
    assert not np.array_equal(one.box_xyxy, other.box_xyxy)


def test_a_lid_is_put_where_lids_lie(layout):
    scene = scene_of([around(160, 120, 27)], [CUP])
    rules = PlacementRules(temperature=0.3)
    boxes = np.array([place(scene, layout, seed=s, rules=rules).box_xyxy for s in range(25)])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert (np.linalg.norm(centres - [195, 120], axis=1) < 15).mean() > 0.7


def test_surroundings_decide_where_layout_does_not():
    data = shores(35)
    layout = Layout.fit(data)
    appearance = Appearance.fit(data, lambda scene: shore(scene.image_id)[0])
    right = 0
    for image_id in range(2000, 2020):
        image, scene, grass_left = shore(image_id)
        empty = scene_of([], [], size_wh=scene.size_wh)
        placement = place(empty, layout, image=Rings.of(image), category_id=CUP, appearance=appearance)
        centre = (placement.box_xyxy[0] + placement.box_xyxy[2]) / 2
        right += (centre < 80) == grass_left
    assert right >= 18


def test_no_region_is_a_reason(layout):
    whole = [[0, 0, 320, 240]]
    assert place(scene_of(whole, [BOX], crowd=[True]), layout) is Reason.NO_REGION
    tiny = scene_of([], [], size_wh=(12, 9))
    assert place(tiny, layout, image=GREY[:9, :12]) is Reason.NO_REGION
    many = [[x, y, x + 8, y + 8] for x in range(0, 320, 8) for y in range(0, 240, 8)]
    assert place(scene_of(many, [BOX] * len(many)), layout) is Reason.NO_REGION


def test_scenes_without_anchors_and_with_only_crowds_get_a_place(layout):
    for scene in (scene_of([], []), scene_of([[0, 0, 40, 40]], [CUP], crowd=[True])):
        placement = place(scene, layout)
        assert isinstance(placement, Placement)
        assert placement.anchor_annotation_id is None
        assert overlaps(scene, placement.box_xyxy[None])[0] <= 0.1


def test_the_score_is_the_sum_of_its_terms(layout):
    scene = scene_of([around(160, 120, 40), [0, 0, 50, 50]], [CUP, BOX], crowd=[False, True])
    boxes = np.array([around(190, 120, 20), around(240, 60, 24), around(30, 30, 18)])
    options = {"layout": layout, "appearance": None}
    rules = PlacementRules(size_weight=2, overlap_weight=3)
    expected = layout.log_densities(scene, boxes, LID) + 2 * layout.log_sizes(scene, boxes, LID)
    expected -= 3 * overlaps(scene, boxes)
    np.testing.assert_allclose(score_boxes(scene, GREY, boxes, LID, rules=rules, **options), expected)
    np.testing.assert_allclose(overlaps(scene, boxes)[2], 1.0)
    assert overlaps(scene, boxes)[1] == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_overlap", 1.5),
        ("max_overlap", float("nan")),
        ("min_size", 0),
        ("context", 0.5),
        ("model_window", 0),
        ("mask_growth", 0.9),
        ("num_candidates", 0),
        ("anchored_share", -0.1),
        ("num_best", 0),
        ("temperature", 0.0),
        ("appearance_weight", -1),
        ("overlap_weight", -1),
    ],
)
def test_rules_refuse_values_out_of_range(field, value):
    with pytest.raises(ConfigError, match=field):
        PlacementRules(**{field: value})


def test_data_sets_without_objects_still_place(layout):
    empty = Layout.fit(dataset_of([]))
    assert isinstance(place(scene_of([], []), empty, category_id=BOX), Placement)


def test_uniform_places_fulfil_the_hard_rules_and_nothing_else(layout):
    rules = PlacementRules(max_overlap=0.05, min_size=10, context=1.8, model_window=192)
    scene = scene_of([around(160, 120, 27), [0, 150, 320, 240]], [CUP, BOX], crowd=[False, True])
    rng = np.random.default_rng(0)
    found = [propose_uniform(scene, category_id=LID, layout=layout, rng=rng, rules=rules) for _ in range(400)]
    boxes = np.array([placement.box_xyxy for placement in found])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= scene.size_wh).all()
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 10
    assert overlaps(scene, boxes).max() <= 0.05
    for placement in found:
        assert (placement.category_id, placement.anchor_annotation_id, placement.score) == (LID, None, 0.0)
        window = square_window(placement.box_xyxy, scene.size_wh, context=1.8, min_side=48)
        assert window is not None
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    thirds = np.histogram(centres[:, 0], bins=3, range=(10, 310))[0] / len(centres)
    assert np.abs(thirds - 1 / 3).max() < 0.1
    near_cup = np.linalg.norm(centres - [195, 120], axis=1) < 15
    assert near_cup.mean() < 0.1  # where lids lie, but alignment isn't asked


def test_uniform_sizes_are_those_of_the_category(layout):
    scene, rules = scene_of([], []), PlacementRules()
    rng = np.random.default_rng(1)
    for category in (CUP, LID, BOX):
        found = [
            propose_uniform(scene, category_id=category, layout=layout, rng=rng, rules=rules)
            for _ in range(60)
        ]
        boxes = np.array([placement.box_xyxy for placement in found])
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        expected = np.exp(layout.sizes.centres[layout.index_of(category)]) * np.sqrt(320 * 240)
        assert 0.85 < np.median(sides) / expected < 1.15
    with pytest.raises(ValueError, match="category_id"):
        propose_uniform(scene, category_id=999, layout=layout, rng=rng, rules=rules)


def test_no_uniform_place_is_a_reason(layout):
    rng, rules = np.random.default_rng(0), PlacementRules()
    for scene in (scene_of([[0, 0, 320, 240]], [BOX], crowd=[True]), scene_of([], [], size_wh=(12, 9))):
        assert (
            propose_uniform(scene, category_id=LID, layout=layout, rng=rng, rules=rules) is Reason.NO_REGION
        )
