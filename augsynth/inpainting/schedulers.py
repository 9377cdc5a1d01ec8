"""The noise schedule of a checkpoint as one of our samplers reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from augsynth.core.errors import BackendError, ConfigError

Sampler = Literal["dpm", "ddim", "lcm"]
USUAL_STEPS: Mapping[Sampler, int] = {"dpm": 10, "ddim": 25, "lcm": 6}
# Steps are counted from pure noise ("trailing"), as few steps need: Lin et al., arXiv 2305.08891.
SECOND_ORDER = {
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "final_sigmas_type": "zero",
    "timestep_spacing": "trailing",
}
LEAST_SIGNAL = 1e-6
LCM_GUIDANCE = 1.5  # LCM-LoRA's authors advise 1 to 2; higher scales burn in


def is_few_step(scheduler: Any, *, sampler: str) -> bool:
    """Tell whether a checkpoint is sampled as a latent consistency model."""
    return sampler == "lcm" or (sampler == "auto" and type(scheduler).__name__ == "LCMScheduler")


def choose_sampler(scheduler: Any, *, sampler: str, alignment: str) -> Sampler:
    """Return which sampler `auto` is for a checkpoint's own scheduler; any other is itself."""
    if is_few_step(scheduler, sampler=sampler):
        return "lcm"
    if sampler == "ddim" or (sampler == "auto" and alignment == "inversion"):
        return "ddim"
    return "dpm"


def build_scheduler(scheduler: Any, *, sampler: Sampler, steps: int, name: str = "") -> Any:
    """Return the scheduler of a sampler with the checkpoint's noise levels.

    DPM-Solver++(2M), Lu et al., arXiv 2211.01095, looks back at one prediction and is of second order, so it takes
    fewer steps than DDIM, which is of first.

    Args:
        scheduler: The checkpoint's own, of any kind with a cumulative alpha.
        sampler: Of `choose_sampler`.
        steps: Steps that it will be asked for.
        name: The checkpoint's name for errors.

    Raises:
        ConfigError: More steps than an LCM has.
        BackendError: The checkpoint has no such noise levels.
    """
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, LCMScheduler

    kind = type(scheduler).__name__
    if kind.startswith(("EDM", "FlowMatch")) or not hasattr(scheduler, "alphas_cumprod"):
        raise BackendError(
            f"{name or 'checkpoint'}: its noise schedule ({kind}) isn't Stable Diffusion's; choose another checkpoint"
        )
    if sampler == "dpm":
        # its steps are logarithms of signal over noise, which mustn't be of none at all
        ends_in_noise = bool(scheduler.alphas_cumprod[-1] < LEAST_SIGNAL)
        return DPMSolverMultistepScheduler.from_config(
            scheduler.config, **SECOND_ORDER, rescale_betas_zero_snr=ends_in_noise
        )
    # without the key DDIM would clip latents as if they were pixels
    options = {"clip_sample": scheduler.config.get("clip_sample", False)}
    if sampler == "ddim":
        return DDIMScheduler.from_config(scheduler.config, **options)
    built = LCMScheduler.from_config(scheduler.config, **options)
    try:
        built.set_timesteps(steps)
    except ValueError as error:
        most = built.config.original_inference_steps
        raise ConfigError(f"steps is {steps}; the LCM sampler takes 1 to {most}, 4 to 8 do well") from error
    return built
