"""Dirty annotation files: an error names file, record, field and remedy; whatever is recovered is counted."""

import copy
import json

import pytest

from augsynth.coco.faults import REPAIRS, repair_lines
from augsynth.coco.reader import read_dataset
from augsynth.coco.writer import augmented_document
from augsynth.core.errors import DatasetError
from tests.coco.documents import clean, counts, edited, with_more, without, write

# case: (document, what the message must name: record, field, problem, remedy)
FATAL = {
    "not JSON": (b"<html>", ["annotations", "isn't JSON", "export it again"]),
    "empty file": (b"", ["annotations", "isn't JSON", "export it again"]),
    "cut off": (json.dumps(clean()).encode()[:-50], ["annotations", "isn't JSON", "export it again"]),
    "NaN": (b'{"images": [NaN]}', ["isn't JSON", "NaN and Infinity"]),
    "not UTF-8": (b'{"images": "\xff"}', ["isn't JSON", "UTF-8"]),
    "a number": (b"3", ["document", "is a number", "COCO instances file"]),
    "detection results": (
        [{"image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2], "score": 0.5}],
        ["document", "list of detection results", "COCO instances file"],
    ),
    "another format": (
        {"version": "5.0", "shapes": [], "imagePath": "a.png"},
        ["images", "is missing, the file has version, shapes, imagePath", "COCO instances file"],
    ),
    "captions": ({**clean(), "categories": None}, ["categories", "is a null", "COCO instances file"]),
    "a record that is no object": ({**clean(), "images": ["a.png"]}, ["images[0]", "is a string"]),
    "no categories": ({**clean(), "categories": []}, ["categories", "is empty", "list the categories"]),
    "no images": ({**clean(), "images": [], "annotations": []}, ["images", "is empty", "list the images"]),
    "string image id": (edited("images", 1, id="2"), ["images[1]", "id", "'2' (string)", "integers"]),
    "string category id": (
        edited("categories", 0, id="3"),
        ["categories[0]", "id", "'3' (string)", "integers"],
    ),
    "string annotation id": (
        edited("annotations", 1, id="2"),
        ["annotations[1]", "id", "'2' (string)", "integers"],
    ),
    "string reference to an image": (
        edited("annotations", 1, image_id="2"),
        ["annotations[1] (id 2)", "image_id", "'2' (string)", "integers"],
    ),
    "string reference to a category": (
        edited("annotations", 1, category_id="5"),
        ["annotations[1] (id 2)", "category_id", "'5' (string)", "integers"],
    ),
    "float id": (edited("images", 0, id=1.0), ["images[0]", "id", "1.0 (number)", "integers"]),
    "boolean id": (edited("images", 0, id=True), ["images[0]", "id", "True (boolean)", "integers"]),
    "huge id": (edited("images", 0, id=2**70), ["images[0]", "id", "2**63"]),
    "image without id": (without("images", 0, "id"), ["images[0]", "id is missing", "integer"]),
    "annotation without category": (
        without("annotations", 0, "category_id"),
        ["annotations[0] (id 1)", "category_id is missing", "integer"],
    ),
    "one image id for two images": (
        with_more("images", {"id": 2, "file_name": "c.png", "width": 40, "height": 30}),
        ["images[2] (id 2)", "id", "earlier, different record", "different ids"],
    ),
    "one category id for two categories": (
        with_more("categories", {"id": 5, "name": "bag"}),
        ["categories[2] (id 5)", "id", "earlier, different record", "different ids"],
    ),
    "one name for two categories": (
        edited("categories", 1, name="Can "),
        ["categories[1] (id 5)", "name", "'Can '", "category 3", "merge the two or rename one"],
    ),
    "unknown category": (
        edited("annotations", 0, category_id=9),
        ["annotations[0] (id 1)", "category_id", "9 isn't among the categories", "add the category"],
    ),
    "category without name": (without("categories", 0, "name"), ["categories[0] (id 3)", "name", "missing"]),
    "bbox of three numbers": (
        edited("annotations", 0, bbox=[1, 2, 3]),
        ["annotations[0] (id 1)", "bbox", "[1, 2, 3]", "not four numbers", "[x, y, width, height]"],
    ),
    "bbox of text": (
        edited("annotations", 0, bbox=["1", 2, 3, 4]),
        ["annotations[0] (id 1)", "bbox", "not four"],
    ),
    "no bbox": (without("annotations", 0, "bbox"), ["annotations[0] (id 1)", "bbox", "missing", "delete"]),
    "iscrowd that is neither": (
        edited("annotations", 0, iscrowd="no"),
        ["annotations[0] (id 1)", "iscrowd", "'no'", "write 0 or 1"],
    ),
    "absolute file name": (
        edited("images", 0, file_name="/etc/passwd"),
        ["images[0] (id 1)", "file_name", "'/etc/passwd' is absolute", "relative to the image directory"],
    ),
    "absolute Windows file name": (
        edited("images", 0, file_name="C:\\data\\a.png"),
        ["images[0] (id 1)", "file_name", "is absolute", "relative to the image directory"],
    ),
    "file name that climbs out": (
        edited("images", 0, file_name="sub/../../a.png"),
        ["images[0] (id 1)", "file_name", "leaves the image directory with '..'", "relative"],
    ),
    "backslashes that climb out": (
        edited("images", 0, file_name="..\\a.png"),
        ["images[0] (id 1)", "file_name", "leaves the image directory"],
    ),
    "no file name": (
        without("images", 0, "file_name"),
        ["images[0] (id 1)", "file_name", "missing", "name the"],
    ),
    "empty file name": (edited("images", 0, file_name=""), ["images[0] (id 1)", "file_name", "no file name"]),
    "no size and no images": (
        without("images", 1, "height"),
        ["images[1] (id 2)", "height is missing", "give the image directory"],
    ),
    "size of text": (edited("images", 1, width="40"), ["images[1] (id 2)", "width", "'40'", "≥ 1"]),
    "size of zero": (edited("images", 1, width=0), ["images[1] (id 2)", "width", "is 0", "≥ 1"]),
}


@pytest.mark.parametrize("case", FATAL)
def test_a_fatal_fault_names_file_record_field_and_remedy(case, tmp_path):
    document, named = FATAL[case]
    path = write(tmp_path, document)
    before = path.read_bytes()
    with pytest.raises(DatasetError) as caught:
        read_dataset(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and "; " in message
    for part in named:
        assert part in message
    assert path.read_bytes() == before


def test_a_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere\.json: annotations can't be read.*check the path"):
        read_dataset(tmp_path / "nowhere.json")
    with pytest.raises(DatasetError, match=r"isn't a dataset of a known format.*give"):
        read_dataset(tmp_path)


# case: (document, repairs, what the line must name, boxes of each scene, ids in the document)
POLYGON = [[1, 2, 11, 2, 11, 12]]
FIRST = clean()["annotations"][0]
RECOVERED = {
    "no info and licenses": (
        {k: v for k, v in clean().items() if k not in ("info", "licenses")},
        {"missing_info": 1, "missing_licenses": 1},
        ["info: ", "add one"],
        [1, 1],
        [1, 2],
    ),
    "no iscrowd": (
        without("annotations", 1, "iscrowd"),
        {"missing_iscrowd": 1},
        ["iscrowd", "(2)"],
        [1, 1],
        [1, 2],
    ),
    "no area": (without("annotations", 1, "area"), {"missing_area": 1}, ["area", "(2)"], [1, 1], [1, 2]),
    "null iscrowd and area": (
        edited("annotations", 0, iscrowd=None, area=None),
        {"missing_iscrowd": 1, "missing_area": 1},
        ["iscrowd", "(1)"],
        [1, 1],
        [1, 2],
    ),
    "some without segmentation": (
        edited("annotations", 0, segmentation=POLYGON),
        {"missing_segmentation": 1},
        ["segmentation", "(2)", "masks"],
        [1, 1],
        [1, 2],
    ),
    "empty segmentation": (
        edited("annotations", 0, segmentation=[]),
        {"unusable_segmentation": 1},
        ["segmentation", "(1)", "dropped", "the boxes stay"],
        [1, 1],
        [1, 2],
    ),
    "box reaching outside": (
        edited("annotations", 1, bbox=[-3, 25, 20, 20]),
        {"boxes_clipped": 1},
        ["bbox", "cut", "(2)", "check the export"],
        [1, 1],
        [1, 2],
    ),
    "box of zero width": (
        edited("annotations", 1, bbox=[5, 5, 0, 20]),
        {"boxes_ignored": 1},
        ["bbox", "ignored", "(2)", "redraw or delete"],
        [1, 0],
        [1],
    ),
    "box of negative height": (
        edited("annotations", 1, bbox=[5, 5, 4, -2]),
        {"boxes_ignored": 1},
        ["bbox", "(2)"],
        [1, 0],
        [1],
    ),
    "box wholly outside": (
        edited("annotations", 1, bbox=[50, 5, 10, 10]),
        {"boxes_ignored": 1},
        ["bbox", "(2)"],
        [1, 0],
        [1],
    ),
    "annotation without image": (
        edited("annotations", 1, image_id=77),
        {"annotations_without_image": 1, "categories_without_objects": 1},
        ["image_id", "dropped", "(2)", "list the image"],
        [1, 0],
        [1],
    ),
    "annotation id 0": (
        edited("annotations", 0, id=0),
        {"low_annotation_ids": 1},
        ["id: ", "(0 → 3)", "number from 1"],
        [1, 1],
        [3, 2],
    ),
    "annotation without id": (
        without("annotations", 0, "id"),
        {"missing_annotation_ids": 1},
        ["id: ", "(now 3)", "number them"],
        [1, 1],
        [3, 2],
    ),
    "one annotation id for two annotations": (
        edited("annotations", 1, id=1),
        {"duplicate_annotation_ids": 1},
        ["id: ", "(1 → 2)", "make the ids unique"],
        [1, 1],
        [1, 2],
    ),
    "annotation listed twice": (
        with_more("annotations", FIRST),
        {"repeated_annotations": 1},
        ["id: ", "(1)", "delete the repeats"],
        [1, 1],
        [1, 2],
    ),
    "image listed twice": (
        with_more("images", clean()["images"][0]),
        {"repeated_images": 1},
        ["id: ", "(1)", "delete the repeats"],
        [1, 1],
        [1, 2],
    ),
    "category listed twice": (
        with_more("categories", clean()["categories"][1]),
        {"repeated_categories": 1},
        ["id: ", "(5)", "delete the repeats"],
        [1, 1],
        [1, 2],
    ),
    "category without objects": (
        with_more("categories", {"id": 90, "name": "bag"}),
        {"categories_without_objects": 1},
        ["categories", "(bag)"],
        [1, 1],
        [1, 2],
    ),
    "empty category with another's name": (
        with_more("categories", {"id": 0, "name": "cup"}),
        {"shadowed_categories": 1},
        ["name", "(0)", "delete them"],
        [1, 1],
        [1, 2],
    ),
    "backslashes": (
        edited("images", 1, file_name="sub\\b.png"),
        {"backslash_file_names": 1},
        ["file_name", "(2)", "POSIX"],
        [1, 1],
        [1, 2],
    ),
    "two images with one file": (
        edited("images", 1, file_name="./a.png"),
        {"shared_files": 1},
        ["file_name", "(a.png)", "joined", "list each file once"],
        [2],
        [1, 2],
    ),
}


@pytest.mark.parametrize("case", RECOVERED)
def test_a_recoverable_fault_is_counted_and_shown(case, tmp_path):
    document, repairs, named, boxes, ids = RECOVERED[case]
    dataset = read_dataset(write(tmp_path, document))
    assert counts(dataset) == repairs
    lines = repair_lines(dataset)
    assert len(lines) == len(repairs)
    line = next(line for line in lines if named[0] in line)
    assert line.startswith(f"{dataset.source}: ") and "; " in line
    for part in named:
        assert part in line
    assert [len(scene) for scene in dataset.scenes] == boxes
    written = augmented_document(dataset.document, [], [])
    assert [a["id"] for a in written["annotations"]] == ids
    assert all("iscrowd" in a and "area" in a for a in written["annotations"])
    again = read_dataset(write(tmp_path, written))
    assert [len(scene) for scene in again.scenes] == boxes
    assert "boxes_ignored" not in again.repairs


def test_a_repair_touches_nothing_but_the_broken_member(tmp_path):
    document = edited("annotations", 0, id=0)
    document["annotations"][0]["segmentation"] = []
    document["annotations"][1]["bbox"] = [-3, 25, 20, 20]
    read = read_dataset(write(tmp_path, copy.deepcopy(document))).document
    document["annotations"][0]["id"] = 3
    del document["annotations"][0]["segmentation"]
    assert read == document


def test_a_clean_file_needs_no_repair(tmp_path, root):
    dataset = read_dataset(write(tmp_path, clean()), images=root)
    assert dataset.repairs == {} and repair_lines(dataset) == []
    assert dataset.document == clean()


def test_every_repair_is_told_and_no_list_of_examples_is_long(tmp_path):
    many = with_more("annotations", *({**FIRST, "id": n, "bbox": [0, 0, 0, 0]} for n in range(3, 1003)))
    line = repair_lines(read_dataset(write(tmp_path, many)))[0]
    assert "1000 (3, 4, 5, 6, 7, …)" in line and len(line) < 300
    assert all(len(texts) == 3 and all(texts) for texts in REPAIRS.values())


def test_a_large_file_is_read_in_one_pass_of_sane_cost(tmp_path):
    """No clock: 60 000 annotations must only be read right; the 450 MB case was measured by hand."""
    document = clean()
    document["annotations"] = [{**FIRST, "id": n, "image_id": 1 + n % 2} for n in range(1, 60_001)]
    dataset = read_dataset(write(tmp_path, document))
    assert [len(scene) for scene in dataset.scenes] == [30_000, 30_000]
    assert dataset.scenes[0].annotation_ids[:3].tolist() == [2, 4, 6]
