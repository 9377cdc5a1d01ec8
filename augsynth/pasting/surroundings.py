"""What surrounds a place in an image that objects are pasted into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from augsynth.core.scene import FloatArray, Image
from augsynth.placement.ring_features import NUM_SUMMARY

_SIDE = 80
_PLANES = np.array([[1 / 3, 1, 0.5], [1 / 3, -1, 0.5], [1 / 3, 0, -1]], np.float32)  # red, green, blue
TYPICAL_SPREADS = np.array([0.08, 0.05, 0.05, 0.06])


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Colour and unrest around places of an image, from sums over a small copy of it.

    Attributes:
        sums: (h + 1, w + 1, 4) running sums of brightness, two colour differences and squared brightness.
        scale_xy: (2,) pixels of the small copy per pixel of the image.
    """

    sums: FloatArray
    scale_xy: FloatArray

    @classmethod
    def of(cls, image: Image, *, bgr: bool = False) -> Surroundings:
        """Sum up an (H, W, 3) image with values in 0 to 255."""
        height, width = image.shape[:2]
        step = max(1, round(max(height, width) / _SIDE))
        small = image[step // 2 :: step, step // 2 :: step] if min(height, width) > step else image
        colours = small.astype(np.float32) / np.float32(255)
        planes = np.empty((*small.shape[:2], NUM_SUMMARY))
        planes[..., :3] = colours @ (_PLANES[::-1] if bgr else _PLANES)
        planes[..., 3] = planes[..., 0] ** 2
        sums = np.zeros((planes.shape[0] + 1, planes.shape[1] + 1, NUM_SUMMARY))
        np.cumsum(np.cumsum(planes, axis=0), axis=1, out=sums[1:, 1:])
        return cls(sums, np.array([planes.shape[1] / width, planes.shape[0] / height]))

    def rings(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Return the (N, NUM_SUMMARY) `ring_summary` of boxes: brightness, red-green, blue-yellow, spread."""
        centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2 * self.scale_xy
        halves = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2 * self.scale_xy
        outer, outer_count = self._totals(centres, halves * 2.0 + 1.0)
        inner, inner_count = self._totals(centres, halves * 1.3 + 0.3)
        hollow = (outer_count - inner_count >= 3)[:, None]
        total = np.where(hollow, outer - inner, outer)
        count = np.where(hollow[:, 0], outer_count - inner_count, outer_count)
        means = total / np.maximum(count, 1)[:, None]
        means[:, 3] = np.sqrt(np.maximum(means[:, 3] - means[:, 0] ** 2, 0))
        return np.asarray(means)

    def _totals(self, centres: FloatArray, halves: FloatArray) -> tuple[FloatArray, FloatArray]:
        size = np.array([self.sums.shape[1] - 1, self.sums.shape[0] - 1], np.float64)
        x1, y1 = np.minimum(np.maximum(np.rint(centres - halves), 0), size).astype(np.int64).T
        x2, y2 = np.minimum(np.maximum(np.rint(centres + halves), 0), size).astype(np.int64).T
        total = self.sums[y2, x2] - self.sums[y1, x2] - self.sums[y2, x1] + self.sums[y1, x1]
        return total, ((x2 - x1) * (y2 - y1)).astype(np.float64)
