"""`augsynth split`: folds of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augsynth.coco.faults import repair_lines
from augsynth.coco.formats.known import ANNOTATIONS, input_paths
from augsynth.coco.reader import read_dataset
from augsynth.coco.split import balance_table, split_dataset, write_folds
from augsynth.commands.flags import Command
from augsynth.commands.terminal import Report, Terminal
from augsynth.core.files import is_unfinished
from augsynth.core.options import REQUIRED, check_options, option
from augsynth.core.outputs import check_output_folder


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How a dataset is divided.

    Raises:
        ConfigError: A value is out of range.
    """

    annotations: Path = option(REQUIRED, ANNOTATIONS)
    out: Path = option(REQUIRED, "Directory of the folds.")
    folds: int = option(5, "Number of folds.", low=2, high=1_000_000)
    group_pattern: str | None = option(
        None, "Regular expression on file_name; images with one match stay together."
    )
    group_key: str | None = option(None, "Key of the image records; images with one value stay together.")
    seed: int = option(42, "Seed of the split.")

    def __post_init__(self) -> None:
        check_options(self)


def run_split(options: SplitOptions, terminal: Terminal) -> Report:
    """Write the folds of a dataset.

    Raises:
        ConfigError: An option doesn't fit the dataset, or the output isn't an empty folder.
        DatasetError: The annotations can't be used.
    """
    check_output_folder(options.out, inputs=input_paths(options.annotations), is_own=is_unfinished)
    dataset = read_dataset(options.annotations)
    for line in repair_lines(dataset):
        terminal.notice(line)
    found = split_dataset(
        dataset,
        num_folds=options.folds,
        group_pattern=options.group_pattern,
        group_key=options.group_key,
        seed=options.seed,
    )
    settings = {
        "annotations": options.annotations.name,
        "folds": options.folds,
        "group_pattern": options.group_pattern,
        "group_key": options.group_key,
        "seed": options.seed,
    }
    paths = write_folds(options.out, dataset, found, settings=settings)
    lines: list[Any] = [balance_table(found)]
    if found.alone:
        lines.append(f"{found.alone} images say nothing about their group; each is a group of its own")
    lines.append(f"written: {len(paths)} files, {paths[0]}, …")
    document = {
        "files": [str(path) for path in paths],
        "images": [int(v) for v in found.image_counts],
        "groups": [int(v) for v in found.num_groups],
        "objects": {
            name: [int(v) for v in row] for name, row in zip(found.names, found.objects, strict=True)
        },
        "alone": found.alone,
    }
    return Report(lines, document)


SPLIT = Command(
    "split",
    SplitOptions,
    run_split,
    help="Divide a dataset into folds with the same categories; groups of images stay together.",
    example="augsynth split --annotations all.json --folds 5 --out folds",
)
