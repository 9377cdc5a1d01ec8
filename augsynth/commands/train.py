"""The verbs beside `generate`: affinity file, object bank, folds, training an inpainter or a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PilImage

from augsynth.coco.faults import repair_lines
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.inpainting.checkpoints import is_non_commercial

if TYPE_CHECKING:
    pass


def scaled(dataset: Dataset, image_scale: float) -> tuple[Dataset, Callable[[Scene], Image]]:
    """Return a dataset whose scenes and images are resized, and the function that reads its images.

    Raises:
        ConfigError: The scale isn't in (0, 4].
    """
    if not 0 < image_scale <= 4:
        raise ConfigError(f"image_scale is {image_scale}; it must lie in (0, 4]")
    if image_scale == 1:
        return dataset, partial(read_image, dataset)
    scenes = []
    originals = {scene.image_id: scene for scene in dataset.scenes}
    for scene in dataset.scenes:
        width, height = (max(1, round(side * image_scale)) for side in scene.size_wh)
        factor = np.tile([width / scene.size_wh[0], height / scene.size_wh[1]], 2)
        scenes.append(replace(scene, size_wh=(width, height), boxes_xyxy=scene.boxes_xyxy * factor))

    def read_scaled(scene: Scene) -> Image:
        picture = PilImage.fromarray(read_image(dataset, originals[scene.image_id]))
        return np.asarray(picture.resize(scene.size_wh, PilImage.Resampling.LANCZOS))

    return replace(dataset, scenes=tuple(scenes)), read_scaled


def run_finetune(
    options: Mapping[str, Any],
    *,
    progress: Callable[[str, int, int, float], None],
    show: Callable[[str], None],
) -> Path:
    """Train an inpainting model, or a LoRA of `model`, with the command line's options and return its folder.

    Raises:
        AugsynthError: As `finetune` and `train_lora`; ConfigError for options out of range.
    """
    import torch

    from augsynth.training.painter.options import InpainterTraining
    from augsynth.training.painter.train import train_inpainter

    if options["threads"]:
        torch.set_num_threads(options["threads"])
    if options["model"] is not None:
        return _run_lora(options, progress=progress, show=show)
    names = InpainterTraining.__dataclass_fields__
    chosen = {k: v for k, v in options.items() if k in names and v is not None}
    dataset, read = scaled(
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

    names = LoraTraining.__dataclass_fields__
    chosen = {k: v for k, v in options.items() if k in names and v is not None}
    training = LoraTraining(**{**chosen, "categories": tuple(options["categories"] or ())})
    checkpoint = check_base(training)
    if is_non_commercial(checkpoint.licence):
        show(
            f"{training.model} is for non-commercial use only ({checkpoint.licence}), and so is a LoRA of it"
        )
    dataset, read = scaled(
        read_dataset(options["annotations"], images=options["images"]), options["image_scale"]
    )
    return train_lora(
        dataset, read, training=training, checkpoint=checkpoint, out=options["out"], progress=progress
    )


def run_train_detector(options: Mapping[str, Any], *, show: Callable[[str], None]) -> Iterator[str]:
    """Train a detector with the command line's options; yield its figures as lines.

    Raises:
        AugsynthError: As `train_detector`; ConfigError for options out of range.
    """
    from augsynth.training.detector.options import DetectorTraining
    from augsynth.training.detector.train import train_detector

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
    roots = {id(scene): dataset for scene in dataset.scenes}
    if val is not None:
        roots.update({id(scene): val for scene in val.scenes})

    def read(scene: Scene) -> Image:
        return read_image(roots.get(id(scene), dataset), scene)

    report = train_detector(
        dataset, read, out=options["out"], options=training, val=val, progress=lambda p: show(str(p))
    )
    figures = report.evaluation
    where = "held-out images" if report.held_out else "its own training images"
    yield f"AP {figures.ap:.3f}, AP50 {figures.ap50:.3f}, AP75 {figures.ap75:.3f} on {figures.num_images} {where}"
    yield "AP50: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.category_ap50.items())
    yield f"detector in {report.out}; use it with --detector {report.out}"
