"""Promptable segmenters of the transformers library (SAM and its successors): from a box to a mask."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.errors import BackendError
from augsynth.core.hub import find_model, load_part
from augsynth.core.scene import FloatArray, Image

# Fixed, so that the pixels of a run don't depend on how many windows are painted together.
BATCH_SIZE = 4
ADVICE = (
    "pass a folder or hub id of a SAM, SAM 2 or SAM-HQ checkpoint with safetensors weights to --segmenter, or "
    "take --masks matting, which needs none"
)


class Segmenter:
    """A promptable segmentation network with its processor.

    Args:
        network: A transformers model for mask generation.
        processor: Its processor.
        name: What was loaded, for messages.
        device: A torch device.
    """

    def __init__(self, network: Any, processor: Any, *, name: str, device: str = "cpu") -> None:
        self.name = name
        self._network = network.eval().to(device)
        self._processor = processor
        self._device = device

    @classmethod
    def load(cls, model: str, *, revision: str | None = None, device: str = "cpu") -> Segmenter:
        """Load a local folder or a hub id; safetensors only, no remote code.

        Raises:
            BackendError: It can't be loaded, or is no promptable segmenter.
        """
        transformers: Any = importlib.import_module("transformers")
        auto: Any = importlib.import_module("transformers.models.auto.modeling_auto")
        source = find_model(model, revision=revision, advice=ADVICE)

        def load(kind: Any, **options: Any) -> Any:
            options |= {"trust_remote_code": False}
            return load_part(source, kind.from_pretrained, what="segmenter", advice=ADVICE, **options)

        config = load(transformers.AutoConfig)
        if config.model_type not in auto.MODEL_FOR_MASK_GENERATION_MAPPING_NAMES:
            raise BackendError(f"{model}: {config.model_type!r} is no promptable segmenter; {ADVICE}")
        processor = load(transformers.AutoProcessor)
        network = load(transformers.AutoModelForMaskGeneration, use_safetensors=True)
        return cls(network, processor, name=model, device=device)

    def segment(self, images: Sequence[Image], boxes_xyxy: Sequence[FloatArray]) -> list[NDArray[np.bool_]]:
        """Return the (h, w) mask of what a box holds, one box an image.

        Args:
            images: HWC uint8 RGB, of any sizes.
            boxes_xyxy: (4,) box in pixels of each image.
        """
        masks: list[NDArray[np.bool_]] = []
        for start in range(0, len(images), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            masks += self._segment_batch(images[part], boxes_xyxy[part])
        return masks

    def _segment_batch(
        self, images: Sequence[Image], boxes_xyxy: Sequence[FloatArray]
    ) -> list[NDArray[np.bool_]]:
        import torch
        from PIL import Image as PilImage

        inputs = self._processor(
            images=[PilImage.fromarray(image) for image in images],
            input_boxes=[[[float(v) for v in box]] for box in boxes_xyxy],
            return_tensors="pt",
        )
        sizes = [inputs.pop(key) for key in ("original_sizes", "reshaped_input_sizes") if key in inputs]
        floats = {k: v.float() if v.is_floating_point() else v for k, v in inputs.items()}
        with torch.inference_mode():
            # a box is no ambiguous prompt: one mask, as the authors of SAM advise
            outputs = self._network(
                **{k: v.to(self._device) for k, v in floats.items()}, multimask_output=False
            )
        found = self._processor.post_process_masks(outputs.pred_masks.cpu(), *sizes)
        return [np.asarray(masks.reshape(-1, *masks.shape[-2:])[0].numpy(), np.bool_) for masks in found]
