"""What can be known before models load is said then."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category, Dataset, Scene
from augsynth.generation.config import GenerateConfig
from augsynth.generation.foresight import foresee
from augsynth.generation.run import generate
from tests.generation.run_files import ignore

SCENE = Scene(
    1,
    "a.png",
    (100, 100),
    np.array([[0, 0, 6, 6], [10, 10, 16, 14], [30, 30, 90, 37.5]], np.float64),
    np.array([1, 1, 2]),
    np.arange(3),
    np.zeros(3, bool),
)
DATASET = Dataset(
    (Category(1, "bolt"), Category(2, "pipe"), Category(3, "unused")), (SCENE,), {}, Path("a.json")
)


def test_objects_below_the_least_size_are_an_error_or_a_notice() -> None:
    with pytest.raises(ConfigError, match=r"a.json: no object is as large as min_size \(8 px.* of 7.5 px"):
        foresee(GenerateConfig(), DATASET)
    [notice] = foresee(GenerateConfig.of(min_size=7.0), DATASET)
    assert notice.startswith("bolt: all 2 objects are smaller than min_size (7 px)")
    assert foresee(GenerateConfig.of(min_size=6.0), DATASET) == []
    with pytest.raises(ConfigError, match="largest has a shorter side of 6 px"):
        foresee(GenerateConfig.of(min_size=7.0, categories=("bolt", "unused")), DATASET)
    crowd = replace(DATASET, scenes=(replace(SCENE, is_crowd=np.array([True, True, False])),))
    assert foresee(GenerateConfig.of(min_size=7.0), crowd) == []


def test_quotas_that_are_too_few_are_said() -> None:
    options = {"min_size": 5.0, "n": 20}
    [notice] = foresee(GenerateConfig.of(quotas={"bolt": 3, "pipe": 4}, **options), DATASET)
    assert notice.startswith("the quotas allow 7 of the 20 objects wanted")
    assert foresee(GenerateConfig.of(quotas={"bolt": 3}, **options), DATASET) == []
    with pytest.raises(ConfigError, match="all wanted categories are 0"):
        foresee(GenerateConfig.of(quotas={"bolt": 0, "pipe": 0}, **options), DATASET)


def test_nothing_is_loaded_and_no_folder_made(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "augsynth.generation.run.open_context", lambda *_, **__: pytest.fail("models are loaded")
    )
    with pytest.raises(ConfigError, match="min_size"):
        generate(config.but(out=str(tmp_path / "out"), min_size=5000.0), progress=ignore)
    assert not (tmp_path / "out").exists()
