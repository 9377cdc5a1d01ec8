"""Formats that annotation tools and hubs write, each from the example of its documentation."""

import base64
import io
import json
import math
import zlib

import numpy as np
import pytest

from augsynth.coco.boxes_only import read_boxes
from augsynth.coco.formats import fiftyone
from augsynth.coco.reader import read_dataset, read_with_images
from augsynth.core.errors import DatasetError
from augsynth.core.masks import as_rle, bounds_of, decoded
from tests.coco.tiny_sets import H, W, boxes_of, picture, text

AS_BOX = ("cup", 20.0, 10.0, 60.0, 40.0)


def jsonl(root, *lines):
    return text(root / "metadata.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def objects(*, key="categories", kinds=("cup",)):
    return {"bbox": [[20.0, 10.0, 40.0, 30.0]] * len(kinds), key: list(kinds)}


@pytest.mark.parametrize("key", ["categories", "category", "label"])
def test_an_image_folder_is_read_with_names(tmp_path, key):
    picture(tmp_path / "sub" / "a.png")
    picture(tmp_path / "b.png")
    file = jsonl(
        tmp_path, {"file_name": "sub/a.png", "objects": objects(key=key), "note": "x"}, {"file_name": "b.png"}
    )
    for path in (tmp_path, file):
        dataset = read_dataset(path)
        assert boxes_of(dataset) == {"sub/a.png": [AS_BOX], "b.png": []}
        assert dataset.document["images"][0]["note"] == "x"


def test_numbers_have_the_names_of_the_card_or_stay_numbers(tmp_path):
    for split in ("train", "validation"):
        picture(tmp_path / split / "a.png")
        jsonl(
            tmp_path / split,
            {"file_name": "a.png", "objects": objects(kinds=(1,) if split == "train" else (0,))},
        )
    train, val = read_dataset(tmp_path), read_dataset(f"{tmp_path}#val")
    assert [c.name for d in (train, val) for c in d.categories] == ["0", "1"] * 2
    card = "---\ndataset_info:\n  features:\n  - name: objects\n    struct:\n    - name: categories\n      list:\n"
    names = "        dtype:\n          class_label:\n            names: {'0': lid, '1': cup}\n"
    text(tmp_path / "README.md", f"{card}{names}---\n# Title\n")
    assert boxes_of(read_dataset(tmp_path)) == {"a.png": [AS_BOX]}


CARD = """---
dataset_info:
  features:
  - name: kind
    dtype:
      class_label: {names: [no, yes]}
  - name: objects
    struct:
    - name: categories
      list:
        dtype:
          class_label:
            names: NAMES
---
"""


def test_names_of_a_card_are_those_of_the_objects_by_number(tmp_path):
    picture(tmp_path / "train" / "a.png")
    file = jsonl(tmp_path / "train", {"file_name": "a.png", "objects": objects(kinds=(2,))})
    text(tmp_path / "README.md", CARD.replace("NAMES", "{'10': bag, '2': cup, '0': lid, '1': jar}"))
    for path in (tmp_path, tmp_path / "train", file):
        dataset = read_dataset(path)
        assert boxes_of(dataset) == {"a.png": [AS_BOX]}
        assert [c["name"] for c in dataset.document["categories"]] == ["lid", "jar", "cup", "bag"]
    text(tmp_path / "README.md", CARD.replace("NAMES", "{cup: 0}"))
    with pytest.raises(DatasetError, match=r"README\.md: names has the key 'cup'; number the classes from 0"):
        read_dataset(tmp_path)


def test_pictures_of_another_size_than_recorded_are_dropped(tmp_path):
    for name in ("a.png", "b.png"):
        picture(tmp_path / "folder" / name)
        picture(tmp_path / "cvat" / name)
    jsonl(
        tmp_path / "folder",
        {"file_name": "a.png", "width": 2 * W, "height": 2 * H, "objects": objects()},
        {"file_name": "b.png", "width": 0, "height": "x", "objects": objects()},
    )
    second = CVAT.replace('"a.png" width="200" height="100"', '"b.png" width="-5" height="999999999"')
    images = [xml[xml.index("<image ") : xml.rindex("</annotations>")] for xml in (CVAT, second)]
    both = CVAT.replace(images[0], images[0].replace('width="200"', 'width="400"') + images[1])
    text(tmp_path / "cvat" / "annotations.xml", both)
    for name in ("folder", "cvat"):
        dataset = read_dataset(tmp_path / name)
        assert dataset.repairs["other_sizes"].examples == ("a.png",)
        assert [scene.size_wh for scene in dataset.scenes] == [(W, H)]
        assert boxes_of(dataset)["b.png"][0] == AS_BOX


@pytest.mark.parametrize("side", ["999999999", "-1", "0", "1e8"])
def test_masks_of_pictures_that_arent_there_cost_nothing(tmp_path, side):
    picture(tmp_path / "b.png")
    other = '<image name="b.png" width="200" height="100"/></annotations>'
    xml = CVAT.replace('width="200" height="100"', f'width="{side}" height="{side}"')
    text(tmp_path / "annotations.xml", xml.replace("</annotations>", other))
    dataset = read_dataset(tmp_path)
    assert dataset.repairs["missing_files"].examples == ("a.png",)
    assert boxes_of(dataset) == {"b.png": []}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"metadata\.jsonl: line 1: line isn't JSON"),
        ('{"objects": {}}', "line 1: file_name is missing"),
        ('{"file_name": "../a.png"}', r"file_name '\.\./a\.png' leaves the image directory"),
        ('{"file_name": "a.png", "objects": 5}', "objects is a number, not lists of boxes and categories"),
        (
            '{"file_name": "a.png", "objects": {"bbox": [[1,2,3,4]], "categories": []}}',
            "have 1 bbox, 0 categories",
        ),
        ('{"file_name": "a.png", "objects": {"bbox": [[1,2,3]], "categories": [0]}}', "not four numbers"),
        (
            '{"file_name": "a.png", "objects": {"bbox": [[1,2,3,null]], "categories": [0]}}',
            "bbox is missing",
        ),
        (
            '{"file_name": "a.png", "objects": {"bbox": [[1,2,3,4]], "categories": [null]}}',
            "categories is missing",
        ),
        (
            '{"file_name": "a.png", "objects": {"bbox": [[1,2,3,4]], "categories": [0], "area": [1%s]}}'
            % ("0" * 400),
            r"line 1: objects\[0\]: area is 1000",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    picture(tmp_path / "a.png")
    text(tmp_path / "metadata.jsonl", line)
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path)


