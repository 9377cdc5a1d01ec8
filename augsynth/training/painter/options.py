"""The options of an inpainting model's training from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from augsynth.core.options import check_options, internal, option
from augsynth.inpainting.prompts.templates import DEFAULT_TEMPLATE, check_templates


@dataclass(frozen=True, slots=True)
class InpainterTraining:
    """How to train an inpainting model from scratch.

    Attributes:
        autoencoder_lr, decoder_lr, denoiser_lr: Peak learning rates of the three stages.

    Raises:
        ConfigError: A value is out of range.
    """

    preset: str = option("small-64", "Size of the model: tiny-32, fast-64, small-64, sharp-64 or small-128.")
    autoencoder_steps: int = option(2000, "Steps of the first stage.", low=1, high=10_000_000)
    decoder_steps: int = option(
        800,
        "Steps of the second stage, which sharpens the decoder; 0 leaves it as blurred as the autoencoder's mean "
        "error makes it.",
        low=0,
        high=10_000_000,
    )
    denoiser_steps: int = option(8000, "Steps of the third stage.", low=0, high=10_000_000)
    latent_channels: int | None = option(
        None,
        "Numbers that stand for a latent cell: more hold finer detail, and give the denoiser more to learn.",
        low=1,
        high=64,
        unset="4 for a new model, else as many as it has",
    )
    autoencoder_batch_size: int = option(24, "Windows a step of the first two stages.", low=1, high=4096)
    denoiser_batch_size: int = option(32, "Windows a step of the third stage.", low=1, high=4096)
    window_size: int | None = option(
        None,
        "Side of the window in pixels. Windows that are larger in the images are shrunk to it, and what is painted "
        "there is enlarged again: softer than what is around it.",
        low=1,
        high=4096,
        unset="the preset's, or that of the model to start from",
    )
    num_windows: int = option(20_000, "Training windows to cut.", low=1, high=10_000_000)
    symmetry: Literal["none", "mirror", "dihedral"] = option(
        "mirror", "Windows as they are, mirrored left and right, or in all eight flips and quarter turns."
    )
    balance: float = option(0.6, "0 draws objects as they come, 1 every category alike.", low=0, high=1)
    template: str = option(DEFAULT_TEMPLATE, "Prompt with {category}.")
    save_every: int = option(250, "Steps between checkpoints and sample pictures.", low=1, high=10_000_000)
    seed: int = option(42, "Seed of the training.")
    device: str = option("cpu", "Torch device.")
    autoencoder_lr: float = internal(1e-3, above=0, high=1)
    decoder_lr: float = internal(2e-4, above=0, high=1)
    denoiser_lr: float = internal(5e-4, above=0, high=1)

    def __post_init__(self) -> None:
        check_options(self)
        check_templates((self.template,))
