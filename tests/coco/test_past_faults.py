"""Reading past faults: every refused record is told as its error would tell it, and the rest is a dataset."""

import copy
import json

import pytest

from augsynth.coco.reader import read_dataset, read_past_faults
from augsynth.core.errors import DatasetError
from tests.coco.documents import clean, write
from tests.coco.test_coco_bad_input import FATAL

NO_DOCUMENT = {
    *("not JSON", "empty file", "cut off", "NaN", "not UTF-8", "a number", "detection results"),
    *("another format", "captions", "a record that is no object", "no categories", "no images"),
}


@pytest.mark.parametrize("case", FATAL)
def test_a_fault_is_told_as_the_reader_tells_it(case, tmp_path):
    path = write(tmp_path, FATAL[case][0])
    with pytest.raises(DatasetError) as refused:
        read_dataset(path)
    if case in NO_DOCUMENT:
        with pytest.raises(DatasetError) as ended:
            read_past_faults(path)
        assert str(ended.value) == str(refused.value)
        return
    reading = read_past_faults(path)
    assert str(reading.faults[0].error(path)) == str(refused.value)


def many_faults():
    document = clean()
    more = [copy.deepcopy(document["annotations"][0]) for _ in range(6)]
    for number, record in enumerate(more):
        record["id"] = 10 + number
    more[0]["bbox"] = None
    more[1]["iscrowd"] = 7
    more[2]["category_id"] = 99
    more[3]["image_id"] = "1"
    more[4]["bbox"] = [1, 2, 3]
    more[5]["image_id"] = 4
    document["annotations"] += more
    document["images"] += [
        {"id": 3, "file_name": "../up.png", "width": 40, "height": 30},
        {"id": 4, "file_name": "c.png", "width": 0, "height": "x"},
        {"id": 2, "file_name": "d.png", "width": 40, "height": 30},
        {"id": 5, "file_name": "a.png", "width": 41, "height": 30},
    ]
    document["categories"] += [{"id": 8, "name": " "}, {"id": "9", "name": "lid"}]
    return document


def test_all_faults_are_told_at_once_and_what_is_left_is_what_a_clean_file_says(tmp_path):
    reading = read_past_faults(write(tmp_path, many_faults()))
    expected = (
        "bad_box bad_box bad_category_name bad_file_name bad_id bad_id bad_iscrowd bad_size conflicting_ids "
        "shared_file_sizes unknown_category"
    )
    assert sorted(fault.kind for fault in reading.faults) == expected.split()
    left = read_dataset(write(tmp_path, clean()))
    for scene, expected in zip(reading.dataset.scenes, left.scenes, strict=True):
        assert scene.file_name == expected.file_name
        assert scene.annotation_ids.tolist() == expected.annotation_ids.tolist()
        assert scene.boxes_xyxy.tolist() == expected.boxes_xyxy.tolist()
    assert [category.name for category in reading.dataset.categories] == ["can", "cup", "category 8"]


def test_names_of_one_category_do_not_hide_the_other(tmp_path):
    document = clean()
    document["categories"][1]["name"] = "CAN"
    reading = read_past_faults(write(tmp_path, document))
    assert [fault.kind for fault in reading.faults] == ["same_category_names"]
    assert [category.id for category in reading.dataset.categories] == [3, 5]


@pytest.mark.parametrize("kind", ["string ids", "normalised"])
def test_a_file_of_which_nothing_can_be_read_says_so_with_all_its_faults(kind, tmp_path):
    document = clean()
    for record in document["images"] if kind == "string ids" else ():
        record["id"] = str(record["id"])
    for record in document["annotations"] if kind == "normalised" else ():
        record["bbox"] = [0.1, 0.2, 0.3, 0.4]
    reading = read_past_faults(write(tmp_path, document))
    assert reading.dataset is None
    assert [f.kind for f in reading.faults] == (
        ["bad_id"] * 2 if kind == "string ids" else ["normalised_boxes"]
    )


def test_more_names_of_a_repair_are_kept_than_a_message_shows(tmp_path):
    document = clean()
    for number in range(20):
        document["annotations"].append({**document["annotations"][0], "id": 10 + number, "image_id": 77})
    path = write(tmp_path, json.loads(json.dumps(document)))
    assert len(read_dataset(path).repairs["annotations_without_image"].examples) == 5
    assert len(read_past_faults(path).repairs["annotations_without_image"].examples) == 20
    assert len(read_past_faults(path, most_names=7).repairs["annotations_without_image"].examples) == 7
