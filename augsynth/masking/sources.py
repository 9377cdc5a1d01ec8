"""Masks for painted objects: who finds them, and whether they are to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from augsynth.core.boxes import ious, view_around
from augsynth.core.masks import Mask, fitted
from augsynth.core.scene import Detections, FloatArray, Image, IntArray
from augsynth.detectors.port import Detector, box_masks, detect_with_masks
from augsynth.masking.matting import matte
from augsynth.masking.segmenter import Segmenter

_MIN_SAME_IOU = 0.5
_SEGMENTER_CONTEXT = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class PaintedObject:
    """One accepted object, as it was painted.

    Attributes:
        before: (H, W, 3) uint8 image before it was painted.
        after: (H, W, 3) uint8 image after.
        box_xyxy: (4,) box that the filter accepted.
        painted_xyxy: (4,) rectangle outside of which nothing was painted.
        window_xyxy: (4,) int64 window that was painted.
        category_id: COCO id.
    """

    before: Image
    after: Image
    box_xyxy: FloatArray
    painted_xyxy: FloatArray
    window_xyxy: IntArray
    category_id: int

    @property
    def size_wh(self) -> tuple[int, int]:
        """Size of the image."""
        return self.after.shape[1], self.after.shape[0]


class Outliner(Protocol):
    """Finds the masks of painted objects.

    Attributes:
        name: What is written to the annotation: `detector`, `matting` or `segmenter`.
    """

    name: str

    def outline(self, objects: Sequence[PaintedObject]) -> list[Mask | None]:
        """Return the (H, W) mask of each object, None where there is none that fits its box."""
        ...


class MattingOutlines:
    """Masks from what painting changed; they need no model."""

    name = "matting"

    def outline(self, objects: Sequence[PaintedObject]) -> list[Mask | None]:
        """Return the masks that matting trusts."""
        return [self._mask(painted) for painted in objects]

    def _mask(self, painted: PaintedObject) -> Mask | None:
        joint = np.concatenate(
            [
                np.minimum(painted.box_xyxy[:2], painted.painted_xyxy[:2]) - 4,
                np.maximum(painted.box_xyxy[2:], painted.painted_xyxy[2:]) + 4,
            ]
        )
        x1, y1, x2, y2 = _whole(joint, painted.size_wh)
        shift = np.array([x1, y1, x1, y1], np.float64)
        alpha = matte(
            painted.before[y1:y2, x1:x2],
            painted.after[y1:y2, x1:x2],
            box_xyxy=painted.box_xyxy - shift,
            painted_xyxy=painted.painted_xyxy - shift,
        )
        if alpha is None:
            return None
        return fitted(_placed(alpha >= 0.5, (x1, y1), painted.size_wh), painted.box_xyxy)


class DetectorOutlines:
    """Masks from the mask head of the detector that judges."""

    name = "detector"

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def outline(self, objects: Sequence[PaintedObject]) -> list[Mask | None]:
        """Return the masks of the detections whose boxes were accepted, seen in the view that was judged.

        A head that draws from a box alone draws from the accepted one; otherwise the detector looks once more.
        """
        return [self._mask(painted) for painted in objects]

    def _mask(self, painted: PaintedObject) -> Mask | None:
        view = view_around(painted.window_xyxy, painted.size_wh, side=self._detector.view_px)
        x1, y1, x2, y2 = (int(v) for v in view)
        pixels = np.ascontiguousarray(painted.after[y1:y2, x1:x2])
        if (draw := box_masks(self._detector)) is not None:
            [mask] = draw(pixels, (painted.box_xyxy - np.tile(view[:2], 2))[None])
            return fitted(_placed(mask, (x1, y1), painted.size_wh), painted.box_xyxy)

        def nearest(found: Detections) -> IntArray:
            fit = ious(found.boxes_xyxy + np.tile(view[:2], 2), painted.box_xyxy[None])[:, 0]
            fit = np.where(found.category_ids == painted.category_id, fit, 0.0)
            return np.flatnonzero((fit == fit.max(initial=0.0)) & (fit >= _MIN_SAME_IOU))[:1]

        found = detect_with_masks(self._detector, pixels, of=nearest)
        if found.masks is None or not len(found):
            return None
        return fitted(_placed(found.masks[0], (x1, y1), painted.size_wh), painted.box_xyxy)


class SegmenterOutlines:
    """Masks from a promptable segmenter, asked with the accepted box."""

    name = "segmenter"

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def outline(self, objects: Sequence[PaintedObject]) -> list[Mask | None]:
        """Return what the segmenter sees in the boxes, in crops of three times their size."""
        crops = [_whole(_around(painted.box_xyxy), painted.size_wh) for painted in objects]
        found = self._segmenter.segment(
            [
                np.ascontiguousarray(painted.after[y1:y2, x1:x2])
                for painted, (x1, y1, x2, y2) in zip(objects, crops, strict=True)
            ],
            [
                painted.box_xyxy - np.tile(np.array(crop[:2]), 2)
                for painted, crop in zip(objects, crops, strict=True)
            ],
        )
        return [
            fitted(_placed(mask, (crop[0], crop[1]), painted.size_wh), painted.box_xyxy)
            for painted, crop, mask in zip(objects, crops, found, strict=True)
        ]


def _around(box_xyxy: FloatArray) -> FloatArray:
    """Return a square of three times the longer side of a box about its centre."""
    centre = (box_xyxy[:2] + box_xyxy[2:]) / 2
    half = _SEGMENTER_CONTEXT / 2 * float((box_xyxy[2:] - box_xyxy[:2]).max())
    return np.concatenate([centre - half, centre + half])


def _whole(box_xyxy: FloatArray, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the whole pixels of the image that a box touches."""
    low = np.clip(np.floor(box_xyxy[:2]), 0, None).astype(int)
    high = np.minimum(np.ceil(box_xyxy[2:]), size_wh).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _placed(part: Mask, corner: tuple[int, int], size_wh: tuple[int, int]) -> Mask:
    """Return the (H, W) mask of an image of which a part is known."""
    mask = np.zeros((size_wh[1], size_wh[0]), np.bool_)
    x, y = corner
    mask[y : y + part.shape[0], x : x + part.shape[1]] = part
    return mask
