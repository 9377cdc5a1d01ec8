"""`augsynth train-inpainter`, `train-lora` and `train-detector`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from augsynth.coco.faults import repair_lines
from augsynth.coco.formats.known import ANNOTATIONS, IMAGES, NEAR, input_paths
from augsynth.coco.reader import read_with_images
from augsynth.commands.flags import Command
from augsynth.commands.terminal import Report, Terminal
from augsynth.commands.tracking import TrainingFollower
from augsynth.core.devices import Process, check_device
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.core.options import REQUIRED, check_options, option, plain, section
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.core.tracking import HELP, Tracker, Tracking
from augsynth.inpainting.checkpoints import is_non_commercial
from augsynth.training.detector.options import DetectorTraining
from augsynth.training.lora.options import LoraTraining, check_base
from augsynth.training.painter.options import InpainterTraining


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The images that a painter or a LoRA learns from.

    Raises:
        ConfigError: A value is out of range.
    """

    annotations: Path = option(REQUIRED, ANNOTATIONS)
    images: Path | None = option(None, IMAGES, unset=NEAR)
    image_scale: float = option(1.0, "Resize images by this first.", above=0, high=4)

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class TrainInpainterOptions:
    """Data, output and training of an inpainting model."""

    data: TrainingData = field(metadata=section("Data"))
    out: Path = option(REQUIRED, "Directory of the training; the model is in its folder `model`.")
    start: str | None = option(
        None,
        "Model to go on from: `embedded`, or the model folder of an earlier training.",
        unset="a new model",
    )
    threads: int | None = option(None, "CPU threads.", low=1, high=1024, unset="all")
    track: Tracker | None = option(None, HELP, unset="nothing is tracked")
    training: InpainterTraining = field(default_factory=InpainterTraining, metadata=section("Training"))

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class TrainLoraOptions:
    """Data, output and training of a LoRA."""

    data: TrainingData = field(metadata=section("Data"))
    out: Path = option(REQUIRED, "Directory of the training; the LoRAs are in its folders `best` and `last`.")
    threads: int | None = option(None, "CPU threads.", low=1, high=1024, unset="all")
    track: Tracker | None = option(None, HELP, unset="nothing is tracked")
    training: LoraTraining = field(default_factory=LoraTraining, metadata=section("Training"))

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class TrainDetectorOptions:
    """Data, output and training of a detector.

    Raises:
        ConfigError: Validation images are given without their annotations.
    """

    annotations: Path = option(REQUIRED, ANNOTATIONS)
    out: Path = option(REQUIRED, "Detector folder to write.")
    images: Path | None = option(None, IMAGES, unset=NEAR)
    val_annotations: Path | None = option(
        None, "Dataset to report on, as for annotations.", unset="a held-out tenth"
    )
    val_images: Path | None = option(None, "Its image directory.", unset="that of the training images")
    track: Tracker | None = option(None, HELP, unset="nothing is tracked")
    training: DetectorTraining = field(default_factory=DetectorTraining, metadata=section("Training"))

    def __post_init__(self) -> None:
        check_options(self)
        if self.val_images is not None and self.val_annotations is None:
            raise ConfigError(
                "val_images is given without val_annotations; give both, or neither for a held-out tenth"
            )


def _read(annotations: Path, images: Path | None, terminal: Terminal) -> Dataset:
    """Read a dataset, and say what was repaired."""
    dataset = read_with_images(annotations, images)
    for line in repair_lines(dataset):
        terminal.notice(line)
    return dataset


def _read_scaled(data: TrainingData, terminal: Terminal) -> tuple[Dataset, Callable[[Scene], Image]]:
    from augsynth.training.windows import scale_images

    return scale_images(_read(data.annotations, data.images, terminal), data.image_scale)


def run_train_inpainter(options: TrainInpainterOptions, terminal: Terminal) -> Report:
    """Train an inpainting model from scratch, or one further.

    Raises:
        AugsynthError: As `augsynth.training.painter.train.train_inpainter`.
    """
    check_device(options.training.device)
    if Process.current().count > 1:
        raise ConfigError("a training from scratch runs in one process; start it without a launcher")
    _set_threads(options.threads)
    from augsynth.commands.progress import TrainingDisplay
    from augsynth.training.folder import check_out
    from augsynth.training.painter.train import train_inpainter

    data = options.data
    check_out(options.out, verb="train-inpainter", inputs=input_paths(data.annotations, data.images))
    dataset, read = _read_scaled(data, terminal)
    tracking = _track(options, options.track)
    with TrainingDisplay(terminal.notices) as display, tracking:
        follower = TrainingFollower(tracking, display.update, options.out)
        folder = train_inpainter(
            dataset,
            read,
            training=options.training,
            out=options.out,
            progress=follower.update,
            start_from=options.start,
        )
        follower.end()
    return Report([f"model in {folder}; use it with --model {folder}"], {"model": str(folder)})


