"""The whole road on the rendered sample with the models that ship with the package."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as PilImage

from augsynth.bank.reader import Bank
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.generation import run as run_module
from augsynth.generation.config import GenerateConfig
from augsynth.generation.run import Tally, generate
from augsynth.generation.run_folder import RunFolder
from augsynth.inpainting.stitching import mask_cells
from tests.generation.run_files import RANDOM, files_of, ignore, provenance


def test_the_run_has_what_was_asked_for(run: tuple[Path, Tally]) -> None:
    out, tally = run
    assert tally.finished and tally.accepted == 9
    names = {p.name for p in out.iterdir()}
    assert {"images", "annotations", "provenance.jsonl", "affinity.json", "config.yaml", "run.json"} <= names
    assert "contact_sheet_accepted.png" in names
    assert {path.suffix for path in (out / "shards").iterdir()} == {".json"}


def test_pixels_outside_the_masks_are_those_of_the_source(run: tuple[Path, Tally], source: Path) -> None:
    out, _ = run
    dataset = read_dataset(source / "annotations" / "instances.json", images=source / "images")
    scenes = {scene.image_id: scene for scene in dataset.scenes}
    kept = [a for a in provenance(out) if "annotation_id" in a]
    for attempt in kept:
        before = read_image(dataset, scenes[attempt["source_image_id"]])
        after = np.asarray(PilImage.open(out / "images" / attempt["file_name"]))
        window = np.array(attempt["window_xyxy"])
        side = int(window[2] - window[0])
        planned = np.array(attempt["planned_xyxy"])
        grown = np.concatenate([planned[:2] - 8, planned[2:] + 8])
        cells = mask_cells(grown, window, num_cells=side)
        allowed = np.zeros(before.shape[:2], bool)
        allowed[window[1] : window[3], window[0] : window[2]] = cells
        changed = (before != after).any(-1)
        assert changed.any()
        assert not (changed & ~allowed).any()


def test_rejected_objects_leave_no_pixel(run: tuple[Path, Tally]) -> None:
    out, tally = run
    written = {p.name for p in (out / "images" / "augsynth").iterdir()}
    named = {Path(str(a["file_name"])).name for a in provenance(out) if "annotation_id" in a}
    assert written == named
    assert len(provenance(out)) == tally.attempts
    assert sum(tally.reasons.values()) == tally.attempts


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    run: tuple[Path, Tally], config: GenerateConfig, tmp_path: Path
) -> None:
    generate(config.but(out=str(tmp_path / "again")), progress=ignore)
    assert files_of(tmp_path / "again") == files_of(run[0])
    generate(config.but(out=str(tmp_path / "other"), seed=43, n=1), progress=ignore)
    assert files_of(tmp_path / "other")["provenance.jsonl"] != files_of(run[0])["provenance.jsonl"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_run_ends_as_if_it_had_not_been(
    run: tuple[Path, Tally],
    config: GenerateConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    commit: Callable[..., None] = RunFolder.commit
    done = []

    def dying(self: RunFolder, index: int, record: object, **rest: object) -> None:
        if moment == "after":
            commit(self, index, record, **rest)
        done.append(index)
        raise KeyboardInterrupt

    out = tmp_path / "cut"
    monkeypatch.setattr(RunFolder, "commit", dying)
    with pytest.raises(KeyboardInterrupt):
        generate(config.but(out=str(out), processes=1), progress=ignore)
    monkeypatch.setattr(RunFolder, "commit", commit)
    assert done == [0] and not (out / "annotations").exists()
    tally = generate(config.but(out=str(out)), progress=ignore)
    assert tally.accepted == 9
    assert files_of(out) == files_of(run[0])


def test_ray_is_asked_for_before_anything_is_learnt(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = config.but(out=str(tmp_path / "out"), ray="nonsense")
    with pytest.raises(ConfigError, match="'nonsense' is no address of a cluster; give HOST:PORT"):
        generate(wrong, progress=ignore)
    monkeypatch.setattr(run_module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="Ray isn't installed: pip install"):
        generate(wrong.but(ray="localhost:6379"), progress=ignore)
    assert not (tmp_path / "out").exists()


def test_a_spent_budget_is_said_and_the_run_is_published(config: GenerateConfig, tmp_path: Path) -> None:
    strict = config.but(out=str(tmp_path / "out"), min_score=1.0, min_auc=0.0, max_attempts=5, n=3)
    tally = generate(strict, progress=ignore)
    assert tally.finished and tally.accepted == 0 and tally.attempts == 5
    assert "accepted" not in tally.reasons
    document = json.loads((tmp_path / "out" / "synthetic" / "instances.json").read_text())
    assert document["images"] == [] and document["annotations"] == []
    assert (tmp_path / "out" / "contact_sheet_rejected.png").is_file()


def test_unreadable_images_are_counted_not_fatal(
    config: GenerateConfig, source: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(source, tmp_path / "data")
    images = sorted((tmp_path / "data" / "images").iterdir())
    for path in images[::2]:
        path.write_bytes(path.read_bytes()[:2000])
    damaged = config.but(
        annotations=str(tmp_path / "data" / "annotations" / "instances.json"),
        images=str(tmp_path / "data" / "images"),
        out=str(tmp_path / "out"),
        n=4,
    )
    tally = generate(damaged, progress=ignore)
    assert tally.accepted == 4
    assert tally.reasons["bad_image"] > 0


def test_a_run_with_every_choice_switched_off(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    off = config.but(n=6, steps=2, out=str(out), detector="gone", objects_per_image=2, **RANDOM)
    tally = generate(off, progress=ignore)
    lines = provenance(out)
    assert tally.finished and tally.accepted == 6
    assert set(tally.reasons) <= {"accepted", "no_region"}
    for attempt in (a for a in lines if a["reason"] == "accepted"):
        assert attempt["box_xyxy"] == attempt["planned_xyxy"]
        assert (attempt["score"], attempt["iou"], attempt["alignment_score"]) == (1.0, 1.0, 0.0)
        assert attempt["anchor_annotation_id"] is None
    unnamed = dict.fromkeys(("detector", "detector_revision", "detector_sha256"))
    assert all(unnamed.items() <= line.items() for line in lines)
    written = yaml.safe_load((out / "config.yaml").read_text())
    assert unnamed.items() <= written.pop("models").items()
    assert RANDOM.items() <= written.items() and written["detector"] is None
    assert len(Bank.open(out / "bank")) == 6
