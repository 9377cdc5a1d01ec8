"""The size model: draws stay in its bounds, size and shape go together, and the file form is the same model."""

import json

import numpy as np
import pytest

from augsynth.placement.size import Sizes

IMAGE = (400, 100)  # root of the area 200


@pytest.fixture
def model():
    """Large ones are wide and small ones tall."""
    support = np.array([[-0.4, -0.5], [-0.3, -0.4], [0.3, 0.4], [0.4, 0.5]])
    widths, heights = ([-2.5, 1.0], [-2.5, 1.0])
    bounds = np.array([[widths, heights, [-4.0, 2.0], [-0.45, 0.45]]])
    numbers = (np.array([v]) for v in (-1.0, 0.0, 0.1, 0.1))
    return Sizes(*numbers, 0.5, -0.3, (support,), bounds)


def drawn(model, num=500, *, deviation=0.0, alike=False):
    rng = np.random.default_rng(0)
    return model.draw(np.zeros(num), 0, IMAGE, deviation=deviation, rng=rng, alike=alike)


def test_size_and_shape_go_together_and_what_is_out_of_bounds_is_not_drawn(model):
    wh = drawn(model)
    aspect, side = np.log(wh[:, 0] / wh[:, 1]), np.log(wh.max(axis=1) / 200)
    assert (np.abs(aspect) <= 0.45).all()
    assert np.abs(np.abs(aspect) - 0.4).max() < 0.1  # the rows of 0.5 lie outside
    assert ((side > -1) == (aspect > 0)).all()
    assert 0.3 < (aspect > 0).mean() < 0.7


def test_a_scene_that_lies_outside_is_moved_to_the_bounds(model):
    wh = drawn(model, deviation=3.0)
    assert np.log(wh / 200).max() <= 1.0 + 1e-9
    assert np.log(wh / 200).sum(axis=1).max() <= 2.0 + 1e-9
    assert np.isfinite(wh).all()


def test_alike_is_one_shape_seen_at_each_place(model):
    wh = drawn(model, alike=True)
    assert len(np.unique(np.round(wh, 9), axis=0)) == 1
    tilted = Sizes(
        model.centres, np.ones(1), model.scales, model.aspect_scales, 0.5, 0.0, model.support, model.bounds
    )
    wh = tilted.draw(np.array([-0.1, 0.1]), 0, IMAGE, deviation=0.0, rng=np.random.default_rng(0), alike=True)
    np.testing.assert_allclose(wh[1] / wh[0], np.exp(0.2))


def test_the_deviation_takes_hidden_objects_for_what_they_are(model):
    side = 200 * np.exp(-1.0)
    boxes = np.array([[50, 10, 50 + side, 50]])
    assert model.deviation(boxes, np.zeros(1, np.int64), IMAGE) == pytest.approx(0, abs=1e-9)
    boxes[:, 2] -= side * (1 - np.exp(-0.3))
    hidden = model.deviation(boxes, np.zeros(1, np.int64), IMAGE, free=np.array([False]))
    assert hidden == pytest.approx(0, abs=1e-9)
    assert model.deviation(np.zeros((0, 4)), np.zeros(0, np.int64), IMAGE) == 0


def test_the_file_form_draws_the_same(model):
    copy = Sizes.from_dict(json.loads(json.dumps(model.to_dict())))
    np.testing.assert_array_equal(drawn(copy), drawn(model))
    assert copy.loss == model.loss


def test_log_densities_of_several_categories_at_once_are_those_of_each(model):
    numbers = (np.array([v, 2 * v + 0.5]) for v in (-1.0, 0.1, 0.2, 0.1))
    two = Sizes(*numbers, 0.5, -0.3, model.support * 2, np.repeat(model.bounds, 2, axis=0))
    boxes = np.array([[10.0, 10, 60, 40], [5, 50, 45, 90], [100, 20, 180, 60]])
    together = two.log_densities(boxes, np.array([0, 1, 0]), IMAGE, deviation=0.1)
    for kind in (0, 1):
        alone = two.log_densities(boxes, kind, IMAGE, deviation=0.1)
        assert together[kind] == alone[kind] and together[1 - kind] != alone[1 - kind]
