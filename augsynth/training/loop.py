"""The loop of every training: it can be stopped at any step and goes on where it was, in one process or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augsynth.core.cache import Entry, load, store
from augsynth.core.errors import BackendError, ResumeError

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

LEAST_RATE = 0.02  # of the peak, where a rate that falls ends


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and pace of a training.

    Attributes:
        steps: Optimizer steps in all.
        batch_size: Samples a batch, in each process.
        lr: Peak learning rate; it rises over `warmup` steps and falls to 2 % along a cosine.
        warmup: Steps until the peak, 0 for none.
        ema: Greatest decay of the running average of the weights.
        save_every: Steps between checkpoints and samples.
        falls: Whether the rate falls, or stays at the peak.
        falls_from: Step at which the cosine begins.
        accumulate: Batches of a process whose gradients make one step.
    """

    steps: int
    batch_size: int = 32
    lr: float = 5e-4
    warmup: int = 100
    ema: float = 0.999
    save_every: int = 250
    falls: bool = True
    falls_from: int = 0
    accumulate: int = 1

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step (0-based)."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        share = (step - self.falls_from) / max(1, self.steps - self.falls_from)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share))))
        fall = LEAST_RATE + (1 - LEAST_RATE) * cosine
        return self.lr * rise * (fall if self.falls else 1.0)


Progress = Callable[[str, int, int, float], None]  # stage, step, steps, smoothed loss


