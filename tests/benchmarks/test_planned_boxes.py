"""The judge of planned boxes: shares outside with known answers, and a rendered set that mostly hides its objects."""

import json

import numpy as np
import pytest

from augsynth.coco.reader import read_dataset
from augsynth.core.scene import Scene
from benchmarks.judges import fans, planned_boxes


def scene_of(boxes):
    count = len(boxes)
    arrays = (np.ones(count, np.int64), np.arange(count), np.zeros(count, bool))
    return Scene(1, "a.png", (200, 100), np.array(boxes, float), *arrays)


def test_the_centre_holds_95_of_100_and_sees_what_each_interval_misses():
    rng = np.random.default_rng(0)
    both = rng.normal(size=(1500, 2)) @ np.array([[0.3, 0.27], [0.0, 0.08]])  # large ones are wide
    centre = planned_boxes.Centre.of(both)
    shares = centre.outside(both).mean(axis=0)
    assert shares[:2] == pytest.approx([0.05, 0.05], abs=0.005)
    assert shares[2] == pytest.approx(0.05, abs=0.02)
    odd = np.array([[0.0, 0.0], [0.45, -0.4], [2.0, 0.0], [0.0, 2.0]])
    assert centre.outside(odd).tolist() == [
        [False, False, False],
        [False, False, True],  # each usual, together not
        [True, False, True],
        [False, True, True],
    ]


def test_equal_boxes_are_inside_their_own_centre():
    assert not planned_boxes.Centre.of(np.zeros((30, 2))).outside(np.zeros((5, 2))).any()


def test_looks_are_free_of_scale():
    boxes = np.array([[10, 10, 50, 30], [0, 0, 200, 100]], float)
    found = planned_boxes.looks(boxes, (200, 100))
    np.testing.assert_allclose(found, [[np.log(0.2), np.log(2)], [0, np.log(2)]])
    np.testing.assert_allclose(planned_boxes.looks(boxes * 3, (600, 300)), found)


def test_covered_and_cut_objects_do_not_stand_free():
    scene = scene_of([[10, 10, 30, 30], [20, 10, 40, 30], [60, 10, 80, 30], [180, 10, 200, 30]])
    assert planned_boxes.stand_free(scene, {}).tolist() == [False, False, True, False]
    assert planned_boxes.stand_free(scene, {0: True, 1: False, 2: False, 3: True}).tolist() == [
        True, False, False, True,
    ]  # fmt: skip


def test_fans_hide_most_of_their_objects(tmp_path):
    path = fans.write_fans(tmp_path / "a", num_images=12, seed=3)
    same = fans.write_fans(tmp_path / "b", num_images=12, seed=3)
    assert path.read_bytes() == same.read_bytes()
    rows = json.loads(path.read_text())["annotations"]
    free = [row["free"] for row in rows]
    assert 0.02 < np.mean(free) < 0.4
    dataset = read_dataset(path, images=path.parent / "images")
    assert sum(map(len, dataset.scenes)) == len(rows)
    found = planned_boxes.free_looks((dataset,))
    assert sum(map(len, found.values())) == sum(free)
    aspects = {
        free: [
            abs(np.log(r["bbox"][2] / r["bbox"][3]))
            for r in rows
            if r["category_id"] == 3 and r["free"] == free
        ]
        for free in (True, False)
    }
    assert max(aspects[True], default=0) < 0.2  # tiles are square
    assert max(aspects[False]) > 0.5
