"""The loss of a LoRA: the checkpoint's own denoising objective, weighted towards the mask, and a prior to keep.

**Prior preservation.** A share of every batch has no object to learn: windows without one or with an object of a
category that isn't asked for, any window without text, and any window with a text of such a category, whatever it
shows, so that categories of which the images have none are preserved too. There the target is no noise that was drawn
but what the frozen model itself predicts, with the adapters switched off. So the adapters learn to act on the prompts
of the chosen categories and to do nothing elsewhere, which is also what guidance needs: its unconditional branch stays
the checkpoint's. DreamBooth (Ruiz et al., arXiv 2208.12242) has the model paint class pictures beforehand for this; the
prediction of the same network with its adapters off says the same at every noise level, and needs no pictures.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.scene import IntArray
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.training.lora.latents import Latents, Texts
from augsynth.training.painter.denoiser import MASK_WEIGHT, quick_attention, stratified_timesteps

if TYPE_CHECKING:
    import torch

SILENT, SAID, SHOWN = 0, 1, 2  # what is preserved, in equal parts: no text, any kept text, the window's own
PLAIN_ATTENTION_CELLS = 32 * 32  # from here on the memory of plain attention costs more than it saves


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """What one batch is made of.

    Attributes:
        picks: (B,) windows.
        texts: (B,) rows of `Texts`.
        timesteps: (B,) noise levels.
        is_prior: (B,) bool, where the frozen model's prediction is the target.
        noise_seed: Of the noise.
    """

    picks: IntArray
    texts: IntArray
    timesteps: IntArray
    is_prior: NDArray[np.bool_]
    noise_seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Pools:
    """Which windows are learnt from.

    Attributes:
        own: Windows with an object of a chosen category.
        other: All others.
        text_rows: (N,) row of each window's text.
        kept_rows: (K,) rows of the texts that the model is to take as it did before.
    """

    own: IntArray
    other: IntArray
    text_rows: IntArray
    kept_rows: IntArray

    @classmethod
    def of(cls, latents: Latents, texts: Texts, labels: IntArray) -> Pools:
        """Sort windows by whether their label is among those to learn."""
        is_own = np.isin(latents.labels, labels)
        kept = np.setdiff1d(np.arange(1, texts.condition.words.shape[0]), texts.of_window[is_own])
        return cls(np.flatnonzero(is_own), np.flatnonzero(~is_own), texts.of_window, kept)

    def draw(self, count: int, *, prior_share: float, seed: int, batch: int) -> Draw:
        """Draw a batch that depends on seed and number alone; timesteps are of 1000."""
        rng = derive_rng(seed, "lora", batch)
        is_prior = rng.random(count) < prior_share
        kinds = [SILENT, *[SAID] * bool(len(self.kept_rows)), *[SHOWN] * bool(len(self.other))]
        kind = np.where(is_prior, rng.choice(kinds, count), SHOWN)
        picks = rng.choice(self.own, count)
        if len(self.other):
            picks = np.where(is_prior, rng.choice(self.other, count), picks)
        picks = np.where(kind == SHOWN, picks, rng.integers(len(self.text_rows), size=count))
        texts = np.where(kind == SHOWN, self.text_rows[picks], 0)
        if len(self.kept_rows):
            texts = np.where(kind == SAID, rng.choice(self.kept_rows, count), texts)
        steps = stratified_timesteps(count, rng).numpy()
        return Draw(picks, texts, steps, is_prior, derive_seed(seed, "lora noise", batch))


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """The loss of a UNet with adapters.

    Attributes:
        unet: With adapters.
        scheduler: A DDIM scheduler with the checkpoint's noise levels and kind of prediction.
        latents, texts: The windows and what is said of them.
        plain: Whether the UNet takes no mask (4 channels).
        snr_gamma: 0 weighs all noise levels alike.
        device: Where the UNet is.
    """

    unet: Any
    scheduler: Any
    latents: Latents
    texts: Texts
    plain: bool
    snr_gamma: float
    device: str

    def loss(self, draw: Draw) -> torch.Tensor:
        """Return the mean weighted error of a batch's predictions: masked cells weigh three times as much."""
        import torch

        picks = torch.from_numpy(draw.picks)
        latents = self.latents.whole[picks].float()
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(draw.noise_seed))
        latents, noise = latents.to(self.device), noise.to(self.device)
        mask = self.latents.cells[picks].float().to(self.device)
        timesteps = torch.from_numpy(draw.timesteps).to(self.device)
        inputs = self.scheduler.add_noise(latents, noise, timesteps)
        if not self.plain:
            inputs = torch.cat([inputs, mask, self.latents.masked[picks].float().to(self.device)], 1)
        target = self._target(latents, noise, timesteps)
        prior = torch.from_numpy(draw.is_prior).to(self.device)
        # what checkpointing computes again, it computes outside of this context
        quick = mask[0].numel() <= PLAIN_ATTENTION_CELLS and not self.unet.is_gradient_checkpointing
        with quick_attention(self.device) if quick else nullcontext():
            if draw.is_prior.any():
                target[prior] = self._frozen(inputs[prior], timesteps[prior], draw.texts[draw.is_prior])
            predicted = self._predict(inputs, timesteps, draw.texts)
        weight = 1 + (MASK_WEIGHT - 1) * mask * ~prior[:, None, None, None]
        errors = ((predicted - target).square() * weight).sum((1, 2, 3))
        errors = errors / (weight.sum((1, 2, 3)) * latents.shape[1])
        loss: torch.Tensor = (errors * self._emphasis(timesteps)).mean()
        return loss

    def _target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            velocity: torch.Tensor = self.scheduler.get_velocity(latents, noise, timesteps)
            return velocity
        return latents.clone() if kind == "sample" else noise.clone()

    def _predict(self, inputs: torch.Tensor, timesteps: torch.Tensor, texts: IntArray) -> torch.Tensor:
        condition = self.texts.rows(texts, self.device)
        predicted: torch.Tensor = self.unet(
            inputs.to(self.unet.dtype),
            timesteps,
            condition.words,
            added_cond_kwargs=condition.added,
            return_dict=False,
        )[0]
        return predicted.float()

    def _frozen(self, inputs: torch.Tensor, timesteps: torch.Tensor, texts: IntArray) -> torch.Tensor:
        """Return what the checkpoint itself predicts."""
        import torch

        self.unet.disable_adapters()
        try:
            with torch.no_grad():
                return self._predict(inputs, timesteps, texts)
        finally:
            self.unet.enable_adapters()

    def _emphasis(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Return (B,) weights of noise levels: min-SNR, Hang et al., arXiv 2303.09556."""
        import torch

        if not self.snr_gamma:
            return torch.ones(len(timesteps), device=timesteps.device)
        alpha = self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps].float()
        snr = (alpha / (1 - alpha)).clamp(min=1e-8)
        clipped = snr.clamp(max=self.snr_gamma)
        kind = self.scheduler.config.prediction_type
        scale = {"epsilon": snr, "v_prediction": snr + 1}.get(kind, torch.ones_like(snr))
        return torch.as_tensor(clipped / scale)


def held_out_loss(objective: Objective, pools: Pools, *, seed: int, batch_size: int) -> float:
    """Return the loss on windows that are never trained on, at noise levels and with noise that stay the same."""
    import torch

    total, own = 0.0, pools.own
    steps = stratified_timesteps(len(own), derive_rng(seed, "held out")).numpy()
    with torch.no_grad():
        for low in range(0, len(own), batch_size):
            picks = own[low : low + batch_size]
            noise_seed = derive_seed(seed, "held out noise", low)
            none = np.zeros(len(picks), np.bool_)
            draw = Draw(picks, pools.text_rows[picks], steps[low : low + batch_size], none, noise_seed)
            total += float(objective.loss(draw)) * len(picks)
    return total / len(own)
