"""Load an inpainting checkpoint from a folder or the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from augsynth.errors import BackendError

if TYPE_CHECKING:
    from augsynth.inpaint.aligned import AlignedInpainter

EMBEDDED = Path(__file__).parents[1] / "sample" / "models" / "inpainter"
OFFLINE_ADVICE = "without a network pass --model FOLDER (a diffusers folder), or --model embedded"


def load_inpainter(
    model: str,
    *,
    revision: str | None = None,
    device: str = "cpu",
    precision: str = "float32",
    **options: Any,
) -> AlignedInpainter:
    """Load a Stable Diffusion inpainting checkpoint behind the aligned sampler.

    Args:
        model: `embedded`, a local folder in the diffusers layout, or a hub id.
        revision: Commit or tag of a hub id.
        device: Torch device.
        precision: `float32`, `bfloat16` or `float16`, of the weights while running.
        options: Passed to `AlignedInpainter`.

    Raises:
        BackendError: The checkpoint is missing, out of reach, damaged or of another kind; safetensors only.
    """
    import torch
    from diffusers import StableDiffusionInpaintPipeline
    from diffusers.utils import logging

    from augsynth.inpaint.aligned import AlignedInpainter

    source = str(EMBEDDED) if model == "embedded" else model
    folder = Path(source)
    if folder.exists() and not (folder / "model_index.json").is_file():
        raise BackendError(f"{model}: no model_index.json in it; pass a folder in the diffusers layout")
    if not folder.exists() and (
        model == "embedded" or source.count("/") != 1 or source.startswith((".", "/", "~"))
    ):
        raise BackendError(f"{model}: no such folder, nor a hub id like owner/name; {OFFLINE_ADVICE}")
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        pipeline = StableDiffusionInpaintPipeline.from_pretrained(
            source,
            revision=revision,
            dtype=getattr(torch, precision),
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
        )
    except Exception as error:  # from_pretrained raises whatever its parts raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackendError(f"{model}: can't be loaded ({first}); {OFFLINE_ADVICE}") from error
    finally:
        logging.set_verbosity(verbosity)
    pipeline.to(device)
    for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        part.requires_grad_(False).eval()
    return AlignedInpainter(
        vae=pipeline.vae,
        unet=pipeline.unet,
        text_encoder=pipeline.text_encoder,
        tokenizer=pipeline.tokenizer,
        scheduler=pipeline.scheduler,
        name=model,
        **options,
    )
