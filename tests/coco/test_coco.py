import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from augsynth.coco.faults import repair_lines
from augsynth.coco.json_lines import write_json
from augsynth.coco.reader import read_dataset
from augsynth.coco.writer import (
    augmented_document,
    copied_annotation,
    next_ids,
    synthetic_annotation,
    synthetic_document,
    synthetic_image_record,
)
from augsynth.core.scene import Repair

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

SOURCE = {
    "info": {"description": "two desks", "year": 2020},
    "licenses": [{"id": 4, "name": "CC BY 4.0"}],
    "images": [
        {"id": 12, "file_name": "a/one.jpg", "width": 100, "height": 80, "license": 4, "camera": "left"},
        {"id": 7, "file_name": "two.png", "width": 64, "height": 48, "license": 4},
        {"id": 900, "file_name": "empty.png", "width": 64, "height": 48},
    ],
    "annotations": [
        {"id": 5, "image_id": 7, "category_id": 90, "bbox": [1.25, 2, 10, 20.5], "area": 205.0, "iscrowd": 0},
        {
            "id": 3,
            "image_id": 12,
            "category_id": 2,
            "bbox": [10, 10, 30, 30],
            "area": 450.5,
            "iscrowd": 0,
            "segmentation": [[10, 10, 40, 10, 40, 40]],
            "occluded": True,
        },
        {
            "id": 41,
            "image_id": 12,
            "category_id": 90,
            "bbox": [0, 0, 100, 8],
            "area": 800,
            "iscrowd": 1,
            "segmentation": {"counts": [0, 8, 7992], "size": [80, 100]},
        },
    ],
    "categories": [
        {"id": 90, "name": "cup", "supercategory": "vessel", "colour": "#ff0"},
        {"id": 2, "name": "paper clip"},
    ],
    "splits": {"train": [12]},
}


def write(path, document):
    path.write_text(json.dumps(document))
    return path


def read(tmp_path, document):
    return read_dataset(write(tmp_path / "instances.json", document))


def quietly(function, *args):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args)


def grown(document, size_wh=(64, 48), boxes=((5.123456789, 6, 20.1, 30.3),)):
    """The document with a copy of image 7 and synthetic cups in it."""
    image_id, annotation_id = next_ids(document)
    source = next(record for record in document["images"] if record["id"] == 7)
    image = synthetic_image_record(source, image_id=image_id, file_name="new/7.png", size_wh=size_wh)
    real = [r for r in document["annotations"] if r["image_id"] == 7]
    new = [
        copied_annotation(r, annotation_id=annotation_id + n, image_id=image_id, size_wh=size_wh)
        for n, r in enumerate(real)
    ]
    for n, box in enumerate(boxes, annotation_id + len(new)):
        new.append(
            synthetic_annotation(
                annotation_id=n,
                image_id=image_id,
                category_id=90,
                box_xyxy=np.array(box),
                size_wh=size_wh,
                score=0.875,
                attributes={"seed": 42, "verified": True},
            )
        )
    return [image], new


# --- reading ---


def test_scenes_and_categories_keep_file_order_ids_and_subfolders(tmp_path):
    dataset = read(tmp_path, SOURCE)
    assert [(c.id, c.name, c.supercategory) for c in dataset.categories] == [
        (90, "cup", "vessel"),
        (2, "paper clip", ""),
    ]
    assert [(s.image_id, s.file_name, s.size_wh) for s in dataset.scenes] == [
        (12, "a/one.jpg", (100, 80)),
        (7, "two.png", (64, 48)),
        (900, "empty.png", (64, 48)),
    ]
    one, two, empty = dataset.scenes
    assert one.annotation_ids.tolist() == [3, 41] and one.category_ids.tolist() == [2, 90]
    assert two.boxes_xyxy.tolist() == [[1.25, 2, 11.25, 22.5]]
    assert len(empty) == 0 and dataset.image_root is None


def test_the_document_is_carried_verbatim(tmp_path):
    assert read(tmp_path, SOURCE).document == SOURCE


def test_crowds_as_rle_are_crowds_with_their_box(tmp_path):
    scene = read(tmp_path, SOURCE).scenes[0]
    assert scene.is_crowd.tolist() == [False, True]
    assert scene.boxes_xyxy[1].tolist() == [0, 0, 100, 8]


def test_ignore_regions_are_obstacles_too(tmp_path):
    document = json.loads(json.dumps(SOURCE))
    document["annotations"][0]["ignore"] = 1
    assert read(tmp_path, document).scenes[1].is_crowd.tolist() == [True]


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "bom.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(SOURCE).encode())
    assert len(read_dataset(path).scenes) == 3


