"""Train a detector from scratch on a COCO dataset: resumable, seeded, judged by COCO AP."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augsynth.core.errors import DatasetError, ResumeError
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.detectors.architectures import check_preset
from augsynth.detectors.folder import (
    DetectorConfig,
    discard,
    publish,
    write_config,
    write_weights,
)
from augsynth.detectors.torchvision import TorchvisionDetector
from augsynth.training.detector.augment import Example
from augsynth.training.detector.evaluation import Evaluation, evaluate_detector
from augsynth.training.detector.examples import (
    ExampleStream,
    choose_image_scale,
    dataset_fingerprint,
    digest_of,
    hold_out,
    training_canvas,
)
from augsynth.training.detector.options import DetectorTraining
from augsynth.training.detector.pasting import Pasting
from augsynth.training.detector.step import (
    TrainingState,
    initial_state,
    load_checkpoint,
    save_checkpoint,
    take_step,
)


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
) -> TrainingState:
    """Take every step, from the checkpoint if there is one."""
    steps, scale = options.steps or 1, options.image_scale or 1.0
    work.mkdir(parents=True, exist_ok=True)
    pasting = None
    if options.paste:
        pasting = Pasting.of(
            train, read_image, folder=work / "bank", prob=options.paste, turned=options.vertical_flip
        )
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
        pasting=pasting,
    )
    state = initial_state(options, num_categories=len(train.categories))
    checkpoint = work / "checkpoint.pt"
    if resume and checkpoint.is_file():
        load_checkpoint(checkpoint, state, digest=digest)
    begin, first = time.monotonic(), state.step
    for batch in _prefetched(stream, range(state.step, steps)):
        state.losses.append(take_step(state, batch, options))
        state.step += 1
        if state.step % 20 == 0 or state.step == steps:
            pace = (time.monotonic() - begin) / (state.step - first)
            progress(Progress(state.step, steps, float(np.mean(state.losses[-20:])), pace))
        if state.step % options.checkpoint_every == 0 or state.step == steps:
            save_checkpoint(checkpoint, state, digest=digest)
    return state


def _prefetched(stream: ExampleStream, steps: range) -> Iterator[list[Example]]:
    """Yield each step's batch while a thread prepares the next."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(stream.batch, steps.start) if len(steps) else None
        for step in steps:
            batch = coming.result() if coming else stream.batch(step)
            coming = pool.submit(stream.batch, step + 1) if step + 1 < steps.stop else None
            yield batch


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
