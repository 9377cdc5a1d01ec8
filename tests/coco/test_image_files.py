"""The images of a COCO file: what has no file, or one that is no image, is dropped and named; sizes are measured."""

import pytest
from PIL import Image

from augsynth.coco.faults import repair_lines
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import DatasetError
from tests.coco.documents import clean, counts, without, write


def test_images_without_a_file_are_dropped_with_their_annotations(tmp_path, root):
    (root / "sub/b.png").unlink()
    dataset = read_dataset(write(tmp_path, clean()), images=root)
    assert [scene.file_name for scene in dataset.scenes] == ["a.png"]
    assert counts(dataset) == {
        "missing_files": 1,
        "annotations_of_lost_images": 1,
        "categories_without_objects": 1,
    }
    line = repair_lines(dataset)[0]
    assert "file_name" in line and "1 (sub/b.png)" in line and "restore" in line
    assert [r["id"] for r in dataset.document["images"]] == [1]
    assert [r["id"] for r in dataset.document["annotations"]] == [1]


def test_files_that_are_not_listed_are_counted(tmp_path, root):
    Image.new("RGB", (4, 4)).save(root / "sub/extra.jpg")
    (root / "notes.txt").write_text("no image")
    dataset = read_dataset(write(tmp_path, clean()), images=root)
    assert counts(dataset) == {"unlisted_files": 1}
    assert "(sub/extra.jpg)" in repair_lines(dataset)[0]


def test_links_inside_the_image_directory_are_followed(tmp_path, root):
    (root / "sub/b.png").rename(root / "elsewhere.png")
    (root / "sub").rmdir()
    (root / "other").mkdir()
    (root / "elsewhere.png").rename(root / "other/b.png")
    (root / "sub").symlink_to("other", target_is_directory=True)
    (root / "a.png").rename(root / "other/c.png")
    (root / "a.png").symlink_to(root / "other/c.png")
    dataset = read_dataset(write(tmp_path, clean()), images=root)
    assert [len(scene) for scene in dataset.scenes] == [1, 1]
    (tmp_path / "linked").symlink_to(root, target_is_directory=True)
    assert len(read_dataset(write(tmp_path, clean()), images=tmp_path / "linked").scenes) == 2


def test_an_image_directory_that_fits_nothing_is_an_error_that_names_the_right_one(tmp_path, root):
    path = write(tmp_path, clean())
    with pytest.raises(
        DatasetError, match=r"images\[0\] \(id 1\): file_name 'a\.png'.*give .*images as the image"
    ):
        read_dataset(path, images=tmp_path)
    document = clean()
    for record in document["images"]:
        record["file_name"] = "images/" + record["file_name"]
    with pytest.raises(DatasetError, match=rf"give {tmp_path} as the image directory"):
        read_dataset(write(tmp_path, document), images=root)
    (tmp_path / "void").mkdir()
    with pytest.raises(DatasetError, match=r"all the others aren't in .*void; give the directory"):
        read_dataset(path, images=tmp_path / "void")
    with pytest.raises(DatasetError, match=r"nowhere: images isn't a directory; give"):
        read_dataset(path, images=tmp_path / "nowhere")


def test_sizes_that_are_not_recorded_are_measured(tmp_path, root):
    dataset = read_dataset(write(tmp_path, without("images", 1, "width", "height")), images=root)
    assert dataset.scenes[1].size_wh == (40, 30)
    assert counts(dataset) == {"missing_sizes": 1}
    assert dataset.document["images"][1] == {"id": 2, "file_name": "sub/b.png", "width": 40, "height": 30}


def test_a_file_that_is_no_image_is_dropped_and_named(tmp_path, root):
    (root / "sub/b.png").write_bytes(b"no image")
    dataset = read_dataset(write(tmp_path, without("images", 1, "width")), images=root)
    assert counts(dataset)["unopened_files"] == 1 and [s.file_name for s in dataset.scenes] == ["a.png"]
    assert "sub/b.png" in repair_lines(dataset)[0]
