"""One image while objects are pasted into it: pixels, what covers what, and the labels that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import clip_boxes
from augsynth.core.masks import FlatPolygons, bounds_of, trace_outer
from augsynth.core.scene import FloatArray, IntArray, Scene
from augsynth.pasting.patch import Blend, Patch, paste
from augsynth.pasting.visibility import (
    Cover,
    pixel_region,
    recut_box,
    recut_mask,
    recut_polygons,
)

Masks = NDArray[np.uint8] | list[FlatPolygons] | None
_SLACK = 2
_LOW_TWICE = [0, 1, 0, 1]  # of a corner or a region: what np.tile gives, in a tenth of the time


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What is annotated in an image, in the form that training wants it back.

    Attributes:
        boxes_xyxy: (N, 4) float64 pixels.
        category_ids: (N,) int64.
        is_crowd: (N,) bool, crowds and ignore regions: never cut, never dropped.
        masks: (N, H, W) uint8 bitmaps, or N lists of polygons, or None.
    """

    boxes_xyxy: FloatArray
    category_ids: IntArray
    is_crowd: NDArray[np.bool_]
    masks: Masks


@dataclass(frozen=True, slots=True, eq=False)
class _Pasted:
    region_xyxy: IntArray
    covered: NDArray[np.bool_]
    box_xyxy: FloatArray
    category_id: int
    layer: int


class PasteTarget:
    """An image that objects are pasted into; what it was made of stays as it was.

    Attributes:
        image: A copy of the image, with what was pasted.
        scene: The valid objects that were there, and those pasted.
    """

    def __init__(self, image: NDArray[Any], scene: Scene, labels: Labels) -> None:
        self.image = np.array(image)
        self.scene = scene
        self._labels = labels
        self._cover = Cover(scene.size_wh)
        self._pasted: list[_Pasted] = []

    @property
    def num_pasted(self) -> int:
        """Objects pasted so far, with those that came along in their boxes."""
        return len(self._pasted)

    def paste(self, patch: Patch, box_xyxy: FloatArray, category_id: int, *, blend: Blend) -> bool:
        """Paste a patch so that its object lies where the box begins; other objects in it come along.

        Returns:
            Whether anything became visible.
        """
        low = np.rint(box_xyxy[:2] - patch.fitted_box()[:2]).astype(np.int64)
        region, covered = paste(self.image, patch, low, blend=blend)
        if patch.has_mask and not patch.estimated:
            box = bounds_of(covered)
            box = None if box is None else box + region[_LOW_TWICE]
        else:
            box = clip_boxes((patch.box_xyxy + low[_LOW_TWICE])[None], self.scene.size_wh)[0]
        if box is None or not (box[2:] > box[:2]).all():
            return False
        self._cover.add(region, covered)
        boxes, ids = [box], [category_id]
        if len(patch.others_xyxy) and self._labels.masks is None:
            others = clip_boxes(patch.others_xyxy + low[_LOW_TWICE], self.scene.size_wh)
            shown = (others[:, 2:] > others[:, :2]).all(axis=1)
            boxes, ids = [*boxes, *others[shown]], [*ids, *patch.other_ids[shown].tolist()]
        layer = len(self._cover.regions_xyxy)
        for each, kind in zip(boxes, ids, strict=True):
            self._pasted.append(_Pasted(region, covered, each, kind, layer))
            self.scene = self.scene.adding(each, category_id=kind, annotation_id=0)
        return True

    def settle(self, *, min_visible: float) -> tuple[Labels, IntArray]:
        """Return the labels of what can be seen now: objects that were covered are cut again or dropped.

        Args:
            min_visible: Least visible share of an object that keeps its label.

        Returns:
            The labels, and for each the index it had before, -1 for a pasted one.
        """
        old, num = self._labels, len(self._labels.boxes_xyxy)
        boxes = np.concatenate([old.boxes_xyxy, [p.box_xyxy for p in self._pasted]])
        ids = np.concatenate([old.category_ids, [p.category_id for p in self._pasted]])
        crowd = np.concatenate([old.is_crowd, np.zeros(self.num_pasted, bool)])
        layers = np.concatenate([np.zeros(num, np.int64), [p.layer for p in self._pasted]])
        masks = self._all_masks()
        keep = np.ones(len(boxes), bool)
        touched = self._cover.touched(clip_boxes(boxes, self.scene.size_wh), layers)
        for k in touched[~crowd[touched]].tolist():
            boxes[k], visible = self._recut(boxes[k], int(layers[k]), masks, k)
            keep[k] = visible > 0 and visible >= min_visible
        kept = np.flatnonzero(keep)
        chosen: Masks = masks
        if isinstance(masks, list):
            chosen = [masks[k] for k in kept.tolist()]
        elif masks is not None and not keep.all():
            chosen = masks[kept]
        labels = Labels(boxes[kept], ids[kept], crowd[kept], chosen)
        return labels, np.where(kept < num, kept, -1)

    def _recut(self, box: FloatArray, layer: int, masks: Masks, k: int) -> tuple[FloatArray, float]:
        """Cut what lies over an object out of its mask or box; return the new box and the visible share."""
        if masks is None:
            region = pixel_region(box, self.scene.size_wh)
            return recut_box(box, self._cover.hidden(region, layer), region)
        grown = box + np.array([-_SLACK, -_SLACK, _SLACK, _SLACK])
        region = pixel_region(grown, self.scene.size_wh)
        hidden = self._cover.hidden(region, layer)
        if isinstance(masks, list):
            masks[k], box, visible = recut_polygons(masks[k], box, hidden, region)
            return box, visible
        return recut_mask(masks[k], box, hidden, region)

    def _all_masks(self) -> Masks:
        """Return new masks of what was there and what was pasted, nothing cut yet."""
        old = self._labels.masks
        if old is None:
            return None
        if isinstance(old, list):
            return [*old, *(trace_outer(p.covered, low_xy=p.region_xyxy[:2]) for p in self._pasted)]
        masks = np.zeros((len(old) + self.num_pasted, *self.image.shape[:2]), np.uint8)
        masks[: len(old)] = old
        for mask, pasted in zip(masks[len(old) :], self._pasted, strict=True):
            x1, y1, x2, y2 = pasted.region_xyxy.tolist()
            mask[y1:y2, x1:x2] = pasted.covered
        return masks
