"""The port between plans and diffusion models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from augsynth.core.errors import BackendError
from augsynth.core.scene import FloatArray, Image


@dataclass(frozen=True, slots=True, eq=False)
class InpaintRequest:
    """One window to repaint.

    Attributes:
        image: (size, size, 3) uint8 RGB window.
        cells: (size // cell, size // cell) bool, true where the model repaints.
        prompt: Text condition.
        seed: Seed of this object's own generator.
        change: (size, size) in [0, 1], how far each pixel of the image is repainted (see `change_map`), 0 outside the
            cells; None paints the cells from noise.
        negative: Text of the unconditional branch for this object; None is the model's own negative prompt.
        reference: (size, size, 3) uint8 picture of what the object should look like, for models that take one.
    """

    image: Image
    cells: NDArray[np.bool_]
    prompt: str
    seed: int
    change: FloatArray | None = None
    negative: str | None = None
    reference: Image | None = None


class Inpainter(Protocol):
    """A model that repaints masked cells of square windows.

    Attributes:
        name: What provenance calls the model.
        size: Side of its window in pixels.
        cell: Pixels per latent cell.
        steps: Denoising steps from noise.
        guidance: Guidance scale in effect.
        tokenizer: What reads the prompts, of the transformers library; None when that isn't known.
        batch_size: Windows of a forward pass; fewer where the device's memory turns out too small.
    """

    name: str
    size: int
    cell: int
    steps: int
    guidance: float
    tokenizer: Any
    batch_size: int

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[Image | None]:
        """Return one (size, size, 3) uint8 picture a request; None where the model refused and blanked it."""
        ...

    def samples_per_window(self, strength: float | None) -> int:
        """Return how many samples the denoiser sees for a window, both branches of guidance counted.

        Args:
            strength: How far a picture to start from is repainted, None where painting starts from noise.
        """
        ...


def inpaint_in_room(inpainter: Inpainter, requests: Sequence[InpaintRequest]) -> list[Image | None]:
    """Return what the model paints; where the device has no memory for its batches, in batches of half the size.

    Raises:
        BackendError: There is no memory for one window.
    """
    import torch

    while True:
        try:
            return inpainter.inpaint(requests)
        except torch.OutOfMemoryError:
            size = min(inpainter.batch_size, len(requests))
            if size <= 1:
                raise BackendError(
                    f"{inpainter.name}: the device has no memory for one window; take a smaller --window-size, "
                    "--precision float16, or a device with more memory, and fewer processes on it"
                ) from None
        inpainter.batch_size = size // 2  # outside of the block, whose error holds what the batch needed
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
