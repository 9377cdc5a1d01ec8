"""Documents written record by record are those that are written whole, byte for byte."""

from pathlib import Path
from typing import Any

import pytest

from augsynth.coco.growing import GrowingDocument
from augsynth.coco.json_lines import write_json
from augsynth.coco.writer import augmented_document, synthetic_document

IMAGES = [{"id": 3, "file_name": "a.png", "width": 40, "height": 30}]
BOX = {"image_id": 3, "category_id": 1, "bbox": [1.0, 2.0, 9.5, 9.0], "area": 85.5, "iscrowd": 0}
CATEGORY = {"id": 1, "name": "cup"}


def source(**values: Any) -> dict[str, Any]:
    document = {"info": {}, "categories": [CATEGORY], "annotations": [{"id": 5, **BOX}], "images": IMAGES}
    return {**document, "licenses": [], **values}


def grown(num: int) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    return [
        (
            {"id": 4 + k, "file_name": f"new/{k}.png", "width": 40, "height": 30},
            [{**BOX, "id": 6 + 2 * k + j, "image_id": 4 + k} for j in range(k % 3)],
        )
        for k in range(num)
    ]


@pytest.mark.parametrize("num", [0, 1, 5])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"images": [], "annotations": []},
        {"annotations": [{"id": 5, **BOX}, {"id": 4, **BOX, "bbox": [50.0, 2.0, 3.0, 4.0]}]},
        {"categories": [{**CATEGORY, "keypoints": ["handle"]}]},
    ],
)
def test_the_documents_are_those_that_are_written_whole(
    tmp_path: Path, num: int, values: dict[str, Any]
) -> None:
    document, new = source(**values), grown(num)
    growing = GrowingDocument(document, tmp_path / "out")
    for some, after in ((new[:2], (3, 5)), (new[2:], (5, 8))):
        growing.add(growing.encode(some, after=after))
    growing.write(synthetic=tmp_path / "s.json", augmented=tmp_path / "a.json")
    images, annotations = [image for image, _ in new], [each for _, given in new for each in given]
    write_json(tmp_path / "s2.json", synthetic_document(document, images, annotations))
    write_json(tmp_path / "a2.json", augmented_document(document, images, annotations))
    assert (tmp_path / "s.json").read_bytes() == (tmp_path / "s2.json").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "a2.json").read_bytes()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("image", "annotation", "words"),
    [
        ({"id": 3}, {}, "image id 3 must be new and at least 4"),
        ({"file_name": "a.png"}, {}, "file_name 'a.png' is taken"),
        ({}, {"id": 5}, "annotation ids of image 4 must be new"),
        ({}, {"image_id": 3}, "annotation 6 names an unknown image"),
        ({}, {"category_id": 2}, "annotation 6 names an unknown image or category"),
    ],
)
def test_what_doesnt_belong_is_refused(
    tmp_path: Path, image: dict[str, Any], annotation: dict[str, Any], words: str
) -> None:
    new = {**grown(1)[0][0], **image}
    with pytest.raises(ValueError, match=words):
        GrowingDocument(source(), tmp_path).encode(
            [(new, [{**BOX, "id": 6, "image_id": 4, **annotation}])], after=(3, 5)
        )


def test_ids_grow_from_image_to_image(tmp_path: Path) -> None:
    growing, new = GrowingDocument(source(), tmp_path), grown(3)
    with pytest.raises(ValueError, match="image id 5 must be new and at least 7"):
        growing.encode([new[2], new[1]], after=(3, 5))
    again = {**new[2][0], "id": 8}, [{**BOX, "id": 11, "image_id": 8}]
    with pytest.raises(ValueError, match="annotation ids of image 8 must be new"):
        growing.encode([new[2], again], after=(3, 5))
