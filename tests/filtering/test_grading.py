"""Grades of boxes: one answer a place, shares with intervals, and what they say of labels."""

import numpy as np
import pytest

from augsynth.core.scene import Category
from augsynth.filtering import grading
from tests.filtering.recorded import Recorded


def test_one_place_gets_one_answer():
    judge = Recorded(
        [[10, 10, 30, 30], [10, 10, 30, 31], [60, 10, 80, 30], [61, 40, 80, 60]],
        [0.9, 0.4, 0.05, 0.5],
        [1, 2, 1, 2],
    )
    boxes = np.array(
        [[10, 10, 30, 31], [10, 10, 30, 30], [60, 10, 80, 30], [60, 40, 80, 60], [10, 10, 30, 50]], float
    )
    image = np.zeros((100, 100, 3), np.uint8)
    grades = grading.grade(judge, image, boxes, np.array([1, 2, 1, 2, 1]), image_id=7, min_score=0.1)
    assert grades.right().tolist() == [True, False, False, True, False]
    assert grades.iou == pytest.approx([20 / 21, 1.0, 0.0, 0.95, 0.5])
    assert grades.image_ids.tolist() == [7] * 5


def graded(right, image_ids):
    right = np.array(right, bool)
    return grading.Grades(
        np.ones(len(right), int), np.where(right, 0.9, 0.2), right, np.array(image_ids, int)
    )


def test_agreement_relative_to_that_with_real_objects():
    """Two of four painted against one of four real ones; where every image says the same, the ratio is sure."""
    images = np.repeat(np.arange(20), 4)
    some, others = graded([1, 1, 0, 0] * 20, images), graded([1, 0, 0, 0] * 20, images)
    ratio = grading.relative_agreement(some, others)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert grading.relative_agreement(some, some).value == 1.0
    good, bad = [1, 1, 1, 1] * 10 + [0, 0, 0, 0] * 10, [0, 0, 0, 0] * 10 + [1, 1, 1, 1] * 10
    spread = grading.relative_agreement(graded(good, images), graded(bad, images))
    assert spread.value == pytest.approx(1.0) and spread.low < 0.5 and spread.high > 2
    together = grading.relative_agreement(graded(good, images), graded(good, images))
    assert (together.low, together.high) == (1.0, 1.0)  # what an image does to both is no difference


def test_the_interval_of_a_relative_agreement_covers_the_truth():
    """Painted objects right with 0.6, real ones with 0.8: 0.75 lies within most of the intervals."""
    inside = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        images = np.repeat(np.arange(60), 3)
        some, others = graded(rng.random(180) < 0.6, images), graded(rng.random(180) < 0.8, images)
        ratio = grading.relative_agreement(some, others, draws=500)
        inside += ratio.low <= 0.75 <= ratio.high
    assert 88 <= inside <= 100


def test_a_relative_agreement_without_real_ones_is_unknown():
    nothing = graded([], [])
    for some, others in (
        (nothing, nothing),
        (graded([1], [3]), nothing),
        (graded([1], [3]), graded([0], [3])),
    ):
        assert np.isnan(grading.relative_agreement(some, others).value)


def test_wilson_interval():
    assert grading.wilson(95, 100) == pytest.approx((0.8882, 0.9785), abs=1e-3)


def test_what_grades_say_of_labels() -> None:
    """Three of four cups and the only can are right; real ones: one of two cups, and a dog that nobody painted."""
    accepted = grading.Grades(
        np.array([1, 1, 1, 1, 2]),
        np.full(5, 0.9),
        np.array([True, True, True, False, True]),
        np.array([7, 7, 8, 8, 8]),
    )
    real = grading.Grades(
        np.array([1, 1, 3]), np.array([0.9, 0.6, 0.9]), np.array([True, True, False]), np.array([7, 8, 8])
    )
    categories = (Category(1, "cup"), Category(2, "can"), Category(3, "dog"))
    truth = grading.LabelTruth.of("judge", accepted, real, categories)
    assert (truth.accepted.right, truth.accepted.objects) == (4, 5)
    assert (truth.accepted.low, truth.accepted.high) == pytest.approx(grading.wilson(4, 5), abs=1e-4)
    assert truth.ratio == pytest.approx(0.8 / (1 / 3), abs=1e-4)
    assert [(line.category, line.accepted.right, line.real.right) for line in truth.categories] == [
        ("cup", 3, 1),
        ("can", 1, 0),
    ]
    document = truth.document()
    assert document["min_iou"] == 0.7 and document["categories"][1]["real"] == {
        "objects": 0,
        "right": 0,
        "low": None,
        "high": None,
    }


def test_labels_without_real_ones_beside_them_have_no_ratio() -> None:
    truth = grading.LabelTruth.of("judge", graded([1], [3]), graded([], []), (Category(1, "cup"),))
    assert (truth.ratio, truth.low, truth.high) == (None, None, None) and truth.real.share == 0
