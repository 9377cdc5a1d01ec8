"""Sizes: perspective, the scene's own scale, and medians of the others."""

import numpy as np
import pytest

from augsynth.placement.size import _median_of_others, fit_sizes


def test_sizes_recover_perspective_and_the_scene_scale():
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(200):
        zoom = np.exp(rng.normal(0, 0.4))
        centres = rng.uniform((50, 40), (270, 200), (4, 2))
        sides = 20 * zoom * np.exp(0.8 * (centres[:, 1] / 240 - 0.5) + rng.normal(0, 0.05, 4))
        boxes = np.hstack([centres - sides[:, None] / 2, centres + sides[:, None] / 2])
        scenes.append((boxes, np.zeros(4, np.int64), (320, 240)))
    model = fit_sizes(scenes, 1, rng=rng)
    assert model.slopes[0] == pytest.approx(0.8, abs=0.15)
    assert model.share > 0.8
    assert model.scales[0] < 0.3
    assert np.exp(model.centres[0]) * np.sqrt(320 * 240) == pytest.approx(20, rel=0.1)


def test_the_median_of_the_others_is_that_of_each_without_itself():
    rng = np.random.default_rng(0)
    for num in (2, 3, 4, 5, 8, 31):
        for values in (rng.normal(size=num), rng.integers(0, 3, num).astype(float)):
            wanted = [np.median(np.delete(values, k)) for k in range(num)]
            assert _median_of_others(values).tolist() == wanted
    assert _median_of_others(np.array([4.0])).tolist() == [0.0]
