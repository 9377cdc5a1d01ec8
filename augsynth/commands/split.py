"""`augsynth split`: folds of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from augsynth.coco.faults import repair_lines
from augsynth.coco.reader import read_dataset
from augsynth.coco.split import balance_table, split_dataset, write_folds
from augsynth.core.outputs import check_output_folder


def build_folds(
    annotations: Path,
    out: Path,
    *,
    num_folds: int,
    group_pattern: str | None,
    group_key: str | None,
    seed: int,
) -> Iterator[str | Table]:
    """Write the folds of a dataset; yield what a user reads, the balance as a table.

    Raises:
        ConfigError: An option doesn't fit the dataset, or the output isn't an empty folder.
        DatasetError: The annotations can't be used.
    """
    check_output_folder(out, inputs=[annotations])
    dataset = read_dataset(annotations)
    yield from repair_lines(dataset)
    found = split_dataset(
        dataset, num_folds=num_folds, group_pattern=group_pattern, group_key=group_key, seed=seed
    )
    settings = {
        "annotations": annotations.name,
        "folds": num_folds,
        "group_pattern": group_pattern,
        "group_key": group_key,
        "seed": seed,
    }
    paths = write_folds(out, dataset, found, settings=settings)
    yield balance_table(found)
    if found.alone:
        yield f"{found.alone} images say nothing about their group; each is a group of its own"
    yield f"written: {len(paths)} files, {paths[0]}, …"
