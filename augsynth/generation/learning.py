"""What a run needs before it paints, kept for the next one: what is learnt of the dataset, and the drawn sample."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from augsynth.affinity.model import DEFAULT_MEASURE, Affinity
from augsynth.affinity.scoring import fingerprint
from augsynth.core.cache import remembered
from augsynth.core.errors import DatasetError
from augsynth.core.files import make_folder, writing
from augsynth.core.images import image_path, read_image
from augsynth.core.processes import begun
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.detectors.port import Detector
from augsynth.filtering.class_labels import Vocabulary
from augsynth.filtering.classifiers import Classifier
from augsynth.filtering.real_objects import (
    FilterRow,
    check_filter,
    classify_real_objects,
    judge_real_objects,
    rows_of_classifier,
)
from augsynth.filtering.thresholds import (
    Thresholds,
    observe_objects,
    observed_scenes,
    thresholds_from_views,
)
from augsynth.generation.config import GenerateConfig
from augsynth.generation.provenance import filter_key
from augsynth.inpainting.loading import import_libraries
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.placement.scene_model import SceneModel, load_affinity

if TYPE_CHECKING:
    import torch

CALIBRATION_IMAGES = 120


def learn_scenes(config: GenerateConfig, dataset: Dataset) -> SceneModel:
    """Return which categories belong together and where they lie: read where a file is given, else learnt.

    Raises:
        DatasetError: The file is damaged, or is of another dataset.
    """
    rules = config.categories
    if rules.affinity is not None:
        model = load_affinity(rules.affinity)
        model.affinity.check_matches(dataset, title=rules.affinity)
        return model
    measure = rules.measure or DEFAULT_MEASURE

    def learn() -> str:
        model = SceneModel(Affinity.fit(dataset, measure=measure), Layout.fit(dataset))
        return model.to_bytes().decode()

    key = {"data": fingerprint(dataset), "measure": measure}
    return SceneModel.from_bytes(remembered("scenes", key, learn).encode(), path=dataset.source)


def learn_surroundings(config: GenerateConfig, dataset: Dataset) -> Appearance:
    """Return what the surroundings of each category look like."""
    seed = config.run.seed
    key = {
        "data": fingerprint(dataset),
        "images": _images_digest(dataset, Appearance.scenes_read(dataset, seed=seed)),
        "seed": seed,
    }
    read = partial(_read_or_blank, dataset)
    learnt = remembered("surroundings", key, lambda: Appearance.fit(dataset, read, seed=seed).to_dict())
    return Appearance.from_dict(learnt)


def calibrate_filter(
    config: GenerateConfig,
    dataset: Dataset,
    detector: Detector | None,
    classifier: Classifier | None,
    vocabulary: Vocabulary,
) -> tuple[Thresholds | None, tuple[FilterRow, ...]]:
    """Return the thresholds, and what the filter says with them of real objects of the wanted categories.

    Args:
        config: Of the run.
        dataset: Its real objects.
        detector: None where none is asked; then there are no thresholds.
        classifier: None where none is asked.
        vocabulary: What the classifier calls the categories.

    Raises:
        ConfigError: It accepts none of them, or no category's can be told from background.
    """
    models, seed = config.filter_models, config.run.seed
    if detector is None and classifier is None:
        return None, ()
    judged = partial(_judge_objects, config, dataset, detector, classifier)
    known = filter_key(models)
    if known is None:
        document = judged()
    else:
        looked_at = observed_scenes(dataset, max_images=CALIBRATION_IMAGES, seed=seed)
        key = {
            "data": fingerprint(dataset),
            "images": _images_digest(dataset, looked_at),
            "models": known,
            "vocabulary": repr(vocabulary) if classifier is not None else None,
            "device": config.run.device,
            "categories": sorted(config.categories.categories),
            "rules": msgspec.to_builtins(config.filter_rules),
            "quantile": models.score_quantile,
            "seed": seed,
        }
        document = remembered("filter", key, judged)
    rows = tuple(msgspec.convert(row, FilterRow) for row in document["rows"])
    asked = {"--detector": detector, "--classifier": classifier}
    title = " and ".join(f"{option} {model.name}" for option, model in asked.items() if model is not None)
    check_filter(rows, models=title, min_auc=models.min_auc)
    return None if detector is None else Thresholds.from_dict(document["thresholds"]), rows


def _judge_objects(
    config: GenerateConfig, dataset: Dataset, detector: Detector | None, classifier: Classifier | None
) -> dict[str, Any]:
    models, seed = config.filter_models, config.run.seed
    rules, read = config.filter_rules, partial(_read_or_blank, dataset)
    wanted = wanted_ids(config, dataset)
    names = {c.id: c.name for c in dataset.categories if c.id in wanted}
    standings = None
    if classifier is not None:
        scenes = observed_scenes(dataset, max_images=CALIBRATION_IMAGES, seed=seed)
        standings = classify_real_objects(classifier, scenes, read, ids=names)
        if detector is None:
            rows = rows_of_classifier(standings, scenes, names=names, rules=rules)
            return {"rows": [msgspec.to_builtins(row) for row in rows]}
    assert detector is not None
    views = observe_objects(detector, dataset, read, max_images=CALIBRATION_IMAGES, seed=seed)
    thresholds = thresholds_from_views(views, quantile=models.score_quantile)
    rows = judge_real_objects(
        views, names=names, thresholds=thresholds, rules=rules, seed=seed, standings=standings
    )
    return {"thresholds": thresholds.as_dict(), "rows": [msgspec.to_builtins(row) for row in rows]}


def wanted_ids(config: GenerateConfig, dataset: Dataset) -> frozenset[int]:
    """Return the ids of the categories that are painted: those asked for by name, else those that annotate anything."""
    asked = config.categories.categories
    categories = dataset.categories_in_use(asked)
    return frozenset(category.id for category in categories if not asked or category.name in asked)


def _read_or_blank(dataset: Dataset, scene: Scene) -> Image:
    """Read an image; one that can't be read teaches nothing, and is reported when a job meets it."""
    try:
        return read_image(dataset, scene)
    except DatasetError:
        return np.zeros((scene.size_wh[1], scene.size_wh[0], 3), np.uint8)


