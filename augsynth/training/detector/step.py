"""One training step, the state it changes, and its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from augsynth.core.errors import BackendError, ResumeError
from augsynth.core.seeding import derive_seed
from augsynth.detectors.architectures import build_model, channels_last
from augsynth.detectors.torchvision import to_tensor
from augsynth.training.detector.augment import Example
from augsynth.training.detector.options import DetectorTraining


@dataclass(slots=True)
class TrainingState:
    """What a step changes and a checkpoint holds."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: dict[str, torch.Tensor]
    step: int = 0
    losses: list[float] = field(default_factory=list)


def initial_state(options: DetectorTraining, *, num_categories: int) -> TrainingState:
    """Return the seeded weights and the optimiser before the first step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(options.seed, "detector", "weights"))
        network = build_model(options.preset, num_categories=num_categories)
    network = network.train().to(options.device)
    channels_last(network, options.device)
    trainable = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.lr)
    averaged = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return TrainingState(network, optimizer, averaged)


def take_step(state: TrainingState, batch: list[Example], options: DetectorTraining) -> float:
    """Take one optimiser step and return the loss."""
    device, steps = options.device, options.steps or 1
    for group in state.optimizer.param_groups:
        group["lr"] = options.lr * lr_factor(state.step, steps)
    images = [to_tensor(example.image).to(device) for example in batch]
    targets = [
        {
            "boxes": torch.from_numpy(example.boxes_xyxy).float().to(device),
            "labels": torch.from_numpy(example.labels).to(device),
        }
        for example in batch
    ]
    with torch.random.fork_rng(devices=[]):  # two-stage networks sample their proposals
        torch.manual_seed(derive_seed(options.seed, "detector", "step", state.step))
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bool(options.bf16)):
            losses: Mapping[str, torch.Tensor] = state.network(images, targets)
        loss = torch.stack([value.float() for value in losses.values()]).sum()
    if not torch.isfinite(loss):
        raise BackendError(f"training diverged at step {state.step}: try a smaller --lr than {options.lr:g}")
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), 10.0)
    state.optimizer.step()
    _average(state, decay=min(options.ema_decay, (1 + state.step) / (10 + state.step)))
    return float(loss.detach())


def _average(state: TrainingState, *, decay: float) -> None:
    with torch.no_grad():
        for name, tensor in state.network.state_dict().items():
            if tensor.is_floating_point():
                state.averaged[name].lerp_(tensor, 1 - decay)
            else:
                state.averaged[name].copy_(tensor)


def lr_factor(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: linear warm-up over 5 %, then cosine to 0.02."""
    warmup = max(1, min(500, steps // 20))
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))


def save_checkpoint(path: Path, state: TrainingState, *, digest: str) -> None:
    """Write everything a step depends on; the file is replaced as a whole."""
    document = {
        "digest": digest,
        "step": state.step,
        "losses": state.losses[-20:],
        "network": state.network.state_dict(),
        "averaged": state.averaged,
        "optimizer": state.optimizer.state_dict(),
    }
    part = path.with_suffix(".part")
    torch.save(document, part)
    part.replace(path)


def load_checkpoint(path: Path, state: TrainingState, *, digest: str) -> None:
    """Continue from a checkpoint.

    Raises:
        ResumeError: It is damaged, or belongs to other options or data.
    """
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ResumeError(f"{path}: can't be read ({error}); remove {path.parent} to start again") from None
    if document.get("digest") != digest:
        raise ResumeError(
            f"{path.parent} belongs to a training with other options or data: repeat them, remove the "
            "folder, or choose another --out"
        )
    state.network.load_state_dict(document["network"])
    state.optimizer.load_state_dict(document["optimizer"])
    for name, tensor in document["averaged"].items():
        state.averaged[name].copy_(tensor)
    state.step, state.losses = int(document["step"]), list(document["losses"])
