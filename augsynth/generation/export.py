"""From committed shards to a self-contained COCO dataset with provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import yaml

from augsynth.coco.json_lines import Lines
from augsynth.core.files import write_atomically
from augsynth.core.images import place_original
from augsynth.core.records import PlainShard
from augsynth.core.scene import Dataset
from augsynth.generation.config import GenerateConfig, plain_config
from augsynth.generation.merging import Merged, merge

AUGMENTED = "annotations/instances_augmented.json"
SYNTHETIC = "synthetic/instances.json"  # importers of whole folders read `**/instances_*.json`
PROVENANCE = "provenance.jsonl"
DECOYS = "decoys.jsonl"
SUMMARY = "summary.json"
AFFINITY = "affinity.json"


def publish_dataset(
    out: Path,
    dataset: Dataset,
    shards: Sequence[PlainShard],
    *,
    config: GenerateConfig,
    models: Mapping[str, Any],
) -> None:
    """Write annotations, provenance and the effective configuration, and put the originals in place.

    Decoys have a file of their own, written when there are any: who counts attempts needn't know of them.

    Args:
        out: The run's directory, whose `images/` holds the new images.
        dataset: The source.
        shards: All of the run, in order.
        config: Written as `config.yaml`, without the output path and the cluster.
        models: Names, revisions and digests, for provenance.
    """
    merged = Merged(dataset.document, out)
    merge(merged, dataset.document, shards, config=config, models=models)
    _place_originals(out, dataset, config.output.originals)
    merged.document.write(synthetic=out / SYNTHETIC, augmented=out / AUGMENTED)
    _write_lines(out / PROVENANCE, merged.attempts)
    if merged.decoys:
        _write_lines(out / DECOYS, merged.decoys)
    values = {k: v for k, v in plain_config(config).items() if k not in ("out", "ray")}
    text = yaml.safe_dump({**values, "models": dict(models)}, sort_keys=True).encode()
    write_atomically(out / "config.yaml", lambda file: file.write(text))


def _place_originals(out: Path, dataset: Dataset, mode: Literal["hardlink", "copy", "omit"]) -> None:
    if dataset.image_root is None:
        return
    for record in dataset.document["images"]:
        source = dataset.image_root / record["file_name"]
        if source.is_file():
            place_original(
                source,
                out / "images" / record["file_name"],
                mode=mode,
                size_wh=(int(record["width"]), int(record["height"])),
                root=dataset.image_root,
            )


def _write_lines(path: Path, lines: Lines) -> None:
    def write(file: BinaryIO) -> None:
        lines.copy_to(file)
        file.write(b"\n" if lines else b"")

    write_atomically(path, write)
