"""Outlines of cut-outs that have only a box: what is found is the object, and nothing is made up."""

import numpy as np
import pytest

from augsynth.pasting.patch import Patch
from augsynth.pasting.segmented_outline import best_outline

BOX = np.array([12.0, 12.0, 68.0, 58.0])


def cut_out(colour: tuple[int, int, int], ground: tuple[int, int, int]) -> tuple[Patch, np.ndarray]:
    """An ellipse in its box on a noisy ground, and its pixels."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:70, :80] + 0.5
    inside = np.hypot((x - 40) / 28, (y - 35) / 23) < 1
    image = np.where(inside[..., None], colour, ground) + rng.normal(0, 6, (70, 80, 3))
    alpha = np.zeros((70, 80), np.uint8)
    alpha[12:58, 12:68] = 255
    return Patch(np.clip(image, 0, 255).astype(np.uint8), alpha, BOX, False), inside


@pytest.mark.parametrize("ground", [(90, 100, 80), (200, 190, 180)])
def test_an_object_that_stands_out_gets_its_outline(ground: tuple[int, int, int]) -> None:
    patch, inside = cut_out((190, 60, 50), ground)
    found = best_outline(patch)
    assert found.has_mask and found.estimated, "a guess, good to blend by and no label"
    shown = found.alpha >= 128
    assert (shown & inside).sum() / (shown | inside).sum() > 0.95
    assert (found.image == patch.image).all() and (found.box_xyxy == BOX).all()
    assert (best_outline(patch).alpha == found.alpha).all(), "the same each time"


def test_where_nothing_stands_out_there_is_no_outline() -> None:
    patch, _ = cut_out((120, 120, 120), (120, 120, 120))
    assert best_outline(patch) is patch


def test_an_outline_that_is_known_stays() -> None:
    patch, inside = cut_out((190, 60, 50), (90, 100, 80))
    known = Patch(patch.image, inside * np.uint8(255), BOX, True)
    assert best_outline(known) is known


def test_without_a_margin_nothing_says_what_the_object_is_not() -> None:
    patch, _ = cut_out((190, 60, 50), (90, 100, 80))
    part = slice(12, 58), slice(12, 68)
    tight = Patch(patch.image[part], patch.alpha[part], BOX - np.tile(BOX[:2], 2), False)
    assert best_outline(tight) is tight
