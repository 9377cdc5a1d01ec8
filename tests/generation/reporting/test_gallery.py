"""What a page is told of attempts: rows in numbers, texts that can be shown, outlines in their windows."""

import numpy as np
import pytest
from msgspec import structs

from augsynth.core.records import Attempt
from augsynth.core.scene import Reason
from augsynth.generation.reporting.gallery import (
    Columns,
    centre_in_image,
    in_window,
    outline_in_window,
)
from tests.generation.reporting.pages import attempts_of


def test_boxes_are_told_in_thousandths_of_their_window() -> None:
    assert in_window((50.0, 40.0, 90.0, 80.0), (40, 30, 140, 130)) == [100, 100, 500, 500]
    assert in_window((30.0, 30.0, 90.0, 80.0), (40, 30, 140, 130))[0] == -100
    assert centre_in_image((10.0, 20.0, 30.0, 40.0), (200, 100)) == [100, 300]


def test_an_outline_goes_around_its_mask() -> None:
    [ring] = outline_in_window(attempts_of(1, 1)[0])
    xy = np.array(ring).reshape(-1, 2) / 1000 * 128 + np.array([40, 30])
    np.testing.assert_allclose(xy.min(0), [80, 70], atol=1)
    np.testing.assert_allclose(xy.max(0), [130, 110], atol=1)
    assert len(xy) == 4


def test_an_attempt_without_a_mask_has_no_outline() -> None:
    assert outline_in_window(attempts_of(3, 1)[2]) == ()


def test_rows_tell_what_the_records_say() -> None:
    attempts = attempts_of(8, 3)
    columns = Columns({1: "cup", 2: "can", 3: "bottle"})
    for attempt in attempts:
        columns.add(attempt, {"source": "a.jpg", "threshold": 0.5})
    document = columns.document()
    rows, texts = document["columns"], document["texts"]
    assert [texts["categories"][k] for k in rows["category"]] == ["cup", "can", "bottle"] * 2 + ["cup", "can"]
    assert [document["categoryIds"][k] for k in rows["category"]] == [1, 2, 3, 1, 2, 3, 1, 2]
    assert [texts["reasons"][k] for k in rows["reason"]] == [str(a.reason) for a in attempts]
    assert rows["kept"] == [int(a.kept) for a in attempts]
    assert rows["seed"][1] == str(2**62 + 1) and rows["seed"][6] is None
    assert rows["margin"][0] == pytest.approx(attempts[0].painted.judgement.score - 0.5, abs=1e-3)
    assert texts["categories"][rows["found"][2]] == "cup" and rows["found"][0] is None
    assert texts["files"] == ["a.jpg"] and texts["prompts"] == ["a photo of a cup"]
    assert "negative" not in rows and "cell" not in rows  # nobody has one


def test_categories_of_one_name_stay_two() -> None:
    columns = Columns({1: "cup", 2: "cup"})
    for attempt in attempts_of(2, 2):
        columns.add(attempt, {})
    assert columns.document()["columns"]["category"] == [0, 1]


def test_an_attempt_that_was_never_painted_says_why() -> None:
    columns = Columns({})
    columns.add(
        Attempt(job=3, source_image_id=7, reason=Reason.BAD_IMAGE, detail="x.jpg: gone"), {"source": "x.jpg"}
    )
    document = columns.document()
    assert document["texts"]["details"] == ["x.jpg: gone"] and document["columns"]["kept"] == [0]


def test_an_object_too_many_is_accepted_but_cannot_be_struck_out() -> None:
    attempt = attempts_of(1, 1)[0]
    surplus = structs.replace(attempt, judgement=structs.replace(attempt.painted.judgement, surplus=True))
    columns = Columns({1: "cup"})
    columns.add(surplus, {})
    assert columns.document()["columns"]["kept"] == [0]
