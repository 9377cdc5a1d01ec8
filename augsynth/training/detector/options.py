"""The options of a detector's training."""

from __future__ import annotations

from dataclasses import dataclass

from augsynth.core.options import check_options, internal, option


@dataclass(frozen=True, slots=True)
class DetectorTraining:
    """How to train a detector.

    Attributes:
        weight_decay: Of weights, not of biases and norms.
        max_canvas_px: Larger images are cropped while training.
        ema_decay: Of the averaged weights, which are the ones kept.
        bf16: Mixed precision; None uses it where the processor is faster with it.
        checkpoint_every: Steps between checkpoints.
        cache_mb: Memory for decoded images.

    Raises:
        ConfigError: A value is out of range.
    """

    preset: str = option(
        "fcos_small",
        "Architecture: fcos_tiny, fcos_small, fcos_base, frcnn_base, or a torchvision detector, which starts from its "
        "weights of COCO.",
    )
    epochs: float = option(30.0, "Passes over the images, when steps isn't given.", above=0, high=1_000_000)
    steps: int | None = option(
        None, "Optimizer steps.", low=1, high=10_000_000, unset="as many as the epochs have"
    )
    batch_size: int = option(16, "Images a step.", low=1, high=4096)
    lr: float | None = option(
        None,
        "Peak learning rate of AdamW; warm-up, then cosine down to a fiftieth.",
        above=0,
        high=1,
        unset="0.002, or 0.0002 from weights of COCO",
    )
    image_scale: float | None = option(
        None, "Resize images by this first.", above=0, high=4, unset="chosen from the objects' sizes"
    )
    vertical_flip: bool = option(False, "Mirror top and bottom, too (microscopy, aerial photographs).")
    repeat_threshold: float = option(
        0.1,
        "Share of images below which those of a category are repeated (Gupta et al. 2019, arXiv 1908.03195); 0 turns "
        "it off.",
        low=0,
        high=1,
    )
    paste: float = option(
        0.0, "Chance that an image gets objects of other training images pasted in.", low=0, high=1
    )
    mask_steps: int | None = option(
        None,
        "Steps of a mask head, which gives painted objects their outlines; 0 trains none.",
        low=0,
        high=10_000_000,
        unset="500 where most objects have a mask, else none",
    )
    seed: int = option(42, "Seed of initial weights, order and augmentation.")
    device: str = option("cpu", "Torch device.")
    threads: int | None = option(None, "CPU threads.", low=1, high=1024, unset="torch's default")
    weight_decay: float = internal(0.05, low=0, high=1)
    max_canvas_px: int = internal(640, low=1)
    ema_decay: float = internal(0.998, low=0, high=0.999999)
    bf16: bool | None = internal(None)
    checkpoint_every: int = internal(200, low=1)
    cache_mb: int = internal(4000, low=0)

    def __post_init__(self) -> None:
        check_options(self)
