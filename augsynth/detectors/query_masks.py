"""Adapter for transformers networks that answer with masks (Mask2Former, MaskFormer): boxes are their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image

from augsynth.core.scene import Detections, Image
from augsynth.detectors.port import Choice, chosen
from augsynth.detectors.transformers import ClosedSetDetector

MAX_QUERIES = 100


class QueryMaskDetector(ClosedSetDetector):
    """An instance segmenter with labels of its own."""

    has_masks = True

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the detections of each image, in its pixels, best score first."""
        found = self.detect_masks(images)
        return [Detections(d.boxes_xyxy, d.scores, d.category_ids) for d in found]

    def detect_masks(self, images: Sequence[Image], *, of: Choice | None = None) -> list[Detections]:
        """Return what `detect` does, or the chosen ones, with masks; images go one by one, so that none is padded."""
        import torch

        found = []
        with torch.inference_mode():
            for image in images:
                size_wh = (image.shape[1], image.shape[0])
                inputs = self._processor(images=[PIL.Image.fromarray(image)], return_tensors="pt")
                outputs = self._network(
                    **{k: v.to(self._device) for k, v in inputs.items() if k.startswith("pixel_")}
                )
                found.append(self._read_result(self._read_queries(outputs, size_wh), size_wh))
        return chosen(found, of)

    def _read_queries(self, outputs: Any, size_wh: tuple[int, int]) -> dict[str, Any]:
        """Return torch `boxes`, `scores`, `labels` and `masks` of an image's queries.

        A score is the class's probability times the mean probability inside the mask (Cheng et al., "Masked-attention
        mask transformer", CVPR 2022).
        """
        import torch

        chances = outputs.class_queries_logits[0].float().softmax(-1)[:, :-1]
        count = min(MAX_QUERIES, chances.numel())
        scores, places = chances.flatten().topk(count)
        labels, queries = places % chances.shape[1], places // chances.shape[1]
        fine = scores >= self._min_score
        scores, labels, queries = scores[fine], labels[fine], queries[fine]
        logits = outputs.masks_queries_logits[0].float()[queries]
        if not len(logits):
            empty = torch.zeros((0, size_wh[1], size_wh[0]), dtype=torch.bool)
            return {"boxes": torch.zeros((0, 4)), "scores": scores, "labels": labels, "masks": empty}
        inside = (logits > 0).float()
        sure = (logits.sigmoid() * inside).flatten(1).sum(1) / (inside.flatten(1).sum(1) + 1e-6)
        full = torch.nn.functional.interpolate(
            logits[:, None], (size_wh[1], size_wh[0]), mode="bilinear", align_corners=False
        )
        masks = full[:, 0] > 0
        boxes = torch.stack([_bounds(mask) for mask in masks])
        return {"boxes": boxes, "scores": scores * sure, "labels": labels, "masks": masks}


def _bounds(mask: Any) -> Any:
    """Return the (4,) bounds of a mask in whole pixels; zeros, an empty box, where it is empty."""
    import torch

    rows, columns = torch.where(mask.any(1))[0], torch.where(mask.any(0))[0]
    if not len(rows):
        return torch.zeros(4, device=mask.device)
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
