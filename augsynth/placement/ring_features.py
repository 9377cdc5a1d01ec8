"""What surrounds a box: colour, texture and edges of rings, from integral images.

The ring is the box grown by a context factor minus the box grown by a third, so that neither the box's
content nor what an object does to its closest surroundings (shadow, blurred or loosely annotated outline) is
taken for a reason to stand there; a shadow that reaches further is still seen. Integral images make a ring
cost the same whatever its size, so that hundreds of candidates of an image cost little more than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from PIL import Image as PilImage

from augsynth.core.scene import FloatArray, Image

_MAX_SIDE, _FINE_SIDE = 256, 1024
_GROWTH, _PAD = 1.35, 1.0
_CONTEXTS = ((2.0, 2.5), (3.0, 4.5))
_SIDE_CONTEXT = (2.2, 3.5)
_MIN_PIXELS = 3.0
_NUM_PLAIN = 9
NUM_CHANNELS = _NUM_PLAIN + 3
NUM_SUMMARY = 4
"""Numbers of a `ring_summary`."""


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """The integral images of one image.

    Attributes:
        sums: (H + 1, W + 1, 4) running sums over the reduced image, of four channels each: brightness, two colour
            differences, grain; three bands of texture, one edge direction; the other one, squares of the first three.
        scale: Pixels of the reduced image per pixel of the source.
        mean: (NUM_CHANNELS,) mean over the image.
    """

    sums: tuple[FloatArray, ...]
    scale: float
    mean: FloatArray

    @classmethod
    def of(cls, image: Image) -> Rings:
        """Compute the integral images of an (H, W, 3) uint8 image."""
        channels, scale = _channels(image)
        height, width = channels[0].shape
        quads = [cv2.merge(channels[k : k + 4]) for k in range(0, NUM_CHANNELS, 4)]
        sums = tuple(np.asarray(cv2.integral(quad, sdepth=cv2.CV_64F), np.float64) for quad in quads)
        return cls(sums, scale, np.concatenate([each[-1, -1] for each in sums]) / (height * width))

    def features(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Return (N, F) ring features of boxes given in source pixels.

        Columns: mean of each channel in a near and a far ring, spread of the first three channels there, the
        same means against the image's, near against far, and how much the four sides differ.
        """
        boxes = boxes_xyxy * self.scale
        inner = _grown(boxes, _GROWTH, _PAD)
        within, num_within = self._totals(inner)
        rings = []
        for factor, pad in _CONTEXTS:
            total, count = self._totals(_grown(boxes, factor, pad))
            rings.append(self._mean_or(total - within, count - num_within, self.mean[None]))
        near, far = rings
        sides = self._sides(inner, _grown(boxes, *_SIDE_CONTEXT), near)
        columns = []
        for ring in rings:
            columns += [ring[:, :_NUM_PLAIN], _spread(ring), (ring - self.mean)[:, :_NUM_PLAIN]]
        columns += [(near - far)[:, :_NUM_PLAIN]]
        columns += [sides.std(axis=0), sides.max(axis=0) - sides.min(axis=0), sides[3] - sides[2]]
        return np.concatenate(columns, axis=1)

    def signatures(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Return (N, D) plain near-ring means, for comparing places of one image with each other."""
        boxes = boxes_xyxy * self.scale
        within, num_within = self._totals(_grown(boxes, _GROWTH, _PAD))
        total, count = self._totals(_grown(boxes, *_CONTEXTS[0]))
        return self._mean_or(total - within, count - num_within, self.mean[None])[:, :_NUM_PLAIN]

    def _sides(self, inner: FloatArray, outer: FloatArray, fallback: FloatArray) -> FloatArray:
        """Return (4, N, C) means left, right, above, below; a side outside the image takes the ring's."""
        parts = []
        for edge, limit in ((2, 0), (0, 2), (3, 1), (1, 3)):
            side = outer.copy()
            side[:, edge] = inner[:, limit]
            parts.append(self._mean_or(*self._totals(side), fallback)[:, :_NUM_PLAIN])
        return np.stack(parts)

    @staticmethod
    def _mean_or(total: FloatArray, count: FloatArray, fallback: FloatArray) -> FloatArray:
        mean = total / np.maximum(count, 1.0)[:, None]
        return np.where((count >= _MIN_PIXELS)[:, None], mean, fallback)

    def _totals(self, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return (N, C) sums and (N,) pixel counts of boxes of the reduced image, cut to it."""
        height, width = self.sums[0].shape[:2]
        size = np.array([width - 1, height - 1] * 2)
        x1, y1, x2, y2 = np.clip(np.round(boxes), 0, size).astype(np.int64).T
        x2, y2 = np.maximum(x1, x2), np.maximum(y1, y2)
        parts = [sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1] for sums in self.sums]
        return np.concatenate(parts, axis=1), ((x2 - x1) * (y2 - y1)).astype(np.float64)


def ring_summary(features: FloatArray) -> FloatArray:
    """Return the (NUM_SUMMARY,) mean brightness, red-green, blue-yellow and spread of brightness of a near ring.

    Args:
        features: (F,) one row of `Rings.features`; nan comes back where it is empty, that is unknown.
    """
    if len(features) <= _NUM_PLAIN:
        return np.full(NUM_SUMMARY, np.nan)
    return features[[0, 1, 2, _NUM_PLAIN]]


def _grown(boxes: FloatArray, factor: float, pad: float) -> FloatArray:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * factor + pad
    return np.concatenate([centre - half, centre + half], axis=1)


def _spread(ring: FloatArray) -> FloatArray:
    """Return standard deviations of the first three channels from their means and mean squares."""
    return np.sqrt(np.clip(ring[:, _NUM_PLAIN:] - ring[:, :3] ** 2, 0, None))


def _reduced(image: Image, max_side: int) -> Image:
    height, width = image.shape[:2]
    factor = min(1.0, max_side / max(height, width))
    if factor == 1.0:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(PilImage.fromarray(image).resize(size, PilImage.Resampling.BOX, reducing_gap=2.0))


def _channels(image: Image) -> tuple[list[FloatArray], float]:
    """Return NUM_CHANNELS float32 (H, W) channels of the reduced image, and its scale."""
    fine = _reduced(image, _FINE_SIDE)
    coarse = _reduced(fine, _MAX_SIDE)
    red, green, blue = cv2.split(np.float32(coarse) / 255)
    light = (red + green + blue) / 3
    smooth = [light, *(_smoothed(light, sigma) for sigma in (1.0, 2.0, 4.0))]
    bands = [np.sqrt(cv2.absdiff(a, b)) for a, b in pairwise(smooth)]
    dx, dy = (
        cv2.Sobel(smooth[1], cv2.CV_32F, *order, borderType=cv2.BORDER_REFLECT) for order in ((1, 0), (0, 1))
    )
    strength = np.sqrt(dx * dx + dy * dy) + np.float32(1e-3)
    plain = [
        light,
        red - green,
        (red + green) / 2 - blue,
        _grain(fine, (light.shape[1], light.shape[0])),
        *bands,
    ]
    plain += [(dx * dx - dy * dy) / strength, 2 * dx * dy / strength]
    return [*plain, *(channel**2 for channel in plain[:3])], light.shape[1] / image.shape[1]


def _smoothed(light: FloatArray, sigma: float) -> FloatArray:
    width = 2 * round(4 * sigma) + 1
    return np.asarray(cv2.GaussianBlur(light, (width, width), sigma, borderType=cv2.BORDER_REFLECT))


def _grain(fine: Image, size_wh: tuple[int, int]) -> FloatArray:
    """Return the (H, W) square root of the mean absolute pixel difference of the finer image."""
    light = cv2.transform(np.float32(fine), np.full((1, 3), 1 / 765, np.float32))
    change = np.zeros_like(light)
    change[:-1] += np.abs(light[1:] - light[:-1])
    change[:, :-1] += np.abs(light[:, 1:] - light[:, :-1])
    reduced = PilImage.fromarray(change).resize(size_wh, PilImage.Resampling.BOX)
    return np.asarray(np.sqrt(np.asarray(reduced)))
