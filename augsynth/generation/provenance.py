"""What a run depends on: fingerprint, models, licences."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augsynth import __version__
from augsynth.affinity.focus import focus_file
from augsynth.coco.formats.known import is_foreign, source_digest
from augsynth.core.cache import environment
from augsynth.core.scene import Dataset
from augsynth.core.storage import named
from augsynth.detectors.loading import detector_files, split_detectors
from augsynth.filtering.options import FilterModels
from augsynth.generation.config import GenerateConfig, plain_config
from augsynth.inpainting.checkpoints import EMBEDDED, inspect_checkpoint, is_non_commercial, read_licence
from augsynth.inpainting.lora import find_lora

_SETTINGS_SUFFIXES = frozenset({".json", ".txt", ".model", ".yaml"})
# What a run may change without becoming another run: where it runs and what it shows.
_FREE_KEYS = frozenset(
    {
        "out",
        "device",
        "processes",
        "ray",
        "batch_size",
        "bank",
        "mask_format",
        "min_yield",
        "give_up_after",
        "judge",
    }
)


def fingerprint(config: GenerateConfig, dataset: Dataset) -> dict[str, Any]:
    """Return what a run depends on: options, source bytes, model weights, version."""
    values = {k: v for k, v in plain_config(config).items() if k not in _FREE_KEYS}
    painting, models = config.painting, config.filter_models
    focus = config.categories.focus
    affinity, prompts = config.categories.affinity, config.prompts.prompts
    digests = {
        "source_sha256": digest_of_source(dataset),
        "focus_sha256": _digest([focus_file(focus)]) if focus else None,
        "affinity_sha256": _digest([Path(affinity)]) if affinity else None,
        "prompts_sha256": _digest([Path(prompts)]) if prompts else None,
        "init_images_sha256": _digest([Path(painting.init_images) / "index.npy"])
        if painting.init_images
        else None,
        "model_sha256": weights_digest(painting.model),
        "lora_sha256": weights_digest(painting.lora),
        "detector_sha256": detector_digest(models.detector),
        **({"classifier_sha256": weights_digest(models.classifier)} if models.classifier else {}),
        "segmenter_sha256": weights_digest(config.masking.segmenter),
        "settings_sha256": {
            "model": settings_digest(painting.model),
            "lora": settings_digest(painting.lora),
            "detectors": [settings_digest(each) for each in split_detectors(models.detector)]
            if models.detector
            else [],
            "classifier": settings_digest(models.classifier),
            "segmenter": settings_digest(config.masking.segmenter),
        },
    }
    return {**values, **digests, "version": __version__, **environment()}


def describe_models(config: GenerateConfig) -> dict[str, Any]:
    """Return what paints and judges, for provenance: names, revisions, licences and digests of local weights.

    `detector` is None where nothing is filtered, a licence where it isn't known; a segmenter is named where there
    is one.

    Raises:
        BackendError: The painting model is no checkpoint, or out of reach, or there is no such LoRA.
    """
    painting, models = config.painting, config.filter_models
    assert painting.model is not None  # `open_dataset` fills it in
    checkpoint = inspect_checkpoint(painting.model, revision=painting.model_revision)
    described = {
        "model": painting.model,
        "model_revision": painting.model_revision,
        "model_sha256": weights_digest(painting.model),
        "model_pipeline": checkpoint.class_name,
        "model_licence": checkpoint.licence,
        "lora": painting.lora,
        "lora_sha256": weights_digest(painting.lora),
        "lora_licence": read_licence(find_lora(painting.lora)[0].place) if painting.lora else None,
        "detector": models.detector,
        "detector_revision": models.detector_revision,
        "detector_sha256": detector_digest(models.detector),
    }
    segmenter = _describe("segmenter", config.masking.segmenter, config.masking.segmenter_revision)
    classifier = _describe("classifier", models.classifier, models.classifier_revision)
    found = {**described, **segmenter, "augsynth": __version__, **classifier}
    return {key: named(value) if isinstance(value, str) else value for key, value in found.items()}


def _describe(part: str, model: str | None, revision: str | None) -> dict[str, Any]:
    if model is None:
        return {}
    return {
        part: model,
        f"{part}_revision": revision,
        f"{part}_sha256": weights_digest(model),
        f"{part}_licence": read_licence(model, revision=revision),
    }


def licence_notices(models: Mapping[str, Any]) -> list[str]:
    """Return a line for each model whose licence forbids commercial use."""
    covered = {"model": "paints", "lora": "paints", "classifier": "chooses", "segmenter": "outlines"}
    return [
        f"{models[part]} is for non-commercial use only ({models[f'{part}_licence']}); "
        f"its terms may cover what it {verb}, too"
        for part, verb in covered.items()
        if is_non_commercial(models.get(f"{part}_licence"))
    ]


def weights_digest(model: str | None) -> str | None:
    """Return the SHA-256 of a local model's weight files, or None for a hub id or where there is no model."""
    if model is None:
        return None
    path = EMBEDDED.parent if model == "embedded" else Path(model)
    if path.is_dir():
        return _digest(sorted(path.rglob("*.safetensors")))
    return _digest([path]) if path.is_file() else None


def settings_digest(model: str | None) -> str | None:
    """Return the SHA-256 of the small files beside a local model's weights: configuration, scheduler, tokenizer.

    None for a hub id, a single file, or where there is no model.
    """
    if model is None:
        return None
    path = EMBEDDED.parent if model == "embedded" else Path(model)
    if not path.is_dir():
        return None
    return _digest(sorted(p for p in path.rglob("*") if p.suffix in _SETTINGS_SUFFIXES), root=path)


def detector_digest(detector: str | None) -> str | None:
    """Return the SHA-256 of the local files of all detectors, or None when they are hub ids or there is none."""
    if detector is None:
        return None
    if detector == "embedded":
        return weights_digest(detector)
    files = detector_files(detector)
    return _digest(files) if files else None


def filter_key(models: FilterModels) -> dict[str, Any] | None:
    """Return JSON values that identify what filters; None where a hub id without a commit is among it."""
    names = [] if models.detector is None else split_detectors(models.detector)
    local = [name == "embedded" or bool(detector_files(name)) for name in names]
    known = all(local) or _is_commit(models.detector_revision)
    if models.classifier is not None:
        known = known and (Path(models.classifier).is_dir() or _is_commit(models.classifier_revision))
    if not known:
        return None
    return {
        "detectors": names,
        "detector_revision": models.detector_revision,
        "detector_weights": detector_digest(models.detector),
        "detector_settings": [settings_digest(name) for name in names],
        "classifier": models.classifier,
        "classifier_revision": models.classifier_revision,
        "classifier_weights": weights_digest(models.classifier),
        "classifier_settings": settings_digest(models.classifier),
    }


def _is_commit(revision: str | None) -> bool:
    return re.fullmatch("[0-9a-f]{40}", revision or "") is not None


def digest_of_source(dataset: Dataset) -> str | None:
    """Return the digest of a COCO file with its name, or of what was read of another format."""
    if is_foreign(dataset.source):
        return source_digest(dataset)
    return _digest([dataset.source])


def _digest(paths: list[Path], *, root: Path | None = None) -> str | None:
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            name = path.name if root is None else path.relative_to(root).as_posix()
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()
