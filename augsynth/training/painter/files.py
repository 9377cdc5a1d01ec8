"""A trained inpainting model on disk: the standard diffusers layout, and the figures of its training."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augsynth.inpainting.checkpoints import FIGURES
from augsynth.training.folder import replace_folder


def save_pipeline(parts: Mapping[str, Any], folder: Path, figures: Mapping[str, Any]) -> None:
    """Write the parts as a `StableDiffusionInpaintPipeline` with fp16 safetensors, replacing what was there."""
    from diffusers import StableDiffusionInpaintPipeline

    half = {
        k: copy.deepcopy(v).half() if k in ("vae", "unet", "text_encoder") else v for k, v in parts.items()
    }
    pipeline = StableDiffusionInpaintPipeline(
        **half, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )

    def fill(fresh: Path) -> None:
        pipeline.save_pretrained(fresh, safe_serialization=True)
        for part in ("vae", "unet"):
            _edit_json(
                fresh / part / "config.json", _name_or_path=None
            )  # it means nothing on another machine
        # transformers reads weights in the type the configuration names, diffusers in float32: let both agree.
        _edit_json(fresh / "text_encoder" / "config.json", dtype="float32")
        (fresh / FIGURES).write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")

    replace_folder(folder, fill)


def read_figures(folder: Path) -> dict[str, Any] | None:
    """Return the figures of the model in a folder, None where there is none."""
    try:
        figures = json.loads((folder / FIGURES).read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return figures if isinstance(figures, dict) else None


def _edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file, or drop those that are None."""
    document = {**json.loads(path.read_text()), **changes}
    kept = {key: value for key, value in document.items() if key not in changes or value is not None}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
