"""`augsynth import` and `export`: what goes out comes back, by splits, names and classes."""

import hashlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from augsynth.coco.reader import read_dataset, read_with_images
from tests.coco.tiny_sets import H, W, picture, text, yolo
from tests.commands.tiny_coco import coco, objects_of

WHERE = {"yolo": "data.yaml", "voc": "", "imagefolder": "", "fiftyone": "train"}


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(
    ("form", "worst_px"), [("yolo", 1e-5), ("voc", 0.5), ("imagefolder", 0), ("fiftyone", 0)]
)
def test_what_is_exported_is_read_back(run, tmp_path, form, worst_px, masks):
    source = coco(tmp_path / "source", masks=masks)
    code, out, errors = run("export", "--annotations", source, "--format", form, "--out", "out")
    assert code == 0, errors
    assert "2 images" in out
    before, after = read_with_images(source), read_dataset(tmp_path / "out" / WHERE[form])
    wanted, found = objects_of(before), objects_of(after)
    assert wanted.keys() == found.keys()
    for stem, objects in wanted.items():
        assert [name for name, _ in found[stem]] == [name for name, _ in objects]
        for (_, box), (_, other) in zip(objects, found[stem], strict=True):
            assert np.abs(box - other).max() <= worst_px
    drawn, found = (
        [r["segmentation"][0] for r in d.document["annotations"] if r.get("segmentation")]
        for d in (before, after)
    )
    assert np.allclose(sorted(found), sorted(drawn), atol=1e-4)
    assert len(found) == (4 if masks else 0)
    crowds = sum(int(scene.is_crowd.sum()) for scene in after.scenes)
    assert crowds == (0 if form == "yolo" else 2)
    assert ("no place for crowds and regions to ignore: 2" in out) == (form == "yolo")
    links = [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.stat().st_nlink > 1]
    assert len(links) == (1 if form == "voc" else 2)  # VOC's second picture is a PNG and becomes a JPEG


def test_names_that_would_share_a_label_or_hide_it_get_their_own(run, tmp_path):
    source = coco(tmp_path / "source", ("a.jpg", "a.png", "images/A.jpg", "b c.jpg", "b_c.jpg"))
    for form in ("yolo", "voc"):
        assert run("export", "--annotations", source, "--format", form, "--out", form)[0] == 0
    labels = tmp_path / "yolo" / "labels" / "train"
    labels = sorted(path.relative_to(labels).as_posix() for path in labels.rglob("*.txt"))
    assert labels == ["a.txt", "a_2.txt", "b c.txt", "b_c.txt", "images_/A.txt"]
    assert sum(map(len, read_dataset(tmp_path / "yolo").scenes)) == 10
    assert (
        len(list((tmp_path / "voc" / "Annotations").iterdir()))
        == len(read_dataset(tmp_path / "voc").scenes)
        == 5
    )


def test_pictures_are_upright_in_what_is_written(run, tmp_path):
    source = coco(tmp_path / "source", ("a.jpg",))
    picture(tmp_path / "source" / "images" / "a.jpg", (H, W), orientation=6)
    assert run("export", "--annotations", source, "--format", "yolo", "--out", "out")[0] == 0
    with Image.open(tmp_path / "out" / "images" / "train" / "a.jpg") as opened:
        assert opened.size == (W, H)
        assert not opened.getexif()


def test_rows_are_boxes_where_a_mask_is_missing_unless_masks_are_asked(run, tmp_path):
    source = coco(tmp_path / "source", ("a.jpg",), masks=True)
    document = json.loads(source.read_text())
    del document["annotations"][0]["segmentation"]
    source.write_text(json.dumps(document))
    code, out, _ = run("export", "--annotations", source, "--format", "yolo", "--out", "boxes")
    assert code == 0
    assert "rows are boxes, as 1 of 2 objects have no mask" in out
    assert run("export", "--annotations", source, "--format", "yolo", "--out", "outlines", "--masks")[0] == 0
    rows = {
        kind: (tmp_path / kind / "labels/train/a.txt").read_text().split("\n")
        for kind in ("boxes", "outlines")
    }
    assert [len(row.split()) for row in rows["boxes"][:2]] == [5, 5]
    assert [len(row.split()) for row in rows["outlines"][:2]] == [9, 11]


