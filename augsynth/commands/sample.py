"""`augsynth sample`: the rendered sample dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from augsynth.commands.flags import Command
from augsynth.commands.terminal import Report, Terminal
from augsynth.core.options import REQUIRED, check_options, option


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """What is drawn.

    Raises:
        ConfigError: A value is out of range.
    """

    out: Path = option(REQUIRED, "Directory to write.")
    num_images: int = option(200, "Scenes to draw.", low=1, high=1_000_000)
    seed: int = option(42, "Seed of the scenes.")
    workers: int = option(2, "Processes that draw.", low=1, high=1024)

    def __post_init__(self) -> None:
        check_options(self)


def run_sample(options: SampleOptions, terminal: Terminal) -> Report:
    """Draw the sample."""
    from augsynth.sample import write_sample

    path = write_sample(
        options.out, num_images=options.num_images, seed=options.seed, workers=options.workers
    )
    return Report(
        [f"{options.num_images} scenes; annotations in {path}"],
        {"images": options.num_images, "annotations": str(path)},
    )


SAMPLE = Command(
    "sample",
    SampleOptions,
    run_sample,
    help="Draw the rendered sample dataset: trash in scenes whose structure is known.",
    example="augsynth sample --out data/sample --num-images 200",
)
