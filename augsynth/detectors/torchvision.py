"""Adapter for torchvision detectors from a folder that `train_detector` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import nn

from augsynth.core.devices import autocast
from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.scene import Category, Detections, Image
from augsynth.detectors.architectures import build_model, channels_last
from augsynth.detectors.folder import DetectorConfig, read_config, read_weights
from augsynth.detectors.mask_head import MaskHead
from augsynth.detectors.port import Choice, chosen, match_categories


def scaled_size(size_wh: tuple[int, int], image_scale: float) -> tuple[int, int]:
    """Return the size in whole pixels of an image resized by `image_scale`."""
    return max(1, round(size_wh[0] * image_scale)), max(1, round(size_wh[1] * image_scale))


def resize_image(image: Image, size_wh: tuple[int, int]) -> Image:
    """Return the image at another size, antialiased; the image itself when the size is its own."""
    if (image.shape[1], image.shape[0]) == size_wh:
        return image
    resized = PIL.Image.fromarray(image).resize(size_wh, PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized, np.uint8)


def to_tensor(image: Image) -> torch.Tensor:
    """Return a CHW float32 tensor in [0, 1] of an HWC uint8 image."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)


def resize_masks(chances: torch.Tensor, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (N, h, w) masks of an image's size from (N, H, W) probabilities of another size."""
    if chances.shape[-2:] != (size_wh[1], size_wh[0]):
        chances = nn.functional.interpolate(
            chances[:, None].float(), (size_wh[1], size_wh[0]), mode="bilinear", align_corners=False
        )[:, 0]
    return np.asarray((chances > 0.5).cpu().numpy(), np.bool_)


class TorchvisionDetector:
    """A torchvision detection network behind the `Detector` port."""

    def __init__(
        self,
        network: nn.Module,
        config: DetectorConfig,
        *,
        name: str,
        category_of_label: dict[int, int],
        device: str = "cpu",
        batch_size: int = 8,
        min_score: float = 0.05,
        mask_head: MaskHead | None = None,
    ) -> None:
        self.name = name
        self.view_px = config.view_px
        self.config = config
        self._network = network.eval().to(device)
        channels_last(self._network, device)
        self._device = device
        self._batch_size = batch_size
        self._min_score = min_score
        heads: Any = getattr(network, "roi_heads", None)
        self._mask_head = mask_head
        self._draws_masks = heads is not None and heads.has_mask()
        self.has_masks = self._draws_masks or mask_head is not None
        self.box_masks = None if self._draws_masks or mask_head is None else mask_head.masks
        self._lookup = np.full(len(config.categories) + 1, -1, np.int64)
        for label, category_id in category_of_label.items():
            self._lookup[label + 1] = category_id

    @classmethod
    def load(
        cls, folder: Path, categories: Sequence[Category], *, device: str, batch_size: int, min_score: float
    ) -> TorchvisionDetector:
        """Load a folder with config.json and model.safetensors.

        Raises:
            BackendError: The folder is damaged.
            ConfigError: It doesn't know all of the dataset's categories.
        """
        config = read_config(folder)
        labels = match_categories([c.name for c in config.categories], categories, source=str(folder))
        try:
            network = build_model(config.preset, num_categories=len(config.categories))
        except ConfigError as error:
            raise BackendError(f"{folder}: {error}; train it again") from None
        try:
            network.load_state_dict(read_weights(folder))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise BackendError(
                f"{folder}: the weights don't fit preset {config.preset!r} ({reason}); train it again"
            ) from None
        return cls(
            network,
            config,
            name=folder.name,
            category_of_label=labels,
            device=device,
            batch_size=batch_size,
            min_score=min_score,
            mask_head=MaskHead.load(folder, device=device),
        )

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the detections of each image, in its pixels, best score first.

        Images of one size go through the network together, so nothing is padded. Boxes are rounded to
        0.01 px and scores to 0.0001, so that they don't depend on what else was in the batch.
        """
        return self._detect(images, with_masks=False)

    def detect_masks(self, images: Sequence[Image], *, of: Choice | None = None) -> list[Detections]:
        """Return what `detect` does, or the chosen ones, with masks where the network has a mask head."""
        found = chosen(self._detect(images, with_masks=self._draws_masks), of)
        head = self._mask_head
        if self._draws_masks or head is None:
            return found
        return [
            replace(seen, masks=head.masks(image, seen.boxes_xyxy))
            for image, seen in zip(images, found, strict=True)
        ]

    def _detect(self, images: Sequence[Image], *, with_masks: bool) -> list[Detections]:
        found: list[Detections | None] = [None] * len(images)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_shape.setdefault(image.shape, []).append(index)
        for indices in by_shape.values():
            for start in range(0, len(indices), self._batch_size):
                chunk = indices[start : start + self._batch_size]
                results = self._detect_batch([images[i] for i in chunk], with_masks=with_masks)
                for index, result in zip(chunk, results, strict=True):
                    found[index] = result
        return [result for result in found if result is not None]

    def _detect_batch(self, images: Sequence[Image], *, with_masks: bool) -> list[Detections]:
        height, width = images[0].shape[:2]
        size_wh = scaled_size((width, height), self.config.image_scale)
        tensors = [to_tensor(resize_image(image, size_wh)).to(self._device) for image in images]
        with torch.no_grad(), autocast(self._device):
            outputs = self._network(tensors)
        back = np.array([width / size_wh[0], height / size_wh[1]] * 2)
        return [self._read_output(output, back, (width, height), with_masks=with_masks) for output in outputs]

    def _read_output(
        self, output: dict[str, Any], back: Any, size_wh: tuple[int, int], *, with_masks: bool
    ) -> Detections:
        boxes = output["boxes"].float().cpu().numpy().astype(np.float64) * back
        boxes = np.clip(np.round(boxes, 2), 0, np.array([*size_wh, *size_wh]))
        scores = np.round(output["scores"].float().cpu().numpy().astype(np.float64), 4)
        ids = self._lookup[output["labels"].cpu().numpy()]
        keep = (ids >= 0) & (scores >= self._min_score) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        order = np.flatnonzero(keep)[np.argsort(-scores[keep], kind="stable")]
        masks = resize_masks(output["masks"].float()[order.tolist(), 0], size_wh) if with_masks else None
        return Detections(boxes[order], scores[order], ids[order], masks)
