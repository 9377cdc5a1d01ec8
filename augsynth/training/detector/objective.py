"""What a detector learns by: its loss on a batch, its optimizer and the average of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from augsynth.core.seeding import derive_seed
from augsynth.detectors.architectures import PRESETS, build_model, channels_last
from augsynth.detectors.torchvision import to_tensor
from augsynth.training.detector.augment import Example
from augsynth.training.detector.options import DetectorTraining
from augsynth.training.loop import Schedule, Tuning

MAX_NORM = 10.0
Batch = tuple[int, Sequence[Example]]  # its number and its views


def new_network(training: DetectorTraining, *, num_categories: int) -> nn.Module:
    """Build the network with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(training.seed, "detector", "weights"))
        network = build_model(training.preset, num_categories=num_categories)
    network = network.train().to(training.device)
    channels_last(network, training.device)
    return network


def peak_lr(training: DetectorTraining) -> float:
    """Return the learning rate; weights that know something already are changed more carefully."""
    return training.lr or (2e-3 if training.preset in PRESETS else 2e-4)


def schedule_of(training: DetectorTraining, *, steps: int) -> Schedule:
    """Return the pace: a linear warm-up over 5 % of the steps, then a cosine down to a fiftieth."""
    warmup = max(1, min(500, steps // 20))
    return Schedule(
        steps,
        training.batch_size,
        peak_lr(training),
        warmup=warmup,
        ema=training.ema_decay,
        save_every=training.checkpoint_every,
        falls_from=warmup,
    )


def tuning_of(network: nn.Module, training: DetectorTraining) -> Tuning:
    """Return AdamW, which decays weights but neither biases nor norms, and the average of the network's state."""
    trainable = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    state = tuple(network.state_dict().values())
    optimizer = torch.optim.AdamW(groups, lr=peak_lr(training))
    return Tuning(optimizer, StateAverage(state, decay=training.ema_decay), state, MAX_NORM)


class StateAverage(EMAModel):  # type: ignore[misc]  # diffusers is untyped here
    """The running average of parameters and buffers alike; its decay is at most (1 + n) / (10 + n) at step n."""

    @torch.no_grad()
    def step(self, parameters: Iterable[torch.Tensor]) -> None:
        """Follow the tensors by a step."""
        decay = min(self.decay, (1 + self.optimization_step) / (10 + self.optimization_step))
        self.optimization_step += 1
        for mean, tensor in zip(self.shadow_params, parameters, strict=True):
            if tensor.is_floating_point():
                mean.lerp_(tensor, 1 - decay)
            else:
                mean.copy_(tensor)


def detection_loss(training: DetectorTraining) -> Callable[[Any, Batch], torch.Tensor]:
    """Return the sum of a network's losses on a batch; its own draws depend on seed and number alone."""

    def loss_of(network: Any, batch: Batch) -> torch.Tensor:
        step, examples = batch
        device = training.device
        images = [to_tensor(example.image).to(device) for example in examples]
        targets = [
            {
                "boxes": torch.from_numpy(example.boxes_xyxy).float().to(device),
                "labels": torch.from_numpy(example.labels).to(device),
            }
            for example in examples
        ]
        with torch.random.fork_rng(devices=[]):  # two-stage networks sample their proposals
            torch.manual_seed(derive_seed(training.seed, "detector", "step", step))
            losses = network(images, targets)
        return torch.stack([value.float() for value in losses.values()]).sum()

    return loss_of
