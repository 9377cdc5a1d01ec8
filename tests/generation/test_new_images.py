"""New images: ids above the source's, and what is annotated in them."""

import numpy as np
import pytest

from augsynth.core.masks import to_rle
from augsynth.core.records import Extra, NewImage, ObjectMask, Rle, ShardRecord
from augsynth.generation.new_images import annotate, number_images
from tests.generation.run_files import painted_attempt


def test_ids_count_on_from_the_source_and_what_made_way_gets_none() -> None:
    box = [10.0, 10.0, 20.0, 20.0]
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 100, "height": 100}],
        "annotations": [{"id": i, "image_id": 7, "category_id": 1, "bbox": box} for i in (3, 9, 4)],
    }
    objects = (
        painted_attempt(replaced_annotation_id=9, replaced_category_id=1),
        painted_attempt(extras=(Extra(1, (0, 0, 5, 5), 0.5),)),
        painted_attempt(),
    )
    image = NewImage(job=0, file_name="b.png", source_image_id=7, size_wh=(100, 100), attempts=(0, 1, 2))
    [[first], [second]] = number_images(
        document, [ShardRecord(jobs=1, attempts=objects, images=(image,))] * 2
    )
    assert [copy["id"] for copy in first.copies] == [10, 11] and first.annotation_ids == (12, 13, 15)
    assert first.image_id == 8 and second.image_id == 9
    assert [copy["id"] for copy in second.copies] == [16, 17]
    annotations = annotate(first, form="polygon")
    assert [a["id"] for a in annotations] == [10, 11, 12, 13, 14, 15]
    assert {a["image_id"] for a in annotations} == {8}
    assert annotations[2]["attributes"]["replaced_annotation_id"] == 9
    assert annotations[4]["attributes"]["extra"] is True


@pytest.mark.parametrize("form", ["polygon", "rle"])
def test_a_mask_becomes_a_segmentation_and_cuts_what_it_hides(form: str) -> None:
    pixels = np.zeros((40, 40), bool)
    pixels[10:30, 10:30] = True
    below = {
        "id": 3,
        "image_id": 7,
        "category_id": 1,
        "bbox": [0.0, 0.0, 20.0, 20.0],
        "area": 400.0,
        "segmentation": [[0, 0, 20, 0, 20, 20, 0, 20]],
    }
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 40}],
        "annotations": [below],
    }
    attempt = painted_attempt(mask=ObjectMask("matting", Rle(**to_rle(pixels))))
    image = NewImage(job=0, file_name="b.png", source_image_id=7, size_wh=(40, 40), attempts=(0,))
    [[new]] = number_images(document, [ShardRecord(jobs=1, attempts=(attempt,), images=(image,))])
    hidden, annotation = annotate(new, form=form)
    assert annotation["area"] == pixels.sum() and annotation["attributes"]["mask_source"] == "matting"
    assert isinstance(annotation["segmentation"], dict if form == "rle" else list)
    assert hidden["area"] == pytest.approx(400 - 100, abs=2)


@pytest.mark.parametrize("form", ["polygon", "rle"])
def test_without_a_mask_an_object_has_its_box_alone_or_as_a_mask(form: str) -> None:
    second = Extra(1, (0, 0, 5, 5), 0.5, mask=ObjectMask("matting", Rle(**to_rle(np.eye(40, dtype=bool)))))
    attempt = painted_attempt(mask=None, extras=(second,))
    document = {"images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 40}], "annotations": []}
    image = NewImage(job=0, file_name="b.png", source_image_id=7, size_wh=(40, 40), attempts=(0,))
    [[new]] = number_images(document, [ShardRecord(jobs=1, attempts=(attempt,), images=(image,))])
    plain, extra = annotate(new, form=form)
    assert "segmentation" not in plain and "mask_source" not in plain["attributes"]
    assert extra["attributes"]["mask_source"] == "matting"
    boxed, _ = annotate(new, form=form, boxed=True)
    assert boxed["attributes"]["mask_source"] == "box" and boxed["area"] == 400
    if form == "polygon":
        assert boxed["segmentation"] == [[10, 10, 30, 10, 30, 30, 10, 30]]
