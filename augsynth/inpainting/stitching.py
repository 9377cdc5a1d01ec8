"""Between the source image and the model's window: cut, mask, match, feather, stitch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from augsynth.core.scene import FloatArray, Image, IntArray
from augsynth.inpainting.change_map import replaced_share

LEAST_GAIN = 0.3  # of an enlargement, for what is undone of it
GRAIN_REACH = 1.5  # pixels; what varies more slowly is shade, not grain


def cut_window(image: Image, window_xyxy: IntArray, *, size: int) -> Image:
    """Return the window of an HWC uint8 image resized to (size, size, 3)."""
    x1, y1, x2, y2 = (int(v) for v in window_xyxy)
    crop = image[y1:y2, x1:x2]
    return crop.copy() if crop.shape[0] == size else resize(crop, size)


def resize(image: Image, size: int) -> Image:
    """Resize an HWC uint8 image to (size, size, 3); shrinking averages, enlarging interpolates."""
    method = PilImage.Resampling.LANCZOS if image.shape[0] > size else PilImage.Resampling.BICUBIC
    return np.asarray(PilImage.fromarray(image).resize((size, size), method))


def fit_back(picture: Image, side: int) -> FloatArray:
    """Return an HWC uint8 picture of the model in the size of its window, as (side, side, 3) float64.

    Where `cut_window` enlarged the window, what comes back is the window that, enlarged likewise, is nearest to the
    picture (least squares). Shrinking by an average instead would soften what the enlargement has softened already:
    a window that is cut and put back would lose a tenth of its finest detail, by which painted objects can be told.
    """
    size = picture.shape[0]
    if side >= size:
        return resize(picture, side).astype(np.float64)
    back = _least_squares(side, size)
    return np.asarray(np.einsum("ij,jkc,lk->ilc", back, picture.astype(np.float64), back, optimize=True))


@lru_cache(maxsize=32)
def _least_squares(side: int, size: int) -> FloatArray:
    """Return the (side, size) pseudo-inverse of enlarging a row of `side` pixels to `size` as `resize` does.

    What the enlargement all but erases is left out: where window and picture are nearly of one size, it shifts some
    pixels by half, and undoing that would blow up the model's own noise.
    """
    pixels = PilImage.fromarray(np.eye(side, dtype=np.float32))
    enlarged = np.asarray(pixels.resize((size, side), PilImage.Resampling.BICUBIC), np.float64)
    return np.asarray(np.linalg.pinv(enlarged.T, rcond=LEAST_GAIN))


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


def cells_xyxy(cells: NDArray[np.bool_], window_xyxy: IntArray) -> FloatArray:
    """Return the (4,) bounds of the masked cells, at least one, in source pixels."""
    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    bounds = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
    return np.asarray(bounds * (window_xyxy[2] - window_xyxy[0]) / len(cells) + np.tile(window_xyxy[:2], 2))


def stitch(
    image: Image,
    picture: Image,
    *,
    window_xyxy: IntArray,
    cells: NDArray[np.bool_],
    feather: float,
    rng: np.random.Generator,
    match_colour: bool = True,
    match_grain: bool = True,
) -> Image:
    """Blend a painted window into its image; outside the feathered mask every pixel stays as it was.

    Args:
        image: (H, W, 3) uint8 source.
        picture: (size, size, 3) uint8 window as decoded, its surroundings reconstructed by the model.
        window_xyxy: (4,) square window in source pixels.
        cells: (n, n) bool latent cells that were repainted.
        feather: Width of the soft edge in pixels of the model's window, inside the mask.
        rng: Draws the grain.
        match_colour: Carry the difference between source and reconstruction at the mask's border smoothly
            into the mask (mean-value cloning in its harmonic form: Farbman et al. 2009, Pérez et al. 2003).
        match_grain: Add noise with the spectrum of what the reconstruction lost around the mask.
    """
    x1, y1, x2, y2 = (int(v) for v in window_xyxy)
    side = x2 - x1
    hole = _enlarge(cells, side)
    source = image[y1:y2, x1:x2].astype(np.float64)
    painted = fit_back(picture, side)
    if match_colour:
        seen = cut_window(image, window_xyxy, size=picture.shape[0])
        painted = painted + _colour_correction(seen, picture, cells, side=side)
    if match_grain:
        painted = painted + _grain(source, painted, hole, rng)
    alpha = _soft_edge(hole, max(1.0, feather * side / picture.shape[0]))
    blended = source * (1 - alpha[..., None]) + painted * alpha[..., None]
    result = image.copy()
    inside = alpha > 0
    result[y1:y2, x1:x2][inside] = np.clip(np.round(blended), 0, 255).astype(np.uint8)[inside]
    return result


def stitch_changes(
    image: Image, picture: Image, *, window_xyxy: IntArray, change: FloatArray, rng: np.random.Generator
) -> Image:
    """Carry what a model changed in a window over to its image; where nothing was to change, no pixel does.

    The window may be smaller than its part of the image: what it can't show stays as it is, except where the change map
    replaces it.

    Args:
        image: (H, W, 3) uint8, what painting started from.
        picture: (size, size, 3) uint8 window as painted.
        window_xyxy: (4,) square window in pixels of the image.
        change: (side, side) change map of the window in pixels of the image.
        rng: Draws the grain of what is replaced.
    """
    x1, y1, x2, y2 = (int(v) for v in window_xyxy)
    source = image[y1:y2, x1:x2].astype(np.float64)
    seen = fit_back(cut_window(image, window_xyxy, size=picture.shape[0]), x2 - x1)
    painted = fit_back(picture, x2 - x1)
    changed = source + painted - seen
    replaced = replaced_share(change)[..., None]
    if replaced.any():
        changed += replaced * (seen - source + _grain(source, seen, change > 0, rng))
    result = image.copy()
    inside = change > 0
    result[y1:y2, x1:x2][inside] = np.clip(np.round(changed), 0, 255).astype(np.uint8)[inside]
    return result


def _enlarge(cells: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return the (side, side) pixels whose centre lies in a masked cell."""
    index = ((np.arange(side) + 0.5) * cells.shape[0] / side).astype(int)
    return np.asarray(cells[np.ix_(index, index)])