RIGHT_BOX = {"image_id": 0, "category_id": 0, "bbox": [2, 2, 9, 9]}  # so that others may lie within 0..1


@given(st.lists(st.tuples(st.floats(-50, 150), st.floats(-50, 150), st.floats(-5, 120), st.floats(-5, 120))))
@settings(max_examples=60, deadline=None)
def test_any_boxes_become_solid_boxes_inside_or_are_counted(tmp_path_factory, bboxes):
    document = {
        "images": [{"id": 0, "file_name": "i.png", "width": 100, "height": 80}],
        "annotations": [
            {"id": n, "image_id": 0, "category_id": 0, "bbox": list(bbox)} for n, bbox in enumerate(bboxes, 1)
        ],
        "categories": [{"id": 0, "name": "x"}],
    }
    document["annotations"].append({**RIGHT_BOX, "id": len(bboxes) + 1})
    dataset = read(tmp_path_factory.mktemp("boxes"), document)
    boxes = dataset.scenes[0].boxes_xyxy
    assert len(boxes) + dataset.repairs.get("boxes_ignored", Repair(0)).count == len(bboxes) + 1
    assert (boxes >= 0).all() and (boxes <= [100, 80, 100, 80]).all()
    assert len(dataset.document["annotations"]) == len(bboxes) + 1


# --- writing ---


def test_the_augmented_document_appends_and_changes_nothing(tmp_path):
    before = json.dumps(SOURCE)
    document = augmented_document(SOURCE, *grown(SOURCE))
    assert json.dumps(SOURCE) == before
    assert list(document) == list(SOURCE)
    assert {k: v for k, v in document.items() if k not in ("images", "annotations")} == {
        k: v for k, v in SOURCE.items() if k not in ("images", "annotations")
    }
    assert document["images"][:3] == SOURCE["images"] and document["annotations"][:3] == SOURCE["annotations"]
    assert len(document["images"]) == 4 and len(document["annotations"]) == 5


@pytest.mark.parametrize(
    "bbox", [[5, 5, 0, 0], [5, 5, 0, 9], [5, 5, 4, -2], [64, 5, 9, 9], [-9, 5, 9, 9], [5, 48.0, 1, 1]]
)
def test_the_augmented_document_holds_no_empty_boxes(bbox):
    record = SOURCE["images"][0]
    first = {**SOURCE["annotations"][0], "image_id": record["id"]}
    sized = {**record, "width": 64, "height": 48}
    source = {**SOURCE, "images": [sized], "annotations": [{**first, "bbox": bbox, "area": 0}]}
    assert augmented_document(source, [], [])["annotations"] == []
    thin = {**source, "annotations": [{**first, "bbox": [63.5, -3, 20, 3.5]}]}
    assert augmented_document(thin, [], [])["annotations"] == thin["annotations"]


def test_the_synthetic_document_holds_the_new_images_alone():
    images, annotations = grown(SOURCE)
    document = synthetic_document(SOURCE, images, annotations)
    assert document["images"] == images and document["annotations"] == annotations
    assert document["categories"] == SOURCE["categories"] and document["splits"] == SOURCE["splits"]


def test_new_ids_lie_above_the_maximum_and_start_at_1():
    assert next_ids(SOURCE) == (901, 42)
    assert next_ids({"images": [{"id": 0}], "annotations": []}) == (1, 1)
    assert next_ids({"images": [{"id": -5}], "annotations": [{"id": 0}]}) == (1, 1)


def test_a_new_image_inherits_licence_and_unknown_keys():
    record = synthetic_image_record(SOURCE["images"][0], image_id=901, file_name="n/1.png", size_wh=(100, 80))
    assert record == {**SOURCE["images"][0], "id": 901, "file_name": "n/1.png"}


@pytest.mark.parametrize(
    "name", ["/a.png", "../a.png", "a/../../b.png", "C:\\a.png", "a\\b.png", "", "./a.png"]
)
def test_only_relative_posix_names_are_written(name):
    with pytest.raises(ValueError, match=r"file_name|absolute|leaves|no file name"):
        synthetic_image_record(SOURCE["images"][0], image_id=1, file_name=name, size_wh=(1, 1))


def test_a_synthetic_annotation_says_so_in_scalars():
    record = grown(SOURCE)[1][-1]
    assert record["attributes"] == {"seed": 42, "verified": True, "synthetic": True, "score": 0.875}
    assert record["iscrowd"] == 0 and "segmentation" not in record
    assert record["bbox"][0] == 5.123456789, "a rounded box moves AP"
    assert record["area"] == record["bbox"][2] * record["bbox"][3] > 0
    assert all(type(v) is float for v in record["bbox"])


