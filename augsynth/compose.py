"""Between the source image and the model's window: cut, mask, match, feather, stitch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from augsynth.scene import FloatArray, Image, IntArray


def cut_window(image: Image, window_xyxy: IntArray, *, size: int) -> Image:
    """Return the window of an HWC uint8 image resized to (size, size, 3)."""
    x1, y1, x2, y2 = (int(v) for v in window_xyxy)
    crop = image[y1:y2, x1:x2]
    return crop.copy() if crop.shape[0] == size else resize(crop, size)


def resize(image: Image, size: int) -> Image:
    """Resize an HWC uint8 image to (size, size, 3); shrinking averages, enlarging interpolates."""
    method = PilImage.Resampling.LANCZOS if image.shape[0] > size else PilImage.Resampling.BICUBIC
    return np.asarray(PilImage.fromarray(image).resize((size, size), method))


def mask_cells(mask_xyxy: FloatArray, window_xyxy: IntArray, *, num_cells: int) -> NDArray[np.bool_]:
    """Return the latent cells that a mask touches.

    A cell counts as soon as the mask covers any of it (max-pooling), so a mask of a few pixels never vanishes.

    Args:
        mask_xyxy: (4,) region to repaint in source pixels.
        window_xyxy: (4,) square window in source pixels.
        num_cells: Cells along a side of the latent grid.

    Returns:
        (num_cells, num_cells) bool, rows first.
    """
    scale = num_cells / float(window_xyxy[2] - window_xyxy[0])
    low = np.floor((mask_xyxy[:2] - window_xyxy[:2]) * scale + 1e-6).astype(int)
    high = np.ceil((mask_xyxy[2:] - window_xyxy[:2]) * scale - 1e-6).astype(int)
    low = np.clip(low, 0, num_cells - 1)
    high = np.clip(np.maximum(high, low + 1), 1, num_cells)
    cells = np.zeros((num_cells, num_cells), np.bool_)
    cells[low[1] : high[1], low[0] : high[0]] = True
    return cells
