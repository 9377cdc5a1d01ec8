"""`augsynth generate`: from a dataset to an augmented dataset, resumable at any point."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from augsynth import __version__
from augsynth.affinity.model import save_affinity_file
from augsynth.coco.writer import write_json
from augsynth.core.scene import Dataset, Scene
from augsynth.detectors.loading import detector_files
from augsynth.generation.config import GenerateConfig, plain_config
from augsynth.generation.context import Studio
from augsynth.generation.engine import paint_shard, source_order
from augsynth.generation.export import SUMMARY, publish_dataset, write_contact_sheets
from augsynth.generation.export_bank import write_bank
from augsynth.generation.loading import MODELS, open_dataset, open_studio
from augsynth.generation.run_folder import RunFolder, check_output
from augsynth.generation.statistics import Tally
from augsynth.inpainting.checkpoints import inspect_checkpoint, is_non_commercial, read_licence
from augsynth.inpainting.lora import find_lora

JOBS_PER_SHARD = 8
# What a run may change without becoming another run: where it runs and what it shows.
_FREE_KEYS = frozenset({"out", "device", "batch_size", "bank", "mask_format"})


Progress = Callable[[str, Tally], None]


def generate(config: GenerateConfig, *, progress: Progress) -> Tally:
    """Paint accepted objects until there are enough or the attempt budget is spent, and publish the dataset.

    Args:
        config: The options.
        progress: Called with a stage name and the tally so far.

    Returns:
        The tally of the whole run, including what earlier invocations did.

    Raises:
        AugsynthError: Bad options, data, models or output directory; nothing that was committed is lost.
    """
    out = Path(config.out)
    check_output(out)
    progress("reading", Tally(config.n))
    config, dataset = open_dataset(config)
    with RunFolder(out, fingerprint(config, dataset)) as folder:
        tally = Tally(config.n, names={c.id: c.name for c in dataset.categories})
        shards = folder.read_shards()
        for shard in shards:
            tally.add(shard)
        models = describe_models(config)
        tally.notices += licence_notices(models)
        progress("loading", tally)
        studio = open_studio(config, dataset)
        config = studio.config
        order: Iterator[tuple[int, int]] = enumerate(source_order(len(dataset.scenes), seed=config.seed))
        for _ in range(sum(s["jobs"] for s in shards)):
            next(order)
        progress("painting", tally)
        while tally.accepted < tally.wanted and tally.attempts < config.attempt_budget:
            shards.append(_work(studio, folder, len(shards), order, tally))
            tally.add(shards[-1])
            progress("painting", tally)
        progress("writing", tally)
        save_affinity_file(out / "affinity.json", studio.affinity, studio.layout.to_dict())
        publish_dataset(out, dataset, shards, config=config, models=models)
        if config.bank:
            num_cells = studio.inpainter.size // studio.inpainter.cell
            write_bank(out, dataset, shards, config=config, num_cells=num_cells, models=models)
        pictures = [(shard["attempts"], folder.read_tiles(i)) for i, shard in enumerate(shards)]
        write_json(out / SUMMARY, tally.document())
        write_contact_sheets(out, pictures, names=studio.names)
        folder.finish()
        tally.finished = True
    progress("done", tally)
    return tally


def _work(
    studio: Studio, folder: RunFolder, index: int, order: Iterator[tuple[int, int]], tally: Tally
) -> dict[str, Any]:
    config = studio.config
    left = tally.wanted - tally.accepted
    num_jobs = max(1, min(JOBS_PER_SHARD, -(-left // config.slots)))
    jobs: list[tuple[int, Scene]] = [
        (number, studio.dataset.scenes[place]) for number, place in itertools.islice(order, num_jobs)
    ]
    shard = paint_shard(
        studio,
        jobs,
        wanted=left,
        budget=config.attempt_budget - tally.attempts,
        before=tally.counts,
        image_dir=folder.out / "images",
    )
    record = {
        "jobs": num_jobs,
        "attempts": shard.attempts,
        "decoys": shard.decoys,
        "images": shard.images,
    }
    folder.commit(index, record, tiles=shard.tiles)
    return record


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
        "lora_licence": read_licence(find_lora(config.lora)[0]) if config.lora else None,
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