@given(st.tuples(*[st.floats(-20, 120)] * 4), st.tuples(st.integers(1, 100), st.integers(1, 100)))
@settings(max_examples=200, deadline=None)
def test_a_written_box_lies_inside_the_image_to_the_last_bit(box, size_wh):
    x1, y1, x2, y2 = np.clip(box, 0, [*size_wh, *size_wh])
    arguments = {"annotation_id": 1, "image_id": 1, "category_id": 0, "size_wh": size_wh, "score": 1.0}
    if x2 <= x1 or y2 <= y1:
        with pytest.raises(ValueError, match="empty"):
            synthetic_annotation(box_xyxy=box, **arguments)
        return
    x, y, width, height = synthetic_annotation(box_xyxy=box, **arguments)["bbox"]
    assert (x, y) == (x1, y1) and x + width <= size_wh[0] and y + height <= size_wh[1]
    assert abs(x + width - x2) < 1e-9 and abs(y + height - y2) < 1e-9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"annotation_id": 0}, "annotation_id must be an integer"),
        ({"annotation_id": "7"}, "annotation_id must be an integer"),
        ({"image_id": 1.0}, "image_id must be an integer"),
        ({"box_xyxy": [0, 0, np.nan, 4]}, "box_xyxy must be four finite numbers"),
        ({"box_xyxy": [0, 0, 4]}, "box_xyxy must be four finite numbers"),
        ({"box_xyxy": [4, 0, 4, 4]}, "empty inside"),
        ({"score": float("nan")}, "attribute score"),
        ({"attributes": {"prompt": ["a", "b"]}}, "attribute prompt"),
        ({"attributes": {"anchor": None}}, "attribute anchor"),
        ({"segmentation": []}, "at least 6 numbers"),
        ({"segmentation": [1, 2, 3, 4, 5, 6]}, "at least 6 numbers"),
        ({"segmentation": [[1, 2, 3, 4]]}, "at least 6 numbers"),
        ({"segmentation": {"counts": [3]}}, "counts and size"),
        ({"segmentation": {"counts": [0, 80], "size": [9, 9]}}, "counts and size"),
        ({"segmentation": [[0, 0, 1e9, 0, 4, 4]]}, "at least 6 numbers"),
    ],
)
def test_a_record_that_readers_reject_is_never_built(wrong, message):
    right = {"annotation_id": 1, "image_id": 1, "category_id": 0, "box_xyxy": [0, 0, 4, 4], "score": 0.5}
    with pytest.raises(ValueError, match=message):
        synthetic_annotation(**{**right, "size_wh": (9, 9), **wrong})


def test_a_mask_gives_the_area():
    arguments = {"annotation_id": 1, "image_id": 1, "category_id": 0, "box_xyxy": [0, 0, 8, 8], "score": 0.5}
    square = synthetic_annotation(**arguments, size_wh=(10, 10), segmentation=[[0, 0, 4, 0, 4, 4, 0, 4]])
    assert square["area"] == 16
    rle = synthetic_annotation(
        **arguments, size_wh=(10, 10), segmentation={"counts": [0, 30, 70], "size": [10, 10]}
    )
    assert rle["area"] == 30


def test_a_copied_annotation_is_verbatim_but_for_its_ids():
    raw = SOURCE["annotations"][1]
    copy = copied_annotation(raw, annotation_id=77, image_id=901, size_wh=(100, 80))
    assert copy == {**raw, "id": 77, "image_id": 901}


def test_a_copy_is_mended_where_it_breaks_a_rule():
    raw = {"id": 1, "image_id": 7, "category_id": 2, "bbox": [-5, 2, 10, 10], "area": 100, "segmentation": []}
    copy = copied_annotation(raw, annotation_id=77, image_id=901, size_wh=(64, 48))
    assert copy["bbox"] == [0, 2, 5, 10] and copy["area"] == 50
    assert copy["iscrowd"] == 0 and "segmentation" not in copy
    empty = {**raw, "bbox": [3, 3, 0, 5]}
    assert copied_annotation(empty, annotation_id=77, image_id=901, size_wh=(64, 48)) is None


def test_clashing_ids_and_names_are_refused():
    images, annotations = grown(SOURCE)
    with pytest.raises(ValueError, match="image id 7"):
        augmented_document(SOURCE, [{**images[0], "id": 7}], [])
    with pytest.raises(ValueError, match="annotation id 41"):
        augmented_document(SOURCE, images, [{**annotations[0], "id": 41}])
    with pytest.raises(ValueError, match="taken"):
        augmented_document(SOURCE, [{**images[0], "file_name": "two.png"}], [])
    with pytest.raises(ValueError, match="unknown"):
        augmented_document(SOURCE, [], annotations)
    with pytest.raises(ValueError, match="unknown"):
        augmented_document(SOURCE, images, [{**annotations[0], "category_id": 1}])


