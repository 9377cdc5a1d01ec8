"""Several detectors that vote: their boxes are fused, and what only one of them sees counts less."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from augsynth.core.boxes import clip_boxes
from augsynth.core.errors import BackendError
from augsynth.core.scene import Detections, FloatArray, Image
from augsynth.detectors.port import Choice, Detector, MaskDetector, has_masks, without_doubles

SAME_OBJECT_IOU = 0.55
INSTALL = "pip install 'augsynth[ensemble]'"


class EnsembleDetector:
    """Detectors behind one `Detector` port, fused by weighted boxes fusion.

    Boxes of one category that overlap are averaged, weighted by score. The fused score is the members' mean,
    with 0 for a member that saw nothing there: an object that one of two sees keeps half its score.

    Source: Solovyev, Wang, Gabruseva, "Weighted boxes fusion" (2021), arXiv 1910.13302.
    """

    def __init__(
        self,
        members: Sequence[Detector],
        *,
        min_score: float = 0.05,
        same_object_iou: float = SAME_OBJECT_IOU,
    ) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one detector")
        if not 0 < same_object_iou < 1:
            raise ValueError(f"same_object_iou must be in (0, 1), got {same_object_iou}")
        self.name = ", ".join(member.name for member in members)
        self.view_px = round(float(np.median([member.view_px for member in members])))
        self._members = tuple(members)
        self._min_score = min_score
        self._same_object_iou = same_object_iou
        self._fuse = _import_fusion()
        self.has_masks = any(has_masks(member) for member in members)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the fused detections of each image, in its pixels, best score first.

        Boxes are rounded to 0.01 px and scores to 0.0001.
        """
        found = [member.detect(images) for member in self._members]
        return [
            self._fuse_image([member[k] for member in found], (image.shape[1], image.shape[0]))
            for k, image in enumerate(images)
        ]

    def detect_masks(self, images: Sequence[Image], *, of: Choice | None = None) -> list[Detections]:
        """Return what the first member with a mask head detects: boxes are fused, masks can't be."""
        member = next(member for member in self._members if has_masks(member))
        return cast(MaskDetector, member).detect_masks(images, of=of)

    def _fuse_image(self, found: Sequence[Detections], size_wh: tuple[int, int]) -> Detections:
        # Fusion counts boxes, not detectors: one that reports an object twice would vote twice.
        votes = [without_doubles(member, max_iou=self._same_object_iou) for member in found]
        known, labels = np.unique(np.concatenate([vote.category_ids for vote in votes]), return_inverse=True)
        if not len(known):
            return votes[0]
        scale = np.array([*size_wh, *size_wh], np.float64)
        boxes, scores, fused = self._fuse(
            [vote.boxes_xyxy / scale for vote in votes],
            [vote.scores for vote in votes],
            np.split(labels, np.cumsum([len(vote) for vote in votes])[:-1]),
            iou_thr=self._same_object_iou,
            conf_type="avg",
        )
        boxes_xyxy = clip_boxes(np.round(np.asarray(boxes, np.float64) * scale, 2), size_wh)
        rounded: FloatArray = np.round(np.asarray(scores, np.float64), 4).astype(np.float64)
        ids = known[np.asarray(fused, np.int64)]
        keep = (rounded >= self._min_score) & (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(1)
        order = np.flatnonzero(keep)[np.argsort(-rounded[keep], kind="stable")]
        return Detections(boxes_xyxy[order], rounded[order], ids[order])


def _import_fusion() -> Any:
    try:
        return importlib.import_module("ensemble_boxes.ensemble_boxes_wbf").weighted_boxes_fusion
    except ImportError as error:
        raise BackendError(
            f"several detectors are fused with ensemble-boxes, which can't be imported ({error}); install it "
            f"with {INSTALL}"
        ) from None
