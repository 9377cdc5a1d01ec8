"""DDIM inpainting whose surroundings are aligned with the source at every step.

The rule is the paper's (arXiv 2408.02891) and Blended Latent Diffusion's (Avrahami et al., arXiv 2206.02779):
z_t <- m * z_t + (1 - m) * z~_t, where z~_t is the source latent, noised to the level of step t with the noise
the object started from. DDIM: Song et al., arXiv 2010.02502, eta = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from augsynth.errors import BackendError, ConfigError
from augsynth.inpaint import InpaintRequest
from augsynth.scene import Image

if TYPE_CHECKING:
    import torch

ALIGNMENTS = ("renoise", "off")


class AlignedInpainter:
    """Sample a Stable Diffusion inpainting checkpoint (9-channel UNet, epsilon or v-prediction).

    Args:
        vae, unet, text_encoder, tokenizer, scheduler: The parts of the diffusers pipeline; any scheduler
            configuration is read as DDIM.
        name: What provenance calls the model.
        steps: Denoising steps.
        guidance: Classifier-free guidance scale; 1 switches it off.
        alignment: `renoise` or `off`.
        negative_prompt: Text of the unconditional branch.
        strength: How far a request with a `start` is noised, in (0, 1], as in diffusers' image-to-image pipelines: its
            first 1 - strength of the steps are left out (SDEdit: Meng et al., arXiv 2108.01073). 1 starts from noise.
        batch_size: Windows a forward pass; twice that many samples go through the UNet under guidance.

    Raises:
        ConfigError: An option is out of range.
        BackendError: The checkpoint isn't a 9-channel inpainting model.
    """

    def __init__(
        self,
        *,
        vae: Any,
        unet: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        name: str = "",
        steps: int = 25,
        guidance: float = 2.0,
        alignment: str = "renoise",
        negative_prompt: str = "",
        strength: float = 1.0,
        batch_size: int = 16,
    ) -> None:
        from diffusers import DDIMScheduler

        if alignment not in ALIGNMENTS:
            raise ConfigError(f"alignment {alignment!r} is unknown; choose one of {', '.join(ALIGNMENTS)}")
        if steps < 1 or guidance < 0 or batch_size < 1:
            raise ConfigError("steps and batch_size must be at least 1 and guidance at least 0")
        if not 0 < strength <= 1:
            raise ConfigError(f"strength is {strength}; it must be above 0 and at most 1")
        latents = vae.config.latent_channels
        if unet.config.in_channels != 2 * latents + 1:
            raise BackendError(
                f"{name or 'checkpoint'}: the UNet takes {unet.config.in_channels} channels, not {2 * latents + 1}; "
                "choose an inpainting checkpoint"
            )
        self.name = name
        self.vae, self.unet, self.text_encoder, self.tokenizer = vae, unet, text_encoder, tokenizer
        self.scheduler = DDIMScheduler.from_config(scheduler.config)
        self.cell = 2 ** (len(vae.config.block_out_channels) - 1)
        self.size = int(unet.config.sample_size) * self.cell
        self.steps, self.guidance, self.alignment = steps, guidance, alignment
        self.negative_prompt, self.strength, self.batch_size = negative_prompt, strength, batch_size
        self._words: dict[str, torch.Tensor] = {}

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[Image | None]:
        """Repaint the masked cells of each window; see `Inpainter`."""
        import torch

        pictures: dict[int, Image] = {}
        for batch in self._batches(requests):
            latents = self.sample_latents([requests[k] for k in batch])
            with torch.no_grad():
                decoded = self.vae.decode(latents.to(self.vae.dtype) / self.vae.config.scaling_factor).sample
            array = (decoded.float().clamp(-1, 1) + 1).mul(127.5).round().byte()
            pixels = array.permute(0, 2, 3, 1).cpu().numpy()
            pictures.update((k, np.ascontiguousarray(p)) for k, p in zip(batch, pixels, strict=True))
        return [pictures[k] for k in range(len(requests))]

    def _batches(self, requests: Sequence[InpaintRequest]) -> list[list[int]]:
        """Return the places of requests in batches of those that take the same steps."""
        kinds = [[k for k, r in enumerate(requests) if (r.start is None) == plain] for plain in (True, False)]
        return [
            kind[low : low + self.batch_size]
            for kind in kinds
            for low in range(0, len(kind), self.batch_size)
        ]

    def sample_latents(self, requests: Sequence[InpaintRequest]) -> torch.Tensor:
        """Return the (N, C, h, w) float32 scaled latents of one batch of requests, all with a start or none."""
        import torch

        with torch.no_grad():
            return self._sample(requests)

    def _sample(self, requests: Sequence[InpaintRequest]) -> torch.Tensor:
        import torch

        device, dtype = self.unet.device, self.unet.dtype
        pixels = torch.from_numpy(np.stack([r.image for r in requests])).permute(0, 3, 1, 2)
        pixels = (pixels.float() / 127.5 - 1).to(device)
        mask = torch.from_numpy(np.stack([r.cells for r in requests]))[:, None].float().to(device)
        keep = 1 - torch.nn.functional.interpolate(mask, size=pixels.shape[-2:], mode="nearest")
        # CPU generators draw the same noise on every device. The noise comes first, then the posterior, as in
        # StableDiffusionInpaintPipeline.
        generators = [torch.Generator().manual_seed(r.seed) for r in requests]
        shape = (1, self.vae.config.latent_channels, *mask.shape[-2:])
        noise = torch.cat([torch.randn(shape, generator=g) for g in generators]).to(device)
        context = self._encode(pixels * keep, generators)
        source = self._encode(pixels, None) if self.alignment != "off" else None
        words = torch.stack([self._embed(r.prompt) for r in requests])
        guided = self.guidance > 1
        if guided:
            words = torch.cat([self._embed(self.negative_prompt).expand_as(words), words])
        fixed = torch.cat([mask, context], 1)
        fixed = torch.cat([fixed, fixed]) if guided else fixed
        self.scheduler.set_timesteps(self.steps)
        latents, timesteps = noise * self.scheduler.init_noise_sigma, self.scheduler.timesteps
        starts = [r.start for r in requests if r.start is not None]
        if starts and self.strength < 1:
            timesteps = timesteps[self.steps - max(1, int(self.steps * self.strength)) :]
            begin = torch.from_numpy(np.stack(starts)).permute(0, 3, 1, 2)
            begin = self._encode((begin.float() / 127.5 - 1).to(device), None)
            latents = self.scheduler.add_noise(begin, noise, timesteps[:1])
        for t in timesteps:
            if source is not None:
                latents = mask * latents + (1 - mask) * self.scheduler.add_noise(source, noise, t[None])
            doubled = torch.cat([latents, latents]) if guided else latents
            predicted = self.unet(
                torch.cat([doubled, fixed], 1).to(dtype), t.to(device), words, return_dict=False
            )[0].float()
            if guided:
                plain, told = predicted.chunk(2)
                predicted = plain + self.guidance * (told - plain)
            latents = self.scheduler.step(predicted, t, latents, return_dict=False)[0]
        if source is not None:
            latents = mask * latents + (1 - mask) * source
        result: torch.Tensor = latents
        return result

    def _encode(self, pixels: torch.Tensor, generators: Any) -> torch.Tensor:
        import torch

        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        if generators is None:
            latents = posterior.mode()
        else:
            noise = [torch.randn(posterior.mean[:1].shape, generator=g) for g in generators]
            latents = posterior.mean + posterior.std * torch.cat(noise).to(posterior.mean)
        return torch.as_tensor(latents.float() * self.vae.config.scaling_factor)

    def _embed(self, prompt: str) -> torch.Tensor:
        if prompt not in self._words:
            ids = self.tokenizer(
                prompt,
                padding="max_length",
                max_length=self.tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            words = self.text_encoder(ids.to(self.text_encoder.device))[0][0]
            self._words[prompt] = words.to(self.unet.dtype)
        return self._words[prompt]