def test_json_is_the_same_bytes_one_record_a_line_and_never_half_written(tmp_path):
    document = augmented_document(SOURCE, *grown(SOURCE))
    for name in ("a.json", "deep/b.json"):
        write_json(tmp_path / name, document)
    data = (tmp_path / "a.json").read_bytes()
    assert data == (tmp_path / "deep/b.json").read_bytes()
    assert json.loads(data) == document
    assert sum(line.startswith(b'{"id":') for line in data.splitlines()) >= 9
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {**document, "broken": object()})
    assert (tmp_path / "a.json").read_bytes() == data
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "deep"]


def test_numpy_numbers_are_written_as_numbers(tmp_path):
    write_json(tmp_path / "n.json", {"a": np.float64(0.1), "b": [np.int64(3)], "c": np.arange(2)})
    assert json.loads((tmp_path / "n.json").read_text()) == {"a": 0.1, "b": [3], "c": [0, 1]}


def average_precision(document, path):
    """AP of perfect detections, as pycocotools sees the written file."""
    write_json(path, document)
    truth = quietly(COCO, str(path))
    found = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in truth.dataset["annotations"]
        if not a["iscrowd"]
    ]
    judge = COCOeval(truth, quietly(truth.loadRes, found), "bbox")
    for step in (judge.evaluate, judge.accumulate, judge.summarize):
        quietly(step)
    return judge.stats[0]


def test_pycocotools_reads_back_what_was_written(tmp_path):
    document = augmented_document(SOURCE, *grown(SOURCE))
    assert average_precision(document, tmp_path / "out.json") == pytest.approx(1.0)
    again = read_dataset(tmp_path / "out.json")
    assert again.document == document and not again.repairs.get("boxes_clipped")
    assert again.scenes[-1].boxes_xyxy[-1] == pytest.approx([5.123456789, 6, 20.1, 30.3], abs=1e-12)


def test_perfect_detections_score_1_although_the_source_counts_from_0_without_iscrowd(tmp_path):
    """Annotation id 0 can't be matched and a missing iscrowd stops COCOeval: both are repaired on the way."""
    source = {
        "images": [{"id": 7, "file_name": "two.png", "width": 64, "height": 48}],
        "annotations": [{"id": 0, "image_id": 7, "category_id": 90, "bbox": [1, 2, 10, 20]}],
        "categories": [{"id": 90, "name": "cup"}],
    }
    dataset = read(tmp_path, source)
    assert average_precision(dataset.document, tmp_path / "alone.json") == pytest.approx(1.0)
    document = augmented_document(dataset.document, *grown(dataset.document))
    assert average_precision(document, tmp_path / "out.json") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("trash_annotations/fold_1.json", {"low_annotation_ids": 1}),
        ("taco/annotations_all.json", {"duplicate_annotation_ids": 2, "boxes_clipped": 7}),
        ("coco_mini/instances.json", {}),
        ("blood_cells/instances_train.json", {"boxes_ignored": 1}),
        ("aerial_maritime/instances_train.json", {}),
    ],
)
def test_real_files_are_read_whole_and_written_verbatim(tmp_path, name, counts):
    path = DATA / name
    if not path.exists():
        pytest.skip("the real annotation files aren't here")
    dataset = read_dataset(path)
    source = json.loads(path.read_bytes())
    assert {k: v.count for k, v in dataset.repairs.items() if k != "categories_without_objects"} == counts
    assert len(repair_lines(dataset)) == len(dataset.repairs)
    assert len(dataset.scenes) == len(source["images"]) and len(dataset.categories) == len(
        source["categories"]
    )
    write_json(tmp_path / "out.json", synthetic_document(dataset.document, [], []) | dict(dataset.document))
    written = json.loads((tmp_path / "out.json").read_bytes())
    changed = [a for a, b in zip(source["annotations"], written["annotations"], strict=True) if a != b]
    assert len(changed) == counts.get("low_annotation_ids", 0) + counts.get("duplicate_annotation_ids", 0)
    assert {k: v for k, v in written.items() if k != "annotations"} == {
        k: v for k, v in source.items() if k != "annotations"
    }
    truth = quietly(COCO, str(tmp_path / "out.json"))
    assert len(truth.anns) == len(source["annotations"])
