"""`augsynth import` and `export` with several splits or datasets: what stays apart, and what is put together."""

import json

import pytest
import yaml

from augsynth.coco.reader import read_dataset, read_with_images
from tests.coco.tiny_sets import boxes_of, voc, voc_object, yolo
from tests.commands.tiny_coco import coco


def test_splits_stay_splits_through_all_formats(run, tmp_path):
    box = "0 0.5 0.5 0.25 0.5\n"
    names = {"train/a.jpg": box, "train/b.jpg": "", "val/a.jpg": box, "test/c.jpg": box}
    head = "train: images/train\nval: images/val\ntest: images/test\n"
    last = yolo(tmp_path / "yolo", names, head=head)
    wanted = {"train": {"a": 1, "b": 0}, "val": {"a": 1}, "test": {"c": 1}}
    for form in ("voc", "imagefolder", "yolo"):
        assert run("export", "--annotations", last, "--format", form, "--out", f"{form}-out")[0] == 0
        last = tmp_path / f"{form}-out"
        for split, counts in wanted.items():
            dataset = read_dataset(f"{last}#{split}")
            assert {
                s.file_name.rpartition(".")[0].removesuffix("_2"): len(s) for s in dataset.scenes
            } == counts
    assert run("import", "--annotations", last, "--out", "coco")[0] == 0
    for split, counts in wanted.items():
        file = tmp_path / "coco" / "annotations" / f"instances_{split}.json"
        dataset = read_dataset(file, images=tmp_path / "coco" / "images")
        # VOC has one folder for all images: the second a.jpg was numbered there
        assert {s.file_name.removesuffix(".jpg").removesuffix("_2"): len(s) for s in dataset.scenes} == {
            f"{split}/{stem}": count for stem, count in counts.items()
        }
        assert [c["name"] for c in dataset.document["categories"]] == ["cup", "lid"]


def test_datasets_are_put_together_by_names_with_new_ids(run, tmp_path):
    first = coco(tmp_path / "one")
    second = coco(tmp_path / "two", categories=[{"id": 7, "name": "bag"}, {"id": 8, "name": " CUP"}])
    voc_like = tmp_path / "three.json"
    voc_like.write_text(first.read_text())  # the same pictures again: their objects join
    (tmp_path / "images").symlink_to(tmp_path / "one" / "images")
    given = [word for path in (first, second, voc_like) for word in ("--annotations", path)]
    assert run("import", *given, "--out", "coco")[0] == 0
    dataset = read_with_images(tmp_path / "coco" / "annotations" / "instances.json")
    document = dataset.document
    assert [c["name"] for c in document["categories"]] == ["cup", "Müll beutel", "bag"]
    assert [c["id"] for c in document["categories"]] == [1, 2, 3]
    assert [r["id"] for r in document["annotations"]] == list(range(1, 19))
    assert {s.file_name: len(s) for s in dataset.scenes} == {
        "1/a.jpg": 6,
        "1/sub dir/ü b.png": 6,
        "2/a.jpg": 3,
        "2/sub dir/ü b.png": 3,
    }
    assert [r["category_id"] for r in document["annotations"][6:9]] == [3, 1, 3]


def test_a_run_goes_out_with_the_validation_images_it_never_saw(run, tmp_path):
    train, val = coco(tmp_path / "one"), coco(tmp_path / "two", ("v.jpg",))
    words = ["--annotations", train, "--val-annotations", val, "--format", "yolo", "--out", "yolo"]
    assert run("export", *words)[0] == 0
    document = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text("utf-8"))
    assert document == {"train": "images/train", "val": "images/val", "names": {0: "cup", 1: "Müll beutel"}}
    assert list(boxes_of(read_dataset(tmp_path / "yolo#val"))) == ["v.jpg"]


def test_without_val_the_training_images_stand_for_it(run, tmp_path):
    rows = {"train/a.jpg": "0 0.5 0.5 0.25 0.5\n", "test/b.jpg": ""}
    source = yolo(tmp_path / "yolo", rows, head="train: images/train\ntest: images/test\n")
    assert run("export", "--annotations", source, "--format", "yolo", "--out", "out")[0] == 0
    document = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text("utf-8"))
    assert list(document.items())[:3] == [
        ("train", "images/train"),
        ("test", "images/test"),
        ("val", "images/train"),
    ]


def test_all_splits_get_one_numbering_where_one_is_put_together(run, tmp_path):
    row = "0 0.5 0.5 0.25 0.5\n"
    head = "train: images/train\nval: images/val\n"
    first = yolo(tmp_path / "one", {"train/a.jpg": row, "val/b.jpg": row}, names=("lid", "cup"), head=head)
    second = yolo(tmp_path / "two", {"train/c.jpg": row}, names=("cup",), head="train: images/train\n")
    assert run("import", "--annotations", second, "--annotations", first, "--out", "coco")[0] == 0
    found = {}
    for split in ("train", "val"):
        document = json.loads((tmp_path / "coco" / "annotations" / f"instances_{split}.json").read_text())
        assert [(c["id"], c["name"]) for c in document["categories"]] == [(1, "cup"), (2, "lid")]
        found[split] = [record["category_id"] for record in document["annotations"]]
    assert found == {"train": [1, 2], "val": [2]}


def test_splits_that_agree_keep_their_ids(run, tmp_path):
    train, val = coco(tmp_path / "one"), coco(tmp_path / "two", ("v.jpg",))
    words = ["--annotations", train, "--val-annotations", val, "--format", "croissant", "--out", "out"]
    assert run("export", *words)[0] == 0
    for split in ("train", "val"):
        document = json.loads((tmp_path / "out" / "annotations" / f"instances_{split}.json").read_text())
        assert [c["id"] for c in document["categories"]] == [7, 90]


@pytest.mark.parametrize("form", ["imagefolder", "fiftyone"])
def test_trainval_becomes_train(run, tmp_path, form):
    lists = {"trainval": ["a"], "test": ["b"]}
    source = voc(tmp_path / "voc", {"a": [], "b": [voc_object("cup", (1, 1, 9, 9))]}, lists=lists)
    code, out, errors = run("export", "--annotations", source, "--format", form, "--out", "out")
    assert code == 0, errors
    assert "2 images (train 1, test 1)" in out
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"train", "test"}
