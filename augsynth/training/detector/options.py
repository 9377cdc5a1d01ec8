"""The options of a detector's training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DetectorTraining:
    """How to train.

    Attributes:
        preset: Architecture, see `architectures.PRESETS`, or a torchvision detector's name.
        epochs: Passes over the images, when `steps` is None.
        steps: Optimiser steps.
        batch_size: Images in a step.
        lr: Peak learning rate of AdamW; warm-up, then cosine down to a fiftieth.
        weight_decay: Of weights, not of biases and norms.
        image_scale: Images are resized by this; None chooses from the objects' sizes.
        max_canvas_px: Larger images are cropped while training.
        vertical_flip: Also mirror top and bottom (microscopy, aerial photographs).
        repeat_threshold: Images of categories in fewer than this share of images are repeated (Gupta et al.
            2019, arXiv 1908.03195); 0 turns it off.
        paste: Chance that objects of other training images are pasted into an image (`AffinityPaste`'s way, all
            categories about alike); 0 turns it off.
        ema_decay: Of the averaged weights, which are the ones kept.
        seed: Of initial weights, order and augmentation.
        bf16: Mixed precision; None uses it where the processor is faster with it.
        device: A torch device.
        threads: CPU threads, None for torch's default.
        checkpoint_every: Steps between checkpoints.
        cache_mb: Memory for decoded images.
    """

    preset: str = "fcos_small"
    epochs: float = 30.0
    steps: int | None = None
    batch_size: int = 16
    lr: float = 2e-3
    weight_decay: float = 0.05
    image_scale: float | None = None
    max_canvas_px: int = 640
    vertical_flip: bool = False
    repeat_threshold: float = 0.1
    paste: float = 0.0
    ema_decay: float = 0.998
    seed: int = 42
    bf16: bool | None = None
    device: str = "cpu"
    threads: int | None = None
    checkpoint_every: int = 200
    cache_mb: int = 4000

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch_size", "lr", "max_canvas_px", "checkpoint_every", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if self.image_scale is not None and not 0 < self.image_scale <= 4:
            raise ValueError(f"image_scale must be in (0, 4], got {self.image_scale}")
        for name in ("paste", "repeat_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {self.ema_decay}")
