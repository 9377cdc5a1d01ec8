"""A trained model to go on from, grown where more is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.hub import first_line
from augsynth.core.seeding import derive_seed
from augsynth.inpainting.checkpoints import inspect_checkpoint
from augsynth.training.painter.growth import grow_latents, grow_window
from augsynth.training.painter.options import InpainterTraining
from augsynth.training.painter.presets import Preset, find_preset

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A model to train further.

    Attributes:
        folder: Where it is.
        parts: vae, unet, text_encoder, tokenizer and scheduler.
        grown_from: Its autoencoder before its latent channels grew; None where they didn't.
    """

    folder: Path
    parts: dict[str, Any]
    grown_from: AutoencoderKL | None = None


def open_start(training: InpainterTraining, start_from: str | Path | None) -> tuple[Preset, Start | None]:
    """Return the sizes of the model to train, and the model to go on from.

    Raises:
        ConfigError: Unknown preset, a window that the model can't have, a model that needs steps for its denoiser and
            gets none, fewer latent channels than there are, or nothing to start from.
    """
    preset = find_preset(training.preset)
    preset = replace(preset, latent_channels=training.latent_channels or preset.latent_channels)
    if start_from is None:
        if not training.denoiser_steps:
            raise ConfigError(
                "denoiser_steps is 0: only a model that --start names can do without; give some"
            )
        return preset.with_window(training.window_size or preset.size), None
    folder = _find_start(start_from)
    parts = _load_start(folder, preset)
    preset = preset.with_window(training.window_size or parts["unet"].config.sample_size * preset.cell)
    parts["unet"].register_to_config(sample_size=preset.size // preset.cell)
    former = parts["vae"]
    if training.latent_channels in (None, former.config.latent_channels):
        return preset, Start(folder, parts)
    if not training.denoiser_steps:
        raise ConfigError(
            "denoiser_steps is 0, but latent_channels changes what the denoiser sees; give some"
        )
    grown = grow_latents(parts, preset.latent_channels, seed=derive_seed(training.seed, "growth"))
    return preset, Start(folder, grown, former)


def _find_start(model: str | Path) -> Path:
    """Return the folder of the model to go on from."""
    try:
        folder = inspect_checkpoint(str(model)).source.path
    except BackendError as error:
        raise ConfigError(f"start: {error}") from error
    if folder is None:
        raise ConfigError(f"start: {model} is no folder; pass the model folder of an earlier training")
    return folder


def _load_start(folder: Path, preset: Preset) -> dict[str, Any]:
    """Return the parts of the model to go on from; it must be one that the preset made."""
    from diffusers import StableDiffusionInpaintPipeline

    try:
        pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder, use_safetensors=True)
    except Exception as error:  # diffusers raises whatever a damaged part makes it raise
        raise ConfigError(f"start: {folder} can't be loaded ({first_line(error)})") from error
    names = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
    parts = {name: getattr(pipeline, name) for name in names}
    if _channels(parts["unet"]) == preset.unet_channels[1:]:
        parts = grow_window(parts)
    for name, channels in (("vae", preset.vae_channels), ("unet", preset.unet_channels)):
        if _channels(parts[name]) != channels:
            raise ConfigError(
                f"start: the {name} of {folder} has {_channels(parts[name])} channels, the preset's {channels}; choose "
                "the preset it was trained with, or one of its kind for windows of twice the size"
            )
    return parts


def _channels(part: Any) -> tuple[int, ...]:
    return tuple(part.config.block_out_channels)
