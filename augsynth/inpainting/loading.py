"""Load an inpainting checkpoint from a folder or the hub; which sampler runs it follows from its pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from augsynth.core.devices import fast_precision
from augsynth.core.errors import BackendError
from augsynth.core.hub import first_line
from augsynth.core.options import build
from augsynth.inpainting.checkpoints import (
    EMBEDDED,
    OFFLINE_ADVICE,
    Checkpoint,
    inspect_checkpoint,
)
from augsynth.inpainting.options import PaintingOptions
from augsynth.inpainting.port import Inpainter

__all__ = ["EMBEDDED", "load_inpainter", "open_inpainter"]

OWN_STEPS = 6  # of DPM-Solver++, for models that `augsynth train-inpainter` trained; see benchmarks/README.md
PUBLIC_GUIDANCE = 7.5  # of Stable Diffusion checkpoints that weren't trained here


def load_inpainter(
    model: str | Path, *, device: str = "cpu", negative_prompt: str = "", **options: Any
) -> Inpainter:
    """Load a painting model by name or path, with other options of `PaintingOptions` than their defaults.

    Args:
        model: `embedded`, a local folder in the diffusers layout, or a hub id.
        device: Torch device.
        negative_prompt: Text of the unconditional branch.
        options: Fields of `PaintingOptions`, such as `steps`, `guidance` or `lora`.

    Raises:
        BackendError: The checkpoint or LoRA is missing, out of reach, damaged or of another kind; safetensors only.
        ConfigError: An unknown option, a value out of range, or one that doesn't fit the checkpoint.
    """
    painting = build(PaintingOptions, {"model": model, **options}, source="load_inpainter")
    return open_inpainter(painting, device=device, negative_prompt=negative_prompt)


def open_inpainter(painting: PaintingOptions, *, device: str, negative_prompt: str) -> Inpainter:
    """Load a checkpoint behind the port: Stable Diffusion behind the aligned sampler, other pipelines as they are.

    Args:
        painting: With `model`; a guidance of None takes what fits the checkpoint.
        device: Torch device.
        negative_prompt: Text of the unconditional branch.

    Raises:
        BackendError, ConfigError: As `load_inpainter`.
    """
    from augsynth.inpainting.aligned import AlignedInpainter, PipelineParts
    from augsynth.inpainting.diffusers_pipeline import PipelineInpainter, check_generic
    from augsynth.inpainting.lora import add_lora, find_lora
    from augsynth.inpainting.schedulers import choose_sampler

    assert painting.model is not None
    checkpoint = inspect_checkpoint(painting.model, revision=painting.model_revision)
    if checkpoint.family == "other":
        check_generic(painting)
    if painting.lora is not None:
        find_lora(painting.lora)
    with _quiet():
        pipeline = _load_pipeline(checkpoint, painting.precision or fast_precision(device))
        if painting.lora is not None:
            add_lora(pipeline, painting.lora, scale=painting.lora_scale, name=painting.model)
        pipeline.to(device)
    for part in pipeline.components.values():
        if hasattr(part, "requires_grad_"):
            part.requires_grad_(False).eval()
    if checkpoint.family == "other":
        return PipelineInpainter(pipeline, painting, negative_prompt=negative_prompt)
    if checkpoint.family == "sdxl" and painting.precision == "float16" and pipeline.vae.config.force_upcast:
        with _quiet():
            pipeline.vae.float()  # it overflows in float16
    sampler = choose_sampler(pipeline.scheduler, sampler=painting.sampler, alignment=painting.alignment)
    if checkpoint.is_own and sampler == "dpm":
        painting = replace(painting, steps=painting.steps or OWN_STEPS)
    elif not checkpoint.is_own and sampler != "lcm":
        painting = replace(painting, guidance=painting.guidance or PUBLIC_GUIDANCE)
    return AlignedInpainter(PipelineParts.of(pipeline), painting, negative_prompt=negative_prompt)


def import_libraries() -> None:
    """Import what a Stable Diffusion checkpoint is loaded with; it takes seconds, and `open_inpainter` needs it."""
    import diffusers
    import transformers

    for library, name in ((diffusers, "StableDiffusionInpaintPipeline"), (transformers, "CLIPTextModel")):
        getattr(library, name)


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
