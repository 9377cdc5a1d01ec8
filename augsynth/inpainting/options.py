"""What paints, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from augsynth.core.options import check_options, option


@dataclass(frozen=True, slots=True)
class PaintingOptions:
    """The inpainting model and its settings.

    Raises:
        ConfigError: A value is out of range.
    """

    model: str | None = option(
        None,
        "Inpainting model: `embedded`, a diffusers folder or a hub id.",
        unset="embedded for the sample and with init_images, else Stable Diffusion 1.5 inpainting",
    )
    model_revision: str | None = option(None, "Commit or tag of that hub id.")
    lora: str | None = option(None, "LoRA of the model: a .safetensors file, a folder with one or a hub id.")
    lora_scale: float = option(1.0, "How much of the LoRA; 1 is as it was trained.", low=-10, high=10)
    precision: Literal["float32", "bfloat16", "float16"] | None = option(
        None, "Precision of the model.", unset="bfloat16 on a CPU that multiplies it, else float32"
    )
    batch_size: int = option(8, "Windows a forward pass.", low=1, high=4096)
    steps: int | None = option(
        None,
        "Denoising steps.",
        low=1,
        high=1000,
        unset="6 with a model of `train-inpainter`, else 10 of dpm; 25 of ddim and of pipelines of their own, 6 of lcm",
    )
    guidance: float | None = option(
        None,
        "Scale of classifier-free guidance; 1 switches it off.",
        above=0,
        high=50,
        unset="what fits the model",
    )
    sampler: Literal["auto", "dpm", "ddim", "lcm"] = option(
        "auto",
        "dpm is DPM-Solver++(2M), for 6 to 20 steps; ddim takes 25 to 50; lcm is for few-step checkpoints and LoRAs, "
        "4 to 8 steps; auto is lcm for those, ddim for alignment inversion, else dpm.",
    )
    window_size: int | None = option(
        None, "Side of the model's window in pixels.", low=8, high=4096, unset="the model's own"
    )
    alignment: Literal["renoise", "inversion", "off"] = option(
        "renoise", "How the surroundings are kept in line with the image while the object is painted."
    )
    init_images: str | None = option(
        None,
        "Object bank: painting starts from its real objects, put where the new ones are planned.",
        unset="painting starts from noise",
    )
    strength: float | None = option(
        None,
        "How far such an object is repainted: 0 not at all, up to 0.5 its edge and the ring around it, 1 all of it.",
        low=0.0,
        high=1.0,
        unset="0.2; 0 where the embedded model meets images that it doesn't know",
    )
    feather: float = option(3.0, "Soft edge of the mask in pixels of the model's window.", low=0, high=64)

    def __post_init__(self) -> None:
        check_options(self)
