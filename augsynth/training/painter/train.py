"""Train a small inpainting model of a dataset's own domain from scratch (`augsynth finetune`)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.hub import first_line
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.core.seeding import derive_seed
from augsynth.inpainting.checkpoints import inspect_checkpoint
from augsynth.inpainting.prompts.book import (
    BACKGROUND_PROMPT,
    category_prompt,
    check_distinct,
)
from augsynth.inpainting.prompts.file import Words, tidy
from augsynth.training.loop import Progress, Schedule, swap_in
from augsynth.training.painter.autoencoder import train_autoencoder
from augsynth.training.painter.decoder import sharpen_decoder
from augsynth.training.painter.denoiser import encode_windows, train_denoiser
from augsynth.training.painter.growth import grow_latents, grow_window
from augsynth.training.painter.options import InpainterTraining
from augsynth.training.painter.presets import Preset, find_preset
from augsynth.training.samples import write_reconstructions, write_samples
from augsynth.training.windows import WindowRules, Windows, cut_windows

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

GROWN_LR = 0.3  # of the rate of a new autoencoder, for one that has learnt already


def train_inpainter(
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    *,
    training: InpainterTraining,
    out: Path,
    progress: Progress,
    start_from: str | Path | None = None,
) -> Path:
    """Train autoencoder, text encoder and denoiser, and write them in the diffusers layout.

    Stopped at any point and started again with the same arguments, it goes on where it was.

    Args:
        dataset: Images and objects to learn.
        read_image: Returns a scene's (H, W, 3) uint8 RGB image.
        out: Directory of the training.
        start_from: `embedded` or the model folder of an earlier training, of the same preset or of that for half the
            window: its encoder is kept, its decoder, denoiser and text encoder are trained further. With more
            `latent_channels` than it has its encoder is trained further, too. It may go on with windows of another
            size.

    Returns:
        The folder that `StableDiffusionInpaintPipeline.from_pretrained` loads: `out / "model"`.

    Raises:
        ConfigError: Unknown preset or symmetry, a window that the model can't have, categories that no prompt could
            tell apart, a model that needs steps for its denoiser and gets none, fewer latent channels than there are,
            or nothing to start from.
        DatasetError: Nothing to learn from.
        ResumeError: `out` holds a training of something else.
    """
    import torch
    from diffusers import AutoencoderKL

    from augsynth.inpainting.aligned import AlignedInpainter

    preset = find_preset(training.preset)
    preset = replace(preset, latent_channels=training.latent_channels or preset.latent_channels)
    if start_from is None and not training.denoiser_steps:
        raise ConfigError("denoiser_steps is 0: only a model that --start names can do without; give some")
    start_dir = None if start_from is None else _find_start(start_from)
    start = None if start_dir is None else _load_start(start_dir, preset)
    own_size = start["unet"].config.sample_size * preset.cell if start else preset.size
    preset = preset.with_window(training.window_size or own_size)
    if start is not None:
        start["unet"].register_to_config(sample_size=preset.size // preset.cell)
    _check_names(dataset)
    names = [category.name for category in dataset.categories]
    prompts = [BACKGROUND_PROMPT, *(category_prompt(n, template=training.template) for n in names)]
    work, model_dir = out / "training", out / "model"
    rules = WindowRules(
        size=preset.size,
        cell=preset.cell,
        num_windows=training.num_windows,
        symmetry=training.symmetry,
        balance=training.balance,
    )
    windows = cut_windows(dataset, read_image, rules=rules, seed=training.seed)
    fingerprint = _fingerprint(windows, training, start_dir)
    vae_dir = work / "vae"
    former = None
    if start is not None and training.latent_channels not in (None, start["vae"].config.latent_channels):
        if not training.denoiser_steps:
            raise ConfigError(
                "denoiser_steps is 0, but latent_channels changes what the denoiser sees; give some"
            )
        former = start["vae"]
        start = grow_latents(start, preset.latent_channels, seed=derive_seed(training.seed, "growth"))
    if start is not None and former is None:
        autoencoder = start["vae"].to(training.device).requires_grad_(False).eval()
    elif (vae_dir / "config.json").exists() and (vae_dir / "fingerprint").read_text() == fingerprint:
        autoencoder = AutoencoderKL.from_pretrained(vae_dir).to(training.device)
    else:
        autoencoder = train_autoencoder(
            windows,
            preset=preset,
            schedule=Schedule(
                training.autoencoder_steps,
                training.autoencoder_batch_size,
                training.autoencoder_lr * (GROWN_LR if former else 1),
                ema=0.995,
                save_every=training.save_every,
            ),
            seed=training.seed,
            folder=work / "autoencoder",
            fingerprint=fingerprint,
            device=training.device,
            progress=progress,
            start=None if start is None else start["vae"],
            grown_from=former,
        )
        autoencoder.save_pretrained(vae_dir)
        (vae_dir / "fingerprint").write_text(fingerprint)
    if training.decoder_steps:
        autoencoder = _sharpened(autoencoder, windows, training, work, fingerprint, progress)
    write_reconstructions(autoencoder, windows, work / "reconstructions.png")
    if start is not None and not training.denoiser_steps:
        done = {**asdict(training), "steps_done": 0}
        save_pipeline({**start, "vae": autoencoder}, model_dir, done)
        torch.set_grad_enabled(True)
        return model_dir
    latents = _encoded(autoencoder, windows, work / "latents", fingerprint, training.device, progress)

    def on_save(parts: dict[str, Any], step: int) -> None:
        painter = AlignedInpainter(**parts, vae=autoencoder)
        write_samples(painter, windows, prompts, work / f"samples-{step:06d}.png")
        save_pipeline({**parts, "vae": autoencoder}, model_dir, {**asdict(training), "steps_done": step})

    train_denoiser(
        windows,
        latents,
        prompts,
        preset=preset,
        schedule=Schedule(
            training.denoiser_steps,
            training.denoiser_batch_size,
            training.denoiser_lr,
            ema=0.9995,
            save_every=training.save_every,
        ),
        seed=training.seed,
        folder=work / "denoiser",
        fingerprint=fingerprint,
        device=training.device,
        progress=progress,
        on_save=on_save,
        start=start,
    )
    torch.set_grad_enabled(True)
    return model_dir


def _sharpened(
    autoencoder: AutoencoderKL,
    windows: Windows,
    config: InpainterTraining,
    work: Path,
    fingerprint: str,
    progress: Progress,
) -> AutoencoderKL:
    """Return the autoencoder with a sharpened decoder, from disk where that stage has been finished."""
    from diffusers import AutoencoderKL

    folder = work / "vae-sharp"
    done = f"{fingerprint} {config.decoder_steps}"
    if (folder / "fingerprint").exists() and (folder / "fingerprint").read_text() == done:
        finished: AutoencoderKL = AutoencoderKL.from_pretrained(folder).to(config.device)
        return finished
    sharpened = sharpen_decoder(
        autoencoder,
        windows,
        schedule=Schedule(
            config.decoder_steps,
            config.autoencoder_batch_size,
            config.decoder_lr,
            ema=0.995,
            save_every=config.save_every,
        ),
        seed=config.seed,
        folder=work / "decoder",
        fingerprint=fingerprint,
        device=config.device,
        progress=progress,
    )
    sharpened.save_pretrained(folder)
    (folder / "fingerprint").write_text(done)
    return sharpened


def _encoded(
    autoencoder: AutoencoderKL,
    windows: Windows,
    folder: Path,
    fingerprint: str,
    device: str,
    progress: Progress,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the latents of all windows, from disk where a run that was stopped left them."""
    from safetensors.torch import load_file, save_file

    file, mark = folder / "latents.safetensors", folder / "fingerprint"
    if mark.exists() and mark.read_text() == fingerprint:
        stored = load_file(file)
        return stored["whole"], stored["masked"]
    whole, masked = encode_windows(autoencoder, windows, device=device, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    save_file({"whole": whole.contiguous(), "masked": masked.contiguous()}, file)
    mark.write_text(fingerprint)
    return whole, masked


def _check_names(dataset: Dataset) -> None:
    """Refuse categories with objects that are spoken of by the same word."""
    present = {int(c) for scene in dataset.scenes for c in scene.category_ids}
    check_distinct(
        [category for category in dataset.categories if category.id in present],
        {category.id: Words((tidy(category.name),)) for category in dataset.categories},
        advice="rename one of them in the annotation file, or merge the two",
    )


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


def save_pipeline(parts: dict[str, Any], folder: Path, figures: dict[str, Any]) -> None:
    """Write the parts as a `StableDiffusionInpaintPipeline` with fp16 safetensors, replacing what was there."""
    import copy

    from diffusers import StableDiffusionInpaintPipeline

    fresh, old = folder.with_name(folder.name + ".next"), folder.with_name(folder.name + ".previous")
    shutil.rmtree(fresh, ignore_errors=True)
    half = {
        k: copy.deepcopy(v).half() if k in ("vae", "unet", "text_encoder") else v for k, v in parts.items()
    }
    pipeline = StableDiffusionInpaintPipeline(
        **half, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.save_pretrained(fresh, safe_serialization=True)
    for part in ("vae", "unet"):
        _forget_path(fresh / part / "config.json")
    # transformers reads weights in the type the configuration names, diffusers in float32: let both agree.
    config_file = fresh / "text_encoder" / "config.json"
    text_config = json.loads(config_file.read_text())
    config_file.write_text(json.dumps({**text_config, "dtype": "float32"}, indent=2, sort_keys=True) + "\n")
    (fresh / "training.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    swap_in(fresh, folder, old=old)


def _forget_path(config_file: Path) -> None:
    """Drop the path that diffusers notes in a part's configuration: it means nothing on another machine."""
    config = json.loads(config_file.read_text())
    config.pop("_name_or_path", None)
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _fingerprint(windows: Windows, config: InpainterTraining, start_dir: Path | None) -> str:
    digest = hashlib.sha256()
    for array in (windows.images, windows.cells, windows.labels):
        digest.update(np.ascontiguousarray(array).tobytes())
    kept = {
        k: v
        for k, v in asdict(config).items()
        if k not in ("device", "save_every", "autoencoder_steps", "decoder_steps", "denoiser_steps")
        and (k, v) not in (("latent_channels", None), ("window_size", 0))
    }
    digest.update(json.dumps(kept, sort_keys=True).encode())
    if start_dir is not None:
        for path in sorted(start_dir.rglob("*.safetensors")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
