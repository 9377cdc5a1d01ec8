"""Studies."""

import pytest


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from augsynth.coco.reader import read_dataset
    from augsynth.sample import write_sample

    root = tmp_path_factory.mktemp("sample")
    return read_dataset(write_sample(root, num_images=16, seed=3, workers=1), images=root / "images")


def test_a_category_held_out_of_a_base_is_nowhere_in_it(dataset):
    from benchmarks.studies.novel_category import few_images, without_category

    rest = without_category(dataset.document, "can")
    can = next(c.id for c in dataset.categories if c.name == "can")
    assert "can" not in {c["name"] for c in rest["categories"]}
    assert all(a["category_id"] != can for a in rest["annotations"])
    showing = {a["image_id"] for a in dataset.document["annotations"] if a["category_id"] == can}
    assert {i["id"] for i in rest["images"]} == {i["id"] for i in dataset.document["images"]} - showing
    few = few_images(dataset.document, "can", 2)
    assert len(few["images"]) == 2 and {i["id"] for i in few["images"]} <= showing
    assert {a["image_id"] for a in few["annotations"]} == {i["id"] for i in few["images"]}
    with pytest.raises(SystemExit, match="fewer --shots"):
        few_images(dataset.document, "can", 99)
