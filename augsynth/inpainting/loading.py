"""Load an inpainting checkpoint from a folder or the hub; which sampler runs it follows from its pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augsynth.core.errors import BackendError
from augsynth.core.hub import first_line
from augsynth.inpainting.checkpoints import (
    EMBEDDED,
    OFFLINE_ADVICE,
    Checkpoint,
    inspect_checkpoint,
)
from augsynth.inpainting.port import Inpainter

__all__ = ["EMBEDDED", "load_inpainter"]

GUIDANCE = 7.5  # of public Stable Diffusion checkpoints
OWN_GUIDANCE = (
    2.0  # of those that `augsynth train-inpainter` trains from scratch, the embedded one among them
)


def load_inpainter(
    model: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    precision: str = "float32",
    lora: str | Path | None = None,
    lora_scale: float = 1.0,
    guidance: float = 0.0,
    sampler: str = "auto",
    alignment: str = "renoise",
    **options: Any,
) -> Inpainter:
    """Load a checkpoint behind the port: Stable Diffusion behind the aligned sampler, other pipelines as they are.

    Args:
        model: `embedded`, a local folder in the diffusers layout, or a hub id.
        revision: Commit or tag of a hub id.
        device: Torch device.
        precision: `float32`, `bfloat16` or `float16`, of the weights while running.
        lora: LoRA to add: a .safetensors file, a folder with one, or a hub id.
        lora_scale: How much of it.
        guidance: Guidance scale; 0 takes what fits the checkpoint.
        sampler: `auto`, `ddim` or `lcm`.
        alignment: `renoise`, `inversion` or `off`.
        options: Passed to `AlignedInpainter` or `PipelineInpainter`.

    Raises:
        BackendError: The checkpoint or LoRA is missing, out of reach, damaged or of another kind; safetensors only.
        ConfigError: An option doesn't fit the checkpoint.
    """
    from augsynth.inpainting.aligned import AlignedInpainter
    from augsynth.inpainting.diffusers_pipeline import PipelineInpainter, check_generic
    from augsynth.inpainting.lora import add_lora, find_lora
    from augsynth.inpainting.schedulers import LCM_GUIDANCE, is_few_step

    model, lora = str(model), None if lora is None else str(lora)
    checkpoint = inspect_checkpoint(model, revision=revision)
    options |= {"name": model, "alignment": alignment, "sampler": sampler}
    if checkpoint.family == "other":
        check_generic(alignment=alignment, sampler=sampler)
    if lora is not None:
        find_lora(lora)
    with _quiet():
        pipeline = _load_pipeline(checkpoint, precision)
        if lora is not None:
            add_lora(pipeline, lora, scale=lora_scale, name=model)
        pipeline.to(device)
    for part in pipeline.components.values():
        if hasattr(part, "requires_grad_"):
            part.requires_grad_(False).eval()
    if checkpoint.family == "other":
        return PipelineInpainter(pipeline, guidance=guidance, **options)
    if checkpoint.family == "sdxl" and precision == "float16" and pipeline.vae.config.force_upcast:
        with _quiet():
            pipeline.vae.float()  # it overflows in float16
    if not guidance:
        few = is_few_step(pipeline.scheduler, sampler=sampler)
        guidance = LCM_GUIDANCE if few else OWN_GUIDANCE if checkpoint.source.path is not None else GUIDANCE
    return AlignedInpainter(**_parts(pipeline), guidance=guidance, **options)


def _parts(pipeline: Any) -> dict[str, Any]:
    """Return what the sampler takes from a Stable Diffusion pipeline."""
    parts = ("vae", "unet", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")
    settings = ("requires_aesthetics_score", "force_zeros_for_empty_prompt")
    taken: dict[str, Any] = {part: getattr(pipeline, part, None) for part in parts}
    return taken | {key: pipeline.config[key] for key in settings if key in pipeline.config}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and warnings off the screen: what matters is raised."""
    import diffusers
    import transformers

    libraries = [diffusers.utils.logging, transformers.utils.logging]
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)


def _load_pipeline(checkpoint: Checkpoint, precision: str) -> Any:
    import torch

    pipeline_class, extra = find_pipeline(checkpoint)
    try:
        return pipeline_class.from_pretrained(
            checkpoint.source.place,
            **checkpoint.source.options(),
            dtype=getattr(torch, precision),
            use_safetensors=True,
            **extra,
        )
    except Exception as error:  # from_pretrained raises whatever its parts raise
        raise BackendError(f"{checkpoint.source.name}: {_reason(error, checkpoint)}") from error


def _reason(error: Exception, checkpoint: Checkpoint) -> str:
    text = first_line(error)
    if "can't find a pipeline linked" in text:
        return f"{checkpoint.class_name} has no inpainting pipeline; choose a checkpoint that has one"
    if "safetensors" in text and "necessary" in text:
        return "its weights are pickled, and code in them could run; choose a checkpoint with safetensors"
    return f"can't be loaded ({text}); {OFFLINE_ADVICE}"


def find_pipeline(checkpoint: Checkpoint) -> tuple[Any, dict[str, Any]]:
    """Return the diffusers class that loads a checkpoint for inpainting, and what it is told beside.

    Raises:
        BackendError: diffusers doesn't know the checkpoint's pipeline.
    """
    import diffusers

    from augsynth.inpainting.diffusers_pipeline import check_pipeline

    if checkpoint.family == "sd":
        without = {"safety_checker": None, "requires_safety_checker": False}
        return diffusers.StableDiffusionInpaintPipeline, without
    if checkpoint.family == "sdxl":
        return diffusers.StableDiffusionXLInpaintPipeline, {"add_watermarker": False}
    name = checkpoint.class_name
    if not name.endswith("Pipeline") or not hasattr(diffusers, name):
        raise BackendError(
            f"{checkpoint.source.name}: diffusers {diffusers.__version__} knows no {name}; choose another checkpoint"
        )
    own = (
        name
        if "Inpaint" in name or "Fill" in name
        else re.sub("(Img2Img)?Pipeline$", "InpaintPipeline", name)
    )
    if hasattr(diffusers, own):
        check_pipeline(getattr(diffusers, own), checkpoint.source.name)
        return getattr(diffusers, own), {}
    return diffusers.AutoPipelineForInpainting, {}
