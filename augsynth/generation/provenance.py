"""What a run depends on: fingerprint, models, licences."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augsynth import __version__
from augsynth.core.scene import Dataset
from augsynth.detectors.loading import detector_files
from augsynth.generation.config import GenerateConfig, plain_config
from augsynth.generation.loading import MODELS
from augsynth.inpainting.checkpoints import inspect_checkpoint, is_non_commercial, read_licence
from augsynth.inpainting.lora import find_lora

# What a run may change without becoming another run: where it runs and what it shows.
_FREE_KEYS = frozenset({"out", "device", "batch_size", "bank", "mask_format"})


def fingerprint(config: GenerateConfig, dataset: Dataset) -> dict[str, Any]:
    """Return what a run depends on: options, source bytes, model weights, version."""
    values = {k: v for k, v in plain_config(config).items() if k not in _FREE_KEYS}
    digests = {
        "source_sha256": _digest([dataset.source]),
        "affinity_sha256": _digest([Path(config.affinity)]) if config.affinity else None,
        "prompts_sha256": _digest([Path(config.prompts)]) if config.prompts else None,
        "donors_sha256": _digest([Path(config.donors) / "index.npy"]) if config.donors else None,
        "model_sha256": weights_digest(config.model),
        "lora_sha256": weights_digest(config.lora) if config.lora else None,
        "detector_sha256": detector_digest(config.detector),
        **({"classifier_sha256": weights_digest(config.classifier)} if config.classifier else {}),
        "segmenter_sha256": weights_digest(config.segmenter) if config.segmenter else None,
    }
    return {**values, **digests, "version": __version__}


def describe_models(config: GenerateConfig) -> dict[str, Any]:
    """Return what paints and judges, for provenance: names, revisions, licences and digests of local weights.

    `detector` is None where nothing is filtered, a licence where it isn't known; a segmenter is named where there
    is one.

    Raises:
        BackendError: The painting model is no checkpoint, or out of reach, or there is no such LoRA.
    """
    checkpoint = inspect_checkpoint(config.model, revision=config.model_revision)
    segmenter = {
        "segmenter": config.segmenter,
        "segmenter_revision": config.segmenter_revision,
        "segmenter_sha256": weights_digest(config.segmenter) if config.segmenter else None,
        "segmenter_licence": read_licence(config.segmenter, revision=config.segmenter_revision)
        if config.segmenter
        else None,
    }
    return {
        "model": config.model,
        "model_revision": config.model_revision,
        "model_sha256": weights_digest(config.model),
        "model_pipeline": checkpoint.class_name,
        "model_licence": checkpoint.licence,
        "lora": config.lora,
        "lora_sha256": weights_digest(config.lora) if config.lora else None,
        "lora_licence": read_licence(find_lora(config.lora)[0].place) if config.lora else None,
        "detector": config.detector or None,
        "detector_revision": config.detector_revision,
        "detector_sha256": detector_digest(config.detector),
        **(segmenter if config.segmenter else {}),
        "augsynth": __version__,
        **(_describe_classifier(config) if config.classifier else {}),
    }


def _describe_classifier(config: GenerateConfig) -> dict[str, Any]:
    return {
        "classifier": config.classifier,
        "classifier_revision": config.classifier_revision,
        "classifier_sha256": weights_digest(config.classifier),
        "classifier_licence": read_licence(config.classifier, revision=config.classifier_revision),
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


def weights_digest(model: str) -> str | None:
    """Return the SHA-256 of a local model's weight files, or None for a hub id."""
    path = MODELS if model == "embedded" else Path(model)
    if path.is_dir():
        return _digest(sorted(path.rglob("*.safetensors")))
    return _digest([path]) if path.is_file() else None


def detector_digest(detector: str) -> str | None:
    """Return the SHA-256 of the local files of all detectors, or None when they are hub ids or there is none."""
    if not detector:
        return None
    if detector == "embedded":
        return weights_digest(detector)
    files = detector_files(detector)
    return _digest(files) if files else None


def _digest(paths: list[Path]) -> str | None:
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
