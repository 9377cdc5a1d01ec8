"""What a detector's training starts from: torchvision's detectors have weights that were trained on COCO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from augsynth.core.errors import ConfigError
from augsynth.detectors.architectures import PRESETS

START = "coco"  # what a detector folder says of such a training


def coco_weights(preset: str) -> Mapping[str, Tensor] | None:
    """Return a torchvision detector's weights, downloaded unless torch's cache holds them; None for presets of ours.

    Raises:
        ConfigError: They can't be had.
    """
    if preset in PRESETS:
        return None
    weights: Any = get_model_weights(preset).DEFAULT
    kept = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # torch raises all kinds of things at a file that is damaged
        if kept.is_file():
            raise ConfigError(
                f"{kept}: can't be read as weights ({type(error).__name__}); delete it"
            ) from None
        raise ConfigError(
            f"preset {preset} starts from weights that can't be fetched ({error}): put {weights.url} at {kept}, or "
            "take fcos_small, which starts from nothing"
        ) from None
    return state


def start_from(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load the weights that fit, and return the names of those that didn't: what depends on the categories."""
    own = network.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fitting, strict=False)
    return sorted(k for k, _ in network.named_parameters() if k not in fitting)
