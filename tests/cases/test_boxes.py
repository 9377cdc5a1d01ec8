"""Numbers beyond any image, boxes that look normalised, categories without objects."""

import pytest

from augsynth.core.errors import DatasetError
from tests.cases.small import HEIGHT, NUM_IMAGES, WIDTH, counts, read, small_dataset


@pytest.mark.parametrize("number", [int("9" * 400), 10**10, -1e300])
def test_a_number_beyond_any_image_is_one_line(root, number):
    document = small_dataset()
    document["annotations"][2]["bbox"][2] = number
    with pytest.raises(
        DatasetError, match=r"a\.json: annotations\[2\] \(id 3\): bbox is .*beyond any image; w"
    ):
        read(root, document)


@pytest.mark.parametrize(
    ("block", "field"), [("images", "width"), ("images", "id"), ("annotations", "category_id")]
)
def test_a_number_of_400_digits_is_one_line_wherever(root, block, field):
    document = small_dataset()
    document[block][1][field] = int("9" * 400)
    with pytest.raises(DatasetError, match=rf"{block}\[1\].*{field}"):
        read(root, document)


def test_an_area_beyond_floats_is_width_times_height(root):
    document = small_dataset()
    document["annotations"][0]["area"] = int("9" * 400)
    dataset = read(root, document)
    assert counts(dataset) == {"missing_area": 1} and dataset.document["annotations"][0]["area"] == 200


@pytest.mark.parametrize("centred", [False, True])
def test_boxes_within_0_and_1_are_refused_at_once(root, centred):
    document = small_dataset()
    for annotation in document["annotations"]:
        x, y, w, h = annotation["bbox"]
        x, y = (x + w / 2, y + h / 2) if centred else (x, y)
        annotation["bbox"] = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]
    with pytest.raises(DatasetError, match=r"annotations\[0\] \(id 1\): bbox .* look normalised; multiply"):
        read(root, document, with_images=False)
    document["annotations"][3]["bbox"] = [3, 3, 20, 20]
    assert len(read(root, document).scenes) == NUM_IMAGES


def test_a_category_that_annotates_nothing_is_used_only_when_asked_for(root):
    document = small_dataset()
    document["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})
    dataset = read(root, document)
    assert counts(dataset) == {"categories_without_objects": 1} and len(dataset.categories) == 3
    assert [c.name for c in dataset.categories_in_use()] == ["can", "cup"]
    assert [c.name for c in dataset.categories_in_use(["things"])] == ["things", "can", "cup"]
