"""Inpainting whose surroundings are aligned with the source at every step.

The rule is the paper's (arXiv 2408.02891) and Blended Latent Diffusion's (Avrahami et al., arXiv 2206.02779):
z_t <- m * z_t + (1 - m) * z~_t, where z~_t is the source latent at the level of step t (see `alignment`).
Samplers: DPM-Solver++(2M), arXiv 2211.01095; DDIM, arXiv 2010.02502, eta = 0; for few-step checkpoints latent
consistency models, arXiv 2310.04378.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.scene import Image
from augsynth.inpainting.alignment import KnownRegion, inverted, renoised
from augsynth.inpainting.change_map import replaced_share, to_cells
from augsynth.inpainting.conditioning import Condition, Conditioner, guidance_embedding, join
from augsynth.inpainting.options import PaintingOptions
from augsynth.inpainting.port import InpaintRequest
from augsynth.inpainting.schedulers import LCM_GUIDANCE, USUAL_STEPS, build_scheduler, choose_sampler

if TYPE_CHECKING:
    import torch


OWN_GUIDANCE = 2.0  # of models that `augsynth train-inpainter` trains, the embedded one among them
GUIDED_NOISE = (0.28, 5.42)  # σ/α between which guidance is asked for; see benchmarks/README.md
START_STEPS = (
    25  # at least, from noise to picture, where a picture is started from: a strength of 0.04 is one step
)


@dataclass(frozen=True, slots=True, eq=False)
class PipelineParts:
    """What the sampler takes from a Stable Diffusion pipeline of diffusers.

    Attributes:
        vae, unet, text_encoder, tokenizer, scheduler: Of every family.
        text_encoder_2, tokenizer_2: SDXL's second pair.
        requires_aesthetics_score, force_zeros_for_empty_prompt: As in SDXL's pipelines.
    """

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    text_encoder_2: Any = None
    tokenizer_2: Any = None
    requires_aesthetics_score: bool = False
    force_zeros_for_empty_prompt: bool = True

    @classmethod
    def of(cls, pipeline: Any) -> PipelineParts:
        """Return the parts of a pipeline, whose configuration holds the settings."""
        *parts, aesthetics, zeros = (item.name for item in fields(cls))
        found = {name: getattr(pipeline, name) for name in parts if hasattr(pipeline, name)}
        settings = {name: pipeline.config[name] for name in (aesthetics, zeros) if name in pipeline.config}
        return cls(**found, **settings)


class AlignedInpainter:
    """Sample a Stable Diffusion checkpoint: 1.x, 2.x or XL; inpainting (9 channels) or plain (4); epsilon or v.

    Alignment is `renoise`, `inversion` (DDIM with the source's own trajectory), or `off`: what the model's diffusers
    pipeline does, which is nothing for 9 channels, and for 4 to keep the noised source around the mask. A request with
    a `change` starts from its image: a cell of strength c is held on the noised image until the last share c of the
    steps (Differential Diffusion: Levin and Fried, arXiv 2306.00950). A batch is twice as large in the UNet under
    guidance.

    Args:
        parts: Of the diffusers pipeline.
        painting: How to paint; a guidance of None is that of few-step models, or else of those trained here.
        negative_prompt: Text of the unconditional branch.

    Raises:
        ConfigError: An option doesn't fit the model.
        BackendError: The UNet is of an unknown kind.
    """

    def __init__(self, parts: PipelineParts, painting: PaintingOptions, *, negative_prompt: str) -> None:
        self.name, self.vae, self.unet = painting.model or "", parts.vae, parts.unet
        self.plain = _is_plain(self.vae, self.unet, self.name)
        sampler = choose_sampler(parts.scheduler, sampler=painting.sampler, alignment=painting.alignment)
        self.steps = painting.steps or USUAL_STEPS[sampler]
        self.scheduler = build_scheduler(parts.scheduler, sampler=sampler, steps=self.steps, name=self.name)
        self._draws_noise, self._limits_guidance = sampler == "lcm", sampler == "dpm"
        if painting.alignment == "inversion" and sampler != "ddim":
            raise ConfigError(
                f"alignment inversion needs DDIM, and the sampler is {sampler}; choose renoise or off"
            )
        self.cell = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.size = _window_size(self.unet, self.cell, painting.window_size)
        self.tokenizer = parts.tokenizer
        pairs = [(parts.tokenizer, parts.text_encoder), (parts.tokenizer_2, parts.text_encoder_2)]
        self.conditioner = Conditioner(
            [(t, e) for t, e in pairs if e is not None],
            self.unet,
            size=self.size,
            zero_empty=parts.force_zeros_for_empty_prompt,
            aesthetics=parts.requires_aesthetics_score,
        )
        self.alignment, self.batch_size = painting.alignment, painting.batch_size
        self.guidance = painting.guidance or (LCM_GUIDANCE if self._draws_noise else OWN_GUIDANCE)
        self.negative_prompt = negative_prompt
        told = (
            self.unet.config.time_cond_proj_dim
        )  # a UNet that is told the scale needs no unconditional branch
        self._scale = None if told is None else guidance_embedding(self.guidance, width=told)
        self._guided = self.guidance > 1 and told is None

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[Image | None]:
        """Repaint the masked cells of each window; see `Inpainter`."""
        pictures: dict[int, Image | None] = {}
        for steps, batch in self._batches(requests):
            chosen = [requests[k] for k in batch]
            pictures.update(zip(batch, self._pictures(chosen, steps), strict=True))
        return [pictures[k] for k in range(len(requests))]

    def samples_per_window(self, strength: float | None) -> int:
        """Return how many samples the denoiser sees for a window; see `Inpainter`."""
        timesteps = self._num_timesteps(is_start=strength is not None)
        taken = timesteps if strength is None else max(1, round(timesteps * strength))
        self.scheduler.set_timesteps(timesteps)
        last = self.scheduler.timesteps[-taken:]
        both = sum(1 for t in last if self._guided and self._guides_at(t))
        known = len(last) if self.alignment == "inversion" else 0
        return len(last) + both + known

    def _batches(self, requests: Sequence[InpaintRequest]) -> list[tuple[int, list[int]]]:
        """Return numbers of steps, each with the places of requests that take so many, at most a batch."""
        steps = [self._num_steps(request) for request in requests]
        kinds = [(num, [k for k, n in enumerate(steps) if n == num]) for num in sorted(set(steps))]
        return [
            (num, kind[low : low + self.batch_size])
            for num, kind in kinds
            for low in range(0, len(kind), self.batch_size)
        ]

    def _num_steps(self, request: InpaintRequest) -> int:
        """Return how many of the last steps a request takes; 0 stands for all of them from noise alone."""
        if request.change is None:
            return 0
        return max(1, round(self._num_timesteps(is_start=True) * float(request.change.max())))

    def _num_timesteps(self, *, is_start: bool) -> int:
        """Return the steps from noise to picture, of which a picture to start from needs the last ones."""
        return max(self.steps, START_STEPS) if is_start and not self._draws_noise else self.steps

    def _pictures(self, requests: Sequence[InpaintRequest], num_steps: int) -> list[Image | None]:
        import torch

        latents = self.sample_latents(requests, num_steps=num_steps)
        with torch.no_grad():
            decoded = self._decode(latents)
            whole = decoded.isfinite().flatten(1).all(1).tolist()
            decoded = decoded.float().nan_to_num()
            if num_steps:
                # What the autoencoder loses is given back where the image isn't replaced.
                pixels = self._pixels([r.image for r in requests])
                lost = pixels - self._decode(self._encode(pixels, None)).float()
                shares = [replaced_share(r.change) for r in requests if r.change is not None]
                kept = 1 - torch.from_numpy(np.stack(shares))[:, None].to(lost)
                decoded = decoded + kept * lost
        array = (decoded.clamp(-1, 1) + 1).mul(127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return [np.ascontiguousarray(p) if fine else None for p, fine in zip(array, whole, strict=True)]

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        pixels: torch.Tensor = self.vae.decode(scaled).sample
        return pixels

    def sample_latents(self, requests: Sequence[InpaintRequest], *, num_steps: int = 0) -> torch.Tensor:
        """Return the (N, C, h, w) float32 scaled latents of one batch of requests.

        Args:
            requests: All with a `change`, or none.
            num_steps: How many of the last steps are taken, with a `change`; 0 without.
        """
        import torch

        with torch.no_grad():
            return self._sample(requests, num_steps)

    def _sample(self, requests: Sequence[InpaintRequest], num_steps: int) -> torch.Tensor:
        import torch

        pixels = self._pixels([r.image for r in requests])
        mask = torch.from_numpy(np.stack([r.cells for r in requests]))[:, None].float().to(pixels.device)
        # CPU generators draw the same noise on every device, and draw in the order of diffusers' pipelines.
        generators = [torch.Generator().manual_seed(r.seed) for r in requests]
        drawn = self._encode(pixels, generators) if self.plain else None
        noise = self._draw(mask, generators)
        fixed = self._fixed(pixels, mask, generators)
        wanted = both = self.conditioner.wanted([r.prompt for r in requests])
        if self._guided:
            negatives = [self.negative_prompt if r.negative is None else r.negative for r in requests]
            both = join(self.conditioner.unwanted(negatives), wanted)
        num_timesteps = self._num_timesteps(is_start=num_steps > 0)
        self.scheduler.set_timesteps(num_timesteps)
        timesteps = self.scheduler.timesteps[-num_steps:]
        latents, changes = noise * self.scheduler.init_noise_sigma, None
        around = self._known_region(pixels, drawn, noise, timesteps, is_start=num_steps > 0)
        if num_steps:
            changes = self._steps_of_change(requests, mask)
            assert around is not None  # the image, which painting starts from
            mask = (changes > 0).float()
            latents = torch.where(changes >= num_timesteps, latents, around.at(0))
        for step, t in enumerate(timesteps):
            if around is not None and step >= around.first:
                free = mask if changes is None else (changes >= len(timesteps) - step).float()
                latents = free * latents + (1 - free) * around.at(step)
            predicted = self._predict(latents, t, fixed, both if self._guides_at(t) else wanted)
            extra = {"generator": generators} if self._draws_noise else {}
            latents = self.scheduler.step(predicted, t, latents, return_dict=False, **extra)[0]
        if around is not None:
            latents = mask * latents + (1 - mask) * around.source
        result: torch.Tensor = latents
        return result

    def _guides_at(self, t: torch.Tensor) -> bool:
        """Tell whether guidance matters at a timestep: neither in the strongest noise nor in the weakest.

        The idea is that of Kynkäänniemi et al., arXiv 2404.07724. DDIM and LCM are sampled as their pipelines do, with
        guidance throughout.
        """
        if not self._limits_guidance:
            return True
        alpha = float(self.scheduler.alphas_cumprod[int(t)])
        return GUIDED_NOISE[0] ** 2 * alpha <= 1 - alpha <= GUIDED_NOISE[1] ** 2 * alpha

    def _steps_of_change(self, requests: Sequence[InpaintRequest], mask: torch.Tensor) -> torch.Tensor:
        """Return (N, 1, h, w) in how many of the last steps each cell is free."""
        import torch

        num_cells = mask.shape[-1]
        cells = np.stack([to_cells(r.change, num_cells) for r in requests if r.change is not None])
        strength = torch.from_numpy(cells)[:, None].to(mask.device) * mask
        num_timesteps = self._num_timesteps(is_start=True)
        return torch.where(strength > 0, (strength * num_timesteps).round().clamp(min=1), 0)

    def _known_region(
        self,
        pixels: torch.Tensor,
        drawn: torch.Tensor | None,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        *,
        is_start: bool,
    ) -> KnownRegion | None:
        """Return what the surroundings are overwritten with, None where they are left to the model.

        Where painting starts from the picture, cells that aren't free yet are overwritten with it, too.
        """
        if self.alignment == "off" and not is_start:
            return None if drawn is None else renoised(self.scheduler, drawn, noise, timesteps, first=1)
        source = self._encode(pixels, None)
        if self.alignment != "inversion":
            return renoised(self.scheduler, source, noise, timesteps)
        # Told nothing: no text, and nothing of the picture either.
        told = self.conditioner.unwanted([""] * len(source))
        # One for the whole batch: norms blow up the rounding of a picture without contrast.
        one = None if self.plain else self._fixed(pixels[:1], noise.new_ones(noise[:1, :1].shape), None)
        hidden = None if one is None else one.expand(len(source), -1, -1, -1)
        return inverted(
            self.scheduler, source, timesteps, lambda latents, t: self._predict(latents, t, hidden, told)
        )

    def _predict(
        self, latents: torch.Tensor, t: torch.Tensor, fixed: torch.Tensor | None, condition: Condition
    ) -> torch.Tensor:
        """Return the UNet's output, guided where the condition has both branches."""
        import torch

        inputs = latents if fixed is None else torch.cat([latents, fixed], 1)
        guided = len(condition.words) == 2 * len(inputs)
        inputs = torch.cat([inputs, inputs]) if guided else inputs
        scale = None if self._scale is None else self._scale.expand(len(inputs), -1).to(inputs)
        predicted: torch.Tensor = self.unet(
            inputs.to(self.unet.dtype),
            t.to(inputs.device),
            condition.words,
            timestep_cond=None if scale is None else scale.to(self.unet.dtype),
            added_cond_kwargs=condition.added,
            return_dict=False,
        )[0].float()
        if not guided:
            return predicted
        unwanted, wanted = predicted.chunk(2)
        return unwanted + self.guidance * (wanted - unwanted)

    def _fixed(self, pixels: torch.Tensor, mask: torch.Tensor, generators: Any) -> torch.Tensor | None:
        """Return the mask and the masked picture's latents, which a 9-channel UNet sees at every step."""
        import torch

        if self.plain:
            # the pipelines encode it for nothing, which moves their generators on
            self._draw(mask, generators)
            return None
        keep = 1 - torch.nn.functional.interpolate(mask, size=pixels.shape[-2:], mode="nearest")
        return torch.cat([mask, self._encode(pixels * keep, generators)], 1)

    def _pixels(self, images: Sequence[Image]) -> torch.Tensor:
        import torch

        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
        return (pixels / 127.5 - 1).to(self.unet.device)

    def _draw(self, mask: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        import torch

        shape = (1, self.vae.config.latent_channels, *mask.shape[-2:])
        return torch.cat([torch.randn(shape, generator=g) for g in generators]).to(mask.device)

    def _encode(self, pixels: torch.Tensor, generators: Sequence[torch.Generator] | None) -> torch.Tensor:
        import torch

        posterior = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        if generators is None:
            latents = posterior.mode()
        else:
            noise = [torch.randn(posterior.mean[:1].shape, generator=g) for g in generators]
            latents = posterior.mean + posterior.std * torch.cat(noise).to(posterior.mean)
        return torch.as_tensor(latents.float() * self.vae.config.scaling_factor)


def _is_plain(vae: Any, unet: Any, name: str) -> bool:
    """Tell a plain UNet from an inpainting one by its channels."""
    latents, taken = vae.config.latent_channels, unet.config.in_channels
    if taken not in (latents, 2 * latents + 1):
        raise BackendError(
            f"{name or 'checkpoint'}: the UNet takes {taken} channels, neither {2 * latents + 1} (inpainting) nor "
            f"{latents} (plain); choose an inpainting checkpoint"
        )
    return bool(taken == latents)


def _window_size(unet: Any, cell: int, wanted: int | None) -> int:
    native = unet.config.sample_size
    native = native[0] if isinstance(native, list | tuple) else native
    size = wanted or int(native or 64) * cell
    step = cell * 2 ** (len(unet.config.block_out_channels) - 1)
    if size % step:
        raise ConfigError(f"window_size is {size}; this model takes multiples of {step}")
    return size
