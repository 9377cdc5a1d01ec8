"""Any diffusers inpainting pipeline behind the port: Flux Fill, Qwen-Image, Z-Image, Stable Diffusion 3, …"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.scene import Image
from augsynth.inpainting.options import PaintingOptions
from augsynth.inpainting.port import InpaintRequest

REFERENCE = "image_reference"  # the argument of FLUX.2 klein and FLUX.1 Kontext
PIPELINE_STEPS = 25
NATIVE_SIZE = 1024  # of the flow models whose pipelines don't say


class PipelineInpainter:
    """Run a diffusers inpainting pipeline on batches of windows, one generator a window.

    The pipeline does what it does about the surroundings; most keep the noised source around the mask, so
    `alignment` `renoise` and `off` are the same here. A pipeline that takes a reference picture gets that of a request.

    Args:
        pipeline: A diffusers pipeline that takes prompt, image and mask_image.
        painting: How to paint. Guidance is a scale as the pipeline counts: up to 1 switches classifier-free guidance
            off, None takes the pipeline's default.
        negative_prompt: Text of the unconditional branch, where there is one.

    Raises:
        ConfigError: An option doesn't fit the pipeline, or needs our own sampler.
        BackendError: The pipeline isn't one for inpainting.
    """

    def __init__(self, pipeline: Any, painting: PaintingOptions, *, negative_prompt: str) -> None:
        check_generic(painting)
        self.name = painting.model or ""
        self.takes = check_pipeline(type(pipeline), self.name)
        self.pipeline = pipeline
        parts = (getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2", "tokenizer_3"))
        readers: list[Any] = [part for part in parts if hasattr(part, "model_max_length")]
        self.tokenizer = max(readers, key=lambda reader: reader.model_max_length, default=None)
        self.cell = int(getattr(pipeline, "vae_scale_factor", 8))
        units = getattr(pipeline, "default_sample_size", 0)
        self.size = painting.window_size or (int(units) * self.cell if units else NATIVE_SIZE)
        if self.size % (2 * self.cell):
            raise ConfigError(f"window_size is {self.size}; this model takes multiples of {2 * self.cell}")
        self._scale_name, self._told = _guidance_argument(pipeline, self.takes)
        own = inspect.signature(type(pipeline).__call__).parameters.get(self._scale_name)
        self.guidance = float(painting.guidance or (own.default if own and own.default else 0))
        self.steps, self.alignment = painting.steps or PIPELINE_STEPS, painting.alignment
        self.batch_size = painting.batch_size
        self.negative_prompt = negative_prompt
        pipeline.set_progress_bar_config(disable=True)

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[Image | None]:
        """Repaint the masked cells of each window; see `Inpainter`."""
        pictures: dict[int, Image | None] = {}
        kinds = [
            (None if r.change is None else round(float(r.change.max()), 6), r.reference is None)
            for r in requests
        ]
        for kind in dict.fromkeys(kinds):
            places = [k for k, own in enumerate(kinds) if own == kind]
            for low in range(0, len(places), self.batch_size):
                batch = places[low : low + self.batch_size]
                painted = self._paint([requests[k] for k in batch], kind[0])
                pictures.update(zip(batch, painted, strict=True))
        return [pictures[k] for k in range(len(requests))]

    def samples_per_window(self, strength: float | None) -> int:
        """Return how many samples the denoiser sees for a window; see `Inpainter`."""
        taken = self.steps if strength is None else max(1, min(self.steps, int(self.steps * strength)))
        return taken * (2 if self.guidance > 1 and not self._told else 1)

    def _paint(self, requests: Sequence[InpaintRequest], strength: float | None) -> list[Image | None]:
        import torch
        from PIL import Image as PillowImage

        cells = np.ones((self.cell, self.cell), np.uint8) * 255
        least = 1 / self.steps  # below, the pipelines take no step at all
        output = self.pipeline(
            prompt=[r.prompt for r in requests],
            image=[PillowImage.fromarray(r.image) for r in requests],
            mask_image=[PillowImage.fromarray(np.kron(r.cells, cells).astype(np.uint8)) for r in requests],
            num_inference_steps=self.steps,
            generator=[torch.Generator().manual_seed(r.seed) for r in requests],
            output_type="np",
            **self._options(requests, 1.0 if strength is None else max(strength, least)),
            **self._reference(requests),
        )
        refused = getattr(output, "nsfw_content_detected", None) or [False] * len(requests)
        pictures = [
            None if bad else to_picture(p, self.size) for p, bad in zip(output.images, refused, strict=True)
        ]
        return [p if p is None else _as_far(r, p) for r, p in zip(requests, pictures, strict=True)]

    def _reference(self, requests: Sequence[InpaintRequest]) -> dict[str, Any]:
        """Return a picture of each object, for pipelines that take one, of requests that all have one or none has."""
        from PIL import Image as PillowImage

        pictures = [PillowImage.fromarray(r.reference) for r in requests if r.reference is not None]
        return {REFERENCE: pictures} if pictures and REFERENCE in self.takes else {}

    def _options(self, requests: Sequence[InpaintRequest], strength: float) -> dict[str, Any]:
        """Return what this pipeline takes beside the windows."""
        options: dict[str, Any] = {"height": self.size, "width": self.size, "strength": strength}
        # pipelines with a `true_cfg_scale` leave the second branch out where they get no text for it
        nothing = " " if "true_cfg_scale" in self.takes else ""
        negatives = [self.negative_prompt if r.negative is None else r.negative for r in requests]
        options["negative_prompt"] = [text or nothing for text in negatives]
        # 0 is off wherever there are two branches, whether the pipeline's scale counts from 0 or from 1
        options[self._scale_name] = self.guidance if self._told or self.guidance > 1 else 0.0
        return {key: value for key, value in options.items() if key in self.takes}


def _as_far(request: InpaintRequest, picture: Image) -> Image:
    """Return a picture that was painted with one strength, mixed with its start where less was to change."""
    if request.change is None:
        return picture
    share = (request.change / max(request.change.max(), 1e-6))[..., None]
    mixed = request.image + share * (picture.astype(np.float64) - request.image)
    return np.asarray(np.round(mixed), np.uint8)


def _guidance_argument(pipeline: Any, takes: frozenset[str]) -> tuple[str, bool]:
    """Return the argument that guidance goes by, and whether a distilled model is told it."""
    config = getattr(getattr(pipeline, "transformer", None), "config", None)
    told = bool(getattr(config, "guidance_embeds", False))
    return ("true_cfg_scale" if "true_cfg_scale" in takes and not told else "guidance_scale"), told


def check_generic(painting: PaintingOptions) -> None:
    """Refuse options of our own sampler.

    Raises:
        ConfigError: `inversion`, or a sampler.
    """
    if painting.alignment == "inversion":
        raise ConfigError(
            "alignment inversion is for Stable Diffusion 1.x, 2.x and XL; choose renoise or off"
        )
    if painting.sampler != "auto":
        raise ConfigError(f"sampler {painting.sampler} is for Stable Diffusion 1.x, 2.x and XL; leave it out")


def check_pipeline(pipeline_class: Any, name: str) -> frozenset[str]:
    """Return the names of the arguments that a pipeline takes.

    Raises:
        BackendError: It isn't one that a prompt, a picture and a mask are enough for.
    """
    takes = frozenset(inspect.signature(pipeline_class.__call__).parameters)
    if not {"prompt", "image", "mask_image", "generator"} <= takes or takes & {
        "control_image",
        "image_embeds",
    }:
        raise BackendError(
            f"{name or 'checkpoint'}: {pipeline_class.__name__} doesn't paint from prompt, picture and mask alone; "
            "choose an inpainting checkpoint"
        )
    return takes


def to_picture(pixels: NDArray[np.floating[Any]], size: int) -> Image | None:
    """Return (size, size, 3) uint8 for pixels in [0, 1]; None where they are black, as safety checkers leave them."""
    if pixels.shape != (size, size, 3):
        raise BackendError(f"the pipeline returned {pixels.shape} for a window of {size} px; set window_size")
    if not np.isfinite(pixels).all() or not pixels.any():
        return None
    return np.ascontiguousarray((pixels * 255).round().astype(np.uint8))
