"""Train the small autoencoder of a from-scratch inpainting model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augsynth.finetune.loop import Progress, Schedule, run_training
from augsynth.finetune.presets import Preset, build_autoencoder
from augsynth.finetune.windows import Windows
from augsynth.seeding import derive_rng, derive_seed

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

KL_WEIGHT = 1e-4
GRADIENT_WEIGHT = 1.0
HUE_WEIGHT = 2.5
MASKED_SHARE = 0.25


def train_autoencoder(
    windows: Windows,
    *,
    preset: Preset,
    schedule: Schedule,
    seed: int,
    folder: Path,
    fingerprint: str,
    device: str,
    progress: Progress,
) -> AutoencoderKL:
    """Train an autoencoder on the windows, a quarter of them with their mask greyed out.

    The loss is L1 on pixels and on their differences at two scales, which keeps edges, plus a light KL term.
    The latents are scaled to unit variance as in latent diffusion (`scaling_factor`).
    """
    import torch

    torch.manual_seed(derive_seed(seed, "autoencoder"))
    model: Any = build_autoencoder(preset)
    images = torch.from_numpy(windows.images)

    def loss_of(vae: Any, step: int) -> torch.Tensor:
        rng = derive_rng(seed, "autoencoder", step)
        picks = rng.integers(len(images), size=schedule.batch_size)
        pixels = _pixels(windows, images, picks, masked=rng.random(len(picks)) < MASKED_SHARE).to(device)
        generator = torch.Generator(device).manual_seed(derive_seed(seed, "posterior", step))
        moments = vae.encoder(pixels)
        moments = vae.quant_conv(moments).float()
        mean, logvar = moments.chunk(2, dim=1)
        logvar = logvar.clamp(-20, 8)
        noise = torch.randn(mean.shape, generator=generator, device=device)
        decoded = vae.decoder(vae.post_quant_conv(mean + noise * (0.5 * logvar).exp())).float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss: torch.Tensor = reconstruction_loss(decoded, pixels) + KL_WEIGHT * kl
        return loss

    model = run_training(
        model,
        loss_of,
        schedule=schedule,
        folder=folder,
        stage="autoencoder",
        fingerprint=fingerprint,
        device=device,
        progress=progress,
    )
    model.requires_grad_(False).eval()
    with torch.no_grad():
        picks = derive_rng(seed, "scale").integers(len(images), size=min(256, len(images)))
        plain = _pixels(windows, images, picks, masked=np.zeros(len(picks), bool)).to(device)
        latents = model.encode(plain).latent_dist.mean
        psnr = _psnr(model.decode(latents).sample, plain)
    model.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
    progress(f"autoencoder, {psnr:.2f} dB", schedule.steps, schedule.steps, 0.0)
    return model


def _pixels(windows: Windows, images: torch.Tensor, picks: np.ndarray, *, masked: np.ndarray) -> torch.Tensor:
    import torch

    pixels = images[torch.from_numpy(picks)].permute(0, 3, 1, 2).float() / 127.5 - 1
    cells = torch.from_numpy(windows.cells[picks] & masked[:, None, None])[:, None].float()
    keep = 1 - torch.nn.functional.interpolate(cells, size=pixels.shape[-2:], mode="nearest")
    return pixels * keep


def reconstruction_loss(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error of (N, 3, H, W) pictures in [-1, 1] and of their differences at two scales.

    Errors are taken along opponent axes, of which the two of hue weigh more: photographs vary little along
    them, so that an autoencoder with few channels would rather lose a hue than an edge, and people would not.
    """
    import torch

    axes = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]], device=pixels.device)
    axes = axes / axes.norm(dim=1, keepdim=True) * torch.tensor([[1.0], [HUE_WEIGHT], [HUE_WEIGHT]]).to(axes)
    difference = torch.einsum("oc,nchw->nohw", axes, decoded - pixels)
    loss = difference.abs().mean()
    for _ in range(2):
        loss = loss + GRADIENT_WEIGHT * 0.5 * (
            difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
        )
        difference = torch.nn.functional.avg_pool2d(difference, 2)
    return loss


def _psnr(decoded: torch.Tensor, pixels: torch.Tensor) -> float:
    import torch

    error = (decoded.float().clamp(-1, 1) - pixels).square().mean()
    return float(10 * torch.log10(4 / error))
