"""Reading boxes alone gives what the full reader gives, in repairs and errors, too."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from augsynth.affinity.model import Affinity, save_affinity_file
from augsynth.coco import boxes_only
from augsynth.coco.boxes_only import read_boxes
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import DatasetError
from augsynth.core.scene import Dataset

MASKS = {"missing_segmentation", "unusable_segmentation", "short_polygons"}
BIG = 2**63


def document() -> dict:
    rng = np.random.default_rng(0)
    images = [
        {"id": 3 * k, "file_name": f"part/{k}.jpg", "width": 64, "height": 48, "license": 1}
        for k in range(12)
    ]
    annotations = [
        {
            "id": k + 1,
            "image_id": 3 * int(rng.integers(12)),
            "category_id": int(rng.choice([0, 5, 7])),
            "bbox": [*rng.integers(0, 40, 2).tolist(), 5.5, 6],
            "area": 33.0,
            "iscrowd": 0,
            "segmentation": [[1, 1, 5, 1, 5, 5]],
        }
        for k in range(40)
    ]
    categories = [{"id": i, "name": n} for i, n in ((0, "cup"), (5, "lid"), (7, "shoe"))]
    return {
        "info": {},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def put(*path_and_value: object):
    *path, last, value = path_and_value

    def change(found: dict) -> None:
        at = found
        for key in path:
            at = at[key]
        at[last] = value

    return change


def drop(*path: object):
    def change(found: dict) -> None:
        at = found
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]

    return change


def again(block: str, index: int, **fields: object):
    return lambda found: found[block].append({**copy.deepcopy(found[block][index]), **fields})


ORDINARY = [
    lambda found: None,
    drop("info"),
    put("licenses", None),
    drop("annotations", 4, "iscrowd"),
    put("annotations", 4, "iscrowd", None),
    lambda found: (found["annotations"][9].pop("area"), found["annotations"][30].pop("iscrowd")),
    put("annotations", 3, "iscrowd", 1),
    put("annotations", 3, "ignore", True),
    put("annotations", 3, "ignore", 1),
    put("annotations", 3, "bbox", [-4, -3, 20, 20]),
    put("annotations", 3, "bbox", [60, 40, 20, 20.25]),
    put("annotations", 3, "bbox", [5, 5, 0, 4]),
    put("annotations", 3, "bbox", [500, 5, 10, 4]),
    put("annotations", 3, "bbox", [5, 5, -2, 4]),
    put("annotations", []),
    again("categories", 0, id=9),
    again("categories", 0),
    again("categories", 0, id=9, name="hat"),
    put("annotations", 3, "segmentation", "junk"),
    again("images", 2, id=-4000, file_name="seven.jpg"),
    again("images", 2, id=4000, file_name="..seven/a..b/.c.jpg"),
]
ODD = [
    put("images", 2, "file_name", "part/0.jpg"),
    put("annotations", 3, "area", 1e300),
    put("annotations", 3, "bbox", [1, 1, 1e5, 1e5]),
    put("annotations", 3, "id", 0),
    put("annotations", 3, "id", 2),
    put("annotations", 3, "id", None),
    drop("annotations", 3, "id"),
    again("annotations", 3),
    put("annotations", 3, "image_id", 1),
    put("annotations", 3, "area", "33"),
    put("annotations", 3, "area", True),
    put("annotations", 3, "ignore", "yes"),
    put("images", 2, "file_name", "part\\2.jpg"),
    put("images", 2, "file_name", "part//2.jpg"),
    put("images", 2, "file_name", "./2.jpg"),
    put("images", 2, "width", 64.0),
    again("images", 2),
    put("annotations", 3, "iscrowd", 1.0),
    put("annotations", 3, "iscrowd", True),
    lambda found: [a.pop("iscrowd") for a in found["annotations"]] and again("images", 2)(found),
]
BROKEN = [
    put("annotations", 3, "bbox", [1, 1, 1e30, 5]),
    lambda found: [a.update(bbox=[0.1, 0.1, 0.5, 0.25]) for a in found["annotations"]],
    put("images", 2, "width", 2**40),
    put("annotations", 3, "category_id", 6),
    put("annotations", 3, "category_id", "5"),
    put("annotations", 3, "category_id", 5.0),
    put("annotations", 3, "category_id", True),
    drop("annotations", 3, "category_id"),
    put("annotations", 3, "id", BIG),
    put("annotations", 3, "id", 10**30),
    put("annotations", 3, "bbox", [1, 2, 3]),
    put("annotations", 3, "bbox", [1, 2, 3, "4"]),
    put("annotations", 3, "bbox", [1, 2, 3, True]),
    put("annotations", 3, "bbox", None),
    drop("annotations", 3, "bbox"),
    put("annotations", 3, "iscrowd", 2),
    put("annotations", 3, "iscrowd", -1),
    put("annotations", 3, "iscrowd", "0"),
    put("annotations", 3, "junk"),
    put("images", 2, "id", 0),
    put("images", 2, "id", 2.0),
    put("images", 2, "width", 0),
    put("images", 2, "width", "64"),
    drop("images", 2, "height"),
    put("images", 2, "file_name", "../2.jpg"),
    put("images", 2, "file_name", "/etc/2.jpg"),
    put("images", 2, "file_name", "C:/2.jpg"),
    put("images", 2, "file_name", ".."),
    put("images", 2, "file_name", ""),
    put("images", 2, "file_name", "a\0b.jpg"),
    put("images", 2, "file_name", 7),
    put("images", []),
    put("images", {}),
    put("categories", []),
    put("categories", 1, "id", 0),
    put("categories", 1, "name", ""),
    put("categories", 1, "name", "CUP"),
    put("categories", 1, "junk"),
    drop("annotations"),
    drop("categories"),
]


def same(light: Dataset, full: Dataset) -> None:
    assert light.categories == full.categories
    assert {k: n for k, n in full.repairs.items() if k not in MASKS} == dict(light.repairs)
    assert [k for k in full.repairs if k not in MASKS] == list(light.repairs)
    assert len(light.scenes) == len(full.scenes)
    for a, b in zip(light.scenes, full.scenes, strict=True):
        assert (a.image_id, a.file_name, a.size_wh) == (b.image_id, b.file_name, b.size_wh)
        for field in ("boxes_xyxy", "category_ids", "annotation_ids", "is_crowd"):
            left, right = getattr(a, field), getattr(b, field)
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


@pytest.fixture
def written(tmp_path: Path):
    def write(change) -> Path:
        found = document()
        change(found)
        path = tmp_path / "train.json"
        path.write_text(json.dumps(found))
        return path

    return write


def affinity_bytes(folder: Path, dataset: Dataset) -> bytes:
    save_affinity_file(folder / "affinity.json", Affinity.fit(dataset, measure="npmi"), {})
    return (folder / "affinity.json").read_bytes()


@pytest.mark.parametrize("index", range(len(ORDINARY)))
def test_ordinary_files_are_read_by_the_light_path(written, tmp_path, monkeypatch, index: int) -> None:
    path = written(ORDINARY[index])
    full = read_dataset(path)
    monkeypatch.setattr(boxes_only, "read_dataset", lambda path: pytest.fail("the full reader was used"))
    light = read_boxes(path)
    same(light, full)
    assert affinity_bytes(tmp_path, light) == affinity_bytes(tmp_path, full)


@pytest.mark.parametrize("index", range(len(ODD)))
def test_odd_files_are_mended_alike(written, tmp_path, index: int) -> None:
    path = written(ODD[index])
    full, light = read_dataset(path), read_boxes(path)
    assert light.repairs == full.repairs
    assert affinity_bytes(tmp_path, light) == affinity_bytes(tmp_path, full)


@pytest.mark.parametrize("index", range(len(BROKEN)))
def test_broken_files_end_in_the_same_line(written, index: int) -> None:
    path = written(BROKEN[index])
    with pytest.raises(DatasetError) as full:
        read_dataset(path)
    with pytest.raises(DatasetError) as light:
        read_boxes(path)
    assert str(light.value) == str(full.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xef\xbb\xbf{}", b"null", b'[{"score": 1}]'])
def test_what_is_no_coco_file_ends_in_the_same_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.json"
    for place in (path, tmp_path / "missing.json", tmp_path):
        path.write_bytes(content)
        with pytest.raises(DatasetError) as full:
            read_dataset(place)
        with pytest.raises(DatasetError) as light:
            read_boxes(place)
        assert str(light.value) == str(full.value)


def test_a_byte_order_mark_is_read(written) -> None:
    path = written(lambda found: None)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    same(read_boxes(path), read_dataset(path))
