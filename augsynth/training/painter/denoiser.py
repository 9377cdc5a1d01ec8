"""Train the denoiser and its text encoder of a from-scratch inpainting model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.training.loop import Progress, Stage, run_training
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


def new_parts(preset: Preset, prompts: Sequence[str], *, seed: int) -> dict[str, Any]:
    """Build unet, text_encoder, tokenizer and scheduler with seeded weights, for these prompts."""
    import torch

    torch.manual_seed(derive_seed(seed, "denoiser"))
    tokenizer = build_tokenizer(prompts)
    return {
        "unet": build_denoiser(preset),
        "text_encoder": build_text_encoder(preset, tokenizer),
        "tokenizer": tokenizer,
        "scheduler": build_scheduler(preset),
    }


def train_denoiser(
    parts: Mapping[str, Any],
    windows: Windows,
    latents: tuple[torch.Tensor, torch.Tensor],
    prompts: Sequence[str],
    *,
    stage: Stage,
    on_save: Callable[[dict[str, Any], int], None],
) -> dict[str, Any]:
    """Train UNet and text encoder jointly on cached latents.

    Args:
        parts: unet, text_encoder, tokenizer and scheduler of a pipeline.
        windows: Masks and labels.
        latents: As `encode_windows` returns them.
        prompts: Text of each label of `windows`; label 0 is background.
        stage: Pace and place of the training.
        on_save: Called with the parts before each checkpoint.

    Returns:
        The parts, trained.
    """
    import torch

    model = torch.nn.ModuleDict({name: parts[name] for name in ("unet", "text_encoder")})
    tokens = parts["tokenizer"](
        ["", *prompts], padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    objective = Denoising(parts["scheduler"], windows, latents, tokens.to(stage.device), stage)
    run_training(
        model,
        objective,
        stage,
        on_save=lambda modules, step: on_save({**parts, **dict(modules.items())}, step),
    )
    model.requires_grad_(False).eval()
    return {**parts, **dict(model.items())}


@dataclass(frozen=True, slots=True, eq=False)
class Denoising:
    """The loss of a UNet and its text encoder.

    The target is the velocity of Salimans & Ho (arXiv 2202.00512); masked cells weigh three times as much as the rest;
    a tenth of the samples has the empty prompt, for classifier-free guidance.

    Attributes:
        scheduler: Adds the noise.
        windows: Masks and labels.
        latents: Of whole and of masked windows, (N, C, cells, cells) each.
        tokens: The empty prompt and that of each label, one a row.
        stage: Batches, seed and device.
    """

    scheduler: Any
    windows: Windows
    latents: tuple[torch.Tensor, torch.Tensor]
    tokens: torch.Tensor
    stage: Stage

    def __call__(self, modules: Any, step: int) -> torch.Tensor:
        """Return the loss of a batch."""
        import torch

        seed, device = self.stage.seed, self.stage.device
        rng = derive_rng(seed, "denoiser", step)
        whole, masked = self.latents
        picks = torch.from_numpy(rng.integers(len(whole), size=self.stage.schedule.batch_size))
        generator = torch.Generator().manual_seed(derive_seed(seed, "noise", step))
        z, context = whole[picks].float().to(device), masked[picks].float().to(device)
        mask = torch.from_numpy(self.windows.cells)[:, None][picks].float().to(device)
        noise = torch.randn(z.shape, generator=generator).to(device)
        t = stratified_timesteps(len(picks), rng).to(device)
        spoken = torch.from_numpy(rng.random(len(picks)) >= UNCONDITIONAL_SHARE)
        rows = (torch.from_numpy(self.windows.labels)[picks] + 1) * spoken
        words = modules["text_encoder"](self.tokens).last_hidden_state[rows.to(device)]
        noisy = self.scheduler.add_noise(z, noise, t)
        target = self.scheduler.get_velocity(z, noise, t)
        with quick_attention(device):
            predicted = modules["unet"](torch.cat([noisy, mask, context], 1), t, words).sample.float()
        weight = 1 + (MASK_WEIGHT - 1) * mask
        loss: torch.Tensor = ((predicted - target).square() * weight).sum() / (weight.sum() * z.shape[1])
        return loss


def quick_attention(device: str) -> AbstractContextManager[object]:
    """Choose plain attention on a CPU: the backward pass of the fused kernel is an order of magnitude slower."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH) if device == "cpu" else nullcontext()


def stratified_timesteps(count: int, rng: Any) -> torch.Tensor:
    """Spread a batch's timesteps evenly over the schedule, which lowers the variance of the loss."""
    import numpy as np
    import torch

    places = (rng.permutation(count) + rng.random(count)) / count
    return torch.from_numpy(np.minimum(places * 1000, 999).astype(np.int64))
