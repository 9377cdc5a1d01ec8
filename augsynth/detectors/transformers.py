"""Adapter for transformers detectors: zero-shot ones prompted with category names, and closed-set ones."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from augsynth.core.boxes import clip_boxes
from augsynth.core.errors import BackendError
from augsynth.core.hub import ModelSource, load_part
from augsynth.core.scene import Category, Detections, Image
from augsynth.detectors.port import OFFLINE, Detector, match_categories, without_doubles

SPAN_MODELS = ("grounding-dino", "mm-grounding-dino")
TEXT_MODELS = ("owlvit", "owlv2")
MASK_MODELS = ("mask2former", "maskformer")
MAX_OVERLAP = 0.7
DEFAULT_VIEW_PX = 800


def load_transformers_detector(
    source: ModelSource,
    categories: Sequence[Category],
    *,
    device: str = "cpu",
    batch_size: int = 8,
    min_score: float = 0.05,
) -> Detector:
    """Load a transformers detector from a hub id or a local folder; safetensors only, no remote code.

    Raises:
        BackendError: It can't be loaded, or is no detector that this adapter knows.
        ConfigError: A closed-set detector doesn't know all of the dataset's categories.
    """
    transformers: Any = importlib.import_module("transformers")
    modeling_auto: Any = importlib.import_module("transformers.models.auto.modeling_auto")

    def load(kind: Any, **options: Any) -> Any:
        options |= {"trust_remote_code": False}
        return load_part(source, kind.from_pretrained, what="detector", advice=OFFLINE, **options)

    config = load(transformers.AutoConfig)
    kind = str(config.model_type)
    zero_shot = kind in modeling_auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES
    if zero_shot and kind not in (*SPAN_MODELS, *TEXT_MODELS):
        known = ", ".join((*SPAN_MODELS, *TEXT_MODELS))
        raise BackendError(
            f"{source.name}: zero-shot detectors of type {kind!r} aren't supported; use one of {known}"
        )
    masks = kind in MASK_MODELS
    if not zero_shot and not masks and kind not in modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES:
        raise BackendError(f"{source.name}: {kind!r} is not an object detector; {OFFLINE}")
    auto = transformers.AutoModelForObjectDetection
    if zero_shot:
        auto = transformers.AutoModelForZeroShotObjectDetection
    elif masks:
        auto = transformers.AutoModelForUniversalSegmentation
    if zero_shot:
        processor = load(transformers.AutoProcessor)
        labels = {k: category.id for k, category in enumerate(categories)}
    else:
        processor = load(transformers.AutoImageProcessor)
        names = [config.id2label[k] for k in sorted(config.id2label)]
        labels = match_categories(names, categories, source=source.name)
    network = load(auto, use_safetensors=True)
    adapter: Any = ClosedSetDetector
    if zero_shot:
        adapter = SpanDetector if kind in SPAN_MODELS else TextQueryDetector
    elif masks:
        from augsynth.detectors.query_masks import QueryMaskDetector

        adapter = QueryMaskDetector
    detector: Detector = adapter(
        network,
        processor,
        name=source.title,
        prompts=[category.name for category in categories],
        category_of_label=labels,
        device=device,
        batch_size=batch_size,
        min_score=min_score,
    )
    return detector


class ClosedSetDetector:
    """A detector with labels of its own (DETR, RT-DETR, YOLOS, …)."""

    def __init__(
        self,
        network: Any,
        processor: Any,
        *,
        name: str,
        prompts: Sequence[str],
        category_of_label: dict[int, int],
        device: str,
        batch_size: int,
        min_score: float,
    ) -> None:
        self.name = name
        self._network = network.eval().to(device)
        self._processor = processor
        self._prompts = [" ".join(prompt.casefold().replace("_", " ").split()) for prompt in prompts]
        self._category_of_label = category_of_label
        self._device = device
        self._batch_size = batch_size
        self._min_score = min_score
        self.view_px = _view_px(processor)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the detections of each image, in its pixels, best score first."""
        import torch

        found: list[Detections] = []
        with torch.no_grad():
            for start in range(0, len(images), self._batch_size):
                batch = images[start : start + self._batch_size]
                sizes = [(image.shape[0], image.shape[1]) for image in batch]
                pictures = [PIL.Image.fromarray(image) for image in batch]
                for result, (height, width) in zip(self._results(pictures, sizes), sizes, strict=True):
                    found.append(self._read_result(result, (width, height)))
        return found

    def _results(self, pictures: list[PIL.Image.Image], sizes_hw: list[tuple[int, int]]) -> list[Any]:
        """Return torch `boxes` (xyxy pixels), `scores` and `labels` of each image."""
        inputs = self._processor(images=pictures, return_tensors="pt").to(self._device)
        outputs = self._network(**inputs)
        results: list[Any] = self._processor.post_process_object_detection(
            outputs, threshold=self._min_score, target_sizes=sizes_hw
        )
        return results

    def _read_result(self, result: Any, size_wh: tuple[int, int]) -> Detections:
        boxes = clip_boxes(result["boxes"].float().cpu().numpy().astype(np.float64).reshape(-1, 4), size_wh)
        scores = result["scores"].float().cpu().numpy().astype(np.float64)
        labels = result["labels"].cpu().numpy()
        ids = np.array([self._category_of_label.get(int(label), -1) for label in labels], np.int64)
        known = (ids >= 0) & np.isin(labels, list(self._category_of_label))
        keep = known & (scores >= self._min_score) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        order = np.flatnonzero(keep)[np.argsort(-scores[keep], kind="stable")]
        masks = result["masks"].cpu().numpy()[order] if "masks" in result else None
        kept = without_doubles(
            Detections(boxes[order], scores[order], ids[order], masks), max_iou=MAX_OVERLAP
        )
        return Detections(
            np.round(kept.boxes_xyxy, 2), np.round(kept.scores, 4), kept.category_ids, kept.masks
        )