def stored_mask(pixels):
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return {
        "$binary": {"base64": base64.b64encode(zlib.compress(buffer.getvalue())).decode(), "subType": "00"}
    }


def fiftyone_sample(name, detections, tags=()):
    return {
        "filepath": f"data/{name}",
        "tags": list(tags),
        "ground_truth": {"_cls": "Detections", "detections": detections},
    }


def test_a_fiftyone_dataset_is_read_with_masks_tags_and_attributes(tmp_path):
    mask = np.zeros((30, 40), bool)
    mask[5:, :20] = True
    cup = {
        "_cls": "Detection",
        "label": "cup",
        "bounding_box": [0.1, 0.1, 0.2, 0.3],
        "mask": stored_mask(mask),
        "attributes": {"colour": {"_cls": "CategoricalAttribute", "value": "red"}},
        "age": 3,
    }
    samples = [fiftyone_sample("a.png", [cup], ["train"]), fiftyone_sample("b.png", [], ["val"])]
    for sample in samples:
        picture(tmp_path / sample["filepath"])
    text(tmp_path / "metadata.json", "{}")
    text(tmp_path / "samples.json", json.dumps({"samples": samples}))
    dataset = read_dataset(tmp_path)
    assert boxes_of(dataset) == {"a.png": [AS_BOX]}
    record = dataset.document["annotations"][0]
    assert record["attributes"] == {"colour": "red", "age": 3}
    whole = decoded(as_rle(record["segmentation"], (W, H)))
    assert (whole[10:40, 20:60] == mask).all()
    assert whole.sum() == mask.sum() == record["area"]
    assert list(boxes_of(read_dataset(f"{tmp_path}#val"))) == ["b.png"]


def test_masks_that_are_bombs_or_pickles_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(fiftyone, "_MAX_MASK_BYTES", 1300)  # of 30 × 40 and the head of a numpy file
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], object), allow_pickle=True)
    pickled = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    bomb, largest = (stored_mask(np.ones((rows, 40), bool))["$binary"]["base64"] for rows in (30 * 40, 29))
    picture(tmp_path / "data" / "a.png")
    text(tmp_path / "metadata.json", "{}")
    cup = {"label": "cup", "bounding_box": [0.1, 0.1, 0.2, 0.3], "mask": {"$binary": {"base64": largest}}}
    text(tmp_path / "samples.json", json.dumps({"samples": [fiftyone_sample("a.png", [cup])]}))
    assert "unusable_segmentation" not in read_dataset(tmp_path).repairs
    for k, data in enumerate([bomb, pickled, "no base64!", base64.b64encode(b"no zlib").decode(), 5]):
        cup = {"label": "cup", "bounding_box": [0.1, 0.1, 0.2, 0.3], "mask": {"$binary": {"base64": data}}}
        root = tmp_path / str(k)
        picture(root / "data" / "a.png")
        text(root / "metadata.json", "{}")
        text(root / "samples.json", json.dumps({"samples": [fiftyone_sample("a.png", [cup])]}))
        dataset = read_dataset(root)
        assert boxes_of(dataset) == {"a.png": [AS_BOX]}
        assert dataset.repairs["unusable_segmentation"].count == 1