def silent(stage: str, step: int, steps: int, loss: float) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One training: its name, its pace, where it is kept and who hears of it.

    Attributes:
        name: What progress calls it.
        schedule: Its length and pace.
        file: Its checkpoint; one with the same key is continued.
        key: Identifies data, sizes and seed.
        seed: Of every random choice.
        device: Torch device.
        progress: Called with name, step, steps and loss, once a second at most.
        precision: `bf16` (autocast) or `no`.
    """

    name: str
    schedule: Schedule
    file: Path
    key: str
    seed: int
    device: str
    progress: Progress
    precision: str = "bf16"


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """How weights follow their gradients, and what is averaged.

    Attributes:
        optimizer: Of the model's parameters.
        average: The running average (`diffusers.training_utils.EMAModel`).
        averaged: The tensors that it averages, in its order.
        max_norm: Greatest norm of a step's gradient.
    """

    optimizer: torch.optim.Optimizer
    average: Any
    averaged: tuple[torch.Tensor, ...]
    max_norm: float = 1.0

    @classmethod
    def of(cls, model: torch.nn.Module, schedule: Schedule) -> Tuning:
        """Return AdamW and the average of all parameters."""
        import torch
        from diffusers.training_utils import EMAModel

        parameters = tuple(model.parameters())
        optimizer = torch.optim.AdamW(
            parameters, lr=schedule.lr, weight_decay=0.01, betas=(0.9, 0.99), fused=True
        )
        average = EMAModel(parameters, decay=schedule.ema, use_ema_warmup=True, power=0.75)
        return cls(optimizer, average, parameters)


def processes(device: str) -> PartialState:
    """Return which of the processes that train together this is, and what makes them wait for each other."""
    from accelerate import PartialState

    return PartialState(cpu=device == "cpu")


def run_training(
    model: torch.nn.Module,
    loss_of: Callable[[Any, Any], torch.Tensor],
    stage: Stage,
    *,
    tuning: Tuning | None = None,
    prepare: Callable[[int], Any] | None = None,
    on_save: Callable[[Any, int], None] | None = None,
) -> None:
    """Train a module in place; it ends with its averaged weights.

    Every random choice of a batch must depend on its number alone, so that a run that was stopped and continued
    equals one that never stopped. Where a launcher started several processes, each takes its share of the batches, a
    step has their mean gradient, and what is written is written by the first: N processes do in a step what one does
    with N times `Schedule.accumulate`.

    Args:
        model: The module to train.
        loss_of: Computes the loss of the model on a batch, given as what `prepare` returned for it.
        stage: Length, place and key of the training.
        tuning: Optimizer and average; `Tuning.of` when None.
        prepare: Makes a 0-based batch, in a thread beside the step before; without it `loss_of` gets the number. A
            step has one batch, unless several make one (`Schedule.accumulate`).
        on_save: Called with the averaged model before each checkpoint, in the first process only, and once more where
            the run was stopped between the two.

    Raises:
        ResumeError: The checkpoint is of something else, or damaged.
        BackendError: The training diverged.
    """
    schedule = stage.schedule
    trainer = _Trainer(model, tuning, stage)
    step = trainer.resume()
    shown, smoothed = time.monotonic(), None
    with closing(_prepared(prepare, trainer.batches(step))) as batches:
        while step < schedule.steps:
            value = trainer.take_step(loss_of, batches, step)
            step += 1
            smoothed = value if smoothed is None else 0.98 * smoothed + 0.02 * value
            if time.monotonic() - shown > 1 or step == schedule.steps:
                stage.progress(stage.name, step, schedule.steps, smoothed)
                shown = time.monotonic()
            if step % schedule.save_every == 0 or step == schedule.steps:
                trainer.save(step, on_save)
    trainer.finish()


class _Trainer:
    """A model between its steps."""

    def __init__(self, model: torch.nn.Module, tuning: Tuning | None, stage: Stage) -> None:
        import torch
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        if stage.device.startswith("cuda:"):
            torch.cuda.set_device(stage.device)
        # It would insist on an earlier training's precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        self._accelerator = Accelerator(
            cpu=stage.device == "cpu",
            mixed_precision=stage.precision,
            gradient_accumulation_steps=stage.schedule.accumulate,
        )
        self._stage = stage
        self._tuning = tuning or Tuning.of(model, stage.schedule)
        # Not for training, says the flag, which leaves out the wrapper for several processes: its gradients are
        # averaged here, since a LoRA's parameters have no forward pass of their own for a wrapper to watch.
        self._model = self._accelerator.prepare_model(model, evaluation_mode=True)
        self._optimizer = self._accelerator.prepare_optimizer(self._tuning.optimizer)
        self._tuning.average.to(self._accelerator.device)

    def batches(self, step: int) -> Iterator[int]:
        """Return the numbers of this process's batches from a step on."""
        count, own = self._accelerator.num_processes, self._accelerator.process_index
        schedule = self._stage.schedule
        turns = range(step * schedule.accumulate, schedule.steps * schedule.accumulate)
        return (turn * count + own for turn in turns)

    def take_step(
        self, loss_of: Callable[[Any, Any], torch.Tensor], batches: Iterator[Any], step: int
    ) -> float:
        """Take an optimizer step and return its loss."""
        schedule, value = self._stage.schedule, 0.0
        for group in self._optimizer.param_groups:
            group["lr"] = schedule.lr_at(step)
        for _ in range(schedule.accumulate):
            batch = next(batches)
            with self._accelerator.accumulate(self._model):
                with self._accelerator.autocast():
                    loss = loss_of(self._model, batch)
                value += float(loss.detach()) / schedule.accumulate
                if not math.isfinite(value):
                    raise BackendError(
                        f"{self._stage.name}: training diverged at step {step}; try a smaller learning rate than "
                        f"{schedule.lr:g}"
                    )
                self._accelerator.backward(loss)
                if self._accelerator.sync_gradients:
                    self._average_gradients()
                    self._accelerator.clip_grad_norm_(self._model.parameters(), self._tuning.max_norm)
                self._optimizer.step()
                self._optimizer.zero_grad()
        self._tuning.average.step(self._tuning.averaged)
        return value

    def _average_gradients(self) -> None:
        """Give every process the mean of all processes' gradients."""
        if self._accelerator.num_processes == 1:
            return
        import torch

        parameters = [p for p in self._model.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([g.flatten() for g in gradients])
        mean = self._accelerator.reduce(flat, reduction="mean")
        for parameter, part in zip(parameters, mean.split([g.numel() for g in gradients]), strict=True):
            parameter.grad = part.view_as(parameter)

    def save(self, step: int, on_save: Callable[[Any, int], None] | None) -> None:
        """Show the averaged model, then write the checkpoint."""
        if self._accelerator.is_main_process:
            average, tensors = self._tuning.average, self._tuning.averaged
            if on_save is not None:
                average.store(tensors)
                average.copy_to(tensors)
                on_save(self._accelerator.unwrap_model(self._model), step)
                average.restore(tensors)
            state = {
                "step": step,
                "model": self._model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "average": average.state_dict(),
            }
            store(self._stage.file, Entry(self._stage.key, state))
        self._accelerator.wait_for_everyone()

    def resume(self) -> int:
        """Take the state of the checkpoint, if there is one, and return the next step."""
        found = load(self._stage.file)
        if found is None:
            return 0
        if found.key != self._stage.key:
            raise ResumeError(
                f"{self._stage.file}: holds the training of another dataset or configuration; choose another --out "
                "or remove it"
            )
        self._model.load_state_dict(found.value["model"])
        self._optimizer.load_state_dict(found.value["optimizer"])
        self._tuning.average.load_state_dict(found.value["average"])
        self._tuning.average.to(self._accelerator.device)
        return int(found.value["step"])

    def finish(self) -> None:
        """Give the model its averaged weights."""
        self._tuning.average.copy_to(self._tuning.averaged)


def _prepared(prepare: Callable[[int], Any] | None, numbers: Iterable[int]) -> Generator[Any, None, None]:
    """Yield each batch while a thread prepares the next."""
    if prepare is None:
        yield from numbers
        return
    with ThreadPoolExecutor(1) as pool:
        coming: Future[Any] | None = None
        for number in numbers:
            following = pool.submit(prepare, number)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()
