"""Pictures of a page as sheets of many: WebP, each cell a window before and after, side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as pil

from augsynth.core.scene import Image

COLUMNS = 4
_GREY = 160
_PAGE = (250, 250, 250)  # of cells that a picture doesn't fill


@dataclass(frozen=True, slots=True)
class TileSize:
    """How large and how fine the pictures of a page are.

    Attributes:
        side_px: Longer side of a window at most; one that is smaller isn't enlarged.
        quality: Of WebP, 0 to 100.
        most: Attempts up to which a page is light with such pictures.
    """

    side_px: int
    quality: int
    most: int


TILE_SIZES = (
    TileSize(224, 80, 400),
    TileSize(160, 74, 1500),
    TileSize(120, 58, 6000),
    TileSize(96, 50, 6000),  # this and the next where pictures are full of detail
    TileSize(64, 40, 6000),
)
MOST_SHOWN = TILE_SIZES[-1].most
MOST_BYTES = 17_000_000  # of all pictures of a page


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of cells in rows of `COLUMNS`.

    Attributes:
        webp: The file.
        sizes_wh: Of the picture in each cell, before and after alike.
        side_px: A cell is twice as wide as that, and as high: that of the largest picture.
    """

    webp: bytes
    sizes_wh: tuple[tuple[int, int], ...]
    side_px: int

    @property
    def base64(self) -> str:
        """The file as text."""
        return base64.b64encode(self.webp).decode("ascii")


def choose_size(num_attempts: int) -> int:
    """Return the position in `TILE_SIZES` for so many attempts."""
    fits = [k for k, size in enumerate(TILE_SIZES) if num_attempts <= size.most]
    return fits[0] if fits else len(TILE_SIZES) - 1


def draw_sheet(pairs: Sequence[Image], size: TileSize) -> Sheet:
    """Return the sheet of (h, 2w, 3) uint8 windows before and after, side by side.

    Raises:
        ValueError: There are none.
    """
    if not pairs:
        raise ValueError("a sheet needs at least one picture")
    windows = [
        [fitted(half, size.side_px) for half in np.split(pair[:, : pair.shape[1] // 2 * 2], 2, axis=1)]
        for pair in pairs
    ]
    sizes = tuple((before.shape[1], before.shape[0]) for before, _ in windows)
    side = max(max(wh) for wh in sizes)
    columns, rows = min(COLUMNS, len(pairs)), -(-len(pairs) // COLUMNS)
    sheet = np.full((rows * side, columns * 2 * side, 3), _PAGE, np.uint8)
    for number, (both, (width, height)) in enumerate(zip(windows, sizes, strict=True)):
        top, left = number // COLUMNS * side, number % COLUMNS * 2 * side
        for k, window in enumerate(both):
            sheet[top : top + height, left + k * side : left + k * side + width] = window
    return Sheet(encoded(sheet, quality=size.quality), sizes, side)


def cut_and_whole(picture: Image, alpha: NDArray[np.uint8]) -> Image:
    """Return a picture with what opacity leaves of it beside it, on grey."""
    share = alpha[..., None].astype(np.float32) / 255
    cut = picture * share + _GREY * (1 - share)
    return np.concatenate([picture, np.round(cut).astype(np.uint8)], axis=1)


def fitted(picture: Image, side_px: int) -> Image:
    """Return a picture whose longer side has at most `side_px`."""
    height, width = picture.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return picture
    wh = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), wh, interpolation=cv2.INTER_AREA), np.uint8)


def encoded(picture: Image, *, quality: int) -> bytes:
    """Return an (H, W, 3) uint8 picture as WebP."""
    file = io.BytesIO()
    pil.fromarray(picture).save(file, "WEBP", quality=quality, method=3)
    return file.getvalue()
