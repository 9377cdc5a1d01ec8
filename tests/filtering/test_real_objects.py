"""What the filter says of real objects: shares, thresholds, and whether scores tell them from background."""

from collections.abc import Sequence

import numpy as np
import pytest

from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category, Dataset, Detections, Image, Scene, Standing
from augsynth.filtering.options import FilterRules
from augsynth.filtering.real_objects import (
    FilterRow,
    area_under_curve,
    check_filter,
    classify_real_objects,
    judge_real_objects,
    report_lines,
    rows_of_classifier,
    untold,
)
from augsynth.filtering.thresholds import observe_objects, thresholds_from_views

CUP, CAN, LID = 1, 2, 3
NAMES = {CUP: "cup", CAN: "can", LID: "lid"}
SIZE = 40


def dataset_of(num: int) -> Dataset:
    """Images of 200 px, each with a cup at the top left and a can at the bottom right."""
    boxes = np.array([[10, 10, 10 + SIZE, 10 + SIZE], [140, 140, 140 + SIZE, 140 + SIZE]], np.float64)
    scenes = tuple(
        Scene(i, f"{i}.png", (200, 200), boxes, np.array([CUP, CAN]), np.arange(2), np.zeros(2, bool))
        for i in range(num)
    )
    return Dataset(tuple(Category(k, v) for k, v in NAMES.items()), scenes, {}, "a.json")


class Told:
    """Finds what a function says of each image by its number, which is its brightness."""

    name, view_px = "told", 200

    def __init__(self, rows) -> None:
        self.rows = rows

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        return [self.find(int(image[0, 0, 0])) for image in images]

    def find(self, number: int) -> Detections:
        rows = sorted(self.rows(number), key=lambda row: -row[1])
        boxes = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
        return Detections(
            boxes, np.array([row[1] for row in rows], np.float64), np.array([row[2] for row in rows], int)
        )


def plain(scene: Scene) -> Image:
    return np.full((200, 200, 3), scene.image_id, np.uint8)


def rows_of(rows, *, num: int = 20, classifier=None, **rules) -> tuple[FilterRow, ...]:
    dataset = dataset_of(num)
    views = observe_objects(Told(rows), dataset, plain, max_images=99, seed=1)
    thresholds = thresholds_from_views(views, quantile=0.05)
    options = {"names": NAMES, "thresholds": thresholds, "rules": FilterRules(**rules)}
    if classifier is not None:
        options["standings"] = classify_real_objects(classifier, dataset.scenes, plain, ids=NAMES)
    rows = judge_real_objects(views, **options, seed=1)
    assert rows == judge_real_objects(views, **options, seed=1)
    return rows


THERE = ((10, 10, 50, 50), (140, 140, 180, 180))


def good_at_cups(number: int):
    """Finds each cup; calls three of four cans cups, and surer so."""
    yield THERE[0], 0.9 - number / 100, CUP
    yield THERE[1], 0.5, CAN
    if number % 4:
        yield THERE[1], 0.9, CUP


def test_shares_are_those_of_the_rules_and_name_the_reasons() -> None:
    cup, can, lid = rows_of(good_at_cups)
    assert (cup.objects, cup.accepted, cup.rejected) == (20, 19, {"low_score": 1})  # the quantile is 5 %
    assert cup.threshold_objects == 20 and 0.7 < cup.threshold < 0.73
    assert (can.objects, can.accepted, can.rejected) == (20, 5, {"wrong_class": 15})
    assert (lid.objects, lid.share, lid.auc, lid.threshold_objects) == (0, 1.0, None, 0)
    assert cup.auc == can.auc == 1.0 and not untold([cup, can, lid], min_auc=0.6)
    fixed, *_ = rows_of(good_at_cups, min_score=0.8)
    assert (fixed.accepted, fixed.threshold, fixed.threshold_objects) == (11, 0.8, None)


def everywhere(number: int):
    """Finds real objects, and cups of any score everywhere."""
    yield from good_at_cups(0)
    rng = np.random.default_rng(number)
    for x in range(0, 200, 20):
        for y in range(0, 200, 20):
            yield (x, y, x + SIZE, y + SIZE), float(rng.uniform(0.6, 1.0)), CUP


def test_a_detector_that_sees_a_class_everywhere_cant_tell_it_from_background() -> None:
    cup, can, _ = rows_of(everywhere, rival_factor=1.0, extra_objects="label")
    assert cup.accepted and cup.auc is not None and cup.auc < 0.5
    assert untold([cup, can], min_auc=0.6) == {CUP} and not untold([cup, can], min_auc=0.0)
    line = next(line for line in report_lines([cup, can], min_auc=0.6) if line.startswith("left out"))
    assert f"cup ({cup.auc:.2f})" in line and "can (" not in line


