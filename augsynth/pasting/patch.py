"""Paste cut-outs into images: resize, soften, blend, and say which pixels are covered.

Pure functions on arrays; the order of colour channels doesn't matter as long as image and patch share it. They
run in a data loader, so resizing and blurring are OpenCV's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from augsynth.core.masks import bounds_of
from augsynth.core.scene import FloatArray, Image, IntArray

Opacity = NDArray[np.uint8]
_OPAQUE = 128
_MIRRORED = [2, 1, 0, 3]
_TURNED = [1, 2, 3, 0]  # y becomes x; the far side in x becomes the near one in y
_GRID = 16
_MAX_SHIFT, _MAX_SHIFT_OUTLINED = 60.0, 25.0
_MAX_FRAME, _MIN_FRAME = 0.12, 0.06
_MIN_ROOM = 0.02
_FloatPlane = NDArray[np.float32]


class Blend(StrEnum):
    """How a cut-out meets the image.

    HARD: with its outline as it is, every pixel either old or new. A cut-out without a known outline has no
    hard edge worth keeping and is feathered.
    FEATHER: with a soft edge.
    POISSON: with a soft edge, and the difference of the two backgrounds carried smoothly over the object, as
    gradient-domain cloning does (Pérez et al. 2003; its membrane on a coarse grid, as Farbman et al. 2009).
    """

    HARD = "hard"
    FEATHER = "feather"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A cut-out ready to be pasted.

    Attributes:
        image: (h, w, 3) uint8.
        alpha: (h, w) uint8 opacity of the object; 255 over its box where no outline is known.
        box_xyxy: (4,) float64 box of the object in pixels of the patch; what lies around it is margin.
        has_mask: Whether alpha follows an outline.
        estimated: That outline is a guess: good enough to blend by, not to be a label.
        others_xyxy: (M, 4) boxes of other objects that come along in a box without an outline.
        other_ids: (M,) their categories.
    """

    image: Image
    alpha: Opacity
    box_xyxy: FloatArray
    has_mask: bool
    estimated: bool = False
    others_xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    other_ids: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    def flipped(self) -> Patch:
        """Return the patch mirrored left to right."""
        far = np.array([self.image.shape[1], 0, self.image.shape[1], 0], np.float64)
        sign = np.array([-1, 1, -1, 1], np.float64)
        return replace(
            self,
            image=np.asarray(cv2.flip(self.image, 1)),
            alpha=np.asarray(cv2.flip(self.alpha, 1)),
            box_xyxy=(far + sign * self.box_xyxy)[_MIRRORED],
            others_xyxy=(far + sign * self.others_xyxy)[:, _MIRRORED],
        )

    def turned(self, quarters: int) -> Patch:
        """Return the patch turned counter-clockwise by quarters of a circle."""
        patch = self
        for _ in range(quarters % 4):
            width = patch.image.shape[1]
            far = np.array([0, width, 0, width], np.float64)
            sign = np.array([1, -1, 1, -1], np.float64)
            patch = replace(
                patch,
                image=np.rot90(patch.image),
                alpha=np.rot90(patch.alpha),
                box_xyxy=far + sign * patch.box_xyxy[_TURNED],
                others_xyxy=far + sign * patch.others_xyxy[:, _TURNED],
            )
        return patch

    def trimmed(self, margin: float) -> Patch:
        """Return the patch with at most `margin` times the box's longer side, and 3 pixels, around the box."""
        left, top, right, bottom = self.box_xyxy.tolist()
        room = margin * max(right - left, bottom - top) + 3
        height, width = self.alpha.shape
        x1, y1 = max(math.floor(left - room), 0), max(math.floor(top - room), 0)
        x2, y2 = min(math.ceil(right + room), width), min(math.ceil(bottom + room), height)
        part = slice(y1, y2), slice(x1, x2)
        shift = np.array([x1, y1, x1, y1])
        return replace(
            self,
            image=self.image[part],
            alpha=self.alpha[part],
            box_xyxy=self.box_xyxy - shift,
            others_xyxy=self.others_xyxy - shift,
        )

    def scaled(self, factor: float) -> Patch:
        """Return the patch resized; shrinking averages, enlarging interpolates."""
        height, width = self.alpha.shape
        size = max(1, round(width * factor)), max(1, round(height * factor))
        if size == (width, height):
            return self
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        image = cv2.resize(np.ascontiguousarray(self.image), size, interpolation=method)
        alpha = cv2.resize(np.ascontiguousarray(self.alpha), size, interpolation=method)
        scale = np.array([size[0] / width, size[1] / height] * 2)
        return replace(
            self,
            image=np.asarray(image),
            alpha=np.asarray(alpha),
            box_xyxy=self.box_xyxy * scale,
            others_xyxy=self.others_xyxy * scale,
        )

    def is_cut_off(self) -> bool:
        """Return whether the object was next to its picture's border: it has margin on some sides but not on all."""
        height, width = self.alpha.shape
        x1, y1, x2, y2 = self.box_xyxy.tolist()
        room = x1, y1, width - x2, height - y2
        return bool(max(room) >= 3 and min(room) < 1 + _MIN_ROOM * max(x2 - x1, y2 - y1))

    def fitted_box(self) -> FloatArray:
        """Return the (4,) box that fits what is opaque, or the patch's box where no outline is known."""
        if not self.has_mask or self.estimated:
            return self.box_xyxy
        box = bounds_of(self.alpha >= _OPAQUE)
        return self.box_xyxy if box is None else box


