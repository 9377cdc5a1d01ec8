"""What a run writes besides its shards: contact sheets while it goes on, and in the end the dataset."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.coco.faults import repairs_document
from augsynth.coco.json_lines import write_json
from augsynth.core.records import Attempt, ShardRecord
from augsynth.core.scene import Dataset
from augsynth.generation.config import GenerateConfig
from augsynth.generation.contact_sheets import ACCEPTED_SHEET, REJECTED_SHEET, write_contact_sheets
from augsynth.generation.export import SUMMARY, publish_dataset
from augsynth.generation.export_bank import write_bank
from augsynth.generation.label_truth import grade_labels
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.shard_files import PlainShards, read_tiles
from augsynth.generation.statistics import Tally

SHEETS_EVERY_S = 60.0  # seconds after which the contact sheets of a run that goes on are written again
SHEETS_SHARDS = 50  # after which they are left as they are: they show the first windows


def publish_records(
    folder: RunFolder,
    dataset: Dataset,
    shards: Sequence[ShardRecord],
    *,
    config: GenerateConfig,
    models: Mapping[str, Any],
    tally: Tally,
) -> None:
    """Write all of a run's output that its records tell.

    Args:
        folder: Whose shards are committed.
        dataset: The source.
        shards: The records in order.
        config: Of the run.
        models: What paints and judges.
        tally: Of the shards; it learns what the judge says of the labels.
    """
    out = folder.out
    plain = PlainShards(out, len(shards))
    publish_dataset(out, dataset, plain, config=config, models=models)
    tally.truth = grade_labels(out, dataset, shards, config=config)
    if config.output.bank:
        write_bank(
            out,
            dataset,
            shards,
            source={"seed": config.run.seed, **models},
        )
    write_json(out / SUMMARY, {**tally.document(), "repairs": repairs_document(dataset)})
    RunSheets(folder, tally, config).write(shards)
    folder.pictures.check()


class RunSheets:
    """The contact sheets of a run, written again now and then while it goes on."""

    def __init__(self, folder: RunFolder, tally: Tally, config: GenerateConfig) -> None:
        self._folder = folder
        self._names = tally.names
        self._filtered = config.filter_models.filter != "off"
        self._written = time.monotonic()

    def update(self, shards: Sequence[ShardRecord]) -> None:
        """Write the sheets, unless that was a short while ago or they show all that they will."""
        if time.monotonic() - self._written > SHEETS_EVERY_S and len(shards) <= SHEETS_SHARDS:
            self.write(shards)

    def write(
        self, shards: Sequence[ShardRecord], *, only: Sequence[str] = (ACCEPTED_SHEET, REJECTED_SHEET)
    ) -> None:
        """Write the sheets, or some of them by name."""
        pictures = _pictures(self._folder, shards)
        write_contact_sheets(
            self._folder.out, pictures, names=self._names, filtered=self._filtered, sheets=only
        )
        self._written = time.monotonic()


def _pictures(
    folder: RunFolder, shards: Sequence[ShardRecord]
) -> Iterator[tuple[Sequence[Attempt], Sequence[NDArray[np.uint8]]]]:
    for i, shard in enumerate(shards):
        yield shard.attempts, read_tiles(folder.out, i, num=shard.num_tiles)
