"""The options of a LoRA training (`augsynth train-lora`), checked before anything is read."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.scene import Category
from augsynth.inpainting.checkpoints import Checkpoint, inspect_checkpoint
from augsynth.inpainting.prompts.templates import DEFAULT_TEMPLATE, check_templates

LR_SCHEDULES = ("cosine", "constant")
PRECISIONS = ("bfloat16", "float32")
# Keys of the other kind of training, and of both.
_STAGES = [
    "autoencoder_steps",
    "latent_channels",
    "decoder_steps",
    "denoiser_steps",
    "autoencoder_batch_size",
    "denoiser_batch_size",
]
SCRATCH_ONLY = frozenset(["preset", "start", *_STAGES])
SHARED = frozenset(
    ["model", "num_windows", "window_size", "symmetry", "balance", "template", "save_every", "seed", "device"]
)
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("lora_rank", 1, 1024),
    ("lora_steps", 1, 10_000_000),
    ("lora_batch_size", 1, 4096),
    ("accumulate", 1, 4096),
    ("warmup", 0, 10_000_000),
    ("prior_share", 0, 0.9),
    ("snr_gamma", 0, 1e6),
    ("held_out_share", 0, 0.5),
    ("window_size", 0, 4096),
    ("num_windows", 1, 10_000_000),
    ("samples", 0, 1000),
    ("save_every", 1, 10_000_000),
)


@dataclass(frozen=True, slots=True)
class LoraTraining:
    """How to train a LoRA.

    Attributes:
        model: The checkpoint to adapt: `embedded`, a diffusers folder or a hub id.
        model_revision: Commit or tag of a hub id.
        lora_rank: Rank of the adapters; their scale is 1 (alpha equals the rank).
        lora_steps: Optimizer steps.
        lora_batch_size: Windows a forward pass.
        accumulate: Forward passes whose gradients make one step.
        lora_lr: Peak learning rate.
        lr_schedule: `cosine` or `constant`, after `warmup` steps.
        warmup: Steps until the peak.
        prior_share: Share of each batch that holds the model to what it was, see `lora_objective`.
        snr_gamma: Clips the weight of steps with little noise (min-SNR); 0 weighs all alike.
        held_out_share: Share of the images that is kept for the loss that picks the best LoRA; 0 keeps none.
        precision: `bfloat16` (autocast) or `float32`.
        gradient_checkpointing: Compute activations again in the backward pass: less memory, a third more time.
        window_size: Side of the window in pixels; 0 is the model's own.
        num_windows, symmetry, balance: See `WindowRules`.
        template: Prompt template, as in `generate`.
        prompts: File of synonyms and descriptions, as in `generate`.
        categories: Names of the categories to learn; empty means all. The others belong to what is preserved.
        samples: Windows painted at each checkpoint, to look at.
        save_every: Steps between checkpoints.
        seed: Seed of everything.
        device: Torch device.

    Raises:
        ConfigError: An option is out of range.
    """

    model: str = "embedded"
    model_revision: str | None = None
    lora_rank: int = 16
    lora_steps: int = 1000
    lora_batch_size: int = 4
    accumulate: int = 1
    lora_lr: float = 1e-4
    lr_schedule: str = "cosine"
    warmup: int = 50
    prior_share: float = 0.25
    snr_gamma: float = 0.0
    held_out_share: float = 0.1
    precision: str = "bfloat16"
    gradient_checkpointing: bool = False
    window_size: int = 0
    num_windows: int = 1000
    symmetry: str = "mirror"
    balance: float = 0.6
    template: str = DEFAULT_TEMPLATE
    prompts: str | None = None
    categories: tuple[str, ...] = ()
    samples: int = 4
    save_every: int = 250
    seed: int = 42
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; it must lie in [{low}, {high}]")
        if not 0 < self.lora_lr <= 1:
            raise ConfigError(f"lora_lr is {self.lora_lr}; it must be above 0 and at most 1")
        for name, choices in (("lr_schedule", LR_SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")
        check_templates((self.template,))


def check_kind(given: Collection[str], *, has_model: bool) -> None:
    """Refuse options of the other kind of training: from scratch without a model, a LoRA with one.

    Args:
        given: Keys of the options that the user wrote.
        has_model: Whether `model` is among them.

    Raises:
        ConfigError: One doesn't belong here.
    """
    lora_only = set(LoraTraining.__dataclass_fields__) - SHARED
    for key in sorted(given):
        flag = "--" + key.replace("_", "-")
        if has_model and key in SCRATCH_ONLY:
            raise ConfigError(f"{flag} is for a training from scratch; leave it out, or leave --model out")
        if not has_model and key in lora_only:
            raise ConfigError(f"{flag} is for a LoRA; say of which checkpoint with --model")


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
