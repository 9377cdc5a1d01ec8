"""Scenes and datasets: what their arrays must be, and what is derived from them."""

from typing import Any

import numpy as np
import pytest

from augsynth.core.scene import Category, Dataset, Reason, Scene, Verdict
from tests.scenes import BOX, CATEGORIES, CUP, LID, dataset_of, scene_of


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"boxes_xyxy": np.zeros((2, 5))}, r"boxes_xyxy must be \(N, 4\), got \(2, 5\)"),
        ({"category_ids": np.ones(3, np.int64)}, "differ in length"),
        ({"annotation_ids": np.ones(1, np.int64)}, "differ in length"),
        ({"is_crowd": np.zeros(0, np.bool_)}, "differ in length"),
        ({"boxes_xyxy": np.array([[1.0, 1, 4, 4], [5, 5, 9, 5]])}, "an empty box"),
        ({"boxes_xyxy": np.array([[1.0, 1, 4, 4], [5, 5, np.nan, 9]])}, "an empty box"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any], says: str) -> None:
    fine: dict[str, Any] = {
        "boxes_xyxy": np.array([[1.0, 1, 4, 4], [5, 5, 9, 9]]),
        "category_ids": np.array([1, 2]),
        "annotation_ids": np.array([1, 2]),
        "is_crowd": np.zeros(2, np.bool_),
    }
    assert len(Scene(1, "a.png", (10, 10), **fine)) == 2
    with pytest.raises(ValueError, match=says):
        Scene(1, "a.png", (10, 10), **{**fine, **changes})


def test_an_added_object_comes_last_and_the_scene_stays() -> None:
    scene = scene_of([[1, 2, 3, 4]], [CUP], crowd=[True])
    more = scene.adding(np.array([5, 6, 8, 9]), category_id=LID, annotation_id=-1)
    assert len(scene) == 1 and len(more) == 2 and len(Scene(1, "a.png", (9, 9))) == 0
    assert more.boxes_xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 8, 9]] and more.boxes_xyxy.dtype == np.float64
    assert more.category_ids.tolist() == [CUP, LID] and more.annotation_ids.tolist() == [1, -1]
    assert more.is_crowd.tolist() == [True, False]
    assert (more.image_id, more.file_name, more.size_wh) == (1, "1.png", (320, 240))


def test_categories_in_use_stand_in_the_order_of_the_file() -> None:
    boxes = [[1, 1, 5, 5], [2, 2, 9, 9]]
    dataset = dataset_of([scene_of(boxes, [LID, CUP]), scene_of(boxes, [LID, LID])])
    assert [c.id for c in dataset.categories_in_use()] == [CUP, LID]
    assert [c.id for c in dataset.categories_in_use(["box", "nothing"])] == [CUP, LID, BOX]
    empty = Dataset((Category(1, "cup"),), (), {}, dataset.source)
    assert empty.categories_in_use() == () and dataset.categories == CATEGORIES


def test_a_verdict_accepts_for_one_reason_alone() -> None:
    accepted = [reason for reason in Reason if Verdict(reason, None, 0.0, 0.0).accepted]
    assert accepted == [Reason.ACCEPTED] == ["accepted"]
