"""Label truth: what an independent detector makes of a run's labels, beside what it makes of real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from augsynth.coco.reader import read_dataset
from augsynth.core.devices import Process
from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.images import read_image
from augsynth.core.records import ShardRecord
from augsynth.core.scene import Dataset
from augsynth.detectors.loading import EMBEDDED_DETECTOR, detector_files, load_detector, split_detectors
from augsynth.detectors.port import Detector
from augsynth.filtering.grading import Grades, LabelTruth, grade
from augsynth.generation.config import GenerateConfig
from augsynth.generation.export import SYNTHETIC
from augsynth.generation.new_images import number_images

MIN_SCORE = 0.1  # of a detection that counts


def check_judge(config: GenerateConfig, dataset: Dataset) -> None:
    """Check, before anything is painted, that a run's judge can be loaded, knows the categories and is no filter.

    Raises:
        BackendError: It can't be loaded.
        ConfigError: It doesn't know all categories, or is the detector that filters.
    """
    models = config.filter_models
    if models.judge is None:
        return
    if models.asks_detector and models.detector is not None:
        theirs = _members(models.detector).values()
        for name, ours in _members(models.judge).items():
            if any(ours <= weights or weights <= ours for weights in theirs):
                raise ConfigError(
                    f"judge {name} is the detector that filters, which agrees with what it accepted; take one that was "
                    "trained apart"
                )
    _load(config, dataset)


def grade_labels(
    out: Path, dataset: Dataset, shards: Sequence[ShardRecord], *, config: GenerateConfig
) -> LabelTruth | None:
    """Let the judge of a run look at each of its new images; return what it says, None where there is no judge.

    Args:
        out: The run's directory, with its new images and their annotations; one image at a time is held.
        dataset: The source.
        shards: The records in order.
        config: Names the judge.

    Raises:
        BackendError: The judge can't be loaded.
        DatasetError: An image can't be read.
    """
    if config.filter_models.judge is None:
        return None
    judge, edited = _load(config, dataset), read_dataset(out / SYNTHETIC, images=out / "images")
    images = [image for shard in number_images(dataset.document, shards) for image in shard]
    sources = {image.image_id: image.new.source_image_id for image in images}
    painted_ids = np.array([label for image in images for label in image.label_ids], np.int64)
    accepted, real = list[Grades](), list[Grades]()
    for scene in edited.scenes:
        painted = np.isin(scene.annotation_ids, painted_ids)
        grades = grade(
            judge,
            read_image(edited, scene),
            scene.boxes_xyxy,
            scene.category_ids,
            image_id=sources[scene.image_id],
            min_score=MIN_SCORE,
        )
        accepted.append(grades.only(painted))
        real.append(grades.only(~painted & ~scene.is_crowd))
    name = str(config.filter_models.judge)
    return LabelTruth.of(name, Grades.joined(accepted), Grades.joined(real), dataset.categories)


def _load(config: GenerateConfig, dataset: Dataset) -> Detector:
    judge = str(config.filter_models.judge)
    device = Process.current().device(config.run.device)
    try:
        return load_detector(judge, dataset.categories_in_use(), device=device, min_score=MIN_SCORE)
    except (BackendError, ConfigError) as error:
        raise type(error)(f"judge {judge}: {_advised(str(error))}") from None


def _advised(message: str) -> str:
    """Return what is said of a detector as what is said of a judge: it may be left out."""
    return message.replace(
        ", or `embedded`, which knows the rendered sample alone", ", or leave --judge out"
    ).replace("--detector", "--judge")


def _members(detector: str) -> dict[str, set[str]]:
    """Return for each detector of a `--detector` what it is known by: digests of its weight files, or its hub id."""
    found = {}
    for name in split_detectors(detector):
        member = EMBEDDED_DETECTOR if name == "embedded" else name
        files = [path for path in detector_files(member) if path.suffix != ".py" and path.is_file()]
        found[name] = {_digest(path) for path in files} or {member}
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
