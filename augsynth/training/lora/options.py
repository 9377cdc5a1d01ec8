"""The options of a LoRA training (`augsynth train-lora`), checked before anything is read."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.options import check_options, option
from augsynth.core.scene import Category
from augsynth.inpainting.checkpoints import Checkpoint, inspect_checkpoint
from augsynth.inpainting.prompts.templates import DEFAULT_TEMPLATE, check_templates


@dataclass(frozen=True, slots=True)
class LoraTraining:
    """How to train a LoRA of a checkpoint.

    Raises:
        ConfigError: A value is out of range.
    """

    model: str = option("embedded", "Checkpoint to adapt: `embedded`, a diffusers folder or a hub id.")
    model_revision: str | None = option(None, "Commit or tag of that hub id.")
    lora_rank: int = option(
        16, "Rank of the adapters; their scale is 1 (alpha equals the rank).", low=1, high=1024
    )
    lora_steps: int = option(1000, "Optimizer steps.", low=1, high=10_000_000)
    lora_batch_size: int = option(4, "Windows a forward pass.", low=1, high=4096)
    accumulate: int = option(1, "Forward passes whose gradients make one step.", low=1, high=4096)
    lora_lr: float = option(1e-4, "Peak learning rate.", above=0, high=1)
    lr_schedule: Literal["cosine", "constant"] = option("cosine", "Learning rate after the warm-up.")
    warmup: int = option(50, "Steps until the peak.", low=0, high=10_000_000)
    prior_share: float = option(
        0.25, "Share of each batch that holds the model to what it was.", low=0, high=0.9
    )
    snr_gamma: float = option(
        0.0,
        "Clips the weight of steps with little noise (min-SNR); 0 weighs all alike.",
        low=0,
        high=1e6,
    )
    held_out_share: float = option(
        0.1,
        "Share of the images that is kept for the loss that picks the best LoRA; 0 keeps none.",
        low=0,
        high=0.5,
    )
    precision: Literal["bfloat16", "float32"] = option("bfloat16", "Precision; bfloat16 is autocast.")
    gradient_checkpointing: bool = option(
        False, "Compute activations again in the backward pass: less memory, a third more time."
    )
    window_size: int | None = option(
        None, "Side of the window in pixels.", low=1, high=4096, unset="the model's own"
    )
    num_windows: int = option(1000, "Training windows to cut.", low=1, high=10_000_000)
    symmetry: Literal["none", "mirror", "dihedral"] = option(
        "mirror", "Windows as they are, mirrored left and right, or in all eight flips and quarter turns."
    )
    balance: float = option(0.6, "0 draws objects as they come, 1 every category alike.", low=0, high=1)
    template: str = option(DEFAULT_TEMPLATE, "Prompt with {category}, as for generate.")
    prompts: str | None = option(None, "File of synonyms and descriptions, as for generate.")
    categories: tuple[str, ...] = option(
        (), "Category to learn; may be repeated. The others belong to what is preserved.", unset="all"
    )
    samples: int = option(4, "Windows painted at each checkpoint, to look at.", low=0, high=1000)
    save_every: int = option(250, "Steps between checkpoints.", low=1, high=10_000_000)
    seed: int = option(42, "Seed of the training.")
    device: str = option("cpu", "Torch device.")

    def __post_init__(self) -> None:
        check_options(self)
        check_templates((self.template,))


def check_base(training: LoraTraining) -> Checkpoint:
    """Return the checkpoint that a LoRA is trained for, looked at without loading it.

    Raises:
        BackendError: There is none, or it isn't of the Stable Diffusion families.
        ConfigError: The peft library is missing.
    """
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("a LoRA needs the peft library; install it with pip install 'peft>=0.17,<1'")
    checkpoint = inspect_checkpoint(training.model, revision=training.model_revision)
    if checkpoint.family == "other":
        raise BackendError(
            f"{training.model}: a {checkpoint.class_name}; LoRAs are trained for Stable Diffusion 1.x, 2.x and XL, "
            "choose such a checkpoint"
        )
    return checkpoint


def chosen_categories(categories: Sequence[Category], names: Sequence[str]) -> list[Category]:
    """Return the dataset's categories of those names, all for none.

    Raises:
        ConfigError: There is no such category.
    """
    known = [category.name for category in categories]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known[:8])}"
            raise ConfigError(f"categories: {name!r} is no category of the dataset; {advice}")
    return [category for category in categories if not names or category.name in names]
