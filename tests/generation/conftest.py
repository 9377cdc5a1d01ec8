"""A source of 30 images, and one run on it for all tests that look at what a run leaves."""

from pathlib import Path

import pytest

from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import RunContext
from augsynth.generation.loading import open_context, open_dataset
from augsynth.generation.run import Tally, generate
from augsynth.sample import write_sample
from tests.generation.run_files import RANDOM, ignore


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    write_sample(root, num_images=30, seed=5, workers=2)
    return root


@pytest.fixture(scope="session")
def config(source: Path) -> GenerateConfig:
    return GenerateConfig.of(
        n=9,
        annotations=str(source / "annotations" / "instances.json"),
        images=str(source / "images"),
        model="embedded",
        detector="embedded",
        guidance=2.0,
        objects_per_image=1,
        steps=8,
        bank=True,
        # How good the embedded models are is for the benchmarks to say: here nearly everything passes.
        min_score=0.05,
        min_iou=0.1,
        max_attempts=400,
    )


@pytest.fixture(scope="session")
def run(config: GenerateConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tally]:
    out = tmp_path_factory.mktemp("run") / "out"
    return out, generate(config.but(out=str(out)), progress=ignore)


@pytest.fixture(scope="session")
def bare(config: GenerateConfig) -> RunContext:
    """A run's context with every choice switched off."""
    return open_context(*open_dataset(config.but(steps=2, **RANDOM)))
