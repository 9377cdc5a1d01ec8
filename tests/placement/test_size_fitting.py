"""Fitting sizes: perspective, the scene's own scale, and objects that others hide don't teach sizes of free ones."""

import numpy as np
import pytest

from augsynth.placement.size_fitting import (
    MeasuredObjects,
    _median_of_others,
    _weighted_median,
    fit_sizes,
)
from benchmarks.judges.fans import SIZE_WH, draw_scene


def test_sizes_recover_perspective_and_the_scene_scale():
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(200):
        zoom = np.exp(rng.normal(0, 0.4))
        centres = rng.uniform((50, 40), (270, 200), (4, 2))
        sides = 20 * zoom * np.exp(0.8 * (centres[:, 1] / 240 - 0.5) + rng.normal(0, 0.05, 4))
        boxes = np.hstack([centres - sides[:, None] / 2, centres + sides[:, None] / 2])
        scenes.append((boxes, np.zeros(4, np.int64), (320, 240)))
    model = fit_sizes(MeasuredObjects.of(scenes), 1, rng=rng)
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


def test_a_weighted_median_is_that_of_values_repeated():
    assert _weighted_median(np.array([3.0, 1.0, 2.0]), np.ones(3)) == 2
    assert _weighted_median(np.array([1.0, 5.0]), np.ones(2)) == 3
    assert _weighted_median(np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 8.0])) > 6


def log_looks(wh, size_wh):
    """Log size relative to the image, and log aspect."""
    logs = np.log(wh)
    return np.stack([logs.mean(axis=1) - np.log(size_wh).mean(), logs[:, 0] - logs[:, 1]], axis=1)


def test_fans_teach_the_sizes_of_what_lies_alone():
    scenes, free = [], []
    for seed in range(120):
        _, objects = draw_scene(np.random.default_rng(seed))
        kinds, boxes, alone = (np.array(part) for part in zip(*objects, strict=True))
        scenes.append((boxes, kinds.astype(np.int64), SIZE_WH))
        free.append(alone.astype(bool))
    rng = np.random.default_rng(0)
    model = fit_sizes(MeasuredObjects.of(scenes), 3, rng=rng)
    for kind in range(3):
        real = np.concatenate(
            [
                log_looks((b[:, 2:] - b[:, :2])[(k == kind) & f], SIZE_WH)
                for (b, k, _), f in zip(scenes, free, strict=True)
            ]
        )
        every = np.concatenate([log_looks((b[:, 2:] - b[:, :2])[k == kind], SIZE_WH) for b, k, _ in scenes])
        drawn = np.concatenate(
            [
                model.draw(
                    rng.uniform(-0.4, 0.4, 6), kind, size, deviation=model.deviation(b, k, size), rng=rng
                )
                for b, k, size in scenes
            ]
        )
        low, high = np.quantile(real, [0.025, 0.975], axis=0)
        outside = [
            ((looks < low - 1e-4) | (looks > high + 1e-4)).mean(axis=0).max()
            for looks in (log_looks(drawn, SIZE_WH), every)
        ]
        assert outside[0] <= 0.05
        assert outside[1] > 0.4  # what was learnt from before
        assert (log_looks(drawn, SIZE_WH).std(axis=0) > 0.6 * real.std(axis=0)).all()


def heaps(num, *, strips, alone):
    """Scenes of one category: `strips` of 6 x 40 in a row, and `alone` objects of 30 x 40."""
    scenes = []
    for _ in range(num):
        row = [[20 + 6 * k, 30, 26 + 6 * k, 70] for k in range(strips)]
        boxes = row + [[100 + 50 * k, 120, 130 + 50 * k, 160] for k in range(alone)]
        scenes.append((np.array(boxes, float), np.zeros(len(boxes), np.int64), (320, 240)))
    return scenes


def drawn_aspects(model, kind, *, num=400):
    wh = model.draw(np.zeros(num), kind, (320, 240), deviation=0.0, rng=np.random.default_rng(1))
    return wh, np.log(wh[:, 0] / wh[:, 1])


def test_a_category_with_few_free_objects_corrects_its_hidden_ones():
    others = heaps(20, strips=3, alone=1)
    hidden = [(boxes, kinds + 1, size) for boxes, kinds, size in heaps(6, strips=4, alone=0)]
    model = fit_sizes(MeasuredObjects.of(others + hidden), 2, rng=np.random.default_rng(0))
    wh, aspects = drawn_aspects(model, 1)
    assert np.median(aspects) == pytest.approx(np.log(30 / 40), abs=0.05)  # 6 / 40 as annotated
    assert np.median(wh.max(axis=1)) == pytest.approx(40, rel=0.1)


def test_a_category_with_hardly_any_objects_has_the_shapes_of_all_at_its_size():
    one = (np.array([[40.0, 40.0, 120.0, 120.0]]), np.ones(1, np.int64), (320, 240))
    model = fit_sizes(
        MeasuredObjects.of([*heaps(30, strips=3, alone=1), one]), 2, rng=np.random.default_rng(0)
    )
    wh, aspects = drawn_aspects(model, 1)
    assert (np.abs(aspects - np.log(30 / 40)) < 0.1).mean() > 0.6
    assert np.exp(model.centres[1]) > np.exp(model.centres[0])
    assert np.median(wh.max(axis=1)) > 42


def test_where_nothing_stands_free_all_objects_count():
    model = fit_sizes(MeasuredObjects.of(heaps(10, strips=5, alone=0)), 1, rng=np.random.default_rng(0))
    assert model.loss == 0
    _, aspects = drawn_aspects(model, 0)
    assert np.median(aspects) == pytest.approx(np.log(6 / 40), abs=0.05)


def test_hidden_neighbours_do_not_make_a_scene_small():
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(80):
        zoom = np.exp(rng.normal(0, 0.3))
        strips = [[20 + 4 * zoom * k, 30, 20 + 4 * zoom * (k + 1), 30 + 16 * zoom] for k in range(4)]
        alone = [[110 + 70 * k, 120, 110 + 70 * k + 30 * zoom, 120 + 40 * zoom] for k in range(2)]
        scenes.append((np.array(strips + alone), np.zeros(6, np.int64), (320, 240)))
    model = fit_sizes(MeasuredObjects.of(scenes), 1, rng=rng)
    assert model.loss == pytest.approx(np.log(16 / 40), abs=0.1)
    boxes, kinds, size = heaps(1, strips=4, alone=2)[0]
    boxes[:4, 3] = 46  # 40 px at a zoom of 1
    assert abs(model.deviation(boxes, kinds, size)) < 0.15  # -0.5 if they counted as they are
