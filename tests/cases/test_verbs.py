"""Each case with each verb: what is repaired is said before the work, what can't be is one line and exit code 2."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from augsynth import cli
from augsynth.coco.reader import read_dataset
from augsynth.generation.config import GenerateConfig
from tests.cases.small import HEIGHT, NUM_IMAGES, WIDTH, small_dataset
from tests.generation.fake_run import generate, without_models

NUM_OBJECTS = 2 * NUM_IMAGES


def every(**fields):
    def change(document, root):
        for annotation in document["annotations"]:
            annotation.update(fields)

    return change


def without_files(document, root):
    for k in range(3):
        (root / f"{k}.png").unlink()


def with_an_endless_number(document, root):
    document["annotations"][0]["bbox"] = [1, 1, int("9" * 400), 5]


def with_a_group_as_category(document, root):
    document["categories"].insert(0, {"id": 0, "name": "vessels", "supercategory": "none"})


def with_long_names(document, root):
    for k, record in enumerate(document["images"]):
        name = "図" * 80 + f"{k:02d}.png"
        (root / f"{k}.png").rename(root / name)
        record["file_name"] = name


def normalised(document, root):
    for annotation in document["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]


def with_keypoints(document, root):
    for category in document["categories"]:
        category |= {"keypoints": ["top", "end"], "skeleton": [[1, 2]]}
    for annotation in document["annotations"]:
        annotation |= {"keypoints": [5, 5, 2, 9, 9, 2], "num_keypoints": 2}


def turned(document, root):
    exif = Image.Exif()
    exif[0x0112] = 6
    for k, record in enumerate(document["images"]):
        picture = Image.open(root / f"{k}.png").transpose(Image.Transpose.ROTATE_90)
        picture.save(root / f"{k}.jpg", exif=exif, quality=95)
        (root / f"{k}.png").unlink()
        record |= {"file_name": f"{k}.jpg", "width": HEIGHT, "height": WIDTH}
    for annotation in document["annotations"][::2]:
        annotation["bbox"] = [49, 2, 10, 12]
        annotation["segmentation"] = [[49, 2, 59, 2, 59, 14, 49, 14]]


def with_a_file_listed_twice(document, root):
    document["images"].append({**document["images"][0], "id": 77})
    document["annotations"][1]["image_id"] = 77


def unchanged(document, root):
    pass


ALL = ("split", "bank", "build-affinity", "generate")
UNUSABLE = {"unusable_segmentation": (NUM_OBJECTS, ("split", "bank", "generate"))}  # affinity reads no masks
MENDED = {
    "missing images": (
        without_files,
        {"missing_files": (3, ("bank", "generate")), "annotations_of_lost_images": (6, ("bank", "generate"))},
    ),
    "rle lies": (every(segmentation={"size": [HEIGHT, WIDTH], "counts": [10, 20]}), UNUSABLE),
    "rle string cut": (every(segmentation={"size": [HEIGHT, WIDTH], "counts": "a"}), UNUSABLE),
    "rle too long": (every(segmentation={"size": [HEIGHT, WIDTH], "counts": [0, 999_999_999]}), UNUSABLE),
    "rle size no list": (every(segmentation={"counts": "abc", "size": 5}), UNUSABLE),
    "polygon far away": (every(segmentation=[[0, 0, 1e12, 0, 1e12, 1e12]]), UNUSABLE),
    "category without objects": (with_a_group_as_category, {"categories_without_objects": (1, ALL)}),
    "long names": (with_long_names, {}),
    "boxes fill the image": (
        every(bbox=[0, 0, WIDTH, HEIGHT], segmentation=[[0, 0, WIDTH, 0, WIDTH, HEIGHT]]),
        {},
    ),
    "keypoints": (with_keypoints, {}),
    "exif raw sizes": (
        turned,
        {"raw_sizes": (4, ("bank", "generate")), "turned_sizes": (4, ("split", "build-affinity"))},
    ),
    "file listed twice": (with_a_file_listed_twice, {"shared_files": (1, ALL)}),
    "all have masks": (unchanged, {}),
}
REFUSED = {
    "bbox of 400 digits": (with_an_endless_number, "beyond any image"),
    "normalised boxes": (normalised, "these look normalised"),
}


@pytest.fixture
def call(root, monkeypatch, capsys):
    """Run a verb on a document and the images of `root`; return exit code and lines of standard error."""

    def called(verb, document):
        path = root.parent / "a.json"
        path.write_text(json.dumps(document), "utf-8")
        words = [verb, "--annotations", path, "--out", root.parent / f"{verb}.json"]
        if verb not in ("split", "build-affinity"):
            words += ["--images", root]
        if verb == "split":
            words += ["--folds", "2"]
        if verb == "generate":
            words += ["--model", "embedded", "--detector", "embedded"]
        monkeypatch.setattr(sys, "argv", ["augsynth", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().err.strip().splitlines()

    return called


def spoilt(root, change):
    document = small_dataset()
    change(document, root)
    return document


@pytest.mark.parametrize("verb", ["split", "bank", "build-affinity"])
@pytest.mark.parametrize("case", MENDED)
def test_what_is_mended_is_said(case, verb, root, call):
    change, wanted = MENDED[case]
    document = spoilt(root, change)
    code, told = call(verb, document)
    if (case, verb) == ("boxes fill the image", "bank"):
        assert code == 2 and "no object can be cut (left out: 8 cut off by the border)" in told[-1]
        return
    assert code == 0, told
    kinds = {kind: count for kind, (count, verbs) in wanted.items() if verb in verbs}
    with_images = root if verb == "bank" else None
    found = read_dataset(root.parent / "a.json", images=with_images)
    assert {kind: found.repairs[kind].count for kind in kinds} == kinds
    assert len([line for line in told if "a.json: " in line]) == len(kinds), told


@pytest.mark.parametrize("verb", ALL)
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_mended_is_one_line(case, verb, root, call):
    change, says = REFUSED[case]
    code, told = call(verb, spoilt(root, change))
    assert code == 2 and len(told) == 1
    assert told[0].startswith("augsynth: ") and "a.json: annotations[0] (id 1): bbox is" in told[0]
    assert says in told[0]


@pytest.mark.parametrize("case", MENDED)
def test_a_run_keeps_its_report_of_what_was_mended(case, root, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)
    change, wanted = MENDED[case]
    document = spoilt(root, change)
    path = root.parent / "a.json"
    path.write_text(json.dumps(document), "utf-8")
    config = GenerateConfig.of(n=1, annotations=str(path), images=str(root), model="none", bank=True)
    without_models(monkeypatch, config)
    out = root.parent / "out"
    tally = generate(config, out)
    kinds = {kind: count for kind, (count, verbs) in wanted.items() if "generate" in verbs}
    summary = json.loads((out / "summary.json").read_text())
    stored = summary["repairs"]
    assert {kind: stored[kind]["count"] for kind in kinds} == kinds and len(stored) == len(kinds)
    assert sum("a.json: " in line for line in tally.notices) == len(kinds)
    again = read_dataset(out / "annotations" / "instances_augmented.json", images=out / "images")
    assert len(again.scenes) == NUM_IMAGES - stored.get("missing_files", {"count": 0})["count"] + 1
    made = again.document["annotations"][-1]
    assert made["segmentation"] and "unusable_segmentation" not in again.repairs
    assert ("keypoints" in made) == (case == "keypoints")
    assert all(len(p.name.encode()) <= 255 for p in out.rglob("*"))
    colours = np.asarray(Image.open(out / "images" / again.scenes[-1].file_name))
    assert colours.shape[:2] == again.scenes[-1].size_wh[::-1]