def test_oriented_boxes_go_through_coco_and_back(run, tmp_path):
    row = "0 0.5 0.1 0.7 0.5 0.5 0.9 0.3 0.5\n"
    source = yolo(tmp_path / "obb", {"train/a.jpg": row}, head="train: images/train\n")
    assert run("import", "--annotations", source, "--out", "coco")[0] == 0
    file = tmp_path / "coco" / "annotations" / "instances_train.json"
    code, out, _ = run("export", "--annotations", file, "--format", "yolo", "--out", "back")
    assert code == 0
    assert "rows are oriented boxes" in out
    assert (tmp_path / "back" / "labels" / "train" / "train" / "a.txt").read_text() == row


def test_outlines_of_several_parts_become_one_and_masks_are_traced(run, tmp_path):
    from augsynth.core.masks import as_rle, decoded, to_rle

    source = coco(tmp_path / "source", ("a.jpg",), masks=True)
    document = json.loads(source.read_text())
    ring = np.zeros((H, W), bool)
    ring[20:80, 100:180] = True
    ring[40:60, 120:160] = False
    parts = [[10, 10, 30, 10, 30, 30, 10, 30], [40, 12, 60, 12, 60, 40]]
    document["annotations"][0]["segmentation"] = parts
    document["annotations"][1]["segmentation"] = to_rle(ring)
    source.write_text(json.dumps(document))
    wanted = [decoded(as_rle(parts, (W, H))), ring]
    assert run("export", "--annotations", source, "--format", "yolo", "--out", "out")[0] == 0
    records = read_dataset(tmp_path / "out").document["annotations"]
    for mask, record in zip(wanted, records, strict=True):
        found = decoded(as_rle(record["segmentation"], (W, H)))
        assert (found & mask).sum() / (found | mask).sum() > 0.97


def test_nothing_foreign_is_replaced_and_an_unfinished_folder_is_filled_anew(run, tmp_path):
    source = coco(tmp_path / "source")
    (tmp_path / "out").mkdir()
    text(tmp_path / "out" / "mine.txt", "kept")
    words = ["export", "--annotations", source, "--format", "yolo", "--out"]
    code, _, errors = run(*words, "out")
    assert code == 2
    assert "isn't an empty folder (it holds mine.txt)" in errors[-1]
    (tmp_path / "half" / ".part" / "images").mkdir(parents=True)
    (tmp_path / "half" / "labels" / "train").mkdir(parents=True)
    text(tmp_path / "half" / "labels" / "train" / "old.txt", "0")
    assert run(*words, "half")[0] == 0
    assert sorted(os.listdir(tmp_path / "half")) == ["data.yaml", "images", "labels"]
    assert not (tmp_path / "half" / "labels" / "train" / "old.txt").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["import", "--annotations", "a", "--annotations", "b", "--images", "c", "--out", "o"],
            "import them one by",
        ),
        (["export", "--annotations", "a.json", "--format", "csv", "--out", "o"], "csv"),
        (
            ["export", "--annotations", "a", "--val-images", "b", "--format", "voc", "--out", "o"],
            "val_annotations",
        ),
        (["export", "--annotations", "gone.json", "--format", "voc", "--out", "o"], "gone.json"),
    ],
)
def test_what_doesnt_go_together_is_said(run, words, says):
    code, _, errors = run(*words)
    assert code == 2
    assert says in errors[-1]


