"""Sharpen the decoder of a trained autoencoder against a critic; the encoder and its latents stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.training.loop import Progress, Schedule, run_training
from augsynth.training.painter.autoencoder import reconstruction_loss
from augsynth.training.windows import Windows

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

CRITIC_CHANNELS = (32, 64, 96)
ADVERSARIAL_WEIGHT = 0.02
FEATURE_WEIGHT = 0.5
LATENT_JITTER = 0.05


def sharpen_decoder(
    autoencoder: AutoencoderKL,
    windows: Windows,
    *,
    schedule: Schedule,
    seed: int,
    folder: Path,
    fingerprint: str,
    device: str,
    progress: Progress,
) -> AutoencoderKL:
    """Train the decoder further until a critic of patches can't tell reconstructions from windows.

    A mean absolute error is least for the mean of what may have been there, which is a blur; the critic takes
    the blur away (Esser et al., arXiv 2012.09841). Critic and decoder play the paired relativistic game
    (Jolicoeur-Martineau, arXiv 1807.00734); the decoder also matches the critic's features (Wang et al., arXiv
    1711.11585). The latents get a little noise, as a denoiser's are never exact. Because the encoder isn't
    touched, a denoiser trained on its latents fits the new decoder as it fitted the old.

    Returns:
        The autoencoder, with the averaged weights of its decoder.
    """
    import torch

    torch.manual_seed(derive_seed(seed, "critic"))
    images = torch.from_numpy(windows.images)
    autoencoder.requires_grad_(False).to(device)
    spread = 1 / float(autoencoder.config.scaling_factor)
    players = torch.nn.ModuleDict(
        {
            "decoder": autoencoder.decoder.requires_grad_(True),
            "post_quant_conv": autoencoder.post_quant_conv.requires_grad_(True),
            "critic": build_critic(),
        }
    )

    def loss_of(modules: Any, step: int) -> torch.Tensor:
        rng = derive_rng(seed, "sharpening", step)
        picks = torch.from_numpy(rng.integers(len(images), size=schedule.batch_size))
        pixels = (images[picks].permute(0, 3, 1, 2).float() / 127.5 - 1).to(device)
        generator = torch.Generator().manual_seed(derive_seed(seed, "jitter", step))
        with torch.no_grad():
            latents = autoencoder.encode(pixels).latent_dist.mean.float()
        jitter = torch.randn(latents.shape, generator=generator).to(device)
        latents = latents + LATENT_JITTER * spread * jitter
        decoded = modules["decoder"](modules["post_quant_conv"](latents)).float()
        critic = modules["critic"]
        real, fake = critic(pixels), critic(decoded.detach())
        game = torch.nn.functional.softplus(fake[-1] - real[-1]).mean()
        fixed = {name: value.detach() for name, value in critic.state_dict().items()}
        seen = torch.func.functional_call(critic, fixed, (decoded,))
        adversarial = torch.nn.functional.softplus(real[-1].detach() - seen[-1]).mean()
        features = sum(
            (a - b.detach()).abs().mean() / (b.detach().abs().mean() + 1e-6)
            for a, b in zip(seen[:-1], real[:-1], strict=True)
        )
        loss: torch.Tensor = (
            reconstruction_loss(decoded, pixels)
            + ADVERSARIAL_WEIGHT * adversarial
            + FEATURE_WEIGHT / len(CRITIC_CHANNELS) * features
            + game
        )
        return loss

    trained: Any = run_training(
        players,
        loss_of,
        schedule=schedule,
        folder=folder,
        stage="decoder",
        fingerprint=fingerprint,
        device=device,
        progress=progress,
    )
    autoencoder.decoder, autoencoder.post_quant_conv = trained["decoder"], trained["post_quant_conv"]
    return autoencoder.requires_grad_(False).eval()


def build_critic() -> torch.nn.Module:
    """Build a spectrally normalised critic of patches; it returns its features and, last, (N, 1, h, w) scores."""
    import torch
    from torch.nn import Conv2d
    from torch.nn.utils.parametrizations import spectral_norm

    class Critic(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            first, second, third = CRITIC_CHANNELS
            self.layers = torch.nn.ModuleList(
                [
                    spectral_norm(Conv2d(3, first, 3, padding=1)),
                    spectral_norm(Conv2d(first, second, 4, stride=2, padding=1)),
                    spectral_norm(Conv2d(second, third, 4, stride=2, padding=1)),
                ]
            )
            self.score = spectral_norm(Conv2d(third, 1, 3, padding=1))

        def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
            found, x = [], pixels
            for layer in self.layers:
                x = torch.nn.functional.leaky_relu(layer(x), 0.2)
                found.append(x.float())
            return [*found, self.score(x).float()]

    return Critic()
