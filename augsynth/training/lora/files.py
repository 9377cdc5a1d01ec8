"""A LoRA on disk: the weights as diffusers lays them out, what they are for, and a card with the licence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from augsynth import __version__
from augsynth.core.arrays import MAX_EXACT
from augsynth.inpainting.checkpoints import Checkpoint
from augsynth.inpainting.loading import find_pipeline
from augsynth.training.folder import replace_folder
from augsynth.training.lora.options import LoraTraining

FACTS = "lora.json"


def describe_lora(
    checkpoint: Checkpoint,
    training: LoraTraining,
    categories: Sequence[str],
    *,
    step: int,
    held_out_loss: float | None,
) -> dict[str, Any]:
    """Return what `lora.json` says: the base, its licence, the categories, the step, the options."""
    return {
        "base_model": training.model,
        "base_revision": training.model_revision,
        "base_pipeline": checkpoint.class_name,
        "licence": checkpoint.licence,
        "categories": list(categories),
        "rank": training.lora_rank,
        "step": step,
        "held_out_loss": held_out_loss,
        "augsynth": __version__,
        "training": {**asdict(training), "categories": list(training.categories)},
    }


def save_lora(folder: Path, unet: Any, checkpoint: Checkpoint, facts: Mapping[str, Any]) -> None:
    """Write the adapters of a UNet as `pytorch_lora_weights.safetensors`, replacing what was there.

    Beside it `lora.json` and a model card, whose licence is the checkpoint's: its terms cover what is derived from it.
    """
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    pipeline_class, _ = find_pipeline(checkpoint)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    layers = {key: value.detach().float().cpu().contiguous() for key, value in layers.items()}

    def fill(fresh: Path) -> None:
        pipeline_class.save_lora_weights(fresh, unet_lora_layers=layers, safe_serialization=True)
        text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (fresh / FACTS).write_text(text, "utf-8")
        (fresh / "README.md").write_text(_card(facts), "utf-8")

    replace_folder(folder, fill)


def _card(facts: Mapping[str, Any]) -> str:
    head = {"base_model": facts["base_model"], "library_name": "diffusers", "tags": ["lora", "inpainting"]}
    if facts["licence"]:
        head["license"] = facts["licence"]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in sorted(head.items())]
    names = ", ".join(facts["categories"])
    return "\n".join(["---", *lines, "---", "", f"LoRA of {facts['base_model']} for: {names}.", ""])


def best_loss(folder: Path) -> float:
    """Return the held-out loss of the LoRA in a folder, infinite where there is none."""
    try:
        value = json.loads((folder / FACTS).read_text("utf-8"))["held_out_loss"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return math.inf
    usable = type(value) in (int, float) and abs(value) <= MAX_EXACT
    return float(value) if usable else math.inf
