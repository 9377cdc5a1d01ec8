"""Training views of a scene: draw every number first, then apply them purely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image

from augsynth.core.scene import FloatArray, Image, IntArray

MIN_VISIBLE = 0.35
FILL = 114


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An image with its labels for training.

    Attributes:
        image: HWC uint8 RGB.
        boxes_xyxy: (N, 4) float64 pixels.
        labels: (N,) int64, from 1; -1 marks a crowd, whose pixels are hidden.
    """

    image: Image
    boxes_xyxy: FloatArray
    labels: IntArray


@dataclass(frozen=True, slots=True)
class View:
    """The numbers drawn for one training view.

    Attributes:
        zoom: Factor of the image's size.
        offset_xy: Position in [0, 1] of the crop inside the image, or of the image on a larger canvas.
        flip: Mirror left and right.
        flip_vertical: Mirror top and bottom.
        gain_rgb: Factor of each channel (brightness and tint).
        contrast: Factor about the mean.
        saturation: Factor about grey.
        noise: Standard deviation of added noise, in grey levels.
        blur: Enlarge from a version smaller by this factor (1 = off).
        noise_seed: Seed of the noise.
    """

    zoom: float
    offset_xy: tuple[float, float]
    flip: bool
    flip_vertical: bool
    gain_rgb: tuple[float, float, float]
    contrast: float
    saturation: float
    noise: float
    blur: float
    noise_seed: int


def draw_view(rng: np.random.Generator, *, vertical_flip: bool, max_zoom: float = 1.35) -> View:
    """Draw a view; half of them keep the native size."""
    zoom = float(np.exp(rng.uniform(-1, 1) * np.log(max_zoom))) if rng.random() < 0.5 else 1.0
    gain = np.exp(rng.normal(0, 0.1)) * np.exp(rng.normal(0, 0.03, 3))
    return View(
        zoom=zoom,
        offset_xy=(float(rng.random()), float(rng.random())),
        flip=bool(rng.random() < 0.5),
        flip_vertical=bool(vertical_flip and rng.random() < 0.5),
        gain_rgb=(float(gain[0]), float(gain[1]), float(gain[2])),
        contrast=float(np.exp(rng.normal(0, 0.12))),
        saturation=float(np.exp(rng.normal(0, 0.15))),
        noise=float(rng.uniform(0, 6)) if rng.random() < 0.3 else 0.0,
        blur=float(rng.uniform(1, 2)) if rng.random() < 0.2 else 1.0,
        noise_seed=int(rng.integers(2**31)),
    )


def apply_view(example: Example, view: View, *, canvas_wh: tuple[int, int]) -> Example:
    """Return the view of an example on a canvas; objects that are mostly cut off lose their label and pixels.

    Args:
        example: Image and labels.
        view: The numbers drawn.
        canvas_wh: Size of the result.

    Returns:
        The view; crowds are hidden behind grey and no longer listed.
    """
    image, boxes = _place(example, view, canvas_wh)
    cut = np.clip(boxes, 0, np.array([*canvas_wh, *canvas_wh]))
    visible = _areas(cut) / np.maximum(_areas(boxes), 1e-9)
    size = (cut[:, 2:] - cut[:, :2]).min(1) if len(cut) else np.zeros(0)
    keep = (visible >= MIN_VISIBLE) & (size >= 2) & (example.labels > 0)
    image = _hide(image, cut[~keep & (visible > 0)], cut[keep])
    image = _photometric(image, view)
    cut, width, height = cut[keep], *canvas_wh
    if view.flip:
        image, cut = image[:, ::-1], np.stack([width - cut[:, 2], cut[:, 1], width - cut[:, 0], cut[:, 3]], 1)
    if view.flip_vertical:
        image, cut = image[::-1], np.stack([cut[:, 0], height - cut[:, 3], cut[:, 2], height - cut[:, 1]], 1)
    return Example(np.ascontiguousarray(image), cut, example.labels[keep])


def _areas(boxes_xyxy: FloatArray) -> FloatArray:
    return np.asarray(np.prod(np.clip(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0, None), axis=1))


def _place(example: Example, view: View, canvas_wh: tuple[int, int]) -> tuple[Image, FloatArray]:
    """Resize by the zoom and crop, or pad, to the canvas."""
    height, width = example.image.shape[:2]
    zoomed = max(1, round(width * view.zoom)), max(1, round(height * view.zoom))
    image = example.image
    if zoomed != (width, height):
        image = np.asarray(PIL.Image.fromarray(image).resize(zoomed, PIL.Image.Resampling.BILINEAR))
    shift = [
        round((canvas - size) * share)
        for canvas, size, share in zip(canvas_wh, zoomed, view.offset_xy, strict=True)
    ]
    out = np.full((canvas_wh[1], canvas_wh[0], 3), FILL, np.uint8)
    x, y = max(0, shift[0]), max(0, shift[1])
    part = image[max(0, -shift[1]) :, max(0, -shift[0]) :][: canvas_wh[1] - y, : canvas_wh[0] - x]
    out[y : y + part.shape[0], x : x + part.shape[1]] = part
    factor = np.array([zoomed[0] / width, zoomed[1] / height] * 2)
    return out, example.boxes_xyxy * factor + np.array([*shift, *shift])


def _hide(image: Image, hidden_xyxy: FloatArray, kept_xyxy: FloatArray) -> Image:
    """Grey out regions that have no label of their own, except where a kept object is."""
    if not len(hidden_xyxy):
        return image
    mask = np.zeros(image.shape[:2], bool)
    for value, boxes in ((True, hidden_xyxy), (False, kept_xyxy)):
        for x1, y1, x2, y2 in boxes:
            mask[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = value
    out = image.copy()
    out[mask] = FILL
    return out


def _photometric(image: Image, view: View) -> Image:
    height, width = image.shape[:2]
    if view.blur > 1:
        small = max(1, round(width / view.blur)), max(1, round(height / view.blur))
        shrunk = PIL.Image.fromarray(image).resize(small, PIL.Image.Resampling.BILINEAR)
        image = np.asarray(shrunk.resize((width, height), PIL.Image.Resampling.BILINEAR))
    x = image.astype(np.float32)
    grey = x.mean(2, keepdims=True)
    x = grey + (x - grey) * view.saturation
    x = (x - x.mean()) * view.contrast + x.mean()
    x *= np.array(view.gain_rgb, np.float32)
    if view.noise:
        x += np.random.default_rng(view.noise_seed).standard_normal(x.shape, np.float32) * view.noise
    return np.asarray(np.clip(x + 0.5, 0, 255), np.uint8)
