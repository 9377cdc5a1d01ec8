"""COCO figures, and categories found by name."""

from dataclasses import replace

import numpy as np
import pytest

from augsynth.core.scene import Detections, Scene
from augsynth.detectors.loading import load_detector
from augsynth.training.detector.evaluation import evaluate_detections, evaluate_detector, match_judged
from tests.tiny_shapes import CATEGORIES


def as_detections(scene: Scene, *, score: float = 0.9) -> Detections:
    order = ~scene.is_crowd
    return Detections(scene.boxes_xyxy[order], np.full(order.sum(), score), scene.category_ids[order])


def test_perfect_detections_score_one_even_with_annotation_id_zero(shapes):
    dataset, _ = shapes
    assert dataset.scenes[0].annotation_ids[0] == 0
    figures = evaluate_detections([as_detections(s) for s in dataset.scenes], dataset.scenes, CATEGORIES)
    assert figures.ap == figures.ap50 == figures.ar == pytest.approx(1.0)
    assert figures.category_ap50 == pytest.approx({"dark_square": 1.0, "bright bar": 1.0})
    assert "AP 1.000  AP50 1.000" in str(figures) and "bright bar 1.000" in str(figures)


def test_nothing_found_scores_zero(shapes):
    dataset, _ = shapes
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    figures = evaluate_detections([nothing] * len(dataset.scenes), dataset.scenes, CATEGORIES)
    assert figures.ap == 0 and figures.num_objects == sum(len(s) for s in dataset.scenes)


def test_crowds_neither_count_nor_punish():
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 40, 40]])
    scene = Scene(1, "a", (50, 50), boxes, np.array([3, 3]), np.array([0, 1]), np.array([False, True]))
    inside_the_crowd = Detections(
        np.array([[22.0, 22, 30, 30], [0, 0, 10, 10]]), np.array([0.9, 0.8]), np.array([3, 3])
    )
    figures = evaluate_detections([inside_the_crowd], [scene], CATEGORIES)
    assert figures.ap == pytest.approx(1.0) and figures.num_objects == 1


def test_categories_are_found_by_name_whatever_their_ids(trained, shapes):
    """A test set that was converted separately numbers its categories its own way; its figures stay the same."""
    dataset, images = shapes
    detector = load_detector(trained[0].out, dataset.categories)
    swap = {3: 7, 7: 3}
    scenes = tuple(
        replace(s, category_ids=np.array([swap[int(c)] for c in s.category_ids], np.int64))
        for s in dataset.scenes
    )
    renamed = tuple(replace(c, id=swap[c.id], name=c.name.title()) for c in dataset.categories)
    matched, said = match_judged(replace(dataset, categories=renamed, scenes=scenes), dataset.categories)
    assert said == []
    wanted, found = (
        evaluate_detector(detector, d, lambda s: images[s.file_name]) for d in (dataset, matched)
    )
    assert found == wanted and wanted.ap > 0.4
