"""The noise schedule of a checkpoint as one of our samplers reads it."""

from __future__ import annotations

from typing import Any

from augsynth.core.errors import BackendError, ConfigError

LCM_GUIDANCE = 1.5  # LCM-LoRA's authors advise 1 to 2; higher scales burn in


def is_few_step(scheduler: Any, *, sampler: str) -> bool:
    """Tell whether a checkpoint is sampled as a latent consistency model."""
    return sampler == "lcm" or (sampler == "auto" and type(scheduler).__name__ == "LCMScheduler")


def build_scheduler(scheduler: Any, *, sampler: str, steps: int, name: str = "") -> Any:
    """Return a DDIM or LCM scheduler with the checkpoint's noise levels.

    Args:
        scheduler: The checkpoint's own, of any kind with a cumulative alpha.
        sampler: `auto`, `ddim` or `lcm`.
        steps: Steps that it will be asked for.
        name: The checkpoint's name for errors.

    Raises:
        ConfigError: More steps than an LCM has.
        BackendError: The checkpoint has no such noise levels.
    """
    from diffusers import DDIMScheduler, LCMScheduler

    kind = type(scheduler).__name__
    if kind.startswith(("EDM", "FlowMatch")) or not hasattr(scheduler, "alphas_cumprod"):
        raise BackendError(
            f"{name or 'checkpoint'}: its noise schedule ({kind}) isn't Stable Diffusion's; choose another checkpoint"
        )
    # without the key DDIM would clip latents as if they were pixels
    options = {"clip_sample": scheduler.config.get("clip_sample", False)}
    if not is_few_step(scheduler, sampler=sampler):
        return DDIMScheduler.from_config(scheduler.config, **options)
    built = LCMScheduler.from_config(scheduler.config, **options)
    try:
        built.set_timesteps(steps)
    except ValueError as error:
        most = built.config.original_inference_steps
        raise ConfigError(f"steps is {steps}; the LCM sampler takes 1 to {most}, 4 to 8 do well") from error
    return built
