"""Layout: relations are learned, scale-free, portable, and degenerate data is no trouble."""

import json

import numpy as np
import pytest

from augsynth.placement.layout import Layout
from augsynth.placement.negatives import random_places, without_object
from tests.scenes import BOX, CUP, LID, around, cups_with_lids, dataset_of, scene_of


@pytest.fixture(scope="module")
def layout():
    return Layout.fit(cups_with_lids(70))


def test_a_relation_is_found_on_held_out_scenes(layout):
    wins = []
    rng = np.random.default_rng(5)
    for scene in cups_with_lids(30, seed=9).scenes:
        for k in np.flatnonzero(scene.category_ids == LID):
            box, rest = scene.boxes_xyxy[k], without_object(scene, k)
            random = random_places(rest, box[2:] - box[:2], num=100, rng=rng, avoid_xyxy=box)
            scores = layout.log_densities(rest, np.vstack([box[None], random]), LID)
            wins.append((scores[0] > scores[1:]).mean())
    assert np.mean(wins) > 0.95


def test_direction_counts(layout):
    scene = scene_of([around(160, 120, 27)], [CUP])
    right, left = around(160 + 35, 120, 16), around(160 - 35, 120, 16)
    scores = layout.log_densities(scene, np.array([right, left]), LID)
    assert scores[0] > scores[1] + 1


def test_scores_do_not_depend_on_resolution(layout):
    scene = cups_with_lids(3, seed=4).scenes[1]
    rng = np.random.default_rng(0)
    boxes = random_places(scene, np.array([16.0, 16.0]), num=50, rng=rng)
    large = scene_of(scene.boxes_xyxy * 4, scene.category_ids, size_wh=(1280, 960))
    np.testing.assert_allclose(
        layout.log_densities(scene, boxes, LID), layout.log_densities(large, boxes * 4, LID), atol=1e-6
    )
    np.testing.assert_allclose(layout.log_sizes(scene, boxes, LID), layout.log_sizes(large, boxes * 4, LID))


def test_the_file_form_scores_the_same_and_a_fit_repeats(layout):
    copy = Layout.from_dict(json.loads(json.dumps(layout.to_dict())))
    scene = cups_with_lids(2, seed=8).scenes[0]
    boxes = random_places(scene, np.array([20.0, 20.0]), num=80, rng=np.random.default_rng(1))
    for category in (CUP, LID, BOX):
        np.testing.assert_array_equal(
            copy.log_densities(scene, boxes, category), layout.log_densities(scene, boxes, category)
        )
    assert copy.to_dict() == layout.to_dict()
    one, two = (Layout.fit(cups_with_lids(12)).to_dict() for _ in range(2))
    assert one == two


@pytest.mark.parametrize("key", ["offsets", "sizes", "evidence", "category_ids"])
def test_a_damaged_file_form_is_named(layout, key):
    data = layout.to_dict()
    del data[key]
    with pytest.raises(ValueError, match=key):
        Layout.from_dict(data)


def test_unknown_category_is_refused(layout):
    with pytest.raises(ValueError, match="category_id 99"):
        layout.log_densities(scene_of([], []), np.array([[0.0, 0, 9, 9]]), 99)


def test_draws_lie_inside_and_follow_the_relation(layout):
    scene = scene_of([around(160, 120, 27)], [CUP])
    rng = np.random.default_rng(3)
    boxes, anchors = layout.draw(scene, LID, num=400, anchored_share=0.5, rng=rng)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [320, 240]).all()
    assert set(anchors.tolist()) == {-1, 0}
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = np.linalg.norm(centres - [195, 120], axis=1) < 12
    assert near[anchors == 0].mean() > 5 * near[anchors == -1].mean()
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert 12 < np.median(sides[anchors == 0]) < 21


DEGENERATE = {
    "no scenes": [],
    "scenes without objects": [scene_of([], []), scene_of([], [], image_id=2)],
    "one object": [scene_of([[10, 10, 40, 40]], [CUP])],
    "one image": [scene_of([[10, 10, 40, 40], [60, 60, 90, 95]], [CUP, LID])],
    "crowds only": [scene_of([[10, 10, 40, 40]], [CUP], crowd=[True], image_id=i) for i in range(3)],
    "tiny images": [scene_of([[0, 0, 2, 1]], [CUP], size_wh=(3, 2), image_id=i) for i in range(6)],
    "objects as large as the image": [
        scene_of([[0, 0, 30, 20]], [LID], size_wh=(30, 20), image_id=i) for i in range(4)
    ],
    "all the same": [scene_of([[5, 5, 9, 9]], [BOX], size_wh=(30, 20), image_id=i) for i in range(9)],
}


@pytest.mark.parametrize("scenes", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_data_gives_finite_scores_and_draws(scenes):
    layout = Layout.fit(dataset_of(scenes))
    layout = Layout.from_dict(json.loads(json.dumps(layout.to_dict())))
    for scene in (scene_of([], []), scene_of([[10, 10, 40, 40], [50, 60, 70, 80]], [CUP, 12345])):
        boxes, _ = layout.draw(scene, LID, num=60, anchored_share=0.6, rng=np.random.default_rng(0))
        assert np.isfinite(layout.log_densities(scene, boxes, LID)).all()
        assert np.isfinite(layout.log_sizes(scene, boxes, LID)).all()


def test_a_data_set_without_categories_is_no_trouble():
    layout = Layout.fit(dataset_of([scene_of([], [])], categories=()))
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict()))).category_ids == ()


def test_a_relation_is_found_in_crowded_scenes():
    rng, scenes = np.random.default_rng(4), []
    for i in range(4):
        columns, rows = (part.ravel() for part in np.meshgrid(np.arange(13), np.arange(10)))
        x, y = (60 + at + rng.uniform(-9, 9, 130) for at in (90 * columns, 60 * rows))
        boxes = np.concatenate([[around(a, b, 20), around(a + 27, b, 14)] for a, b in zip(x, y, strict=True)])
        scenes.append(scene_of(boxes, [CUP, LID] * len(x), size_wh=(1300, 700), image_id=i))
    layout = Layout.fit(dataset_of(scenes[:3]))
    wins = []
    for k in range(1, 2 * 130, 26):
        box, rest = scenes[3].boxes_xyxy[k], without_object(scenes[3], k)
        random = random_places(rest, box[2:] - box[:2], num=50, rng=rng, avoid_xyxy=box)
        scores = layout.log_densities(rest, np.vstack([box[None], random]), LID)
        wins.append((scores[0] > scores[1:]).mean())
    assert np.mean(wins) > 0.9
