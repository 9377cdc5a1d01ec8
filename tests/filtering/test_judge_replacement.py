"""The verdict where one object was painted over another: the new one is there, and the old one is gone."""

import numpy as np

from augsynth.core.scene import (
    Detections,
    Placement,
    Plan,
    Scene,
)
from augsynth.filtering.judge import FilterRules, Thresholds
from augsynth.filtering.judge_replacement import judge_replacement
from augsynth.placement.replacement import (
    Replaced,
)

SIZE = (100, 100)


def scene_of(*rows: tuple[int, tuple[float, float, float, float], bool]) -> Scene:
    """A scene of category, box and crowd flag; annotation ids are 11, 12, …"""
    return Scene(
        1,
        "a.png",
        SIZE,
        np.array([row[1] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[0] for row in rows], np.int64),
        11 + np.arange(len(rows)),
        np.array([row[2] for row in rows], bool),
    )


OLD, BESIDE = (30.0, 30.0, 60.0, 60.0), (28.0, 62.0, 58.0, 75.0)


def found(*rows: tuple[int, tuple[float, float, float, float], float]) -> Detections:
    boxes = np.array([row[1] for row in rows], np.float64).reshape(-1, 4)
    return Detections(boxes, np.array([row[2] for row in rows]), np.array([row[0] for row in rows], np.int64))


def verdict(before: Detections, after: Detections, scene: Scene | None = None) -> tuple[str, float]:
    scene = scene_of((1, OLD, False), (1, BESIDE, False)) if scene is None else scene
    plan = Plan(
        Placement(2, np.array(OLD), None, 0.0),
        np.array([15, 15, 75, 75]),
        np.array([27.0, 27, 63, 63]),
        "",
        1,
    )
    result = judge_replacement(
        plan,
        Replaced.of(scene, 0),
        before=before,
        after=after,
        thresholds=Thresholds(0.5),
        rules=FilterRules(rival_factor=0.75),
    )
    return str(result.reason), result.score


def test_the_old_object_must_be_gone() -> None:
    before = found((1, OLD, 0.9), (1, BESIDE, 0.9))
    new, beside = (2, OLD, 0.8), (1, BESIDE, 0.9)
    assert verdict(before, found(beside, new)) == ("accepted", 0.8)
    assert verdict(before, found(beside, (1, OLD, 0.85), new))[0] == "still_there"
    assert verdict(before, found(beside, new, (1, OLD, 0.61))) == (
        "still_there",
        0.8,
    )  # 0.75 of the new score
    assert verdict(before, found(beside, new, (1, OLD, 0.59)))[0] == "accepted"
    assert verdict(before, found(beside, (1, OLD, 0.36)))[0] == "still_there"  # 0.7 of its threshold
    assert verdict(before, found(beside, (1, OLD, 0.34)))[0] != "still_there"
    assert verdict(before, found(beside, (1, OLD, 0.9)))[0] == "still_there"
    assert verdict(before, found(beside, (3, OLD, 0.9), new))[0] == "wrong_class"
    assert verdict(before, found(new))[0] == "lost_neighbour"
    assert verdict(before, found(beside))[0] == "not_found"


def test_what_was_seen_at_the_old_place_before_is_no_excuse() -> None:
    # The old object as the detector saw it, the new one, and a third one painted where the old one's top was.
    seen, new, third = (30.0, 27.0, 60.0, 54.0), (30.0, 40.0, 60.0, 60.0), (30.0, 27.0, 60.0, 43.0)
    alone = scene_of((1, OLD, False))
    after = found((2, new, 0.8), (3, third, 0.7))
    assert verdict(found((1, seen, 0.9)), after, alone)[0] == "extra_object"
    assert (
        verdict(found((3, third, 0.9)), after, alone)[0] == "accepted"
    )  # that one was there, and isn't the old one