def test_fiftyones_coco_and_lvis_are_read_as_coco(tmp_path):
    picture(tmp_path / "data" / "val2017" / "a.jpg")
    image = {"id": 4, "coco_url": "http://images.cocodataset.org/val2017/a.jpg", "width": W, "height": H}
    image |= {"neg_category_ids": [2], "not_exhaustive_category_ids": []}
    category = {"id": 1, "name": "cup", "frequency": "r", "synset": "cup.n.01"}
    annotation = {
        "id": 1,
        "image_id": 4,
        "category_id": 1,
        "bbox": [20, 10, 40, 30],
        "area": 1200,
        "iscrowd": 0,
    }
    document = {"images": [image], "annotations": [annotation], "categories": [category]}
    text(tmp_path / "labels.json", json.dumps(document))
    for dataset in (read_with_images(tmp_path), read_with_images(tmp_path / "labels.json")):
        assert boxes_of(dataset) == {"val2017/a.jpg": [AS_BOX]}
    (scene,) = read_boxes(tmp_path).scenes
    assert scene.file_name == "val2017/a.jpg"
    assert scene.boxes_xyxy.tolist() == [list(AS_BOX[1:])]
    kept = read_with_images(tmp_path).document
    assert kept["images"][0]["neg_category_ids"] == [2]
    assert kept["categories"] == [category]


def label_studio(*values, image="/data/upload/1/0a1b2c3d-a.png", **more):
    results = [
        {"value": value, "type": kind, "original_width": W, "original_height": H} for kind, value in values
    ]
    return {"id": 1, "data": {"image": image}, "annotations": [{"id": 1, "result": results}], **more}


RECTANGLE = {"x": 10, "y": 10, "width": 20, "height": 30, "rotation": 0, "rectanglelabels": ["cup"]}


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/1/0a1b2c3d-a.png",
        "/data/local-files/?d=sub/images/a.png",
        "s3://bucket/folder/a.png",
        "https://host/x/a.png?token=1",
        "http://host/a%2Epng",
    ],
)
def test_label_studio_finds_its_images_by_their_names(tmp_path, address):
    picture(tmp_path / "images" / "a.png")
    file = text(
        tmp_path / "export.json", json.dumps([label_studio(("rectanglelabels", RECTANGLE), image=address)])
    )
    assert boxes_of(read_dataset(file)) == {"images/a.png": [AS_BOX]}
    assert boxes_of(read_dataset(file, images=tmp_path / "images")) == {"a.png": [AS_BOX]}


