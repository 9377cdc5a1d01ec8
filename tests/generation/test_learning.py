"""What is learnt before painting is the same from the cache, and learnt anew where anything differs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augsynth.core.errors import ConfigError
from augsynth.detectors.loading import EMBEDDED_DETECTOR
from augsynth.filtering.options import FilterModels
from augsynth.generation import learning
from augsynth.generation.config import GenerateConfig
from augsynth.generation.loading import open_context, open_dataset
from augsynth.generation.provenance import filter_key
from augsynth.sample import write_sample


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    write_sample(root, num_images=8, seed=9, workers=1)
    return root


@pytest.fixture
def few(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GenerateConfig:
    """A run on eight images of its own, with a cache of its own."""
    root = tmp_path / "data"
    shutil.copytree(source, root)
    monkeypatch.setenv("AUGSYNTH_CACHE", str(tmp_path / "cache"))
    return GenerateConfig.of(
        out=str(tmp_path / "out"),
        annotations=str(root / "annotations" / "instances.json"),
        images=str(root / "images"),
        model="embedded",
        detector="embedded",
        masks="off",
    )


def learnt(config: GenerateConfig) -> str:
    """All that a run learns, as text."""
    stages = list[str]()
    context = open_context(*open_dataset(config), tell=stages.append)
    assert stages == ["loading", "judging", "learning"]
    placing, thresholds = context.placing, context.judging.thresholds
    assert placing.appearance is not None and thresholds is not None
    parts = [
        placing.chooser.affinity.matrix.tolist(),
        json.dumps(placing.layout.to_dict(), default=np.ndarray.tolist),
        json.dumps(placing.appearance.to_dict()),
        thresholds.as_dict(),
        context.filter_rows,
    ]
    return "\n".join(map(str, parts))


def kinds(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


def test_a_second_start_learns_nothing_and_knows_the_same(
    few: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = learnt(few)
    assert kinds(tmp_path / "cache") == ["filter", "scenes", "surroundings"]
    moved = tmp_path / "elsewhere"  # the same bytes are the same data
    shutil.copytree(tmp_path / "data", moved)
    with monkeypatch.context() as patch:
        for name in ("observe_objects", "judge_real_objects"):
            patch.setattr(learning, name, None)
        patch.setattr(learning.Appearance, "fit", None)
        patch.setattr(learning.Layout, "fit", None)
        for root in (tmp_path / "data", moved):
            place = {"annotations": root / "annotations" / "instances.json", "images": root / "images"}
            assert learnt(few.but(**{key: str(path) for key, path in place.items()})) == first
    monkeypatch.setenv("AUGSYNTH_CACHE", "")
    assert learnt(few) == first


def test_what_differs_is_learnt_anew(few: GenerateConfig, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    learnt(few)
    learnt(few.but(rival_factor=0.5))
    assert kinds(cache) == ["filter"] * 2 + ["scenes", "surroundings"]
    learnt(few.but(seed=7))
    assert kinds(cache) == ["filter"] * 3 + ["scenes"] + ["surroundings"] * 2
    picture = next((tmp_path / "data" / "images").iterdir())
    Image.open(picture).rotate(180).save(picture)
    learnt(few)
    assert kinds(cache) == ["filter"] * 4 + ["scenes"] + ["surroundings"] * 3
    path = Path(str(few.data.annotations))
    document = json.loads(path.read_text())
    del document["annotations"][0]
    path.write_text(json.dumps(document))
    learnt(few)
    assert kinds(cache) == ["filter"] * 5 + ["scenes"] * 2 + ["surroundings"] * 4


def test_a_filter_that_accepts_nothing_is_refused_each_time(few: GenerateConfig) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match="accepts none of"):
            open_context(*open_dataset(few.but(min_score=1.0)))


def test_a_cache_that_is_damaged_or_cant_be_written_costs_time_only(
    few: GenerateConfig, tmp_path: Path
) -> None:
    first, cache = learnt(few), tmp_path / "cache"
    for k, path in enumerate(sorted(cache.iterdir())):
        path.write_bytes(path.read_bytes()[: 100 * k])
    assert learnt(few) == first
    shutil.rmtree(cache)
    cache.write_text("a file")
    assert learnt(few) == first


def test_the_sample_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGSYNTH_CACHE", str(tmp_path / "cache"))
    drawn = tmp_path / "drawn"  # by whatever process

    def draw_few(root: Path) -> Path:
        with drawn.open("a") as file:
            file.write(f"{root}\n")
        return write_sample(root, num_images=6, workers=1)

    monkeypatch.setattr("augsynth.sample.write_sample", draw_few)
    roots = [tmp_path / name for name in ("first", "second", "cut")]
    for root in roots[:2]:
        assert learning.draw_sample(root) == root / "annotations" / "instances.json"
    assert kinds(tmp_path / "cache") == ["sample"] and drawn.read_text().split() == [str(roots[0])]
    shutil.copytree(roots[1], roots[2])
    (roots[2] / "annotations" / "instances.json").unlink()  # as a copy that was cut short
    next((roots[2] / "images").iterdir()).unlink()
    learning.draw_sample(roots[2])
    contents = [
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in roots
    ]
    assert contents[0] == contents[1] == contents[2] and len(contents[0]) == 8


def test_a_hub_id_is_known_by_its_commit_only(tmp_path: Path) -> None:
    def key(detector: str, revision: str | None = None) -> object:
        return filter_key(FilterModels(detector=detector, detector_revision=revision))

    assert key("someone/something") is None and key("someone/something", "main") is None
    assert key("embedded,someone/something") is None
    assert key("someone/something", "a" * 40) != key("someone/something", "b" * 40)
    copied = tmp_path / "detector"
    shutil.copytree(EMBEDDED_DETECTOR, copied)
    before = key(str(copied))
    config = copied / "config.json"
    config.write_text(config.read_text() + " ")
    assert before is not None and key(str(copied)) != before