def test_the_report_shows_the_lowest_shares_first_and_warns() -> None:
    lines = report_lines(rows_of(good_at_cups), min_auc=0.6)
    assert lines[1].split() == ["can", "5", "of", "20", "(", "25%)", "0.50"]
    assert lines[2].split()[:4] == ["cup", "19", "of", "20"]
    assert lines[3].startswith("fewer than half of the real objects are accepted: can (5 of 20);")
    assert lines[4].startswith("thresholds from fewer than 10 real objects: lid (0);") and len(lines) == 5
    assert not any(
        "thresholds" in line for line in report_lines(rows_of(good_at_cups, min_score=0.3), min_auc=0.6)
    )
    assert report_lines([], min_auc=0.6) == []


class Calling:
    """A classifier that calls cups cups, and everything else a cup as well; it says how bright a crop is."""

    name = "calling"

    def standings(self, crops: Sequence[Image], category_ids: Sequence[int]) -> list[Standing]:
        return [
            Standing(1 if category_id == CUP else 2, round(float(crop.mean()) / 255, 3), "cup")
            for crop, category_id in zip(crops, category_ids, strict=True)
        ]


def test_a_classifier_alone_and_behind_a_detector() -> None:
    bright = np.zeros((200, 200, 3), np.uint8)
    bright[10:50, 10:50] = 255
    scene = Scene(
        1,
        "a.png",
        (200, 200),
        np.array([*THERE, (60.0, 60, 90, 90)]),
        np.array([CUP, CAN, CUP]),
        np.array([1, 2, 3]),
        np.array([False, False, True]),
    )
    standings = classify_real_objects(Calling(), [scene], lambda _: bright, ids=NAMES)
    assert standings == {(1, 0): Standing(1, 1.0, "cup"), (1, 1): Standing(2, 0.0, "cup")}, (
        "no crowd, own crops"
    )
    crowded = classify_real_objects(Calling(), dataset_of(400).scenes, lambda _: bright, ids=[CUP])
    assert crowded.keys() == {(number, 0) for number in range(300)}, "as many as a detector is asked about"
    assert classify_real_objects(Calling(), [scene], lambda _: bright, ids=[CAN]).keys() == {(1, 1)}
    cup, can, lid = rows_of_classifier(standings, [scene], names=NAMES, rules=FilterRules(top_k=1))
    assert (cup.objects, cup.accepted, cup.threshold, cup.auc) == (1, 1, None, None)
    assert (can.objects, can.accepted, can.rejected) == (1, 0, {"not_in_top_k": 1}) and lid.share == 1.0
    lines = report_lines([cup, can, lid], min_auc=0.6)
    assert lines[0] == "the filter on real objects: accepted"
    assert lines[1].split() == ["can", "0", "of", "1", "(", "0%)"] and "--top-k" in lines[3]
    cup, can, _ = rows_of(good_at_cups, classifier=Calling(), top_k=1)
    assert (cup.accepted, cup.rejected) == (19, {"low_score": 1})
    assert (can.accepted, can.rejected) == (0, {"wrong_class": 15, "not_in_top_k": 5})


def test_a_filter_that_accepts_nothing_real_is_refused() -> None:
    blind = rows_of(lambda _: [])
    with pytest.raises(
        ConfigError, match=r"none of 40 real objects \(mostly not_found\).* than --detector told"
    ):
        check_filter(blind, models="--detector told", min_auc=0.6)
    check_filter(blind, models="--detector told", min_auc=0.0)
    check_filter(rows_of(lambda _: [], num=2), models="--detector told", min_auc=0.6)  # too few to say
    check_filter(rows_of(good_at_cups), models="--detector told", min_auc=0.6)
    [cup, *_] = rows_of(everywhere, rival_factor=1.0, extra_objects="label")
    with pytest.raises(ConfigError, match="in any category"):
        check_filter([cup], models="--detector told", min_auc=0.6)


def test_the_area_under_the_curve_counts_ties_half() -> None:
    assert area_under_curve([0.9, 0.5], [0.5, 0.1]) == 0.875
    assert area_under_curve([], [0.1]) is None and area_under_curve([0.1], []) is None
    assert area_under_curve([0.2], [0.7]) == 0.0
