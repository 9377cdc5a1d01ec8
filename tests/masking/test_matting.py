"""Matting: the outline of what was painted, from the pixels before and after, or None where they do not tell."""

import numpy as np
import pytest

from augsynth.masking.matting import matte


def painted(rng, *, object_colour=(210, 60, 40), noise=4.0):
    """A disc of radius 15 on a noisy ground, of which a square of 48 was painted anew."""
    before = np.clip(rng.normal((90, 120, 80), 12, (64, 64, 3)), 0, 255)
    after = before.copy()
    after[8:56, 8:56] += rng.normal(0, noise, (48, 48, 3))
    y, x = np.indices((64, 64)) + 0.5
    disc = np.hypot(x - 32, y - 32) <= 15
    after[disc] = np.asarray(object_colour) + rng.normal(0, 8, (int(disc.sum()), 3))
    both = (np.clip(np.round(a), 0, 255).astype(np.uint8) for a in (before, after))
    return *both, disc


BOX, PAINTED = np.array([17.0, 17, 47, 47]), np.array([8.0, 8, 56, 56])


@pytest.mark.parametrize("seed", range(3))
def test_matting_finds_the_outline_of_a_painted_object(seed):
    before, after, disc = painted(np.random.default_rng(seed))
    alpha = matte(before, after, box_xyxy=BOX, painted_xyxy=PAINTED)
    assert alpha is not None and alpha.min() >= 0 and alpha.max() <= 1
    found = alpha >= 0.5
    assert (found & disc).sum() / (found | disc).sum() > 0.9
    assert not alpha[~(np.pad(np.ones((34, 34), bool), 15))].any()


def test_matting_admits_when_the_pixels_do_not_tell():
    rng = np.random.default_rng(0)
    before, after, _ = painted(rng, object_colour=(92, 121, 83))
    assert matte(before, after, box_xyxy=BOX, painted_xyxy=PAINTED) is None
    before, after, _ = painted(rng)
    assert matte(before, before, box_xyxy=BOX, painted_xyxy=PAINTED) is None
    assert matte(before, after, box_xyxy=np.array([17.0, 17, 32, 47]), painted_xyxy=PAINTED) is None
    assert matte(before, after, box_xyxy=BOX, painted_xyxy=BOX) is None
    assert matte(before, 255 - before, box_xyxy=BOX, painted_xyxy=PAINTED) is None