def paste(
    image: NDArray[Any], patch: Patch, low_xy: IntArray, *, blend: Blend
) -> tuple[IntArray, NDArray[np.bool_]]:
    """Blend a patch into an image in place; what reaches outside is cut.

    Args:
        image: (H, W, 3); its type is kept. Only the pixels under the softened patch change.
        patch: In its final size.
        low_xy: (2,) int, where the patch's upper left corner goes; may be negative.
        blend: How the edge is treated.

    Returns:
        The (4,) int64 region of the image, and its (h, w) bool pixels that show the object rather than the
        image. Both are empty where nothing of the patch lies inside.
    """
    left, top = int(low_xy[0]), int(low_xy[1])
    x1, y1 = max(left, 0), max(top, 0)
    x2 = max(x1, min(image.shape[1], left + patch.alpha.shape[1]))
    y2 = max(y1, min(image.shape[0], top + patch.alpha.shape[0]))
    region = np.array([x1, y1, x2, y2], np.int64)
    if x2 == x1 or y2 == y1:
        return region, np.zeros((y2 - y1, x2 - x1), bool)
    part = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
    below, above = image[y1:y2, x1:x2], patch.image[part]
    soft = opacity(patch, blend)[part]
    if blend is Blend.HARD and patch.has_mask and not patch.estimated:
        shown = soft > 0
        below[shown] = above[shown]
        return region, shown
    old, new = below.astype(np.float32), above.astype(np.float32)
    if blend is Blend.POISSON:
        limit = _MAX_SHIFT_OUTLINED if patch.has_mask else _MAX_SHIFT
        new += membrane(old - new, _background(patch)[part], limit=limit)
    mixed = np.subtract(new, old, out=new)
    mixed *= (soft * np.float32(1 / 255))[..., None]
    mixed += old
    if np.issubdtype(image.dtype, np.integer):
        np.rint(mixed, out=mixed)  # an opacity of 0 gives back the old value exactly
        np.minimum(np.maximum(mixed, 0, out=mixed), 255, out=mixed)
    below[...] = mixed
    return region, np.asarray(soft >= _OPAQUE)


def opacity(patch: Patch, blend: Blend) -> Opacity:
    """Return the (h, w) opacity a patch is blended with."""
    if not patch.has_mask:
        return _frame(patch)
    if blend is Blend.HARD and not patch.estimated:
        return (patch.alpha >= _OPAQUE) * np.uint8(255)
    side = float((patch.box_xyxy[2:] - patch.box_xyxy[:2]).min())
    sigma = min(max(0.015 * side, 0.6), 2.5)
    return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(patch.alpha), (0, 0), sigma))


def _frame(patch: Patch) -> Opacity:
    """Return opacity that fades over the margin around the box; a side without margin fades inside it."""
    height, width = patch.alpha.shape
    ramps = []
    for low, high, length in ((0, 2, width), (1, 3, height)):
        start, end = float(patch.box_xyxy[low]), float(patch.box_xyxy[high])
        side = end - start
        at = np.arange(length) + 0.5
        sides = []
        for room, inward in ((start, at - start), (length - end, end - at)):
            outer = min(room, _MAX_FRAME * side + 3)
            inner = max(0.0, _MIN_FRAME * side + 1 - outer)
            sides.append(np.clip((inward + outer) / (outer + inner), 0, 1))
        ramp = np.minimum(*sides)
        ramps.append(ramp * ramp * (3 - 2 * ramp))
    return np.asarray(np.rint(255 * ramps[1][:, None] * ramps[0][None]), np.uint8)


def _background(patch: Patch) -> NDArray[np.bool_]:
    """Return the (h, w) pixels that show what was around the object."""
    if patch.has_mask:
        return np.asarray(patch.alpha == 0)
    known = np.ones(patch.alpha.shape, bool)
    x1, y1 = (int(v) for v in patch.box_xyxy[:2])
    x2, y2 = (int(np.ceil(v)) for v in patch.box_xyxy[2:])
    known[y1:y2, x1:x2] = False
    return known


def membrane(difference: _FloatPlane, known: NDArray[np.bool_], *, limit: float) -> _FloatPlane:
    """Continue a difference of backgrounds smoothly over the pixels where it isn't known.

    Solved coarsely, by averaging down and interpolating back up (pull-push: Gortler et al. 1996), since what
    is sought is smooth.

    Args:
        difference: (h, w, 3) float32.
        known: (h, w) bool; with fewer than 8 pixels set the result is 0.
        limit: Largest correction in grey levels; surroundings that differ by more aren't explained by light.

    Returns:
        (h, w, 3) float32.
    """
    height, width = known.shape
    if np.count_nonzero(known) < 8:
        return np.zeros_like(difference)
    weighted = np.empty((height, width, 4), np.float32)
    weighted[..., 3] = known
    limited = np.minimum(np.maximum(difference, -limit), limit)
    np.multiply(limited, weighted[..., 3:], out=weighted[..., :3])
    level = cv2.resize(weighted, (min(_GRID, width), min(_GRID, height)), interpolation=cv2.INTER_AREA)
    levels = [level]
    while max(level.shape[:2]) > 1:
        size = (level.shape[1] + 1) // 2, (level.shape[0] + 1) // 2
        level = cv2.resize(level, size, interpolation=cv2.INTER_AREA)
        level = level.reshape(size[1], size[0], 4)
        level *= np.minimum(1 / np.maximum(level[..., 3:], 1e-6), 4)
        levels.append(level)
    filled = level[..., :3] / np.maximum(level[..., 3:], 1e-6)
    for level in reversed(levels[:-1]):
        size = level.shape[1], level.shape[0]
        coarse = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR).reshape(size[1], size[0], 3)
        filled = level[..., :3] + coarse * (1 - level[..., 3:])
    return np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR))
