"""Train the small autoencoder of a from-scratch inpainting model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.training.loop import Stage, run_training
from augsynth.training.painter.growth import even_out
from augsynth.training.painter.presets import Preset, build_autoencoder
from augsynth.training.windows import Windows

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

KL_WEIGHT = 1e-4
GRADIENT_WEIGHT = 1.0
HUE_WEIGHT = 2.5
ANCHOR_WEIGHT = 0.5
MASKED_SHARE = 0.25


def new_autoencoder(preset: Preset, *, seed: int) -> AutoencoderKL:
    """Build an autoencoder with seeded weights."""
    import torch

    torch.manual_seed(derive_seed(seed, "autoencoder"))
    return build_autoencoder(preset)


def train_autoencoder(
    model: AutoencoderKL,
    windows: Windows,
    *,
    preset: Preset,
    stage: Stage,
    grown_from: AutoencoderKL | None = None,
) -> None:
    """Train an autoencoder in place on the windows, a quarter of them with their mask greyed out.

    The latents are scaled to unit variance as in latent diffusion (`scaling_factor`).

    Args:
        model: A new autoencoder, or with `grown_from` one to train further.
        grown_from: What it was before its latent channels grew; the new ones get the spread of the old.
    """
    import torch

    model.float().requires_grad_(True).train()
    run_training(model, Reconstruction.of(windows, preset, stage, grown_from), stage)
    model.requires_grad_(False).eval()
    count = len(windows.images)
    picks = derive_rng(stage.seed, "scale").integers(count, size=min(256, count))
    plain = _pixels(windows, picks, masked=np.zeros(len(picks), bool)).to(stage.device)
    with torch.no_grad():
        latents = model.encode(plain).latent_dist.mean
        psnr = _psnr(model.decode(latents).sample, plain)
        if grown_from is None:
            model.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
        else:
            even_out(model, latents, kept=grown_from.config.latent_channels)
    steps = stage.schedule.steps
    stage.progress(f"autoencoder, {psnr:.2f} dB", steps, steps, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """The loss of an autoencoder.

    It is L1 on pixels and on their differences at two scales, which keeps edges, plus a light KL term. For the first
    fifth of the steps the latents are also drawn towards the principal components of the windows' blocks: otherwise a
    small encoder settles on edges and never finds the rarer hues.

    Where the latent channels grew, the old ones are held to what they were, so that a denoiser trained on them still
    fits. No KL term widens the new ones' posterior: where they have little to tell, their noise would soon be many
    times their signal.

    Attributes:
        windows: What is learnt.
        stage: Batches, seed and device.
        anchor: Gives what the first latents of (N, 3, H, W) pictures are drawn towards.
        anchored_steps: Steps for which they are, ever less; None for always.
        regular: Channels with a KL term; None for all.
    """

    windows: Windows
    stage: Stage
    anchor: Callable[[torch.Tensor], torch.Tensor]
    anchored_steps: int | None
    regular: int | None

    @classmethod
    def of(
        cls, windows: Windows, preset: Preset, stage: Stage, grown_from: AutoencoderKL | None
    ) -> Reconstruction:
        """Return the loss of a new autoencoder, or of one that grew from another."""
        if grown_from is None:
            anchor = _principal_anchor(windows, preset, stage.device)
            return cls(windows, stage, anchor, max(1, stage.schedule.steps // 5), None)
        former = _former(grown_from, stage.device)
        return cls(windows, stage, former, None, grown_from.config.latent_channels)

    def __call__(self, vae: Any, step: int) -> torch.Tensor:
        """Return the loss of a batch."""
        import torch

        seed, device = self.stage.seed, self.stage.device
        rng = derive_rng(seed, "autoencoder", step)
        picks = rng.integers(len(self.windows.images), size=self.stage.schedule.batch_size)
        pixels = _pixels(self.windows, picks, masked=rng.random(len(picks)) < MASKED_SHARE).to(device)
        generator = torch.Generator(device).manual_seed(derive_seed(seed, "posterior", step))
        moments = vae.quant_conv(vae.encoder(pixels)).float()
        mean, logvar = moments.chunk(2, dim=1)
        logvar = logvar.clamp(-20, 8)
        noise = torch.randn(mean.shape, generator=generator, device=device)
        decoded = vae.decoder(vae.post_quant_conv(mean + noise * (0.5 * logvar).exp())).float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)[:, : self.regular].mean()
        loss: torch.Tensor = reconstruction_loss(decoded, pixels) + KL_WEIGHT * kl
        if self.anchored_steps is None or step < self.anchored_steps:
            held = self.anchor(pixels)
            weight = ANCHOR_WEIGHT * (1 - step / self.anchored_steps if self.anchored_steps else 1)
            loss = loss + weight * (mean[:, : held.shape[1]] - held).abs().mean()
        return loss


def _principal_anchor(
    windows: Windows, preset: Preset, device: str
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what gives the principal components of the blocks of (N, 3, H, W) pictures."""
    import torch

    kernel = principal_kernel(windows.images, cell=preset.cell, num_channels=preset.latent_channels).to(
        device
    )
    return lambda pixels: torch.nn.functional.conv2d(pixels.float(), kernel, stride=preset.cell)


