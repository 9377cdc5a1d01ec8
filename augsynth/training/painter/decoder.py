"""Sharpen the decoder of a trained autoencoder against a critic; the encoder and its latents stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.training.loop import Stage, run_training
from augsynth.training.painter.autoencoder import reconstruction_loss
from augsynth.training.windows import Windows

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

CRITIC_CHANNELS = (32, 64, 96)
ADVERSARIAL_WEIGHT = 0.02
FEATURE_WEIGHT = 0.5
LATENT_JITTER = 0.05


def sharpen_decoder(autoencoder: AutoencoderKL, windows: Windows, *, stage: Stage) -> None:
    """Train the decoder further, in place, until a critic of patches can't tell reconstructions from windows.

    A mean absolute error is least for the mean of what may have been there, which is a blur; the critic takes
    the blur away (Esser et al., arXiv 2012.09841). Because the encoder isn't touched, a denoiser trained on its
    latents fits the new decoder as it fitted the old.
    """
    import torch

    torch.manual_seed(derive_seed(stage.seed, "critic"))
    autoencoder.requires_grad_(False).to(stage.device)
    players = torch.nn.ModuleDict(
        {
            "decoder": autoencoder.decoder.requires_grad_(True),
            "post_quant_conv": autoencoder.post_quant_conv.requires_grad_(True),
            "critic": build_critic(),
        }
    )
    run_training(players, Sharpening(autoencoder, torch.from_numpy(windows.images), stage), stage)
    autoencoder.requires_grad_(False).eval()


@dataclass(frozen=True, slots=True, eq=False)
class Sharpening:
    """The loss of a decoder and its critic together; neither's part has a gradient in the other.

    They play the paired relativistic game (Jolicoeur-Martineau, arXiv 1807.00734); the decoder also matches the
    critic's features (Wang et al., arXiv 1711.11585). The latents get a little noise, as a denoiser's are never exact.

    Attributes:
        autoencoder: Whose decoder is trained.
        images: (N, H, W, 3) uint8.
        stage: Batches, seed and device.
    """

    autoencoder: AutoencoderKL
    images: torch.Tensor
    stage: Stage

    def __call__(self, players: Any, step: int) -> torch.Tensor:
        """Return the loss of a batch."""
        import torch

        pixels, latents = self._batch(step)
        decoded = players["decoder"](players["post_quant_conv"](latents)).float()
        critic = players["critic"]
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

    def _batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pictures and their latents with a little noise."""
        import torch

        seed, device = self.stage.seed, self.stage.device
        picks = derive_rng(seed, "sharpening", step).integers(
            len(self.images), size=self.stage.schedule.batch_size
        )
        pixels = (self.images[torch.from_numpy(picks)].permute(0, 3, 1, 2).float() / 127.5 - 1).to(device)
        with torch.no_grad():
            latents = self.autoencoder.encode(pixels).latent_dist.mean.float()
        generator = torch.Generator().manual_seed(derive_seed(seed, "jitter", step))
        jitter = torch.randn(latents.shape, generator=generator).to(device)
        spread = 1 / float(self.autoencoder.config.scaling_factor)
        return pixels, latents + LATENT_JITTER * spread * jitter


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
