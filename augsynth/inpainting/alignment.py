"""What the surroundings are at each step: the source latent, noised (renoise) or inverted (inversion).

Both give z~_t for the rule z_t <- m * z_t + (1 - m) * z~_t. Noising is Blended Latent Diffusion's (Avrahami et al.,
arXiv 2206.02779), inversion the paper's (arXiv 2408.02891), by the reversed DDIM of Song et al., arXiv 2010.02502.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class KnownRegion:
    """What the cells outside the mask are overwritten with.

    Attributes:
        at: From the number of a step to the (N, C, h, w) latents before it.
        source: (N, C, h, w) latents at the end.
        first: The first step that is overwritten.
    """

    at: Callable[[int], torch.Tensor]
    source: torch.Tensor
    first: int = 0


def renoised(
    scheduler: Any, source: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, *, first: int = 0
) -> KnownRegion:
    """Return the source noised to each step's level with the noise that the object started from."""

    def at(step: int) -> torch.Tensor:
        level: torch.Tensor = scheduler.add_noise(source, noise, timesteps[step][None])
        return level

    return KnownRegion(at, source, first)


def inverted(
    scheduler: Any,
    source: torch.Tensor,
    timesteps: torch.Tensor,
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> KnownRegion:
    """Return the source's DDIM trajectory, walked from no noise up to the first step's level and kept.

    Args:
        scheduler: A DDIM scheduler.
        source: (N, C, h, w) scaled latents.
        timesteps: The sampler's timesteps, the noisiest first.
        predict: The model's output for latents at a timestep, told nothing of what they show.
    """
    import torch

    kind = scheduler.config.prediction_type
    latents, alpha, level = source, scheduler.final_alpha_cumprod, torch.zeros_like(timesteps[0])
    trail: list[torch.Tensor] = []
    for t in timesteps.flip(0):
        origin, noise = split_prediction(predict(latents, level), latents, alpha=alpha, kind=kind)
        alpha, level = scheduler.alphas_cumprod[t], t
        latents = alpha.sqrt() * origin + (1 - alpha).sqrt() * noise
        trail.append(latents)
    trail.reverse()
    return KnownRegion(trail.__getitem__, source)


def split_prediction(
    predicted: torch.Tensor, latents: torch.Tensor, *, alpha: torch.Tensor, kind: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the picture and the noise that a prediction sees in latents at the cumulative `alpha`."""
    signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
    if kind == "v_prediction":
        return signal * latents - spread * predicted, signal * predicted + spread * latents
    if kind == "sample":
        return predicted, (latents - signal * predicted) / spread.clamp(min=1e-6)
    return (latents - spread * predicted) / signal, predicted
