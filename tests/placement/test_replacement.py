"""Edit modes: which object makes way, what takes its place, and that labels and originals stay true."""

from dataclasses import replace

import numpy as np
import pytest

from augsynth.core.scene import (
    FloatArray,
    Scene,
)
from augsynth.placement.proposal import PlacementRules
from augsynth.placement.replacement import (
    affinity_sums,
    object_chances,
    related_categories,
    replaceable,
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


# The middle one has 35 % of the image, the others 1 % and 10 %.
THREE = (
    (2, (80.0, 80.0, 90.0, 90.0), False),
    (1, (10.0, 10.0, 60.0, 80.0), False),
    (3, (70.0, 10.0, 90.0, 60.0), False),
)
MATRIX = [[0.9, 0.2, 0.4], [0.3, 0.8, 0.6], [0.1, 0.5, 0.7]]


def sums_of(scene: Scene) -> FloatArray:
    return affinity_sums(scene, np.array([1, 2, 3]), np.array(MATRIX))


def test_the_choice_of_the_object_is_the_formula() -> None:
    everyone = np.ones(3, bool)
    # C1: 0.2 + 0.5, 0.3 + 0.1, 0.4 + 0.6; scaled 0.5, 0, 1.  C2: 0.66, 1, 0.75; scaled 0, 1, 0.09 / 0.34.
    weights = [np.exp(0.5), np.exp(1.0), np.exp(1 + 0.09 / 0.34)]
    chances = object_chances(scene_of(*THREE), everyone, sums=sums_of(scene_of(*THREE)), area_share=0.35)
    assert chances == pytest.approx(np.array(weights) / sum(weights))
    # With α = 0.01 C2 is 1, 0.66 and 0.91, and without an affinity it stands alone.
    weights = [np.exp(1.0), np.exp(0.0), np.exp(0.25 / 0.34)]
    chances = object_chances(scene_of(*THREE), everyone, sums=None, area_share=0.01)
    assert chances == pytest.approx(np.array(weights) / sum(weights))
    # A crowd of the second kind counts among the rest and isn't chosen: C1 0.2 + 0.8 + 0.5, 0.7, 0.4 + 0.6 + 0.6.
    crowded = scene_of(*THREE, (2, (0.0, 90.0, 60.0, 100.0), True))
    weights = [np.exp(0.8 / 0.9), np.exp(1.0), np.exp(1 + 0.09 / 0.34), 0.0]
    chances = object_chances(crowded, ~crowded.is_crowd, sums=sums_of(crowded), area_share=0.35)
    assert chances == pytest.approx(np.array(weights) / sum(weights))


def test_a_choice_of_one_or_none_is_no_choice() -> None:
    scene = scene_of(*THREE)
    sums = sums_of(scene)
    only = np.array([False, False, True])
    assert object_chances(scene, only, sums=sums, area_share=0.35).tolist() == [0, 0, 1]
    assert not object_chances(scene, ~np.ones(3, bool), sums=sums, area_share=0.35).any()
    assert not len(object_chances(scene_of(), np.zeros(0, bool), sums=np.zeros(0), area_share=0.35))


def test_what_may_take_its_place_is_the_most_affine_share_of_the_others() -> None:
    ids = np.array([7, 5, 3, 2, 1])
    matrix = np.array(
        [[9, 1, 3, 2, 3], [1, 9, 0, 0, -1], [5, 4, 9, 3, 2], [0, 0, 0, 9, 0], [1, 2, 3, 4, 9.0]]
    )
    assert related_categories(ids, matrix, share=0.5) == {
        7: {3, 1},
        5: {7, 3},
        3: {7, 5},
        2: {7, 5},
        1: {2, 3},
    }
    assert related_categories(ids, matrix, share=0.0)[1] == {2}  # at least one
    assert related_categories(ids, matrix, share=0.26)[1] == {2, 3}  # rounded up
    assert related_categories(ids, matrix, share=1.0)[1] == {7, 5, 3, 2}
    assert related_categories(np.array([4]), np.ones((1, 1)), share=1.0) == {4: frozenset()}


def test_what_may_be_replaced() -> None:
    rules = PlacementRules(min_size=8, model_window=64, max_overlap=0.1, mask_growth=1.15)
    related = {1: frozenset({2}), 2: frozenset({1}), 3: frozenset()}

    def allowed(*rows: tuple[int, tuple[float, float, float, float], bool], **more: object) -> list[bool]:
        given = {"related": related, "open_ids": {1, 2}, "rules": rules, **more}
        return replaceable(scene_of(*rows), **given).tolist()

    free, other = (1, (10.0, 10.0, 40.0, 40.0), False), (2, (60.0, 60.0, 80.0, 80.0), False)
    assert allowed(free, other) == [True, True]
    assert allowed(free, other, keep_ids={12}) == [True, False]
    assert allowed(free, other, open_ids={2}) == [True, False]  # the second would become a 1: not wanted
    assert allowed((3, *free[1:]), other) == [False, True]
    assert allowed((1, (10.0, 10.0, 15.0, 40.0), False), other) == [False, True]  # narrower than 8 pixels
    assert allowed((*free[:2], True), other) == [False, True]
    # Covers a ninth of the first, and would be repainted with it.
    inside = (2, (20.0, 20.0, 30.0, 30.0), False)
    assert allowed(free, inside) == [False, False]
    assert allowed(free, inside, rules=replace(rules, max_overlap=0.2)) == [False, True]
    near = (2, (41.0, 10.0, 61.0, 40.0), False)  # 1.25 of its 20 columns lie below the mask
    assert allowed(free, near) == [True, True]
    assert allowed(free, near, rules=replace(rules, max_overlap=0.05)) == [False, True]
    assert allowed(free, (1, (0.0, 0.0, 100.0, 50.0), True)) == [False, False]  # inside a crowd
    wide = Scene(
        1,
        "a.png",
        (100, 30),
        np.array([[5.0, 2, 95, 28]]),
        np.ones(1, int),
        np.ones(1, int),
        np.zeros(1, bool),
    )
    assert replaceable(wide, related=related, open_ids={2}, rules=rules).tolist() == [
        False
    ]  # no square window
