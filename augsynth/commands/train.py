"""The verbs beside `generate`: affinity file, object bank, folds, training an inpainter or a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from augsynth.coco.faults import repair_lines
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.inpainting.checkpoints import is_non_commercial


def run_finetune(
    options: Mapping[str, Any],
    *,
    progress: Callable[[str, int, int, float], None],
    show: Callable[[str], None],
) -> Path:
    """Train an inpainting model, or a LoRA of `model`, with the command line's options and return its folder.

    Raises:
        AugsynthError: As `train_inpainter` and `train_lora`; ConfigError for options out of range.
    """
    import torch

    from augsynth.training.folder import check_out
    from augsynth.training.painter.options import InpainterTraining
    from augsynth.training.painter.train import train_inpainter
    from augsynth.training.windows import scale_images

    verb = "train-inpainter" if options["model"] is None else "train-lora"
    check_out(options["out"], verb=verb, inputs=[options["annotations"], options["images"]])
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    if options["model"] is not None:
        return _run_lora(options, progress=progress, show=show)
    names = InpainterTraining.__dataclass_fields__
    chosen = {k: v for k, v in options.items() if k in names and v is not None}
    dataset, read = scale_images(
        read_dataset(options["annotations"], images=options["images"]), options["image_scale"]
    )
    return train_inpainter(
        dataset,
        read,
        training=InpainterTraining(**chosen),
        out=options["out"],
        progress=progress,
        start_from=options["start"],
    )


def _run_lora(
    options: Mapping[str, Any],
    *,
    progress: Callable[[str, int, int, float], None],
    show: Callable[[str], None],
) -> Path:
    from augsynth.training.lora.options import LoraTraining, check_base
    from augsynth.training.lora.train import train_lora
    from augsynth.training.windows import scale_images

    names = LoraTraining.__dataclass_fields__
    chosen = {k: v for k, v in options.items() if k in names and v is not None}
    training = LoraTraining(**{**chosen, "categories": tuple(options["categories"] or ())})
    checkpoint = check_base(training)
    if is_non_commercial(checkpoint.licence):
        show(
            f"{training.model} is for non-commercial use only ({checkpoint.licence}), and so is a LoRA of it"
        )
    dataset, read = scale_images(
        read_dataset(options["annotations"], images=options["images"]), options["image_scale"]
    )
    return train_lora(
        dataset, read, training=training, checkpoint=checkpoint, out=options["out"], progress=progress
    )


def run_train_detector(
    options: Mapping[str, Any],
    *,
    progress: Callable[[str, int, int, float], None],
    show: Callable[[str], None],
) -> Iterator[str]:
    """Train a detector with the command line's options; yield its figures as lines.

    Raises:
        AugsynthError: As `train_detector`; ConfigError for options out of range.
    """
    from augsynth.training.detector.options import DetectorTraining
    from augsynth.training.detector.train import check_place, train_detector

    check_place(options["out"], inputs=[options["annotations"], options["images"]])
    dataset = read_dataset(options["annotations"], images=options["images"])
    yield from repair_lines(dataset)
    val = None
    if options["val_annotations"] is not None:
        val = read_dataset(options["val_annotations"], images=options["val_images"] or options["images"])
    names = DetectorTraining.__dataclass_fields__
    try:
        training = DetectorTraining(**{k: v for k, v in options.items() if k in names and v is not None})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    report = train_detector(
        dataset,
        partial(read_image, dataset),
        out=options["out"],
        options=training,
        val=val,
        read_val=None if val is None else partial(read_image, val),
        progress=progress,
        notice=show,
    )
    figures = report.evaluation
    where = "held-out images" if report.held_out else "its own training images"
    yield f"AP {figures.ap:.3f}, AP50 {figures.ap50:.3f}, AP75 {figures.ap75:.3f} on {figures.num_images} {where}"
    yield "AP50: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.category_ap50.items())
    yield f"detector in {report.out}; use it with --detector {report.out}"
