"""Train the denoiser and its text encoder of a from-scratch inpainting model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.training.loop import Progress, Schedule, run_training
from augsynth.training.painter.presets import (
    Preset,
    build_denoiser,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
)
from augsynth.training.windows import Windows

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

UNCONDITIONAL_SHARE = 0.1
MASK_WEIGHT = 3.0


def encode_windows(
    autoencoder: AutoencoderKL, windows: Windows, *, device: str, progress: Progress
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scaled latents of the windows and of the windows with their mask greyed out.

    Returns:
        Two (N, C, cells, cells) float16 tensors on the CPU.
    """
    import torch

    whole: list[torch.Tensor] = []
    masked: list[torch.Tensor] = []
    scale = autoencoder.config.scaling_factor
    total = len(windows.images)
    with torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16):
        for start in range(0, total, 64):
            pixels = torch.from_numpy(windows.images[start : start + 64]).to(device)
            pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
            cells = torch.from_numpy(windows.cells[start : start + 64])[:, None].float().to(device)
            keep = 1 - torch.nn.functional.interpolate(cells, size=pixels.shape[-2:], mode="nearest")
            for out, picture in ((whole, pixels), (masked, pixels * keep)):
                out.append((autoencoder.encode(picture).latent_dist.mean.float() * scale).half().cpu())
            progress("encoding", min(start + 64, total), total, 0.0)
    return torch.cat(whole), torch.cat(masked)


def train_denoiser(
    windows: Windows,
    latents: tuple[torch.Tensor, torch.Tensor],
    prompts: Sequence[str],
    *,
    preset: Preset,
    schedule: Schedule,
    seed: int,
    folder: Path,
    fingerprint: str,
    device: str,
    progress: Progress,
    on_save: Callable[[dict[str, Any], int], None],
    start: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train UNet and text encoder jointly on cached latents.

    The target is the velocity of Salimans & Ho (arXiv 2202.00512); masked cells weigh three times as much as
    the rest; a tenth of the samples has the empty prompt, for classifier-free guidance.

    Args:
        prompts: Text of each label of `windows`; label 0 is background.
        start: Parts of a pipeline to train further, or None for new ones.

    Returns:
        The modules of the pipeline but the autoencoder: unet, text_encoder, tokenizer, scheduler.
    """
    import torch

    torch.manual_seed(derive_seed(seed, "denoiser"))
    parts_at_start = _new_parts(preset, prompts) if start is None else start
    tokenizer, scheduler = parts_at_start["tokenizer"], parts_at_start["scheduler"]
    model: torch.nn.Module = torch.nn.ModuleDict(
        {name: parts_at_start[name] for name in ("unet", "text_encoder")}
    )
    tokens = tokenizer(["", *prompts], padding="max_length", truncation=True, return_tensors="pt").input_ids
    tokens = tokens.to(device)
    whole, masked = latents
    cells = torch.from_numpy(windows.cells)[:, None]
    labels = torch.from_numpy(windows.labels)

    def loss_of(modules: Any, step: int) -> torch.Tensor:
        rng = derive_rng(seed, "denoiser", step)
        picks = torch.from_numpy(rng.integers(len(whole), size=schedule.batch_size))
        generator = torch.Generator().manual_seed(derive_seed(seed, "noise", step))
        z, context = whole[picks].float().to(device), masked[picks].float().to(device)
        mask = cells[picks].float().to(device)
        noise = torch.randn(z.shape, generator=generator).to(device)
        t = stratified_timesteps(len(picks), rng).to(device)
        said = (labels[picks] + 1) * torch.from_numpy(rng.random(len(picks)) >= UNCONDITIONAL_SHARE)
        words = modules["text_encoder"](tokens).last_hidden_state[said.to(device)]
        noisy = scheduler.add_noise(z, noise, t)
        target = scheduler.get_velocity(z, noise, t)
        with quick_attention(device):
            predicted = modules["unet"](torch.cat([noisy, mask, context], 1), t, words).sample.float()
        weight = 1 + (MASK_WEIGHT - 1) * mask
        loss: torch.Tensor = ((predicted - target).square() * weight).sum() / (weight.sum() * z.shape[1])
        return loss

    def parts(modules: Any) -> dict[str, Any]:
        return {**dict(modules.items()), "tokenizer": tokenizer, "scheduler": scheduler}

    model = run_training(
        model,
        loss_of,
        schedule=schedule,
        folder=folder,
        stage="denoiser",
        fingerprint=fingerprint,
        device=device,
        progress=progress,
        on_save=lambda modules, step: on_save(parts(modules), step),
    )
    model.requires_grad_(False).eval()
    return parts(model)


def quick_attention(device: str) -> AbstractContextManager[object]:
    """Choose plain attention on a CPU: the backward pass of the fused kernel is an order of magnitude slower."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH) if device == "cpu" else nullcontext()


def _new_parts(preset: Preset, prompts: Sequence[str]) -> dict[str, Any]:
    tokenizer = build_tokenizer(prompts)
    return {
        "unet": build_denoiser(preset),
        "text_encoder": build_text_encoder(preset, tokenizer),
        "tokenizer": tokenizer,
        "scheduler": build_scheduler(preset),
    }


def stratified_timesteps(count: int, rng: Any) -> torch.Tensor:
    """Spread a batch's timesteps evenly over the schedule, which lowers the variance of the loss."""
    import numpy as np
    import torch

    places = (rng.permutation(count) + rng.random(count)) / count
    return torch.from_numpy(np.minimum(places * 1000, 999).astype(np.int64))