@pytest.mark.parametrize("verb", ["bank", "split"])
def test_verbs_take_a_yolo_dataset_as_it_is(run, tmp_path, verb):
    box = "0 0.5 0.5 0.25 0.5\n1 0.2 0.2 0.3 0.3\n"
    yolo(tmp_path / "yolo", {f"train/{k}.jpg": box for k in range(4)}, head="train: images/train\n")
    words = {
        "bank": ["--out", "bank"],
        "split": ["--folds", "2", "--out", "f"],
    }
    code, _, errors = run(verb, "--annotations", tmp_path / "yolo" / "data.yaml", *words[verb])
    assert code == 0, errors


def test_what_is_published_says_where_each_object_is_from(run, tmp_path):
    source = coco(tmp_path / "run")
    (tmp_path / "run" / "annotations").mkdir()
    file = source.rename(tmp_path / "run" / "annotations" / "instances_augmented.json")
    model = {"model": "painter", "model_licence": "apache-2.0", "model_sha256": "ab", "augsynth": "9.9"}
    line = {
        "annotation_id": 1,
        "image_id": 10,
        "source_image_id": 20,
        "category_id": 7,
        "prompt": "a cup",
        "seed": 5,
    }
    lines = [{**line, **model, "score": 0.5}, {"attempt": 1, "reason": "not_found"}]
    text(tmp_path / "run" / "provenance.jsonl", "".join(json.dumps(each) + "\n" for each in lines))
    assert run("export", "--annotations", file, "--format", "croissant", "--out", "out")[0] == 0
    document = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    objects = {each["@id"]: each for each in document["distribution"]}
    for name in ("provenance.jsonl", "instances.json#images"):
        data = (tmp_path / "out" / objects[name]["contentUrl"]).read_bytes()
        assert objects[name]["sha256"] == hashlib.sha256(data).hexdigest()
    assert [
        json.loads(each) for each in (tmp_path / "out/provenance.jsonl").read_text().splitlines()
    ] == lines[:1]
    made = document["prov:wasGeneratedBy"]
    assert made["prov:wasAssociatedWith"] == {
        "@type": "prov:SoftwareAgent",
        "name": "augsynth",
        "version": "9.9",
    }
    assert made["prov:used"] == [
        {"@type": "prov:Entity", "name": "painter", "license": "apache-2.0", "sha256": "ab"}
    ]
    origins = next(each for each in document["recordSet"] if each["@id"] == "synthetic-objects")
    assert {f["name"] for f in origins["field"]} >= {
        "model",
        "model_licence",
        "seed",
        "prompt",
        "annotation_id",
    }
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "| cup | 4 | 1 |" in card
    assert "Painted by painter (apache-2.0)." in card
    for damaged, problem in (
        ("{", "provenance is damaged"),
        ('{"annotation_id": 1, "model": "painter"}', "line 1: category_id is missing"),
        ('{"annotation_id": 1, "category_id": 7}', "line 1: model is missing"),
    ):
        text(tmp_path / "run" / "provenance.jsonl", damaged)
        code, _, errors = run("export", "--annotations", file, "--format", "croissant", "--out", "again")
        assert code == 2
        assert problem in errors[-1]
    # a validation set that numbers its categories otherwise: both splits and the provenance get one numbering
    others = [{"id": 7, "name": "Müll beutel"}, {"id": 8, "name": " CUP"}]
    val = coco(tmp_path / "val", ("v.jpg",), categories=others)
    text(tmp_path / "run" / "provenance.jsonl", "".join(json.dumps(each) + "\n" for each in lines))
    words = ["--annotations", file, "--val-annotations", val, "--format", "croissant", "--out", "both"]
    assert run("export", *words)[0] == 0
    found = [
        json.loads((tmp_path / "both" / "annotations" / f"instances_{split}.json").read_text())
        for split in ("train", "val")
    ]
    for document in found:
        assert [(c["id"], c["name"]) for c in document["categories"]] == [(1, "cup"), (2, "Müll beutel")]
    assert [[r["category_id"] for r in each["annotations"][:2]] for each in found] == [[1, 2], [2, 1]]
    assert json.loads((tmp_path / "both" / "provenance.jsonl").read_text())["category_id"] == 1
    card = (tmp_path / "both" / "README.md").read_text("utf-8")
    assert "| cup | 5 | 1 |" in card
    assert "| Müll beutel | 4 | 0 |" in card


