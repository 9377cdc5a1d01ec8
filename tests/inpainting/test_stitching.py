import numpy as np
import pytest

from augsynth.core.seeding import derive_rng
from augsynth.inpainting.stitching import cells_xyxy, cut_window, fit_back, mask_cells, stitch


def smooth_image(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = [80 + 60 * np.sin(x / 17), 90 + 50 * np.cos(y / 23), 100 + 0.3 * x]
    return np.stack(planes, -1).round().astype(np.uint8)


def test_a_mask_of_one_pixel_keeps_its_cell() -> None:
    cells = mask_cells(np.array([37.2, 21.4, 37.9, 21.8]), np.array([0, 0, 64, 64]), num_cells=16)
    assert cells.sum() == 1
    assert cells[5, 9]


def test_a_mask_covers_every_cell_it_touches() -> None:
    cells = mask_cells(np.array([10.0, 11.0, 30.0, 21.0]), np.array([8, 8, 40, 40]), num_cells=8)
    rows, columns = np.nonzero(cells)
    assert (rows.min(), rows.max()) == (0, 3)
    assert (columns.min(), columns.max()) == (0, 5)


@pytest.mark.parametrize("side", [64, 96, 40])
def test_pixels_outside_the_feathered_mask_are_untouched(side: int) -> None:
    image = derive_rng(1).integers(0, 256, (120, 150, 3)).astype(np.uint8)
    window = np.array([20, 10, 20 + side, 10 + side])
    cells = mask_cells(np.array([35.0, 25.0, 50.0, 40.0]), window, num_cells=16)
    picture = derive_rng(2).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    result = stitch(image, picture, window_xyxy=window, cells=cells, feather=3, rng=derive_rng(3))
    x1, y1, x2, y2 = cells_xyxy(cells, window)
    columns, rows = np.arange(150) + 0.5, np.arange(120) + 0.5
    inside = ((rows > y1) & (rows < y2))[:, None] & ((columns > x1) & (columns < x2))[None]
    assert np.array_equal(result[~inside], image[~inside])
    assert (result != image)[inside].any(axis=-1).mean() > 0.7


@pytest.mark.parametrize("side", [24, 40, 57, 64])
def test_a_window_that_is_put_back_keeps_its_finest_detail(side: int) -> None:
    rng = np.random.default_rng(side)
    image = rng.integers(20, 235, (80, 90, 3)).astype(np.uint8)
    window = np.array([7, 5, 7 + side, 5 + side])
    cells = np.zeros((16, 16), bool)
    cells[4:12, 3:11] = True
    picture = cut_window(image, window, size=64)
    options = {"feather": 2.0, "rng": rng, "match_colour": False, "match_grain": False}
    stitched = stitch(image, picture, window_xyxy=window, cells=cells, **options)
    assert np.abs(stitched.astype(int) - image).mean() < 0.5
    assert np.abs(stitched.astype(int) - image).max() <= 4


@pytest.mark.parametrize(("side", "size"), [(16, 64), (48, 64), (63, 64), (300, 512), (511, 512)])
def test_putting_back_never_blows_up_the_models_noise(side: int, size: int) -> None:
    """What is amplified most is a row that enlarging nearly erases: pixels in turn, where they are shifted by half."""
    turns = np.where(np.arange(side) % 2, 1.0, -1.0)
    for centre in (0.25, 0.5, 0.75):
        wave = turns * np.exp(-(((np.arange(side) - centre * side) / (side / 12)) ** 2))
        row = np.repeat(wave[None, :, None], 3, axis=2).repeat(side, axis=0)
        image = np.clip(np.round(128 + 100 * row), 0, 255).astype(np.uint8)
        seen = cut_window(image, np.array([0, 0, side, side]), size=size).astype(float) - 128
        picture = np.clip(np.round(128 + seen * 100 / np.abs(seen).max()), 0, 255).astype(np.uint8)
        back = fit_back(picture, side) - 128
        assert np.linalg.norm(back) / side < 1 / 0.3 * np.linalg.norm(picture.astype(float) - 128) / size


def test_a_uniform_tint_of_the_reconstruction_is_taken_out() -> None:
    image = smooth_image(96, 96)
    window = np.array([16, 16, 80, 80])
    cells = mask_cells(np.array([36.0, 36.0, 60.0, 60.0]), window, num_cells=16)
    tinted = np.clip(cut_window(image, window, size=64).astype(int) + np.array([12, -9, 6]), 0, 255).astype(
        np.uint8
    )
    arguments = {"window_xyxy": window, "cells": cells, "feather": 3.0}
    with_match = stitch(image, tinted, rng=derive_rng(0), **arguments)
    without = stitch(image, tinted, rng=derive_rng(0), match_colour=False, match_grain=False, **arguments)
    left, tint = (np.abs(r.astype(int) - image).mean() for r in (with_match, without))
    assert tint > 0.3
    assert left < tint / 5


def test_grain_of_the_source_is_restored() -> None:
    clean = smooth_image(96, 96)
    noisy = np.clip(clean + derive_rng(5).normal(0, 6, clean.shape), 0, 255).round().astype(np.uint8)
    window = np.array([16, 16, 80, 80])
    cells = mask_cells(np.array([32.0, 32.0, 64.0, 64.0]), window, num_cells=16)
    painted = cut_window(clean, window, size=64)
    result = stitch(noisy, painted, window_xyxy=window, cells=cells, feather=2, rng=derive_rng(6))
    spread = (result.astype(float) - clean)[34:62, 34:62].std()
    assert 4.5 < spread < 7.5


def test_the_same_generator_gives_the_same_bytes() -> None:
    image = smooth_image(80, 80)
    window = np.array([8, 8, 72, 72])
    cells = mask_cells(np.array([30.0, 30.0, 50.0, 50.0]), window, num_cells=16)
    picture = cut_window(image, window, size=64)[::-1].copy()
    first, second = (
        stitch(image, picture, window_xyxy=window, cells=cells, feather=3, rng=derive_rng(9))
        for _ in range(2)
    )
    assert np.array_equal(first, second)
