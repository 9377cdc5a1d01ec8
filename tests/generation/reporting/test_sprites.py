"""Sheets of pictures: every cell holds its window, none is enlarged, and a page of many stays light."""

import io

import numpy as np
import pytest
from PIL import Image

from augsynth.generation.reporting.sprites import (
    COLUMNS,
    MOST_BYTES,
    MOST_SHOWN,
    TILE_SIZES,
    TileSize,
    choose_size,
    cut_and_whole,
    draw_sheet,
)
from tests.generation.reporting.pages import tiles_of

FINE = TileSize(64, 95, 10)


def test_each_cell_holds_its_window_before_and_after() -> None:
    colours = np.random.default_rng(0).integers(0, 255, (11, 2, 3))
    sizes = [(200, 200), (40, 40), (100, 50)] * 4
    pairs = [
        np.hstack([np.full((h, w, 3), colour, np.uint8) for colour in pair])
        for pair, (w, h) in zip(colours, sizes, strict=False)
    ]
    sheet = draw_sheet(pairs, FINE)
    assert sheet.sizes_wh == ((64, 64), (40, 40), (64, 32)) * 3 + ((64, 64), (40, 40))
    picture = np.array(Image.open(io.BytesIO(sheet.webp))).astype(int)
    assert picture.shape == (3 * 64, COLUMNS * 128, 3)
    for number, (width, height) in enumerate(sheet.sizes_wh):
        for half in range(2):
            x, y = number % COLUMNS * 128 + half * 64, number // COLUMNS * 64
            middle = picture[y + height // 2, x + width // 2]
            assert np.abs(middle - colours[number, half]).max() < 25


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw_sheet([], FINE)


def test_the_more_attempts_the_smaller_the_pictures() -> None:
    chosen = [choose_size(num) for num in (1, 400, 401, 1500, 1501, 6000, 10**6)]
    assert chosen == sorted(chosen) and chosen[0] == 0 and chosen[-1] < len(TILE_SIZES)
    assert TILE_SIZES[choose_size(40)].side_px > 1.5 * TILE_SIZES[choose_size(5000)].side_px


def test_whatever_is_painted_a_size_is_small_enough_for_a_page() -> None:
    pairs = tiles_of(64, side=128)  # grain and all
    smallest = len(draw_sheet(pairs, TILE_SIZES[-1]).webp) / len(pairs)
    assert MOST_SHOWN * smallest < MOST_BYTES


def test_a_cut_out_is_shown_whole_and_alone() -> None:
    picture, alpha = np.full((4, 6, 3), 200, np.uint8), np.zeros((4, 6), np.uint8)
    alpha[:, :3] = 255
    both = cut_and_whole(picture, alpha)
    assert both.shape == (4, 12, 3) and (both[:, :9] == 200).all() and (both[:, 9:] == 160).all()