class TextQueryDetector(ClosedSetDetector):
    """OWL-ViT and OWLv2: every category name is one query."""

    def _results(self, pictures: list[PIL.Image.Image], sizes_hw: list[tuple[int, int]]) -> list[Any]:
        prompts = [f"a photo of a {prompt}" for prompt in self._prompts]
        inputs = self._processor(
            images=pictures, text=[prompts] * len(pictures), return_tensors="pt", truncation=True
        ).to(self._device)
        outputs = self._network(**inputs)
        results: list[Any] = self._processor.post_process_grounded_object_detection(
            outputs, threshold=self._min_score, target_sizes=sizes_hw
        )
        return results


class SpanDetector(ClosedSetDetector):
    """Grounding DINO: the names stand in one text, and a name's score is that of its best token."""

    def _results(self, pictures: list[PIL.Image.Image], sizes_hw: list[tuple[int, int]]) -> list[Any]:
        import torch

        scores: list[torch.Tensor] = []
        boxes: list[torch.Tensor] = []
        for part in self._prompt_parts():
            text = ". ".join(part) + "."
            inputs = self._processor(images=pictures, text=[text] * len(pictures), return_tensors="pt")
            outputs = self._network(**inputs.to(self._device))
            tokens = outputs.logits.float().sigmoid()
            spans = self._spans(inputs["input_ids"][0].tolist(), len(part))
            scores.append(torch.stack([tokens[..., span].amax(-1) for span in spans], dim=-1))
            boxes.append(outputs.pred_boxes.float())
        return [
            self._best_labels([s[k] for s in scores], [b[k] for b in boxes], size_hw)
            for k, size_hw in enumerate(sizes_hw)
        ]

    def _best_labels(self, scores: list[Any], boxes: list[Any], size_hw: tuple[int, int]) -> dict[str, Any]:
        """Give each query of each part its best name."""
        import torch

        found_scores, found_labels, offset = [], [], 0
        for part in scores:
            best, label = part.max(-1)
            found_scores.append(best)
            found_labels.append(label + offset)
            offset += part.shape[-1]
        boxes_cxcywh = torch.cat(boxes)
        centre, size = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:]
        xyxy = torch.cat([centre - size / 2, centre + size / 2], dim=-1)
        scale = xyxy.new_tensor([size_hw[1], size_hw[0]] * 2)
        return {
            "boxes": xyxy * scale,
            "scores": torch.cat(found_scores),
            "labels": torch.cat(found_labels),
        }

    def _prompt_parts(self) -> list[list[str]]:
        """Split the names into texts that the model can read at once."""
        limit = int(getattr(self._network.config, "max_text_len", 256)) - 8
        parts: list[list[str]] = [[]]
        used = 0
        for prompt in self._prompts:
            cost = len(self._tokenizer_ids(prompt)) + 1
            if parts[-1] and used + cost > limit:
                parts.append([])
                used = 0
            parts[-1].append(prompt)
            used += cost
        return parts

    def _tokenizer_ids(self, text: str) -> list[int]:
        ids: list[int] = self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _spans(self, ids: list[int], count: int) -> list[list[int]]:
        """Return the token positions of each name; names are separated by full stops."""
        stop = self._tokenizer_ids(".")[-1]
        special = set(self._processor.tokenizer.all_special_ids) - {self._processor.tokenizer.unk_token_id}
        spans: list[list[int]] = [[]]
        for position, token in enumerate(ids):
            if token == stop:
                spans.append([])
            elif token not in special:
                spans[-1].append(position)
        spans = [span for span in spans if span]
        if len(spans) != count:
            raise BackendError(
                f"{self.name}: its tokenizer can't tell the category names {', '.join(self._prompts)} apart; "
                "rename categories that contain a full stop or only unknown characters"
            )
        return spans


def _view_px(processor: Any) -> int:
    """Return the shorter side that the image processor resizes to."""
    size = getattr(getattr(processor, "image_processor", processor), "size", None) or {}
    sides = [size.get(key) for key in ("shortest_edge", "height", "width")]
    return min((int(side) for side in sides if side), default=DEFAULT_VIEW_PX)
