"""Train a detector on a COCO dataset: resumable, seeded, judged by COCO AP."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augsynth.core.cache import digest_of
from augsynth.core.errors import BackendError, DatasetError
from augsynth.core.outputs import check_output_folder
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.core.text import number_of
from augsynth.detectors.architectures import PRESETS, check_preset
from augsynth.detectors.folder import DetectorConfig, publish, read_config, write_config, write_weights
from augsynth.detectors.mask_head import MaskNetwork, write_mask_head
from augsynth.detectors.torchvision import TorchvisionDetector
from augsynth.training.detector.evaluation import Evaluation, evaluate_detector, match_judged
from augsynth.training.detector.examples import (
    ExampleStream,
    choose_image_scale,
    dataset_fingerprint,
    hold_out,
    training_canvas,
)
from augsynth.training.detector.mask_head import (
    MIN_OBJECTS,
    STEPS,
    cut_outlined,
    fit_objects,
    outlined_share,
    train_mask_head,
)
from augsynth.training.detector.objective import (
    Batch,
    detection_loss,
    new_network,
    peak_lr,
    schedule_of,
    tuning_of,
)
from augsynth.training.detector.options import DetectorTraining
from augsynth.training.detector.pasting import Pasting
from augsynth.training.detector.start import START, coco_weights, start_from
from augsynth.training.folder import check_work, claim, release, replace_folder
from augsynth.training.loop import Progress, Stage, run_training, silent

VERB = "train-detector"


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What came out: the folder, COCO figures, and whether the judged images were held out.

    `mask_iou` is the mean IoU of the mask head's masks with true ones, None where none was trained.
    """

    out: Path
    evaluation: Evaluation
    held_out: bool
    steps: int
    seconds: float
    mask_iou: float | None = None


def train_detector(
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    *,
    out: Path,
    options: DetectorTraining | None = None,
    val: Dataset | None = None,
    read_val: Callable[[Scene], Image] | None = None,
    progress: Progress = silent,
    notice: Callable[[str], None] = lambda line: None,
) -> TrainingReport:
    """Train a detector and write its folder (config.json, model.safetensors).

    Where most objects have a mask, a mask head is trained, too (mask_head.safetensors).

    The folder appears only when it is complete. Until then a checkpoint lies beside it in `<out>.training`;
    a run that was stopped at any point continues there and ends with the same weights.

    Args:
        dataset: Images and objects to learn; crowds are hidden.
        read_image: Returns a scene's image, HWC uint8 RGB.
        out: Folder to write; must not exist, or be empty.
        options: How to train.
        val: Judged images, whose categories are found by name; None holds out a seeded tenth of the dataset.
        read_val: Returns the image of a scene of `val`; `read_image` when None.
        progress: See `run_training`.
        notice: Receives lines about what isn't judged, and about the stages.

    Raises:
        ConfigError: Unknown preset, or one whose weights can't be fetched; `val` shares no category; the place can't be
            written, or holds something else.
        DatasetError: Nothing to learn from.
        ResumeError: The working folder belongs to another training.
        BackendError: The training diverged.
    """
    started = time.monotonic()
    training = options or DetectorTraining()
    check_preset(training.preset)
    work = out.with_name(out.name + ".training")
    check_place(out)
    if val is not None:
        val, lines = match_judged(val, dataset.categories)
        for line in lines:
            notice(line)
    training, train, judged, held_out = _settle(dataset, val, training)
    config = _describe(train, training)
    if not _is_published(out, config, work):
        weights = coco_weights(training.preset)
        key = digest_of({"options": _fixed_options(training), "data": dataset_fingerprint(train)})
        claim(work, verb=VERB, key=key)
        if training.threads:
            torch.set_num_threads(training.threads)
        mask_steps = _mask_steps(train, training)
        if mask_steps:
            steps = number_of(training.steps or 1, "step")
            notice(
                f"two stages: the detector with {steps}, then its mask head with {mask_steps} (without it: "
                "--mask-steps 0)"
            )
        network = _trained(train, read_image, training, weights, work=work, key=key, progress=progress)
        head, mask_iou = _mask_head(
            train, read_image, training, steps=mask_steps, work=work, key=key, progress=progress
        )
        read = read_image if val is None else read_val or read_image
        evaluation = _evaluate(network, config, judged, read, work / "judged", device=training.device)
        figures = {"held_out": held_out, "evaluation": evaluation.as_dict(), "mask_iou": mask_iou}
        described = replace(config, training={**config.training, **figures})
        _write(network, described, work / "folder", head=head)
        publish(work / "folder", out)
    if work.exists():
        release(work)
    told = read_config(out).training
    evaluation = Evaluation(**told["evaluation"])
    seconds = time.monotonic() - started
    return TrainingReport(
        out, evaluation, bool(told["held_out"]), training.steps or 1, seconds, told.get("mask_iou")
    )


