"""A file that is read in parts gives the columns of the whole."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augsynth.coco import box_columns
from augsynth.coco.box_columns import BoxColumns, NotOrdinary, read_columns
from augsynth.core import processes

IMAGES = [{"id": 3 * k, "file_name": f"part/{k}.jpg", "width": 64, "height": 48} for k in range(30)]
ANNOTATIONS: list[dict[str, Any]] = [
    {
        "id": k + 1,
        "image_id": 3 * (k % 30),
        "category_id": k % 3,
        "bbox": [k % 7, 1, 5.5, 6],
        "segmentation": {"counts": "a}{,", "size": [64, 48]} if k % 5 else [[1, 1, 5, 1, 5, 5]],
        **({"area": 33.0} if k % 4 else {}),
        **({"iscrowd": k % 2} if k % 6 else {}),
    }
    for k in range(80)
]
CATEGORIES = [{"id": k, "name": f"thing {k}", "supercategory": "things"} for k in range(3)]
PLAIN = {
    "info": {"year": 1},
    "licenses": [],
    "images": IMAGES,
    "annotations": ANNOTATIONS,
    "categories": CATEGORIES,
}


def same(one: BoxColumns, other: BoxColumns) -> None:
    for field in fields(BoxColumns):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name), err_msg=field.name
        )


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Files are read in parts of 700 bytes; how many parts each reading tried is noted."""
    tried: list[int] = []
    joined = box_columns._joined

    def note(found: Any) -> BoxColumns:
        tried.append(len(found))
        return joined(found)

    monkeypatch.setattr(box_columns, "_PART_BYTES", 700)
    monkeypatch.setattr(box_columns, "_joined", note)
    monkeypatch.setattr(processes, "num_cores", lambda: 1)
    return tried


def whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> BoxColumns:
    with monkeypatch.context() as patch:
        patch.setattr(box_columns, "_PART_BYTES", 10**9)
        return read_columns(path)


ORDERS = [
    ("info", "licenses", "images", "annotations", "categories"),
    ("annotations", "categories", "images"),
    ("categories", "images", "info", "annotations"),
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("indent", [None, 1])
def test_parts_give_the_columns_of_the_whole(
    order: tuple[str, ...],
    indent: int | None,
    parts: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps({name: PLAIN[name] for name in order}, indent=indent))
    found = read_columns(path)
    assert parts[-1] > 10
    same(found, whole(path, monkeypatch))
    assert found.numbers.tolist() == list(range(1, 81))
    assert found.names == [image["file_name"] for image in IMAGES]
    assert found.boxes_xywh[9].tolist() == [2, 1, 5.5, 6]
    assert found.no_area.sum() == 20
    assert found.missing == tuple(name for name in ("info", "licenses") if name not in order)


@pytest.mark.skipif(not processes.can_fork(), reason="no processes are forked here")
def test_processes_give_the_columns_of_one(
    parts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(PLAIN))
    one = read_columns(path)
    monkeypatch.setattr(processes, "num_cores", lambda: 3)
    same(read_columns(path), one)
    assert parts[0] == parts[1] > 10


LIKE_BOXES = json.dumps(ANNOTATIONS[:40])[1:-1]
UNCLEAR = {
    "an array that isn't COCO's": json.dumps({**PLAIN, "tracks": [{"id": k} for k in range(200)]}),
    "an array of the same records": json.dumps(PLAIN)[:-1] + f', "others": [{LIKE_BOXES}]}}',
    "an array that comes twice": json.dumps(PLAIN)[:-1] + f', "annotations": [{LIKE_BOXES}]}}',
    "the same array again in it": json.dumps({**PLAIN, "annotations": ANNOTATIONS[:2]})[:-1]
    + f', "annotations": [{LIKE_BOXES}], "annotations": [{LIKE_BOXES}]}}',
    "records inside of records": json.dumps(
        {
            **PLAIN,
            "annotations": [{**record, "parts": ANNOTATIONS[:3]} for record in ANNOTATIONS],
        }
    ),
    "text that looks like records": json.dumps({**PLAIN, "info": {"about": json.dumps(PLAIN)}}),
    "info that is taken back": json.dumps(PLAIN)[:-1] + ', "info": null}',
}


@pytest.mark.parametrize("text", UNCLEAR.values(), ids=UNCLEAR)
def test_where_parts_are_unclear_the_whole_is_read(
    text: str, parts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.json"
    path.write_text(text)
    same(read_columns(path), whole(path, monkeypatch))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        json.dumps(PLAIN)[:-1],
        json.dumps(PLAIN) + "}",
        json.dumps(PLAIN).replace('"bbox": [1, 1, 5.5, 6]', '"bbox": [1, 1, 5.5]'),
        json.dumps({**PLAIN, "images": None}),
        json.dumps({name: PLAIN[name] for name in ("images", "annotations")}),
    ],
)
def test_what_is_not_ordinary_is_refused(text: str, parts: list[int], tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(NotOrdinary):
        read_columns(path)


def test_a_missing_file_is_not_ordinary(tmp_path: Path) -> None:
    with pytest.raises(NotOrdinary):
        read_columns(tmp_path / "train.json")