def _soft_edge(hole: NDArray[np.bool_], width: float) -> FloatArray:
    """Return opacity that rises from 0 at the hole's border to 1 `width` pixels inside.

    The window's own border is no edge when the image ends there: the hole is padded by its edge values.
    """
    from scipy.ndimage import distance_transform_edt

    pad = int(np.ceil(width)) + 1
    padded = np.pad(hole, pad, mode="edge")
    depth = distance_transform_edt(padded)[pad:-pad, pad:-pad]
    ramp = np.clip((depth - 0.5) / width, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp) * hole)


def _colour_correction(seen: Image, picture: Image, cells: NDArray[np.bool_], *, side: int) -> FloatArray:
    """Return the (side, side, 3) smooth difference of source and picture, continued into the hole.

    Solved on a grid of at most 64 cells, whatever the window: what is sought is smooth.
    """
    grid = min(64, picture.shape[0])
    difference = seen.astype(np.float32) - picture.astype(np.float32)
    coarse = rescale(difference, grid, PilImage.Resampling.BOX)
    smooth = _continue_into(coarse.astype(np.float64), _enlarge(cells, grid), reach=2.0)
    return rescale(smooth.astype(np.float32), side, PilImage.Resampling.BILINEAR).astype(np.float64)


def rescale(
    planes: NDArray[np.float32], size: int, method: PilImage.Resampling = PilImage.Resampling.BOX
) -> NDArray[np.float32]:
    """Return (size, size) or (size, size, C) float32 of square planes."""
    if planes.shape[0] == size:
        return planes
    if planes.ndim == 2:
        return np.asarray(PilImage.fromarray(planes).resize((size, size), method))
    return np.stack([rescale(planes[..., c], size, method) for c in range(planes.shape[2])], axis=-1)


def _continue_into(difference: FloatArray, hole: NDArray[np.bool_], *, reach: float) -> FloatArray:
    """Return the blurred difference around the hole and its harmonic continuation inside."""
    from scipy.ndimage import gaussian_filter
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import spsolve

    known = ~hole
    if not known.any() or not hole.any():
        return np.zeros_like(difference)
    weight = gaussian_filter(known.astype(float), reach) + 1e-9
    smooth = np.stack(
        [gaussian_filter(difference[..., c] * known, reach) / weight for c in range(3)], axis=-1
    )
    number = np.full(hole.shape, -1)
    rows, columns = np.nonzero(hole)
    number[rows, columns] = np.arange(len(rows))
    degree = np.zeros(len(rows))
    right = np.zeros((len(rows), 3))
    i, j = [], []
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        y, x = rows + dy, columns + dx
        valid = (y >= 0) & (y < hole.shape[0]) & (x >= 0) & (x < hole.shape[1])
        degree += valid
        y, x, mine = y[valid], x[valid], np.flatnonzero(valid)
        fixed = known[y, x]
        np.add.at(right, mine[fixed], smooth[y[fixed], x[fixed]])
        i.append(mine[~fixed])
        j.append(number[y[~fixed], x[~fixed]])
    i_all = np.concatenate([*i, np.arange(len(rows))])
    j_all = np.concatenate([*j, np.arange(len(rows))])
    values = np.concatenate([-np.ones(len(i_all) - len(rows)), degree])
    solution = spsolve(csc_matrix((values, (i_all, j_all))), right)
    smooth[rows, columns] = np.asarray(solution).reshape(-1, 3)
    return smooth


def _grain(
    source: FloatArray, painted: FloatArray, hole: NDArray[np.bool_], rng: np.random.Generator
) -> FloatArray:
    """Return noise with the spectrum and strength of what the reconstruction lost in the quiet parts around the hole.

    Only what varies within a few pixels counts, and only where the source is flat: edges that a reconstruction
    blurred and shades that it missed are no grain, and as noise they would be mottles. Phases are drawn anew,
    the same for all channels, which keeps their correlation.
    """
    from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

    known = ~hole
    if known.sum() < 64:
        return np.zeros_like(source)
    slope = gaussian_gradient_magnitude(source.mean(axis=-1), GRAIN_REACH)
    quiet = known & (slope <= np.median(slope[known]))
    residual = source - painted
    residual = residual - gaussian_filter(residual, (GRAIN_REACH, GRAIN_REACH, 0))
    spread = 1.4826 * np.median(np.abs(residual[quiet]), axis=0) + 1e-9
    clipped = np.clip(residual, -2.5 * spread, 2.5 * spread) * quiet[..., None]
    phase = np.exp(1j * np.angle(np.fft.fft2(rng.standard_normal(hole.shape))))
    noise = np.real(np.fft.ifft2(np.fft.fft2(clipped, axes=(0, 1)) * phase[..., None], axes=(0, 1)))
    strength = noise.std(axis=(0, 1)) + 1e-9
    return np.asarray(noise * np.minimum(spread, clipped[quiet].std(axis=0)) / strength * hole[..., None])