def _former(autoencoder: AutoencoderKL, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what gives the latents that pictures had in an earlier autoencoder."""
    import torch

    former: Any = autoencoder.to(device).float().requires_grad_(False).eval()

    def latents(pixels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            mean: torch.Tensor = former.encode(pixels).latent_dist.mean.float()
        return mean

    return latents


def _pixels(windows: Windows, picks: np.ndarray, *, masked: np.ndarray) -> torch.Tensor:
    import torch

    pixels = torch.from_numpy(windows.images[picks]).permute(0, 3, 1, 2).float() / 127.5 - 1
    cells = torch.from_numpy(windows.cells[picks] & masked[:, None, None])[:, None].float()
    keep = 1 - torch.nn.functional.interpolate(cells, size=pixels.shape[-2:], mode="nearest")
    return pixels * keep


def principal_kernel(images: NDArray[np.uint8], *, cell: int, num_channels: int) -> torch.Tensor:
    """Return the convolution that gives the principal components of blocks, each of unit variance.

    Args:
        images: (N, H, W, 3) uint8; up to 512 of them are looked at.
        cell: Side of a block in pixels.
        num_channels: Components to keep.

    Returns:
        (num_channels, 3, cell, cell) kernel for (N, 3, H, W) pictures in [-1, 1], to be applied with stride `cell`.
    """
    import torch

    chosen = images[:: max(1, len(images) // 512)]
    height, width = (side // cell * cell for side in chosen.shape[1:3])
    pixels = torch.from_numpy(chosen[:, :height, :width]).permute(0, 3, 1, 2).float() / 127.5 - 1
    blocks = (
        torch.nn.functional.unfold(pixels, cell, stride=cell).transpose(1, 2).reshape(-1, 3 * cell * cell)
    )
    axes = torch.kron(opponent_axes(), torch.eye(cell * cell))
    weighted = (blocks - blocks.mean(0)) @ axes.T
    _, spread, components = torch.pca_lowrank(weighted, q=num_channels, center=False, niter=8)
    deviation = spread / len(weighted) ** 0.5 + 1e-6
    kernel: torch.Tensor = ((components / deviation).T @ axes).reshape(num_channels, 3, cell, cell)
    return kernel


def opponent_axes() -> torch.Tensor:
    """Return the (3, 3) matrix from RGB to brightness and two hues, the hues weighted."""
    import torch

    axes = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    axes /= axes.norm(dim=1, keepdim=True)
    axes[1:] *= HUE_WEIGHT
    return axes


def reconstruction_loss(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error of (N, 3, H, W) pictures in [-1, 1] and of their differences at two scales.

    Errors are taken along opponent axes, of which the two of hue weigh more: photographs vary little along
    them, so that an autoencoder with few channels would rather lose a hue than an edge, and people would not.
    """
    import torch

    difference = torch.einsum("oc,nchw->nohw", opponent_axes().to(pixels.device), decoded - pixels)
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