def _images_digest(dataset: Dataset, scenes: Iterable[Scene]) -> str:
    """Return a digest of the bytes of image files; one that can't be read counts as empty."""
    digest = hashlib.blake2b(digest_size=16)
    assert dataset.image_root is not None  # a run reads it with its images
    for scene in scenes:
        try:
            content = image_path(dataset.image_root, scene.file_name).read_bytes()
        except (DatasetError, OSError):
            content = b""
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def draw_sample(root: Path) -> Path:
    """Write the sample into a folder, drawn the first time and copied after it; return its annotation file.

    Raises:
        ConfigError: The output is a file, or can't be written.
        DatasetError: The folder holds something else.
        OutputError: The disk is full.
    """
    from augsynth.sample import write_sample

    if root.exists() and any(root.iterdir()):  # that of the same run, perhaps cut short
        return write_sample(root)

    def draw() -> dict[str, torch.Tensor]:
        with begun(
            [partial(write_sample, root)], task="drawing", remedy="free some and start again"
        ) as drawn:
            import torch

            import_libraries()
            annotations: Path = next(drawn)
        first, *others = sorted(path for path in root.rglob("*") if path.is_file() and path != annotations)
        # In the order of `write_sample`: what says whose folder it is, pictures, what says that all is there.
        return {
            path.relative_to(root).as_posix(): torch.frombuffer(
                bytearray(path.read_bytes()), dtype=torch.uint8
            )
            for path in (first, *others, annotations)
        }

    files: dict[str, torch.Tensor] = remembered("sample", {}, draw)
    for name, content in files.items():
        path = root / name
        if not path.exists():
            with writing(path):
                make_folder(path.parent)
                path.write_bytes(content.numpy().tobytes())
    return root / list(files)[-1]