def run_train_lora(options: TrainLoraOptions, terminal: Terminal) -> Report:
    """Train a LoRA of a checkpoint; in several processes under a launcher.

    Raises:
        AugsynthError: As `augsynth.training.lora.train.train_lora`.
    """
    process = Process.current()
    training = replace(options.training, device=process.device(options.training.device))
    check_device(training.device)
    terminal.notices.quiet |= process.rank > 0
    terminal.results.quiet = process.rank > 0
    _set_threads(options.threads)
    from augsynth.commands.progress import TrainingDisplay
    from augsynth.training.folder import check_out
    from augsynth.training.lora.train import train_lora

    data = options.data
    check_out(options.out, verb="train-lora", inputs=input_paths(data.annotations, data.images))
    checkpoint = check_base(training)
    if is_non_commercial(checkpoint.licence):
        terminal.notice(
            f"{training.model} is for non-commercial use only ({checkpoint.licence}), and so is a LoRA of it"
        )
    dataset, read = _read_scaled(data, terminal)
    tracking = _track(options, options.track if process.rank == 0 else None)
    with TrainingDisplay(terminal.notices) as display, tracking:
        follower = TrainingFollower(tracking, display.update, options.out)
        folder = train_lora(
            dataset, read, training=training, checkpoint=checkpoint, out=options.out, progress=follower.update
        )
        follower.end()
    return Report(
        [f"LoRA in {folder}; use it with --model {training.model} --lora {folder}"],
        {"model": training.model, "lora": str(folder)},
    )


def _track(
    options: TrainInpainterOptions | TrainLoraOptions | TrainDetectorOptions, kind: Tracker | None
) -> Tracking:
    return Tracking(kind, out=options.out, config=plain(options), device=options.training.device)


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def run_train_detector(options: TrainDetectorOptions, terminal: Terminal) -> Report:
    """Train a detector and report COCO AP.

    Raises:
        AugsynthError: As `augsynth.training.detector.train.train_detector`.
    """
    check_device(options.training.device)
    from augsynth.commands.progress import TrainingDisplay
    from augsynth.training.detector.train import check_place, train_detector

    check_place(options.out, inputs=input_paths(options.annotations, options.images))
    dataset = _read(options.annotations, options.images, terminal)
    val = None
    if options.val_annotations is not None:
        val = _read(options.val_annotations, options.val_images or options.images, terminal)
    tracking = _track(options, options.track)
    with TrainingDisplay(terminal.notices) as display, tracking:
        follower = TrainingFollower(tracking, display.update, options.out)
        report = train_detector(
            dataset,
            partial(read_image, dataset),
            out=options.out,
            options=options.training,
            val=val,
            read_val=None if val is None else partial(read_image, val),
            progress=follower.update,
            notice=terminal.notice,
        )
        figures = report.evaluation
        follower.end({"AP": figures.ap, "AP50": figures.ap50, "AP75": figures.ap75})
    where = "held-out images" if report.held_out else "its own training images"
    lines = [
        f"AP {figures.ap:.3f}, AP50 {figures.ap50:.3f}, AP75 {figures.ap75:.3f} on {figures.num_images} {where}",
        "AP50: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.category_ap50.items()),
        *([] if report.mask_iou is None else [f"masks: mean IoU {report.mask_iou:.3f} on objects held out"]),
        f"detector in {report.out}; use it with --detector {report.out}",
    ]
    return Report(
        lines,
        {
            "detector": str(report.out),
            "held_out": bool(report.held_out),
            "mask_iou": report.mask_iou,
            **asdict(figures),
        },
    )


_DATA = "--annotations train.json --images images \\\n   "
TRAIN_INPAINTER = Command(
    "train-inpainter",
    TrainInpainterOptions,
    run_train_inpainter,
    help="Train a small inpainting model of the dataset's own domain, from scratch or from an earlier one. Stopped at "
    "any point, the same command goes on.",
    example=f"augsynth train-inpainter {_DATA} --preset small-64 --out painter",
)
TRAIN_LORA = Command(
    "train-lora",
    TrainLoraOptions,
    run_train_lora,
    help="Train a LoRA of a Stable Diffusion checkpoint on the dataset's objects. Stopped at any point, the same "
    "command goes on; a launcher such as torchrun starts it on several GPUs.",
    example=f"augsynth train-lora {_DATA} --model embedded --out lora",
)
TRAIN_DETECTOR = Command(
    "train-detector",
    TrainDetectorOptions,
    run_train_detector,
    help="Train a small detector on a COCO dataset, for the filter, and report COCO AP.",
    example=f"augsynth train-detector {_DATA} --out detector",
)
