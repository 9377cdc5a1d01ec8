"""Square crops of objects, and what a person could name about them: colour, grain, edge, size, ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from scipy import ndimage

from augsynth.core.scene import FloatArray, Image
from augsynth.inpainting.stitching import resize

GROWTH = 1.3  # side of the crop over the longer side of the box
REACH = 2.0  # side of the native patch that the context ring is read from
VARIANTS = ("whole crop", "object hidden", "surroundings hidden", "both blurred")
GROUPS = ("colour", "sharpness and grain", "edge of the box", "geometry", "context ring", "compression grid")
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One object, cut out at native resolution with its surroundings.

    Attributes:
        patch: (S, S, 3) uint8, the square of `REACH` times the box's longer side; edge pixels are repeated
            where it leaves the image.
        box_xyxy: (4,) the box in the patch.
        corner_xy: Pixel of the image at the patch's corner.
        size_wh: Size of the image.
        category_id: COCO id.
        group: Source image; crops of one group never stand on both sides of a split.
        synthetic: Whether the object was painted.
    """

    patch: Image
    box_xyxy: FloatArray
    corner_xy: tuple[int, int]
    size_wh: tuple[int, int]
    category_id: int
    group: str
    synthetic: bool


def cut_crop(image: Image, box_xyxy: FloatArray, *, category_id: int, group: str, synthetic: bool) -> Crop:
    """Cut an object out of an HWC uint8 image."""
    side = max(8, int(np.ceil(float((box_xyxy[2:] - box_xyxy[:2]).max()) * REACH)))
    low = np.round((box_xyxy[:2] + box_xyxy[2:]) / 2 - side / 2).astype(int)
    columns = np.clip(np.arange(low[0], low[0] + side), 0, image.shape[1] - 1)
    rows = np.clip(np.arange(low[1], low[1] + side), 0, image.shape[0] - 1)
    size_wh = (image.shape[1], image.shape[0])
    box = box_xyxy - np.tile(low, 2)
    return Crop(
        image[np.ix_(rows, columns)], box, (int(low[0]), int(low[1])), size_wh, category_id, group, synthetic
    )


def crop_pixels(crops: Sequence[Crop], *, size: int, variant: str = "whole crop") -> NDArray[np.uint8]:
    """Return (N, size, size, 3) crops of `GROWTH` times the box, whole or with some evidence removed.

    Hidden parts become grey; `both blurred` smooths by a Gaussian of one native pixel, which removes grain
    and fine edges and leaves shape, colour and shading.
    """
    return np.stack([_pixels(crop, size, variant) for crop in crops])


