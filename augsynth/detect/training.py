"""Train a detector from scratch on a COCO dataset: resumable, seeded, judged by COCO AP."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from augsynth.detect.architectures import build_model, check_preset
from augsynth.detect.augment import Example
from augsynth.detect.evaluation import Evaluation, evaluate_detector
from augsynth.detect.examples import (
    ExampleStream,
    choose_image_scale,
    dataset_fingerprint,
    digest_of,
    hold_out,
    training_canvas,
)
from augsynth.detect.folder import (
    DetectorConfig,
    discard,
    publish,
    write_config,
    write_weights,
)
from augsynth.detect.torchvision import TorchvisionDetector, to_tensor
from augsynth.errors import BackendError, DatasetError, ResumeError
from augsynth.scene import Dataset, Image, Scene
from augsynth.seeding import derive_seed


@dataclass(frozen=True, slots=True)
class DetectorTraining:
    """How to train.

    Attributes:
        preset: Architecture, see `architectures.PRESETS`, or a torchvision detector's name.
        epochs: Passes over the images, when `steps` is None.
        steps: Optimiser steps.
        batch_size: Images in a step.
        lr: Peak learning rate of AdamW; warm-up, then cosine down to a fiftieth.
        weight_decay: Of weights, not of biases and norms.
        image_scale: Images are resized by this; None chooses from the objects' sizes.
        max_canvas_px: Larger images are cropped while training.
        vertical_flip: Also mirror top and bottom (microscopy, aerial photographs).
        repeat_threshold: Images of categories in fewer than this share of images are repeated (Gupta et al.
            2019, arXiv 1908.03195); 0 turns it off.
        ema_decay: Of the averaged weights, which are the ones kept.
        pretrained_backbone: Start torchvision networks from an ImageNet backbone.
        seed: Of initial weights, order and augmentation.
        bf16: Mixed precision; None uses it where the processor is faster with it.
        device: A torch device.
        threads: CPU threads, None for torch's default.
        checkpoint_every: Steps between checkpoints.
        cache_mb: Memory for decoded images.
    """

    preset: str = "fcos_small"
    epochs: float = 30.0
    steps: int | None = None
    batch_size: int = 16
    lr: float = 2e-3
    weight_decay: float = 0.05
    image_scale: float | None = None
    max_canvas_px: int = 640
    vertical_flip: bool = False
    repeat_threshold: float = 0.1
    ema_decay: float = 0.998
    pretrained_backbone: bool = False
    seed: int = 42
    bf16: bool | None = None
    device: str = "cpu"
    threads: int | None = None
    checkpoint_every: int = 200
    cache_mb: int = 4000

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch_size", "lr", "max_canvas_px", "checkpoint_every", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if self.image_scale is not None and not 0 < self.image_scale <= 4:
            raise ValueError(f"image_scale must be in (0, 4], got {self.image_scale}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {self.ema_decay}")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands; its text is a line for the user."""

    step: int
    steps: int
    loss: float
    seconds_per_step: float

    def __str__(self) -> str:
        left = (self.steps - self.step) * self.seconds_per_step
        return (
            f"step {self.step}/{self.steps}  loss {self.loss:.3f}  {self.seconds_per_step:.2f} s/step  "
            f"{int(left) // 60}:{int(left) % 60:02d} left"
        )


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What came out: the folder, COCO figures, and whether the judged images were held out."""

    out: Path
    evaluation: Evaluation
    held_out: bool
    steps: int
    seconds: float


@dataclass(slots=True)
class _State:
    """What a checkpoint holds."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: dict[str, torch.Tensor]
    step: int = 0
    losses: list[float] = field(default_factory=list)


def train_detector(
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    *,
    out: Path,
    options: DetectorTraining | None = None,
    val: Dataset | None = None,
    resume: bool = True,
    progress: Callable[[Progress], None] = print,
) -> TrainingReport:
    """Train a detector and write its folder (config.json, model.safetensors).

    The folder appears only when it is complete. Until then a checkpoint lies beside it in `<out>.training`;
    a run that was interrupted continues there and ends with the same weights.

    Args:
        dataset: Images and objects to learn; crowds are hidden.
        read_image: Returns a scene's image, HWC uint8 RGB.
        out: Folder to write; must not exist, or be empty.
        options: How to train.
        val: Judged images; None holds out a seeded tenth of the dataset.
        resume: Continue from a checkpoint; False starts again.
        progress: Receives a `Progress` every so often; its text is a line.

    Raises:
        DatasetError: Nothing to learn from.
        ResumeError: `out` is in use, or its checkpoint belongs to another configuration.
        BackendError: The training diverged.
    """
    options = options or DetectorTraining()
    check_preset(options.preset)
    options, train, judged, held_out = _settle(dataset, val, options)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ResumeError(f"{out} already exists: choose another folder or remove it")
    work = out.with_name(out.name + ".training")
    digest = digest_of({"options": _fixed_options(options), "data": dataset_fingerprint(train)})
    if options.threads:
        torch.set_num_threads(options.threads)
    started = time.monotonic()
    state = _run(train, read_image, options, work=work, digest=digest, resume=resume, progress=progress)
    config = _describe(train, options)
    folder = work / "folder"
    folder.mkdir(exist_ok=True)
    write_weights(folder, state.averaged)
    write_config(folder, config)
    trained = TorchvisionDetector.load(
        folder, dataset.categories, device=options.device, batch_size=8, min_score=0.01
    )
    evaluation = evaluate_detector(trained, judged, read_image)
    figures = {"held_out": held_out, "evaluation": evaluation.as_dict()}
    write_config(folder, replace(config, training={**config.training, **figures}))
    publish(folder, out)
    discard(work)
    return TrainingReport(out, evaluation, held_out, state.step, time.monotonic() - started)


