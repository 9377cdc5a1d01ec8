"""A training loop on accelerate that can be stopped at any step and goes on where it was, in one process or several."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augsynth.core.errors import ResumeError

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and pace of a training.

    Attributes:
        steps: Optimizer steps in all.
        batch_size: Samples a batch, in each process.
        lr: Peak learning rate; it rises over `warmup` steps and falls to 2 % along a cosine.
        warmup: Steps until the peak, 0 for none.
        falls: Whether the rate falls after the peak, or stays there.
        accumulate: Batches of a process whose gradients make one step.
        ema: Greatest decay of the running average of the weights.
        save_every: Steps between checkpoints and samples.
    """

    steps: int
    batch_size: int = 32
    lr: float = 5e-4
    warmup: int = 100
    ema: float = 0.999
    save_every: int = 250
    falls: bool = True
    accumulate: int = 1

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step (0-based)."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, self.steps))))
        return self.lr * rise * (fall if self.falls else 1.0)


Progress = Callable[[str, int, int, float], None]


def processes(device: str) -> PartialState:
    """Return which of the processes that train together this is, and what makes them wait for each other."""
    from accelerate import PartialState

    return PartialState(cpu=device == "cpu")


def run_training(
    model: torch.nn.Module,
    loss_of: Callable[[torch.nn.Module, int], torch.Tensor],
    *,
    schedule: Schedule,
    folder: Path,
    stage: str,
    fingerprint: str,
    device: str,
    mixed_precision: str = "bf16",
    progress: Progress,
    on_save: Callable[[torch.nn.Module, int], None] | None = None,
) -> torch.nn.Module:
    """Train a module and return it with its averaged weights.

    Every random choice of a batch must depend on its number alone, so that a run that was stopped and continued
    equals one that never stopped. Where a launcher started several processes, each takes its share of the batches, a
    step has their mean gradient, and what is written is written by the first: N processes do in a step what one does
    with N times `Schedule.accumulate`.

    Args:
        model: The module to train, in place.
        loss_of: Computes the loss of a 0-based batch: of a step, unless several make one (`Schedule.accumulate`).
        folder: Where checkpoints go; a checkpoint found there with the same fingerprint is continued.
        fingerprint: Identifies data, sizes and seed.
        progress: Called with (stage, step, steps, loss).
        on_save: Called with the averaged model before each checkpoint, in the first process only, and once more where
            the run was stopped between the two.

    Raises:
        ResumeError: The folder holds a training of something else.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from diffusers.training_utils import EMAModel

    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    AcceleratorState._reset_state(
        reset_partial_state=True
    )  # it would insist on an earlier training's precision
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision=mixed_precision,
        gradient_accumulation_steps=schedule.accumulate,
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=schedule.lr, weight_decay=0.01, betas=(0.9, 0.99), fused=True
    )
    averaged = EMAModel(model.parameters(), decay=schedule.ema, use_ema_warmup=True, power=0.75)
    # Not for training, says the flag, which leaves out the wrapper for several processes: its gradients are averaged
    # here, since a LoRA's parameters have no forward pass of their own for a wrapper to watch.
    model = accelerator.prepare_model(model, evaluation_mode=True)
    optimizer = accelerator.prepare_optimizer(optimizer)
    averaged.to(accelerator.device)
    accelerator.register_for_checkpointing(averaged)
    step = _resume(accelerator, folder, fingerprint)
    smoothed: float | None = None
    shown = time.monotonic()
    while step < schedule.steps:
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr_at(step)
        value = 0.0
        for turn in range(step * schedule.accumulate, (step + 1) * schedule.accumulate):
            batch = turn * accelerator.num_processes + accelerator.process_index
            with accelerator.accumulate(model):
                with accelerator.autocast():
                    loss = loss_of(model, batch)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    _average_gradients(accelerator, model)
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            value += float(loss.detach()) / schedule.accumulate
        averaged.step(model.parameters())
        step += 1
        smoothed = value if smoothed is None else 0.98 * smoothed + 0.02 * value
        if time.monotonic() - shown > 1 or step == schedule.steps:
            progress(stage, step, schedule.steps, smoothed)
            shown = time.monotonic()
        if step % schedule.save_every == 0 or step == schedule.steps:
            if on_save is not None and accelerator.is_main_process:
                averaged.store(model.parameters())
                averaged.copy_to(model.parameters())
                on_save(accelerator.unwrap_model(model), step)
                averaged.restore(model.parameters())
            _save(accelerator, folder, fingerprint, step)
    averaged.copy_to(model.parameters())
    trained: torch.nn.Module = accelerator.unwrap_model(model)
    return trained


def _average_gradients(accelerator: Any, model: torch.nn.Module) -> None:
    """Give every process the mean of all processes' gradients."""
    if accelerator.num_processes == 1:
        return
    import torch

    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    mean = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean")
    for parameter, part in zip(parameters, mean.split([g.numel() for g in gradients]), strict=True):
        parameter.grad = part.view_as(parameter)


def _save(accelerator: Any, folder: Path, fingerprint: str, step: int) -> None:
    fresh, current, old = folder / "next", folder / "checkpoint", folder / "previous"
    if accelerator.is_main_process:
        shutil.rmtree(fresh, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(fresh))  # of the other processes, the state of their random numbers
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (fresh / "state.json").write_text(json.dumps({"step": step, "fingerprint": fingerprint}))
        swap_in(fresh, current, old=old)


def swap_in(fresh: Path, folder: Path, *, old: Path) -> None:
    """Put a finished folder in the place of another, which for a moment is `old` and then gone."""
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _resume(accelerator: Any, folder: Path, fingerprint: str) -> int:
    current, old = folder / "checkpoint", folder / "previous"
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        if not current.exists() and old.exists():
            old.rename(current)
    accelerator.wait_for_everyone()
    state_file = current / "state.json"
    if not state_file.exists():
        return 0
    state = json.loads(state_file.read_text())
    if state["fingerprint"] != fingerprint:
        raise ResumeError(
            f"{folder}: holds the training of another dataset or configuration; choose another --out or remove it"
        )
    accelerator.load_state(str(current))
    return int(state["step"])
