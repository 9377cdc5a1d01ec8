"""Images that are missing, lead elsewhere, have another size or are turned: left out and named, or mended."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from augsynth.coco.boxes_only import read_boxes
from augsynth.coco.faults import repair_lines, repairs_document
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import DatasetError
from augsynth.core.images import place_original, read_image
from tests.cases.small import HEIGHT, NUM_IMAGES, WIDTH, counts, read, small_dataset


def test_missing_images_are_named_with_their_annotations(root):
    for k in range(3):
        (root / f"{k}.png").unlink()
    dataset = read(root, small_dataset())
    assert counts(dataset) == {"missing_files": 3, "annotations_of_lost_images": 6}
    assert repairs_document(dataset)["missing_files"] == {"count": 3, "examples": ["0.png", "1.png", "2.png"]}
    assert "(0.png, 1.png, 2.png)" in repair_lines(dataset)[0]


def test_only_pictures_inside_the_image_directory_are_read(root):
    for k in range(3):
        (root / f"{k}.png").unlink()
    secret = root.parent / "secret.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(secret)
    (root / "0.png").symlink_to(secret)
    os.mkfifo(root / "1.png")
    (root / "2.png").write_text("root:x:0:0")
    dataset = read(root, small_dataset())
    lost = {"linked_files": 1, "special_files": 1, "unopened_files": 1, "annotations_of_lost_images": 6}
    assert counts(dataset) == lost
    assert [scene.file_name for scene in dataset.scenes] == ["3.png"]
    lines = "\n".join(repair_lines(dataset))
    assert all(f"({k}.png)" in lines for k in range(3))
    for k in range(3):
        with pytest.raises(DatasetError, match=rf"{k}\.png"):
            place_original(root / f"{k}.png", root.parent / "out" / f"{k}.png", "hardlink", root=root)
    assert not (root.parent / "out").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "../secret.png", "nowhere"])
def test_where_every_image_leads_elsewhere_the_first_is_named(root, target):
    Image.new("RGB", (WIDTH, HEIGHT)).save(root.parent / "secret.png")
    for k in range(NUM_IMAGES):
        (root / f"{k}.png").unlink()
        (root / f"{k}.png").symlink_to(target)
    with pytest.raises(DatasetError, match=r"images\[0\] \(id 0\): file_name '0\.png'.*; "):
        read(root, small_dataset())


def test_a_pipe_in_place_of_the_annotation_file_does_not_hang(root):
    os.mkfifo(root.parent / "pipe.json")
    with pytest.raises(DatasetError, match="no ordinary file"):
        read_dataset(root.parent / "pipe.json")


def test_images_of_another_size_than_recorded_are_left_out_and_named(root):
    Image.new("RGB", (30, 30)).save(root / "2.png")
    dataset = read(root, small_dataset())
    assert counts(dataset) == {"other_sizes": 1, "annotations_of_lost_images": 2}
    for k in range(NUM_IMAGES):
        Image.new("RGB", (30, 30)).save(root / f"{k}.png")
    with pytest.raises(DatasetError, match=r"width/height is 64×48, but 0\.png has 30×30 pixels"):
        read(root, small_dataset())


def turned_dataset(root, document, orientation=6):
    """Store every image so that only its EXIF tag makes it upright again."""
    turn = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for k, record in enumerate(document["images"]):
        Image.open(root / f"{k}.png").transpose(turn).save(root / f"{k}.jpg", exif=exif, quality=95)
        (root / f"{k}.png").unlink()
        record["file_name"] = f"{k}.jpg"
    return document


@pytest.mark.parametrize("orientation", [6, 8])
def test_sizes_before_exif_orientation_with_boxes_after_it_are_turned(root, orientation):
    upright = Image.open(root / "0.png").copy()
    document = turned_dataset(root, small_dataset(), orientation)
    document["annotations"][0]["bbox"] = [44, 6, 18, 10]  # outside an image of 48×64
    for record in document["images"]:
        record.update(width=HEIGHT, height=WIDTH)
    dataset = read(root, document)
    assert counts(dataset) == {"raw_sizes": NUM_IMAGES}
    assert all(scene.size_wh == (WIDTH, HEIGHT) for scene in dataset.scenes)
    assert dataset.scenes[0].boxes_xyxy[0].tolist() == [44, 6, 62, 16]
    shown = read_image(dataset, dataset.scenes[0]).astype(int)
    assert shown.shape == (HEIGHT, WIDTH, 3)
    assert np.corrcoef(shown.ravel(), np.asarray(upright, int).ravel())[0, 1] > 0.5
    assert read(root, dataset.document).document == dataset.document


def test_boxes_on_the_raw_pixels_keep_the_raw_size(root):
    document = turned_dataset(root, small_dataset())
    for record in document["images"]:
        record.update(width=HEIGHT, height=WIDTH)
    document["annotations"][0]["bbox"] = [4, 50, 20, 10]  # below an image of 64×48
    document["annotations"][0].pop("segmentation")
    dataset = read(root, document)
    assert "raw_sizes" not in dataset.repairs and dataset.scenes[0].size_wh == (HEIGHT, WIDTH)


def test_records_of_one_file_are_joined_and_no_object_is_doubled(root):
    document = small_dataset()
    document["images"].append({**document["images"][0], "id": 77})
    document["annotations"][1]["image_id"] = 77
    document["annotations"].append({**document["annotations"][0], "id": 50, "image_id": 77})
    dataset = read(root, document)
    assert counts(dataset) == {"shared_files": 1, "repeated_annotations": 1}
    assert len(dataset.scenes) == NUM_IMAGES and sorted(dataset.scenes[0].annotation_ids) == [1, 2]
    document["images"][-1]["width"] = 63
    with pytest.raises(
        DatasetError, match=r"images\[4\] \(id 77\): file_name '0\.png' is also that of image 0"
    ):
        read(root, document, with_images=False)


def turned_sizes(root, bbox=(4, 50, 20, 10)):
    """Record every image lower and wider than its boxes say; no picture is looked at."""
    document = small_dataset()
    for record in document["images"]:
        record.update(width=WIDTH, height=HEIGHT)
    for annotation in document["annotations"][::2]:
        annotation |= {"bbox": list(bbox), "segmentation": [[0, 0, 1, 0, 1, 1]]}
    return document


@pytest.mark.parametrize("reader", [read_dataset, read_boxes])
def test_sizes_before_exif_orientation_are_told_by_the_boxes_alone(root, reader):
    path = root.parent / "a.json"
    path.write_text(json.dumps(turned_sizes(root)))
    dataset = reader(path)
    assert counts(dataset) == {"turned_sizes": NUM_IMAGES}
    assert all(scene.size_wh == (HEIGHT, WIDTH) and len(scene) == 2 for scene in dataset.scenes)
    assert "size turned: 4 (0.png, 1.png, 2.png, 3.png)" in repair_lines(dataset)[0]
    if dataset.document:
        assert read(root, dataset.document, with_images=False).document == dataset.document


@pytest.mark.parametrize(
    ("bbox", "other"),
    [
        ((4, 50, 20, 10), [50, 10, 14, 10]),  # one that fits only as recorded speaks against it
        ((70, 50, 20, 10), [4, 6, 20, 10]),  # fits neither way
        ((4, 30, 20, 21), [4, 6, 20, 10]),  # drawn carelessly
    ],
)
def test_boxes_that_fit_no_better_when_turned_leave_the_sizes(root, bbox, other):
    document = turned_sizes(root, bbox)
    document["annotations"][1]["bbox"] = other
    dataset = read(root, document, with_images=False)
    assert "turned_sizes" not in dataset.repairs and dataset.scenes[0].size_wh == (WIDTH, HEIGHT)