def _settle(
    dataset: Dataset, val: Dataset | None, options: DetectorTraining
) -> tuple[DetectorTraining, Dataset, Dataset, bool]:
    """Fill in what depends on the data, and split it."""
    if not any((~scene.is_crowd).any() for scene in dataset.scenes):
        raise DatasetError(f"{dataset.source}: no annotated objects to train on; check the annotation file")
    train, judged, held_out = dataset, val, True
    if judged is None:
        train, judged, held_out = hold_out(dataset, seed=options.seed)
    steps = options.steps or max(1, math.ceil(options.epochs * len(train.scenes) / options.batch_size))
    bf16 = _bf16_helps(options.device) if options.bf16 is None else options.bf16
    scale = options.image_scale or choose_image_scale(train)
    return replace(options, steps=steps, bf16=bf16, image_scale=scale), train, judged, held_out


def _run(
    train: Dataset,
    read_image: Callable[[Scene], Image],
    options: DetectorTraining,
    *,
    work: Path,
    digest: str,
    resume: bool,
    progress: Callable[[Progress], None],
) -> _State:
    """Take every step, from the checkpoint if there is one."""
    steps, scale = options.steps or 1, options.image_scale or 1.0
    stream = ExampleStream(
        train,
        read_image,
        canvas_wh=training_canvas(train, image_scale=scale, max_px=options.max_canvas_px),
        image_scale=scale,
        batch_size=options.batch_size,
        seed=options.seed,
        vertical_flip=options.vertical_flip,
        repeat_threshold=options.repeat_threshold,
        cache_mb=options.cache_mb,
    )
    state = _initial_state(options, num_categories=len(train.categories))
    checkpoint = work / "checkpoint.pt"
    if resume and checkpoint.is_file():
        _load_checkpoint(checkpoint, state, digest=digest)
    work.mkdir(parents=True, exist_ok=True)
    begin, first = time.monotonic(), state.step
    for batch in _prefetched(stream, range(state.step, steps)):
        state.losses.append(_take_step(state, batch, options))
        state.step += 1
        if state.step % 20 == 0 or state.step == steps:
            pace = (time.monotonic() - begin) / (state.step - first)
            progress(Progress(state.step, steps, float(np.mean(state.losses[-20:])), pace))
        if state.step % options.checkpoint_every == 0 or state.step == steps:
            _save_checkpoint(checkpoint, state, digest=digest)
    return state


def _initial_state(options: DetectorTraining, *, num_categories: int) -> _State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(options.seed, "detector", "weights"))
        network = build_model(
            options.preset, num_categories=num_categories, pretrained_backbone=options.pretrained_backbone
        )
    network = network.train().to(options.device)
    trainable = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.lr)
    averaged = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return _State(network, optimizer, averaged)


def _take_step(state: _State, batch: list[Example], options: DetectorTraining) -> float:
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


def _average(state: _State, *, decay: float) -> None:
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


def _prefetched(stream: ExampleStream, steps: range) -> Iterator[list[Example]]:
    """Yield each step's batch while a thread prepares the next."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(stream.batch, steps.start) if len(steps) else None
        for step in steps:
            batch = coming.result() if coming else stream.batch(step)
            coming = pool.submit(stream.batch, step + 1) if step + 1 < steps.stop else None
            yield batch


def _save_checkpoint(path: Path, state: _State, *, digest: str) -> None:
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


def _load_checkpoint(path: Path, state: _State, *, digest: str) -> None:
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ResumeError(f"{path}: can't be read ({error}); remove {path.parent} to start again") from None
    if document.get("digest") != digest:
        raise ResumeError(
            f"{path.parent} belongs to a training with other options or data: repeat them, remove the folder, "
            "or choose another --out"
        )
    state.network.load_state_dict(document["network"])
    state.optimizer.load_state_dict(document["optimizer"])
    for name, tensor in document["averaged"].items():
        state.averaged[name].copy_(tensor)
    state.step, state.losses = int(document["step"]), list(document["losses"])


def _fixed_options(options: DetectorTraining) -> dict[str, Any]:
    """Return the options that decide the result."""
    free = {"device", "threads", "checkpoint_every", "cache_mb", "epochs"}
    names = sorted(set(DetectorTraining.__dataclass_fields__) - free)
    return {name: getattr(options, name) for name in names}


def _describe(train: Dataset, options: DetectorTraining) -> DetectorConfig:
    scale = options.image_scale or 1.0
    canvas = training_canvas(train, image_scale=scale, max_px=options.max_canvas_px)
    objects = int(sum((~scene.is_crowd).sum() for scene in train.scenes))
    return DetectorConfig(
        preset=options.preset,
        categories=train.categories,
        image_scale=scale,
        view_px=round(max(canvas) / scale),
        training={
            **_fixed_options(options),
            "num_images": len(train.scenes),
            "num_objects": objects,
            "dataset_fingerprint": dataset_fingerprint(train),
        },
    )


def _bf16_helps(device: str) -> bool:
    """Tell whether the processor multiplies bfloat16 natively (about twice as fast there)."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())
