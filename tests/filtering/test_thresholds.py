"""Thresholds: low quantiles of real objects' scores, of few objects with the help of the other categories."""

import json
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.scene import Dataset, Detections, Scene
from augsynth.detectors.loading import load_detector
from augsynth.filtering.thresholds import Thresholds, calibrate, thresholds_from_scores
from tests.tiny_shapes import CATEGORIES


def test_thresholds_are_low_quantiles_with_back_off():
    many, few = np.linspace(0.5, 0.9, 41), [0.2, 0.3]
    thresholds = thresholds_from_scores({3: many.tolist(), 7: few}, quantile=0.1)
    assert thresholds[3] == pytest.approx(0.54, abs=1e-3)
    assert thresholds[99] == thresholds.pooled
    assert thresholds[7] < 0.75 * thresholds.pooled, "two objects that score low say that the category does"
    sure = thresholds_from_scores({3: many.tolist(), 7: [0.95]}, quantile=0.1)
    assert sure.pooled < sure[7] < 0.95
    assert thresholds_from_scores({}, quantile=0.1, floor=0.07)[1] == 0.07
    assert Thresholds.from_dict(json.loads(json.dumps(thresholds.as_dict()))) == thresholds
    assert thresholds_from_scores({7: [0.4]}, quantile=0.1)[7] == pytest.approx(0.4, abs=1e-3)
    alone = thresholds_from_scores({7: [0.3, 0.5], 8: [0.6]}, quantile=0.1)
    assert alone[7] < 0.4 and alone[7] < alone[8] < 0.6


def test_thresholds_of_rare_categories_turn_down_as_many_of_their_objects_as_of_common_ones():
    rng = np.random.default_rng(5)
    turned_down = {3: [], 60: []}
    for _ in range(200):
        levels = np.append(rng.normal(2.0, 0.3, 7), rng.normal(0.8, 0.3, 6))  # of rare things it is less sure
        nums = [60] * 7 + [3] * 6
        logits = [rng.normal(level, 0.45, n) for level, n in zip(levels, nums, strict=True)]
        scores = {k: (1 / (1 + np.exp(-x))).tolist() for k, x in enumerate(logits)}
        thresholds = thresholds_from_scores(scores, quantile=0.05)
        for k, n in enumerate(nums):
            further = 1 / (1 + np.exp(-rng.normal(levels[k], 0.45, 200)))
            turned_down[n].append((further < thresholds[k]).mean())
    assert 0.04 < np.mean(turned_down[60]) < 0.08
    assert 0.03 < np.mean(turned_down[3]) < 0.09


def test_calibration_on_a_trained_detector(trained, shapes):
    report, _ = trained
    dataset, images = shapes
    detector = load_detector(report.out, CATEGORIES)

    def run(quantile: float) -> Thresholds:
        return calibrate(detector, dataset, lambda s: images[s.file_name], quantile=quantile, max_images=30)

    strict, loose = run(0.5), run(0.05)
    assert strict == run(0.5)
    assert all(0 < loose[c.id] < strict[c.id] < 1 for c in CATEGORIES)
    with pytest.raises(ValueError, match="quantile"):
        run(1.5)


class _Exact:
    """Finds every object that lies wholly in a view."""

    name, view_px = "exact", 20

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.shapes: list[tuple[int, ...]] = []

    def detect(self, images):
        self.shapes += [image.shape for image in images]
        found = []
        for image in images:
            x, y = image[0, 0, :2].astype(int)  # the image's pixels hold their own position
            boxes = self.scene.boxes_xyxy - [x, y, x, y]
            inside = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] <= [image.shape[1], image.shape[0]]).all(1)
            ids = self.scene.category_ids[inside]
            found.append(Detections(boxes[inside], np.full(inside.sum(), 0.5), ids))
        return found


def test_calibration_looks_at_large_images_in_views():
    ys, xs = np.mgrid[:120, :200]
    image = np.stack([xs, ys, 0 * xs], 2).astype(np.uint8)
    boxes = np.array([[0.0, 0, 8, 8], [10, 10, 16, 16], [150, 100, 160, 110], [60, 60, 64, 64]])
    crowd = np.array([False, False, False, True])
    scene = Scene(1, "a", (200, 120), boxes, np.array([3, 3, 7, 7]), np.arange(4), crowd)
    dataset = Dataset(CATEGORIES, (scene,), {}, Path("a"))
    detector = _Exact(scene)
    thresholds = calibrate(detector, dataset, lambda s: image)
    assert detector.shapes == [(20, 20, 3), (20, 20, 3)]
    assert thresholds.num_instances == {3: 2, 7: 1} and thresholds.pooled == thresholds[3] == 0.5
