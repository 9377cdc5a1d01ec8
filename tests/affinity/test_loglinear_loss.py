"""The loss of the log-linear model against its formula, case by case."""

from dataclasses import replace

import numpy as np
import pytest

from augsynth.affinity.loglinear import hide_one, log_loss
from augsynth.affinity.loglinear_loss import Loss, symmetric
from tests.affinity.tiny_data import objects

ROWS = [(1, 2, 0), (3, 1, 1), (0, 1, 4), (1, 0, 1), (0, 5, 0), (2, 2, 0)]
OFFSET = np.array([0.5, 0.2, -0.4])


def drawn(scale: float) -> np.ndarray:
    return symmetric(np.random.default_rng(1).normal(size=(8, 3)) * scale)


@pytest.mark.parametrize(
    "scale", [1.0, 300.0]
)  # the second is beyond what single precision holds without a shift
def test_the_loss_is_that_of_the_hide_one_cases(scale: float) -> None:
    cases, theta = hide_one(objects(*ROWS)), drawn(scale)
    wanted = log_loss(OFFSET + cases.features @ theta, cases).sum()
    (chunk,) = Loss.of(objects(*ROWS), OFFSET).chunks
    value, gradient = chunk.value_and_gradient(theta.astype(np.float32))
    assert value == pytest.approx(wanted, rel=1e-4)
    assert np.isfinite(gradient).all()


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    theta, cases = drawn(0.5), hide_one(objects(*ROWS))
    (chunk,) = Loss.of(objects(*ROWS), OFFSET).chunks
    _, gradient = chunk.value_and_gradient(theta.astype(np.float32))
    slope = np.zeros_like(theta)
    for place in np.ndindex(*theta.shape):
        sides = []
        for step in (1e-5, -1e-5):
            moved = theta.copy()
            moved[place] += step
            sides.append(log_loss(OFFSET + cases.features @ moved, cases).sum())
        slope[place] = (sides[0] - sides[1]) / 2e-5
    np.testing.assert_allclose(symmetric(gradient), symmetric(slope), atol=1e-4)


def test_the_curvature_is_that_of_the_features_of_the_cases() -> None:
    cases, loss = hide_one(objects(*ROWS)), Loss.of(objects(*ROWS), OFFSET)
    weight = np.exp(OFFSET) / np.exp(OFFSET).sum()
    squares = np.asarray(cases.features.power(2).sum(0)).ravel()
    np.testing.assert_allclose(loss.curvature[3:], np.outer(squares, weight * (1 - weight))[3:])


def test_images_are_split_into_chunks_of_whole_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images, zero = objects(*ROWS * 20), np.zeros((8, 3), np.float32)
    (one,) = Loss.of(images, OFFSET).chunks
    monkeypatch.setattr("augsynth.affinity.loglinear_loss._CHUNK_CELLS", 1)
    chunks = Loss.of(images, OFFSET).chunks
    assert len(chunks) > 10
    assert sum(len(chunk.target) for chunk in chunks) == len(hide_one(images).target)
    values = [chunk.value_and_gradient(zero)[0] for chunk in chunks]
    assert sum(values) == pytest.approx(one.value_and_gradient(zero)[0], rel=1e-5)


def test_what_stands_for_several_categories_is_penalised_as_often() -> None:
    loss = replace(Loss.of(objects(*ROWS), OFFSET, members=np.array([1.0, 1.0, 4.0])), strength=2.0)
    assert loss.penalty[0].tolist() == [2, 2, 8]
    assert loss.penalty[2].tolist() == [8, 8, 32]
    assert loss.penalty[3 + 2].tolist() == [40, 40, 160]
    assert loss.penalty[6].tolist() == [1, 1, 4]
