"""The options of an inpainting model's training from scratch."""

from __future__ import annotations

from dataclasses import dataclass

from augsynth.inpainting.prompts.templates import DEFAULT_TEMPLATE


@dataclass(frozen=True, slots=True)
class InpainterTraining:
    """How to train an inpainting model from scratch.

    Attributes:
        preset: Name in `presets.PRESETS`.
        autoencoder_steps, decoder_steps, denoiser_steps: Optimizer steps of the three stages; no decoder
            steps leave the decoder as it was: for a new model as blurred as the autoencoder's mean error makes it.
        latent_channels: Numbers that stand for a latent cell: 4 for a new model when None, as many as it has for one
            that is trained further. More hold finer detail, and give the denoiser more to learn.
        window_size: Side of the window in pixels; 0 is the preset's, or that of the model to start from. Windows that
            are larger in the images are shrunk to it, and what is painted there is enlarged again: softer than what is
            around it.
        num_windows: Training windows to cut.
        symmetry, balance: See `WindowRules`.
        template: Prompt template with `{category}`.
        seed: Seed of everything.
        device: Torch device.
    """

    preset: str = "small-64"
    autoencoder_steps: int = 2000
    decoder_steps: int = 800
    denoiser_steps: int = 8000
    latent_channels: int | None = None
    autoencoder_batch_size: int = 24
    denoiser_batch_size: int = 32
    autoencoder_lr: float = 1e-3
    decoder_lr: float = 2e-4
    denoiser_lr: float = 5e-4
    window_size: int = 0
    num_windows: int = 20_000
    symmetry: str = "mirror"
    balance: float = 0.6
    template: str = DEFAULT_TEMPLATE
    save_every: int = 250
    seed: int = 42
    device: str = "cpu"
