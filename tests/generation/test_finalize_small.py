"""Copies of a finished run that was written without models: objects over objects, other image formats, odd sources."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

import augsynth
from augsynth.affinity.model import Affinity, save_affinity_file
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import ResumeError
from augsynth.core.images import read_image
from augsynth.core.records import NewImage, ShardRecord
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.generation import finalize as finalizing
from augsynth.generation.config import GenerateConfig
from augsynth.generation.export import AFFINITY
from augsynth.generation.finalize import finalize
from augsynth.generation.provenance import digest_of_source
from augsynth.generation.publishing import publish_records
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.shard_files import read_kept
from augsynth.generation.source_pictures import SourcePictures
from augsynth.generation.statistics import End, Tally
from augsynth.placement.layout import Layout
from tests.generation.fake_run import write_source
from tests.generation.run_files import ignore, painted_attempt
from tests.generation.test_report import data_of, document_of

BOXES = ((4.0, 4.0, 20.0, 20.0), (14.0, 14.0, 28.0, 28.0), (34.0, 34.0, 44.0, 44.0))
COLOURS = (250, 120, 10)
Painted = tuple[ShardRecord, list[Image], dict[int, Image]]


def paint(job: int, scene: Scene, source: Image, folder: RunFolder, suffix: str) -> Painted:
    """Three objects in a new image; the second is painted over the first."""
    pixels, attempts, tiles, under = source.copy(), [], [], {}
    for number, (box, colour) in enumerate(zip(BOXES, COLOURS, strict=True)):
        x1, y1, x2, y2 = map(int, box)
        if number == 1:
            under[number] = pixels[y1:y2, x1:x2].copy()
        before = pixels[:40, :40].copy()
        pixels[y1:y2, x1:x2] = colour
        tiles.append(np.concatenate([before, pixels[:40, :40]], axis=1))
        told = {"job": job, "source_image_id": scene.image_id, "slot": number, "tile": number}
        attempts.append(painted_attempt(box_xyxy=box, **told))
    new = NewImage(
        job=job,
        file_name=f"augsynth/{job}.{suffix}",
        source_image_id=scene.image_id,
        size_wh=scene.size_wh,
        attempts=(0, 1, 2),
    )
    folder.write_image(new.file_name, pixels)
    return ShardRecord(jobs=1, attempts=tuple(attempts), images=(new,)), tiles, under


def write_run(root: Path, *, suffix: str = "png") -> tuple[Path, Dataset]:
    """A finished run of two shards, a new image of three objects each."""
    config: GenerateConfig = write_source(root / "source").but(
        n=6, image_format=suffix, out=str(root / "run"), filter="off"
    )
    dataset = read_dataset(Path(config.data.annotations), images=Path(config.data.images))
    depends = {"source_sha256": digest_of_source(dataset), "weather": "fair"}
    tally = Tally(6, names={c.id: c.name for c in dataset.categories}, ended=End.ENOUGH)
    with RunFolder(root / "run", depends, SourcePictures.of(dataset)) as folder:
        records = []
        for index, scene in enumerate(dataset.scenes):
            record, tiles, under = paint(index, scene, read_image(dataset, scene), folder, suffix)
            folder.commit(index, record, tiles=tiles, under=under)
            records.append(record)
            tally.add(record)
        save_affinity_file(folder.out / AFFINITY, Affinity.fit(dataset), Layout.fit(dataset).to_dict())
        publish_records(folder, dataset, records, config=config, models={"model": "none"}, tally=tally)
        folder.finish()
    return root / "run", dataset


def pixels_of(out: Path, name: str) -> np.ndarray:
    return np.asarray(PilImage.open(out / "images" / name)).astype(int)


@pytest.mark.parametrize(("suffix", "near"), [("png", 0), ("jpg", 40)])
def test_what_was_painted_over_an_object_goes_too_and_is_named(
    tmp_path: Path, suffix: str, near: int
) -> None:
    run, dataset = write_run(tmp_path, suffix=suffix)
    tally = finalize(run, [3], out=tmp_path / "new", replace=False, progress=ignore)
    assert "attempt 4 goes, too: it was painted over attempt 3" in tally.notices
    assert (tally.vetoed, tally.accepted) == (2, 4)
    was, now = (pixels_of(out, f"augsynth/1.{suffix}") for out in (run, tmp_path / "new"))
    source = read_image(dataset, dataset.scenes[1]).astype(int)
    assert abs(was[4:20, 4:20] - source[4:20, 4:20]).max() > 100
    assert abs(now[4:28, 4:28] - source[4:28, 4:28]).mean() <= near
    assert abs(now[36:42, 36:42] - COLOURS[2]).mean() <= near, "the third object stays"
    other = Path("images") / "augsynth" / f"0.{suffix}"
    assert (run / other).read_bytes() == (tmp_path / "new" / other).read_bytes()


def test_an_object_over_another_goes_alone(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path)
    tally = finalize(run, [4], out=tmp_path / "new", replace=False, progress=ignore)
    assert tally.vetoed == 1 and not [line for line in tally.notices if "goes, too" in line]
    now = pixels_of(tmp_path / "new", "augsynth/1.png")
    assert (now[4:20, 4:20] == COLOURS[0]).all(), "the first object is whole again"


def test_a_copy_has_a_report_with_the_pictures_of_what_stays(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path)
    finalize(run, [1, 5], out=tmp_path / "new", replace=False, progress=ignore)
    document, data = document_of(tmp_path / "new"), data_of(tmp_path / "new")
    assert document["status"] == "finished" and document["title"] == "new"
    assert (document["objects"], document["wanted"], document["attempts"]) == (4, 6, 6)
    rows = data["columns"]
    assert rows["kept"] == [1, 0, 1, 1, 1, 0] and rows["vetoed"] == [None, 1, None, None, None, 1]
    assert rows["cell"] == [0, None, 1, 2, 3, None]
    assert data["run"] == str(tmp_path / "new") and sum(sheet["count"] for sheet in data["sheets"]) == 4


def test_a_copys_report_knows_what_the_runs_report_knew(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path)
    row = {"category_id": 1, "category": "cup", "objects": 2, "accepted": 1, "rejected": {"low_score": 1}}
    row |= {"threshold": 0.5, "threshold_objects": 2, "auc": 0.75}
    summary = json.loads((run / "summary.json").read_text()) | {"real_objects": [row]}
    (run / "summary.json").write_text(json.dumps(summary))
    finalize(run, [1], out=tmp_path / "without", replace=False, progress=ignore)
    told = document_of(tmp_path / "without")
    assert told["categories"][0]["real_objects"] == {**row, "scores": []}
    assert told["cost"]["denoiser_samples_per_window"] is None
    line = {**told["categories"][0], "real_objects": {**row, "scores": [0.2, 0.9]}}
    cost = {**told["cost"], "denoiser_samples_per_window": 8}
    (run / "report.json").write_text(json.dumps({**told, "categories": [line], "cost": cost}))
    finalize(run, [1], out=tmp_path / "with", replace=False, progress=ignore)
    again = document_of(tmp_path / "with")
    assert again["categories"][0]["real_objects"]["scores"] == [0.2, 0.9]
    assert again["cost"]["denoiser_samples_per_accepted"] == 8
    (run / "report.json").write_text("[]")
    finalize(run, [1], out=tmp_path / "odd", replace=False, progress=ignore)
    assert document_of(tmp_path / "odd")["categories"] == told["categories"]


def test_struck_out_objects_take_no_room_on_the_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = write_run(tmp_path)
    made: list[int] = []

    def shrunk(tile: Image) -> Image:
        made.append(1)
        return tile

    monkeypatch.setattr(finalizing, "small_tile", shrunk)
    monkeypatch.setattr(finalizing, "SHEET_TILES", 3)
    finalize(run, [0, 1], out=tmp_path / "new", replace=False, progress=ignore)
    assert len(made) == 1, "of four objects three are in full size"


@pytest.mark.parametrize(
    ("name", "said"),
    [("p2.png", "isn't of the source picture as it is now"), ("a.json", "was changed since the run")],
)
def test_a_changed_source_is_named_and_nothing_is_published(tmp_path: Path, name: str, said: str) -> None:
    run, _ = write_run(tmp_path)
    source = tmp_path / "source"
    if name == "a.json":
        text = (source / name).read_text()
        (source / name).write_text(text.replace('"cup"', '"mug"'))
    else:
        (source / "pictures" / name).unlink()  # the run has a hard link to it
        PilImage.new("RGB", (48, 48), "red").save(source / "pictures" / name)
    with pytest.raises(ResumeError, match=said):
        finalize(run, [3], out=tmp_path / "new", replace=False, progress=ignore)
    assert not (tmp_path / "new" / "annotations").exists()


def test_objects_are_replaced_only_where_the_run_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, dataset = write_run(tmp_path)
    now = {"source_sha256": digest_of_source(dataset), "weather": "foul"}
    monkeypatch.setattr(finalizing, "open_dataset", lambda config: (config, dataset))
    monkeypatch.setattr(finalizing, "fingerprint", lambda config, dataset: now)
    said = "the run had weather = 'fair', here it is 'foul'; replace objects where the run was made"
    with pytest.raises(ResumeError, match=said):
        finalize(run, [3], out=tmp_path / "new", replace=True, progress=ignore)
    assert not (tmp_path / "new").exists()
    assert augsynth.finalize(run, [3], out=tmp_path / "new").summary["vetoed"] == 2


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_text("{}"), lambda path: path.write_bytes(b"\xff")]
)
def test_an_affinity_that_cant_be_read_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    run, _ = write_run(tmp_path)
    damage(run / AFFINITY)
    with pytest.raises(ResumeError, match=r"affinity\.json.*put it back as the run wrote it"):
        finalize(run, [3], out=tmp_path / "new", replace=False, progress=ignore)
    assert not (tmp_path / "new").exists()


def test_a_copy_holds_the_pixels_of_one_shard_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = write_run(tmp_path)
    order: list[str] = []
    commit: Callable[..., None] = RunFolder.commit
    load = np.load

    def committed(self: RunFolder, *given: object, **named: object) -> None:
        order.append("commit")
        commit(self, *given, **named)

    def loaded(path: Path, *given: object, **named: object) -> object:
        if str(path).endswith(".under.npz"):
            order.append("load")
        return load(path, *given, **named)

    monkeypatch.setattr(RunFolder, "commit", committed)
    monkeypatch.setattr(np, "load", loaded)
    finalize(run, [3], out=tmp_path / "new", replace=False, progress=ignore)
    assert order == ["load", "commit", "load", "commit"]
    shutil.rmtree(run)
    assert [sorted(kept.read_under()) for kept in read_kept(tmp_path / "new")] == [[1], []]