@pytest.mark.parametrize(("key", "value"), [("licenses", ["MIT", {"name": [1], "id": []}]), ("info", "x")])
def test_blocks_that_hold_something_else_are_no_reason_to_stop(run, tmp_path, key, value):
    source = coco(tmp_path / "source", ("a.jpg",))
    document = json.loads(source.read_text()) | {key: value}
    document["images"][0]["license"] = {"id": 5}
    text(source, json.dumps(document))
    assert run("export", "--annotations", source, "--format", "croissant", "--out", "out")[0] == 0
    assert run("import", "--annotations", source, "--annotations", source, "--out", "coco")[0] == 0


@pytest.mark.parametrize("corners", ["text", [1, 2, 3], [1, 2, 3, 4, 5, 6, 7, "8"], [1e300] * 8, {"a": 1}])
def test_corners_that_are_no_eight_numbers_are_none(run, tmp_path, corners):
    source = coco(tmp_path / "source", ("a.jpg",))
    document = json.loads(source.read_text())
    document["annotations"][0]["oriented_box"] = corners
    text(source, json.dumps(document))
    code, out, errors = run("export", "--annotations", source, "--format", "yolo", "--out", "out")
    assert code == 0, errors
    assert "oriented" not in out
    assert {len(row.split()) for row in (tmp_path / "out/labels/train/a.txt").open()} == {5}


def test_voc_keeps_names_with_colons_and_writes_control_characters_out(run, tmp_path):
    categories = [{"id": 1, "name": "food:apple"}, {"id": 2, "name": "b\x01\nx"}]
    source = coco(tmp_path / "source", ("a.jpg",), categories=categories)
    document = json.loads(source.read_text())
    document["annotations"][0]["attributes"] = {"pose": "\x02"}
    text(source, json.dumps(document))
    assert run("export", "--annotations", source, "--format", "voc", "--out", "out")[0] == 0
    dataset = read_dataset(tmp_path / "out")
    assert [c["name"] for c in dataset.document["categories"]] == ["food:apple", r"b\x01\nx"]


CORNERS = [30.0, 10.0, 60.0, 25.0, 30.0, 40.0, 10.0, 25.0]


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        (["yolo"], {"masks": 2, "keypoints": 1, "attributes": 1, "crowds and regions to ignore": 1}),
        (["yolo", "--no-masks"], {"keypoints": 1, "attributes": 1, "crowds and regions to ignore": 1}),
        (
            ["yolo", "--masks"],
            {
                "corners of oriented boxes": 1,
                "keypoints": 1,
                "attributes": 1,
                "crowds and regions to ignore": 1,
            },
        ),
        (["imagefolder"], {"corners of oriented boxes": 1, "keypoints": 1, "attributes": 1}),
        (["voc"], {"corners of oriented boxes": 1, "keypoints": 1, "attributes": 1}),
    ],
)
def test_all_that_a_format_has_no_place_for_is_counted(run, tmp_path, words, lost):
    source = coco(tmp_path / "source", ("a.jpg",), masks=True)
    document = json.loads(source.read_text())
    more = {"oriented_box": CORNERS, "keypoints": [30, 20, 2], "num_keypoints": 1}
    document["annotations"][0] |= {**more, "attributes": {"pose": "Left", "colour": "red"}}
    text(source, json.dumps(document))
    code, out, errors = run("export", "--annotations", source, "--out", "out", "--json", "--format", *words)
    assert code == 0, errors
    assert json.loads(out)["left_out"] == lost
