"""Layout: relations are learned, scale-free, portable, and degenerate data is no trouble."""

import json
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.boxes import intersections
from augsynth.core.scene import Category, Dataset, Scene
from augsynth.placement.boosting import BoostedTrees, fit_trees
from augsynth.placement.layout import Layout
from augsynth.placement.negatives import random_places, without_object
from augsynth.placement.relative_position import NUM_CELLS, cell_offset, offset_cells, offsets
from augsynth.placement.size import fit_sizes

CUP, LID, BOX = 7, 3, 40
CATEGORIES = tuple(Category(i, n) for i, n in ((CUP, "cup"), (LID, "lid"), (BOX, "box")))


def scene_of(boxes, ids, *, size_wh=(320, 240), image_id=1, crowd=None):
    count = len(boxes)
    return Scene(
        image_id,
        f"{image_id}.png",
        size_wh,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(ids, np.int64),
        np.arange(1, count + 1),
        np.zeros(count, bool) if crowd is None else np.array(crowd, bool),
    )


def dataset_of(scenes, categories=CATEGORIES):
    return Dataset(categories, tuple(scenes), {}, Path("made.json"))


def cups_with_lids(count, *, seed=0, scale=1.0):
    """Each lid lies 1.3 cup sizes right of its cup; boxes lie anywhere; sizes grow down the image."""
    rng = np.random.default_rng(seed)
    scenes = []
    for i in range(count):
        boxes, ids = [], []
        for _ in range(rng.integers(1, 3)):
            x, y = rng.uniform((30, 40), (200, 190))
            side = 18 * (1 + y / 240) * rng.uniform(0.95, 1.05)
            boxes += [around(x, y, side), around(x + 1.3 * side, y, side * 0.6)]
            ids += [CUP, LID]
        boxes.append(around(*rng.uniform((30, 30), (290, 210)), 24))
        ids.append(BOX)
        size = (round(320 * scale), round(240 * scale))
        scenes.append(scene_of(np.array(boxes) * scale, ids, size_wh=size, image_id=i))
    return dataset_of(scenes)


def around(x, y, side):
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


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


def test_random_places_keep_clear_of_objects():
    scene = scene_of([[100, 80, 200, 160], [0, 0, 60, 60]], [CUP, BOX], crowd=[False, True])
    rng = np.random.default_rng(0)
    avoid = np.array([250.0, 20, 290, 60])
    boxes = random_places(scene, np.array([40.0, 40.0]), num=150, rng=rng, avoid_xyxy=avoid)
    assert len(boxes) == 150
    assert (boxes >= 0).all() and (boxes[:, 2:] <= [320, 240]).all()
    assert intersections(boxes, scene.boxes_xyxy).max() <= 0.01
    assert intersections(boxes, avoid[None]).max() <= 160
    assert len(random_places(scene, np.array([400.0, 40.0]), num=5, rng=rng)) == 0
    free = random_places(scene, np.array([40.0, 40.0]), num=150, rng=rng, free_share=1.0)
    assert intersections(free, scene.boxes_xyxy).max() > 100


def test_offset_cells_and_their_inverse():
    anchor, box = np.array([[10.0, 10, 30, 20]]), np.array([[40.0, 5, 60, 25]])
    offset, sides = offsets(anchor, box)
    np.testing.assert_allclose(offset[0, 0], [1.5, 0.0])
    assert sides[0] == 20
    cells = np.arange(NUM_CELLS)
    points = cell_offset(cells, np.full((NUM_CELLS, 2), 0.5))
    unit = np.array([[-0.5, -0.5, 0.5, 0.5]])
    moved = np.hstack([points - 0.5, points + 0.5])
    np.testing.assert_array_equal(offset_cells(unit, moved)[:, 0], cells)


def test_sizes_recover_perspective_and_the_scene_scale():
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(200):
        zoom = np.exp(rng.normal(0, 0.4))
        centres = rng.uniform((50, 40), (270, 200), (4, 2))
        sides = 20 * zoom * np.exp(0.8 * (centres[:, 1] / 240 - 0.5) + rng.normal(0, 0.05, 4))
        boxes = np.hstack([centres - sides[:, None] / 2, centres + sides[:, None] / 2])
        scenes.append((boxes, np.zeros(4, np.int64), (320, 240)))
    model = fit_sizes(scenes, 1, rng=rng)
    assert model.slopes[0] == pytest.approx(0.8, abs=0.15)
    assert model.share > 0.8
    assert model.scales[0] < 0.3
    assert np.exp(model.centres[0]) * np.sqrt(320 * 240) == pytest.approx(20, rel=0.1)


def test_trees_learn_what_tells_the_first_row_and_ignores_what_a_group_shares():
    rng = np.random.default_rng(0)
    rows, sizes = [], np.full(200, 10)
    for _ in sizes:
        group = rng.normal(size=(10, 3))
        group[:, 2] = rng.normal()
        group[0, 0] += 2
        rows.append(group)
    model = fit_trees(np.concatenate(rows), sizes, rng=np.random.default_rng(1))
    probe = np.zeros((2, 3))
    probe[1, 0] = 2
    assert np.diff(model.scores(probe))[0] > 1.5
    shared = np.array([[1.0, 0.0, -2.0], [1.0, 0.0, 2.0]])
    assert abs(np.diff(model.scores(shared))[0]) < 0.4
    assert len(BoostedTrees.from_dict(model.to_dict()).leaves) == len(model.leaves)
    nothing = fit_trees(np.ones((20, 2)), np.array([10, 10]), rng=rng)
    np.testing.assert_array_equal(nothing.scores(probe[:, :2]), [0, 0])


def test_a_data_set_without_categories_is_no_trouble():
    layout = Layout.fit(dataset_of([scene_of([], [])], categories=()))
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict()))).category_ids == ()