def test_label_studio_shapes_become_boxes_outlines_and_corners(tmp_path):
    picture(tmp_path / "a.png")
    values = [
        ("rectanglelabels", {**RECTANGLE, "rotation": 90}),
        ("polygonlabels", {"points": [[10, 10], [30, 10], [30, 40]], "polygonlabels": ["lid"]}),
        ("ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["cup"]}),
        ("brushlabels", {"format": "rle", "rle": [1, 2], "brushlabels": ["cup"]}),
        ("choices", {"choices": ["sharp"]}),
    ]
    task = label_studio(*values)
    task["annotations"].append({"result": [], "ground_truth": False})
    dataset = read_dataset(text(tmp_path / "export.json", json.dumps([task])))
    # turned clockwise by 90° about its top left corner (20, 10), a box of 40 × 30 lies left of and below it
    assert boxes_of(dataset)["a.png"][0] == ("cup", -0.0, 10.0, 20.0, 50.0)
    first, second, third = dataset.document["annotations"]
    assert first["oriented_box"] == pytest.approx([20, 10, 20, 50, -10, 50, -10, 10])
    assert second["segmentation"] == [[20, 10, 60, 10, 60, 40]]
    assert third["area"] == pytest.approx(math.pi * 20 * 20, rel=0.002)
    assert dataset.repairs["unread_shapes"].examples == ("brushlabels", "choices")
    assert dataset.repairs["other_annotators"].count == 1


def test_label_studios_short_form_is_read(tmp_path):
    picture(tmp_path / "a.png")
    task = {"id": 3, "image": "a.png", "label": [{**RECTANGLE, "original_width": W, "original_height": H}]}
    assert boxes_of(read_dataset(text(tmp_path / "x.json", json.dumps([task])))) == {"a.png": [AS_BOX]}


def test_detection_results_are_still_no_dataset(tmp_path):
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    with pytest.raises(DatasetError, match="list of detection results, not a COCO object"):
        read_dataset(text(tmp_path / "results.json", json.dumps(results)))


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>cup</name></label><label><name>lid</name></label></labels></task></meta>
<image id="0" name="a.png" width="200" height="100">
<box label="cup" occluded="1" xtl="20.0" ytl="10.0" xbr="60.0" ybr="40.0" z_order="0">
<attribute name="colour">red</attribute></box>
<box label="cup" occluded="0" xtl="80" ytl="40" xbr="120" ybr="60" rotation="90.0" z_order="0"/>
<polygon label="lid" occluded="0" points="10,10;30,10;30,30" group_id="4"/>
<polygon label="lid" occluded="0" points="50,10;70,10;70,30" group_id="4"/>
<mask label="cup" occluded="0" rle="0, 2, 1, 3" left="5" top="6" width="3" height="2"/>
<points label="cup" occluded="0" points="5,5"/>
</image></annotations>"""


def test_cvat_shapes_become_boxes_outlines_and_corners(tmp_path):
    picture(tmp_path / "images" / "a.png")
    dataset = read_dataset(text(tmp_path / "annotations.xml", CVAT))
    assert boxes_of(dataset) == {
        "a.png": [
            AS_BOX,
            ("cup", 90.0, 30.0, 110.0, 70.0),
            ("lid", 10.0, 10.0, 70.0, 30.0),
            ("cup", 5.0, 6.0, 8.0, 8.0),
        ]
    }
    box, turned, joined, mask = dataset.document["annotations"]
    assert box["attributes"] == {"colour": "red", "occluded": True}
    assert turned["oriented_box"] == pytest.approx([110, 30, 110, 70, 90, 70, 90, 30])
    assert joined["segmentation"] == [[10, 10, 30, 10, 30, 30], [50, 10, 70, 10, 70, 30]]
    assert decoded(as_rle(mask["segmentation"], (W, H)))[6:8, 5:8].tolist() == [
        [True, True, False],
        [True] * 3,
    ]
    assert dataset.repairs["unread_shapes"].examples == ("points",)


TURNED = '<box label="cup" xtl="80" ytl="40" xbr="120" ybr="60" rotation="90" group_id="7"/>'
TRIANGLE = '<polygon label="cup" points="90,30;110,30;110,70" group_id="7"/>'
RUNS = '<mask label="cup" rle="0, 6" left="95" top="50" width="3" height="2" group_id="7"/>'


@pytest.mark.parametrize(
    ("shapes", "area", "is_turned"),
    [
        ((TURNED, TRIANGLE), 400, True),
        ((TURNED, RUNS), 6, True),
        ((TRIANGLE, RUNS), 403, False),
        ((TURNED, TRIANGLE, RUNS), 403, True),
    ],
)
def test_cvat_shapes_of_a_group_are_one_object_with_all_of_them(tmp_path, shapes, area, is_turned):
    picture(tmp_path / "a.png")
    start, end = CVAT.index("<box "), CVAT.index("</image>")
    text(tmp_path / "annotations.xml", CVAT[:start] + "".join(shapes) + CVAT[end:])
    dataset = read_dataset(tmp_path)
    (record,) = dataset.document["annotations"]
    (box,) = dataset.scenes[0].boxes_xyxy
    mask = decoded(as_rle(record["segmentation"], (W, H)))
    assert box.tolist() == ([90, 30, 110, 70] if is_turned else bounds_of(mask).tolist())
    assert mask.sum() == pytest.approx(area, abs=15)
    assert ("oriented_box" in record) == is_turned


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('rle="0, 2, 1, 3"', 'rle="0, 2, 1, 9"', "rle doesn't fill its rectangle in the image"),
        ('rle="0, 2, 1, 3"', 'rle="0, 2, x"', "rle is 'x'"),
        ('left="5"', 'left="199"', "rle doesn't fill its rectangle"),
        ('xtl="20.0"', 'xtl="nan"', "image 'a.png': box 'cup': xtl is 'nan'"),
        ('label="lid" occluded="0" points="10', 'label="" points="10', "label of a polygon is missing"),
        ('name="a.png"', 'name="../a.png"', "leaves the image directory"),
        ("<image ", "<track/><image ", 'track is of a film; export it as "CVAT for images 1.1"'),
    ],
)
def test_a_bad_cvat_file_ends_in_one_line(tmp_path, old, new, message):
    picture(tmp_path / "a.png")
    assert old in CVAT
    with pytest.raises(DatasetError, match=message):
        read_dataset(text(tmp_path / "annotations.xml", CVAT.replace(old, new)))


def test_a_folder_of_no_format_says_what_is_read(tmp_path):
    with pytest.raises(
        DatasetError, match="isn't a dataset of a known format; give a dataset of COCO, FiftyOne, "
    ):
        read_dataset(tmp_path)
    file = text(tmp_path / "annotations" / "instances.json", "{}")
    with pytest.raises(DatasetError, match=f"or the file of its annotations, such as {file}$"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"#val is a split, and COCO files have none"):
        read_dataset(f"{text(tmp_path / 'a.json', '{}')}#val")
