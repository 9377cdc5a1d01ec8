"""Random places and the objects that are compared with them."""

import numpy as np

from augsynth.core.boxes import intersections
from augsynth.placement.negatives import CROWDED, compared_objects, random_places
from tests.scenes import BOX, CUP, scene_of


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


def grid(num):
    """A scene of `num` objects, every tenth of them a crowd."""
    x, y = np.arange(num) % 40, np.arange(num) // 40
    return scene_of(
        np.stack([x * 8, y * 8, x * 8 + 6, y * 8 + 6], axis=1),
        np.full(num, BOX),
        crowd=np.arange(num) % 10 == 9,
    )


def test_objects_are_compared_as_drawn_unless_there_are_too_many():
    for num in (1, 10, CROWDED):
        chosen = compared_objects(grid(num), np.ones(num, bool), rng=np.random.default_rng(0))
        assert chosen.tolist() == [k for k in range(num) if k % 10 != 9]
    drawn = np.random.default_rng(3).random(CROWDED) < 0.3
    chosen = compared_objects(grid(CROWDED), drawn, rng=np.random.default_rng(3))
    assert chosen.tolist() == [k for k in np.flatnonzero(drawn) if k % 10 != 9]


def test_of_a_crowded_scene_a_sample_is_compared_so_that_pairs_grow_no_further():
    pairs = []
    for num in (300, 600, 1200, 5000):
        scene = grid(num)
        chosen = compared_objects(scene, np.ones(num, bool), rng=np.random.default_rng(1))
        again = compared_objects(scene, np.ones(num, bool), rng=np.random.default_rng(1))
        other = compared_objects(scene, np.ones(num, bool), rng=np.random.default_rng(2))
        assert chosen.tolist() == again.tolist() != other.tolist()
        assert (np.diff(chosen) > 0).all() and not scene.is_crowd[chosen].any()
        assert chosen.min() < num / 2 < chosen.max()
        pairs.append(len(chosen) * num)
    assert min(pairs[:3]) > 20_000 and max(pairs) <= 50_000
