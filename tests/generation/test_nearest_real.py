"""The nearest real objects of a run: told for each painted object that started from noise, and looked up once."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from augsynth.coco.reader import read_with_images
from augsynth.core.records import Attempt, ShardRecord
from augsynth.core.scene import Dataset, Image, Reason, Scene
from augsynth.generation import nearest_real
from augsynth.generation.nearest_real import NearestReal
from augsynth.generation.reporting.values import Copies
from augsynth.generation.statistics import Tally
from tests.generation.fake_run import write_source
from tests.generation.run_files import painted_attempt, provenance
from tests.generation.test_report import data_of, document_of


def test_every_painted_object_of_a_run_has_its_nearest_real_one(run: tuple[Path, Tally]) -> None:
    data, lines = data_of(run[0]), provenance(run[0])
    rows = data["columns"]
    painted = [k for k, line in enumerate(lines) if "score" in line and line["reason"] != "blank"]
    compared = [k for k, near in enumerate(rows["near"]) if near is not None]
    assert set(compared) <= set(painted) and len(compared) > 0.8 * len(painted)
    numbers = [rows["near"][k] for k in compared]
    assert sorted(set(numbers)) == list(range(len(data["nearPlaces"])))
    assert sum(sheet["count"] for sheet in data["nears"]) == -(-len(data["nearPlaces"]) // 2)
    assert all(-1 <= rows["likeness"][k] <= 1 for k in compared)
    names = {path.name for path in (run[0] / "images").iterdir()}
    assert {Path(file).name for file, *_ in data["nearPlaces"]} <= names
    copies = document_of(run[0])["copies"]
    accepted = [k for k in compared if lines[k]["reason"] == "accepted"]
    assert copies["compared"] == len(accepted) and copies["real"] > 50
    assert copies["alike"] == sum(rows["likeness"][k] >= data["alike"] for k in accepted)


def test_shards_are_looked_up_once_and_copies_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One attempt shows a real object itself, one something else; one started from a real object, one is blank."""
    config = write_source(tmp_path)
    dataset = read_with_images(str(config.data.annotations), config.data.images)
    scene = dataset.scenes[0]
    read = nearest_real.read_image

    def smooth(dataset: Dataset, scene: Scene) -> Image:
        return np.asarray(cv2.GaussianBlur(read(dataset, scene), (0, 0), 1.5), np.uint8)

    image = smooth(dataset, scene)
    box = tuple(scene.boxes_xyxy[0].tolist())
    told = {"job": 0, "source_image_id": 1, "category_id": int(scene.category_ids[0]), "box_xyxy": box}
    noise = np.random.default_rng(0).integers(0, 256, image.shape).astype(np.uint8)
    tiles = [np.concatenate([noise, after], axis=1) for after in (image, noise)]
    copy, other = (painted_attempt(window_xyxy=(0, 0, 48, 48), tile=k, **told) for k in (0, 1))
    started = Attempt.from_json({**copy.to_json(), "init_image": 3})
    blank = Attempt.from_json({**copy.to_json(), "reason": str(Reason.BLANK)})
    shard = ShardRecord(jobs=1, attempts=(copy, other, started, blank))
    reads: list[int] = []

    def counted(dataset: Dataset, scene: Scene) -> Image:
        reads.append(1)
        return smooth(dataset, scene)

    monkeypatch.setattr(nearest_real, "read_image", counted)
    found = NearestReal(dataset, [1, 2])
    assert found.count([shard]) is None and found.sheets == []
    for _ in range(2):
        found.look(0, shard, tiles)
    assert len(reads) == 2 and found.columns(0, 2) == found.columns(0, 3) == {}
    assert found.columns(0, 0)["likeness"] > 0.97 and found.columns(0, 1)["likeness"] < 0.9
    assert found.places[0] == [scene.file_name, *box]
    assert found.count([shard]) == Copies(compared=2, alike=1, real=2) and found.count([shard]).many  # type: ignore[union-attr]
    assert len(found.sheets) == 1 and found.sheets[0] is found.sheets[0]
    assert json.dumps(found.places)
