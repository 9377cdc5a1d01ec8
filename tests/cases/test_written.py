"""What is written can be read by others, and by a second run."""

import os

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from augsynth.coco.json_lines import write_json
from augsynth.coco.reader import read_dataset
from augsynth.coco.writer import new_file_name, next_ids
from augsynth.core.images import place_original
from tests.cases.small import NUM_IMAGES, painted, read, small_dataset


@pytest.mark.parametrize("named", [True, False])
def test_new_objects_of_a_keypoint_file_have_keypoints_that_are_not_labelled(root, named, capsys):
    document = small_dataset()
    for category in document["categories"] if named else ():
        category |= {"keypoints": ["top", "end"], "skeleton": [[1, 2]]}
    for annotation in document["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation |= {"keypoints": [x, y, 2, x + w, y + h, 2], "num_keypoints": 2}
    written = painted(read(root, document))
    assert written["annotations"][-1]["keypoints"] == [0] * 6
    assert written["annotations"][-1]["num_keypoints"] == 0
    write_json(root.parent / "out.json", written)
    truth = COCO(str(root.parent / "out.json"))
    found = [
        {**{k: a[k] for k in ("image_id", "category_id", "keypoints")}, "score": 0.9}
        for a in written["annotations"]
    ]
    judge = COCOeval(truth, truth.loadRes(found), "keypoints")
    judge.params.kpt_oks_sigmas = np.array([0.05, 0.05])
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)
    plain = painted(read(root, small_dataset()))
    assert "keypoints" not in plain["annotations"][-1]


def test_the_output_of_an_earlier_run_can_be_augmented(root):
    first = painted(read(root, small_dataset()))
    assert first["images"][-1]["file_name"] == "augsynth/000000_0.png"
    taken = {record["file_name"] for record in first["images"]}
    again = new_file_name("0.png", job=0, suffix="png", taken=taken)
    assert again == "augsynth/000000_0_2.png"
    assert new_file_name("0.png", job=0, suffix="png", taken=taken | {again}) == "augsynth/000000_0_3.png"
    assert new_file_name("0.png", job=1, suffix="png", taken=taken) == "augsynth/000001_0.png"


@pytest.mark.parametrize("letter", ["図", "a", "é"])
def test_long_names_are_shortened_and_stay_different(root, letter):
    longest = letter * (245 // len(letter.encode()))
    names = [f"deep/{longest}{k:02d}.jpg" for k in range(20)]
    made = {new_file_name(name, job=10**9, suffix="png", taken=()) for name in names}
    assert len(made) == 20 and all(len(os.fsencode(name)) <= 240 for name in made)
    document = small_dataset()
    name = f"{longest}01.jpg"
    Image.open(root / "0.png").save(root / name)
    document["images"][0]["file_name"] = name
    dataset = read(root, document)
    assert "missing_files" not in dataset.repairs
    assert place_original(root / name, root.parent / "out" / name, "copy", root=root) == "copy"
    assert painted(dataset)["images"][-1]["file_name"].startswith("augsynth/000000_" + letter)


def test_ids_at_the_end_of_the_range_are_not_continued_beyond_it(root):
    document = small_dataset()
    document["images"][3]["id"] = document["annotations"][7]["id"] = 2**63 - 1
    for annotation in document["annotations"][6:]:
        annotation["image_id"] = 2**63 - 1
    document["annotations"][5]["id"] = document["annotations"][4]["id"]  # needs a new id, too
    dataset = read(root, document)
    write_json(root.parent / "out.json", painted(dataset))
    again = read_dataset(root.parent / "out.json")
    assert len(again.scenes) == NUM_IMAGES + 1
    ids = [record["id"] for record in again.document["annotations"]]
    assert len(set(ids)) == len(ids) and max(ids) < 2**63
    assert next_ids({"images": [{"id": 4}], "annotations": [{"id": 2**63 - 1}, {"id": 2**62}]}) == (
        5,
        2**62 + 1,
    )