def _pixels(crop: Crop, size: int, variant: str) -> Image:
    patch = crop.patch
    box = _whole(crop)
    if variant == "object hidden":
        patch = patch.copy()
        patch[box] = 128
    elif variant == "surroundings hidden":
        patch = np.full_like(patch, 128)
        patch[box] = crop.patch[box]
    elif variant == "both blurred":
        patch = np.round(ndimage.gaussian_filter(patch.astype(np.float32), (1.0, 1.0, 0))).astype(np.uint8)
    elif variant != "whole crop":
        raise ValueError(f"unknown variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    return resize(np.ascontiguousarray(patch[_square(crop, GROWTH)]), size)


def crop_depths(crops: Sequence[Crop], *, size: int) -> FloatArray:
    """Return (N, size, size) how far inside the box a pixel of the crop lies, 4 pixels = 1, cut to [-1, 1]."""
    planes = []
    for crop in crops:
        square = _square(crop, GROWTH)[0]
        side = square.stop - square.start
        place = (np.arange(size) + 0.5) * side / size + square.start
        low, high = crop.box_xyxy[:2, None], crop.box_xyxy[2:, None]
        across, down = np.minimum(place - low, high - place) * size / side
        planes.append(np.clip(np.minimum(across[None], down[:, None]) / 4, -1, 1))
    return np.stack(planes)


def _square(crop: Crop, growth: float) -> tuple[slice, slice]:
    """Return the central square of the patch, `growth` times the longer side of the box."""
    full = crop.patch.shape[0]
    side = min(full, max(4, round(full / REACH * growth)))
    low = (full - side) // 2
    return slice(low, low + side), slice(low, low + side)


def _whole(crop: Crop, growth: float = 1.0) -> tuple[slice, slice]:
    """Return rows and columns of the box, grown about its centre, in whole pixels inside the patch."""
    centre = (crop.box_xyxy[:2] + crop.box_xyxy[2:]) / 2
    half = (crop.box_xyxy[2:] - crop.box_xyxy[:2]) / 2 * growth
    low = np.clip(np.round(centre - half).astype(int), 0, crop.patch.shape[0] - 2)
    high = np.clip(np.round(centre + half).astype(int), low + 2, crop.patch.shape[0])
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def feature_groups(crops: Sequence[Crop]) -> dict[str, FloatArray]:
    """Return (N, D) features of each group of `GROUPS`, computed at native resolution."""
    rows = [_features(crop) for crop in crops]
    return {name: np.array([row[name] for row in rows]) for name in GROUPS}


def _features(crop: Crop) -> dict[str, list[float]]:
    patch = crop.patch.astype(np.float64)
    box = _whole(crop)
    inside = np.zeros(patch.shape[:2], np.bool_)
    inside[box] = True
    near = np.zeros_like(inside)
    near[_whole(crop, 1.5)] = True
    maps = _detail_maps(patch)
    own, around = _detail(maps, inside), _detail(maps, near & ~inside)
    spectrum = _spectrum(patch[box] @ _LUMA)
    return {
        "colour": _colour(patch, inside),
        "sharpness and grain": [*own, *(a - b for a, b in zip(own, around, strict=True)), *spectrum],
        "edge of the box": _edge(crop, patch),
        "geometry": _geometry(crop),
        "context ring": [*_colour(patch, ~inside), *_detail(maps, ~inside)],
        "compression grid": _grid(patch @ _LUMA, crop.corner_xy),
    }


def _colour(patch: FloatArray, mask: NDArray[np.bool_]) -> list[float]:
    pixels = patch[mask]
    return [*pixels.mean(0), *pixels.std(0), float((pixels.max(1) - pixels.min(1)).mean())]


def _detail_maps(patch: FloatArray) -> dict[str, FloatArray]:
    """Return gradient magnitude and Laplacian of luma, and what a 3 × 3 median leaves of luma and chroma."""
    luma = patch @ _LUMA
    gradient = np.hypot(*np.gradient(luma))
    maps = {"gradient": gradient, "laplacian": ndimage.laplace(luma)}
    for name, plane in (("luma", luma), ("blue", patch[..., 2] - luma), ("red", patch[..., 0] - luma)):
        maps[name] = plane - ndimage.median_filter(plane, 3)
    return maps


def _detail(maps: dict[str, FloatArray], mask: NDArray[np.bool_]) -> list[float]:
    """Return log quantiles of the gradient and log spreads of the fine detail."""
    gradient = np.log(np.quantile(maps["gradient"][mask], (0.1, 0.5, 0.9, 0.99)) + 0.5)
    spreads = [np.log(maps[name][mask].std() + 0.1) for name in ("laplacian", "luma", "blue", "red")]
    quiet = np.abs(maps["luma"][mask])
    return [*gradient, *spreads, float(np.log(np.median(quiet) + 0.1))]


def _spectrum(luma: FloatArray) -> list[float]:
    """Return log shares of power in three bands of spatial frequency, in cycles a pixel."""
    height, width = luma.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    total = power[frequency > 0].sum() + 1e-6
    bands = ((0.15, 0.25), (0.25, 0.375), (0.375, 0.8))
    return [
        float(np.log(power[(frequency >= low) & (frequency < high)].sum() / total + 1e-4))
        for low, high in bands
    ]


def _edge(crop: Crop, patch: FloatArray) -> list[float]:
    """Return the step across rectangles at and outside the box, and the colour of both sides.

    The step is the mean absolute luma difference of two pixels on either side, over the mean difference of
    neighbours in the whole patch; the mask of an edit lies a little outside the box.
    """
    luma = patch @ _LUMA
    usual = np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean() + 0.5
    values: list[float] = []
    for growth in (0.9, 1.0, 1.1, 1.2, 1.35, 1.5):
        inner, outer = (_contour(crop, patch, growth, offset) for offset in (-1.0, 1.0))
        values.append(float(np.log(np.abs((inner - outer) @ _LUMA).mean() / usual + 0.05)))
    for growth in (1.0, 1.2):
        inner, outer = (_contour(crop, patch, growth, offset) for offset in (-2.5, 2.5))
        values += [*(inner - outer).mean(0), float(np.abs(inner.mean(0) - outer.mean(0)).mean())]
    return values


def _contour(crop: Crop, patch: FloatArray, growth: float, offset: float) -> FloatArray:
    """Return (64, 3) colours along the box grown by a factor and widened by `offset` pixels a side."""
    centre = (crop.box_xyxy[:2] + crop.box_xyxy[2:]) / 2
    half = np.maximum((crop.box_xyxy[2:] - crop.box_xyxy[:2]) / 2 * growth + offset, 0.5)
    steps = (np.arange(16) + 0.5) / 8 - 1
    ends = np.ones(16)
    x = np.concatenate([steps, ends, steps, -ends]) * half[0] + centre[0] - 0.5
    y = np.concatenate([-ends, steps, ends, steps]) * half[1] + centre[1] - 0.5
    planes = [ndimage.map_coordinates(patch[..., c], [y, x], order=1, mode="nearest") for c in range(3)]
    return np.stack(planes, axis=-1)


def _geometry(crop: Crop) -> list[float]:
    width, height = crop.box_xyxy[2:] - crop.box_xyxy[:2]
    share = width * height / (crop.size_wh[0] * crop.size_wh[1])
    return [float(np.log(width / height)), float(abs(np.log(width / height))), float(np.log(share))]


def _grid(luma: FloatArray, corner_xy: tuple[int, int]) -> list[float]:
    """Return how much stronger steps are at multiples of 8 pixels of the image (JPEG blocks)."""
    values = []
    for axis, start in ((1, corner_xy[0]), (0, corner_xy[1])):
        steps = np.abs(np.diff(luma, axis=axis)).mean(1 - axis)
        at_block = (np.arange(start + 1, start + 1 + len(steps)) % 8) == 0
        usual = steps[~at_block].mean()
        values.append(
            float(np.log((steps[at_block].mean() + 0.1) / (usual + 0.1))) if at_block.any() else 0.0
        )
    return values


def framed(crop: Crop, *, size: int) -> Image:
    """Return the square crop enlarged with a smooth filter, for people."""
    square = np.ascontiguousarray(crop.patch[_square(crop, GROWTH)])
    return np.asarray(PilImage.fromarray(square).resize((size, size), PilImage.Resampling.BICUBIC))
