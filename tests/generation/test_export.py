"""The published dataset: ids, labels, and what each says of where it comes from."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from augsynth.core.records import Decoy, NewImage, PlainShard, ShardRecord
from augsynth.core.scene import Category, Dataset, Detections, Plan, Reason, Scene, Verdict
from augsynth.generation.config import GenerateConfig
from augsynth.generation.engine import paint_shard
from augsynth.generation.export import publish_dataset
from augsynth.generation.loading import open_context, open_dataset
from augsynth.generation.run import Tally
from augsynth.generation.statistics import CategoryYields
from tests.generation.run_files import painted_attempt, provenance, written_to


def test_pycocotools_loads_both_files_and_every_new_object_is_marked(
    run: tuple[Path, Tally], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    out, _ = run
    augmented = COCO(str(out / "annotations" / "instances_augmented.json"))
    synthetic = COCO(str(out / "synthetic" / "instances.json"))
    original = json.loads((source / "annotations" / "instances.json").read_text())
    marked = [a for a in synthetic.anns.values() if a.get("attributes", {}).get("synthetic")]
    assert len(marked) == 9
    assert len(augmented.imgs) == len(original["images"]) + len(synthetic.imgs)
    assert augmented.dataset["annotations"][: len(original["annotations"])] == original["annotations"]
    assert len(augmented.anns) == len(augmented.dataset["annotations"])
    known = {a["annotation_id"]: a for a in provenance(out) if "annotation_id" in a}
    assert set(known) == {a["id"] for a in marked}
    for a in marked:
        assert a["iscrowd"] == 0 and a["area"] > 0
        assert ("segmentation" in a) == ("mask_source" in a["attributes"]) and a.get("segmentation") != []
        assert known[a["id"]]["seed"] == a["attributes"]["seed"]
        assert known[a["id"]]["category_id"] == a["category_id"]
        image = synthetic.imgs[a["image_id"]]
        x, y, w, h = a["bbox"]
        assert x >= 0 and y >= 0 and x + w <= image["width"] and y + h <= image["height"]
    for record in augmented.imgs.values():
        assert (out / "images" / record["file_name"]).is_file()
        assert PilImage.open(out / "images" / record["file_name"]).size == (record["width"], record["height"])


def test_second_objects_get_labels_of_their_own(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accepting(plan: Plan, *, scene: Scene, **rest: object) -> Verdict:
        box = plan.placement.box_xyxy
        second = Detections(box[None] + 0.25, np.array([0.7]), np.array([scene.category_ids[0]]))
        return Verdict(Reason.ACCEPTED, box, 0.9, 1.0, second)

    context = open_context(*open_dataset(config.but(steps=2, masks="off")))
    monkeypatch.setattr("augsynth.generation.stages.judge", accepting)
    jobs, before = list(enumerate(context.dataset.scenes[:2])), CategoryYields()
    images = tmp_path / "images"
    shard = paint_shard(
        context, jobs, wanted=2, budget=6, before=before, write_image=written_to(images)
    ).record
    publish_dataset(
        tmp_path, context.dataset, [PlainShard.of(shard)], config=config.but(originals="omit"), models={}
    )
    document = json.loads((tmp_path / "synthetic" / "instances.json").read_text())
    new = [a for a in document["annotations"] if a.get("attributes", {}).get("synthetic")]
    assert len(new) == 4 and len({a["id"] for a in document["annotations"]}) == len(document["annotations"])
    assert [a["attributes"].get("extra", False) for a in new] == [False, True] * 2
    kept = [a for a in provenance(tmp_path) if a["reason"] == "accepted"]
    assert [a["extras"][0]["annotation_id"] for a in kept] == [a["id"] for a in new[1::2]]
    tally = Tally(2)
    tally.add(shard)
    assert tally.accepted == tally.extras == 2


def test_a_line_of_provenance_names_who_found_the_mask_and_no_picture(tmp_path: Path) -> None:
    attempt = painted_attempt(mask=None, tile=0)
    decoy = Decoy(job=0, source_image_id=7, slot=0, retry=0, like_category_id=1, reason=Reason.NO_REGION)
    image = NewImage(job=0, file_name="b.png", source_image_id=7, size_wh=(40, 40), attempts=(0,))
    shard = ShardRecord(jobs=1, attempts=(attempt,), decoys=(decoy,), images=(image,))
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 40}],
        "annotations": [],
        "categories": [{"id": 1, "name": "cup"}],
    }
    dataset = Dataset((Category(1, "cup"),), (), document, tmp_path / "a.json")
    publish_dataset(tmp_path, dataset, [PlainShard.of(shard)], config=GenerateConfig(), models={"model": "m"})
    [line] = provenance(tmp_path)
    assert line["mask"] is None and "tile" not in line and line["model"] == "m"
    assert (line["attempt"], line["annotation_id"], line["image_id"]) == (0, 1, 8)
    [line] = [json.loads(text) for text in (tmp_path / "decoys.jsonl").read_text().splitlines()]
    assert (line["decoy"], line["image_id"], line["file_name"]) == (0, 8, "b.png")


def test_categories_that_lvis_says_are_absent_are_not_where_they_were_painted(tmp_path: Path) -> None:
    attempt = painted_attempt(mask=None)
    image = NewImage(job=0, file_name="b.png", source_image_id=7, size_wh=(40, 40), attempts=(0,))
    source = {"id": 7, "file_name": "a.png", "width": 40, "height": 40, "neg_category_ids": [2, 1]}
    kinds = [{"id": 1, "name": "cup"}, {"id": 2, "name": "lid"}]
    document = {"images": [source], "annotations": [], "categories": kinds}
    dataset = Dataset((Category(1, "cup"),), (), document, tmp_path / "a.json")
    shard = ShardRecord(jobs=1, attempts=(attempt,), images=(image,))
    publish_dataset(tmp_path, dataset, [PlainShard.of(shard)], config=GenerateConfig(), models={"model": "m"})
    published = json.loads((tmp_path / "annotations" / "instances_augmented.json").read_text())
    assert [record["neg_category_ids"] for record in published["images"]] == [[2, 1], [2]]