def check_place(out: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Raise unless a detector may be written to a folder, asked before any work.

    Raises:
        ConfigError: Something is there that isn't what a training that was stopped left, or it can't be written.
    """
    work = out.with_name(out.name + ".training")
    check_output_folder(out, inputs=inputs, is_own=lambda folder: work.is_dir())  # what it is, is seen later
    check_work(work, verb=VERB)


def _is_published(out: Path, config: DetectorConfig, work: Path) -> bool:
    """Tell whether a folder holds the result of a training that was stopped after its last step.

    Raises:
        ConfigError: It holds something else.
    """

    def is_result(folder: Path) -> bool:
        try:
            found = read_config(folder)
        except BackendError:
            return False
        known: Mapping[str, Any] = {k: v for k, v in found.training.items() if k in config.training}
        wanted = json.loads(json.dumps(config.training))
        return work.is_dir() and known == wanted and found.categories == config.categories

    check_output_folder(out, is_own=is_result)
    return out.is_dir() and any(out.iterdir())


def _settle(
    dataset: Dataset, val: Dataset | None, training: DetectorTraining
) -> tuple[DetectorTraining, Dataset, Dataset, bool]:
    """Fill in what depends on the data, and split it."""
    if not any((~scene.is_crowd).any() for scene in dataset.scenes):
        raise DatasetError(f"{dataset.source}: no annotated objects to train on; check the annotation file")
    train, judged, held_out = dataset, val, True
    if judged is None:
        train, judged, held_out = hold_out(dataset, seed=training.seed)
    steps = training.steps or max(1, math.ceil(training.epochs * len(train.scenes) / training.batch_size))
    bf16 = _bf16_helps(training.device) if training.bf16 is None else training.bf16
    scale = training.image_scale or choose_image_scale(train)
    settled = replace(training, steps=steps, bf16=bf16, image_scale=scale, lr=peak_lr(training))
    return settled, train, judged, held_out


def _trained(
    train: Dataset,
    read_image: Callable[[Scene], Image],
    training: DetectorTraining,
    weights: Mapping[str, Tensor] | None,
    *,
    work: Path,
    key: str,
    progress: Progress,
) -> nn.Module:
    """Return the network with its averaged weights, from the checkpoint on if there is one."""
    network = new_network(training, num_categories=len(train.categories))
    if weights is not None:
        start_from(network, weights)
    schedule = schedule_of(training, steps=training.steps or 1)
    stream = _stream(train, read_image, training, work / "bank")

    def prepare(step: int) -> Batch:
        return step, stream.batch(step)

    stage = Stage(
        "detector",
        schedule,
        work / "network.checkpoint",
        key,
        training.seed,
        training.device,
        progress,
        "bf16" if training.bf16 else "no",
    )
    tuning = tuning_of(network, training)
    run_training(network, detection_loss(training), stage, tuning=tuning, prepare=prepare)
    return network


def _mask_steps(train: Dataset, training: DetectorTraining) -> int:
    """Return the steps of the mask head, 0 where none is trained."""
    steps = training.mask_steps
    if steps is None:
        steps = STEPS if outlined_share(train) > 0.5 else 0
    return steps if steps and len(fit_objects(train)) >= MIN_OBJECTS else 0


def _mask_head(
    train: Dataset,
    read_image: Callable[[Scene], Image],
    training: DetectorTraining,
    *,
    steps: int,
    work: Path,
    key: str,
    progress: Progress,
) -> tuple[MaskNetwork | None, float | None]:
    """Return a trained mask head and its mean IoU on objects held out; None where it has nothing to learn from."""
    objects = cut_outlined(train, read_image, seed=training.seed) if steps else None
    if objects is None or len(objects) < MIN_OBJECTS:
        return None, None
    head, iou = train_mask_head(
        objects,
        file=work / "mask_head.checkpoint",
        key=key,
        seed=training.seed,
        device=training.device,
        progress=progress,
        bf16=bool(training.bf16),
        steps=steps,
    )
    return head, round(iou, 4)


def _stream(
    train: Dataset, read_image: Callable[[Scene], Image], training: DetectorTraining, bank: Path
) -> ExampleStream:
    scale, pasting = training.image_scale or 1.0, None
    if training.paste:
        pasting = Pasting.of(
            train, read_image, folder=bank, prob=training.paste, turned=training.vertical_flip
        )
    return ExampleStream(
        train,
        read_image,
        canvas_wh=training_canvas(train, image_scale=scale, max_px=training.max_canvas_px),
        image_scale=scale,
        batch_size=training.batch_size,
        seed=training.seed,
        vertical_flip=training.vertical_flip,
        repeat_threshold=training.repeat_threshold,
        cache_mb=training.cache_mb,
        pasting=pasting,
    )


def _evaluate(
    network: nn.Module,
    config: DetectorConfig,
    judged: Dataset,
    read_image: Callable[[Scene], Image],
    folder: Path,
    *,
    device: str,
) -> Evaluation:
    """Return the figures of the detector as it is used: loaded from a folder."""
    _write(network, config, folder)
    detector = TorchvisionDetector.load(
        folder, config.categories, device=device, batch_size=8, min_score=0.01
    )
    return evaluate_detector(detector, judged, read_image)


def _write(
    network: nn.Module, config: DetectorConfig, folder: Path, *, head: MaskNetwork | None = None
) -> None:
    def fill(fresh: Path) -> None:
        fresh.mkdir()
        write_weights(fresh, network.state_dict())
        if head is not None:
            write_mask_head(fresh, head.state_dict())
        write_config(fresh, config)

    replace_folder(folder, fill)


def _fixed_options(training: DetectorTraining) -> dict[str, Any]:
    """Return the options that decide the result."""
    free = {"device", "threads", "checkpoint_every", "cache_mb", "epochs"}
    names = sorted(set(DetectorTraining.__dataclass_fields__) - free)
    return {name: getattr(training, name) for name in names}


def _describe(train: Dataset, training: DetectorTraining) -> DetectorConfig:
    scale = training.image_scale or 1.0
    canvas = training_canvas(train, image_scale=scale, max_px=training.max_canvas_px)
    objects = int(sum((~scene.is_crowd).sum() for scene in train.scenes))
    return DetectorConfig(
        preset=training.preset,
        categories=train.categories,
        image_scale=scale,
        view_px=round(max(canvas) / scale),
        training={
            **_fixed_options(training),
            **({} if training.preset in PRESETS else {"start": START}),
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
