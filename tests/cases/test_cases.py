"""Inputs of kinds that trouble tools like this one: what can't be used is counted and named, or refused at once."""

import json
import os
import time

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from augsynth.bank.cutting import segmentations_of
from augsynth.coco.faults import repair_lines, repairs_document
from augsynth.coco.reader import read_dataset
from augsynth.coco.segmentation import usable_mask
from augsynth.coco.writer import (
    augmented_document,
    new_file_name,
    next_ids,
    synthetic_annotation,
    synthetic_image_record,
    write_json,
)
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.images import place_original, read_image
from augsynth.core.masks import as_rle, recut, to_rle
from augsynth.core.text import printable
from augsynth.core.yaml_file import read_yaml
from augsynth.inpainting.prompts.file import read_words

WIDTH, HEIGHT = 64, 48
NUM_IMAGES = 4


def small_dataset():
    """Four images with two objects each, all with a polygon."""
    boxes = [[4, 6, 20, 10], [30, 20, 16, 24]]
    return {
        "info": {},
        "licenses": [],
        "images": [
            {"id": k, "file_name": f"{k}.png", "width": WIDTH, "height": HEIGHT} for k in range(NUM_IMAGES)
        ],
        "annotations": [
            {
                "id": 1 + 2 * k + n,
                "image_id": k,
                "category_id": 1 + n,
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
            for k in range(NUM_IMAGES)
            for n, (x, y, w, h) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "can"}, {"id": 2, "name": "cup"}],
    }


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    for k in range(NUM_IMAGES):
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


def read(root, document, *, with_images=True):
    path = root.parent / "a.json"
    path.write_text(json.dumps(document), "utf-8")
    return read_dataset(path, images=root if with_images else None)


def counts(dataset):
    return {kind: repair.count for kind, repair in dataset.repairs.items()}


# --- masks that can't be used ---

PIXELS = WIDTH * HEIGHT
UNUSABLE = {
    "runs that don't sum": {"size": [HEIGHT, WIDTH], "counts": [10, 20]},
    "runs beyond the image": {"size": [HEIGHT, WIDTH], "counts": [0, 999_999_999]},
    "a negative run": {"size": [HEIGHT, WIDTH], "counts": [PIXELS + 5, -5]},
    "a run of 400 digits": {"size": [HEIGHT, WIDTH], "counts": [0, int("9" * 400)]},
    "runs of text": {"size": [HEIGHT, WIDTH], "counts": ["0", str(PIXELS)]},
    "runs of fractions": {"size": [HEIGHT, WIDTH], "counts": [0.5, PIXELS - 0.5]},
    "no pixel covered": {"size": [HEIGHT, WIDTH], "counts": [PIXELS]},
    "a text that ends early": {"size": [HEIGHT, WIDTH], "counts": "a"},
    "a text of strange characters": {"size": [HEIGHT, WIDTH], "counts": "図~\x01"},
    "a text of endless numbers": {"size": [HEIGHT, WIDTH], "counts": "o" * 500 + "0"},
    "an empty text": {"size": [HEIGHT, WIDTH], "counts": ""},
    "turned size": {"size": [WIDTH, HEIGHT], "counts": [0, PIXELS]},
    "size as one number": {"size": 5, "counts": "abc"},
    "size of text": {"size": ["48", "64"], "counts": [0, PIXELS]},
    "no size": {"counts": [0, PIXELS]},
    "far away": [[0, 0, 1e12, 0, 1e12, 1e12]],
    "far enough to end pycocotools": [[0, 0, 1e8, 0, 1e8, 1e8]],
    "far to the left": [[-1e9, 0, 5, 0, 5, 5]],
    "400 digits": [[0, 0, int("9" * 400), 0, 5, 5]],
    "an endless outline": [[0, 0, 600, 400] * 4000],
    "pairs": [[[1, 2], [3, 4], [5, 6]]],
    "six pairs": [[[1, 2], [3, 4], [5, 6], [7, 8], [9, 9], [2, 3]]],
    "text": [["1", "2", "3", "4", "5", "6"]],
    "yes and no": [[True, False, True, True, False, True]],
    "an odd number": [[1, 2, 3, 4, 5, 6, 7]],
    "too few": [[1, 2, 3, 4]],
    "a flat list": [1, 2, 3, 4, 5, 6],
    "nothing": [],
    "null": None,
    "a word": "mask",
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_mask_that_cannot_be_used_is_dropped_and_counted_and_the_box_stays(case, root):
    document = small_dataset()
    for annotation in document["annotations"][::2]:
        annotation["segmentation"] = UNUSABLE[case]
    start = time.monotonic()
    dataset = read(root, document)
    assert counts(dataset) == {"unusable_segmentation": NUM_IMAGES}
    (line,) = repair_lines(dataset)
    assert f"{NUM_IMAGES} (1, 3, 5, 7)" in line and "dropped" in line
    assert all(len(scene) == 2 for scene in dataset.scenes)
    assert sorted(segmentations_of(dataset)) == [2, 4, 6, 8]
    cover = to_rle(np.ones((HEIGHT, WIDTH), np.bool_))
    for record in dataset.document["annotations"]:
        recut(record, [cover], (WIDTH, HEIGHT))
    assert time.monotonic() - start < 20
    again = read(root, dataset.document)
    assert counts(again) == {"missing_segmentation": NUM_IMAGES} and again.document == dataset.document


def test_polygons_of_under_three_points_leave_the_others(root):
    document = small_dataset()
    good = document["annotations"][0]["segmentation"][0]
    document["annotations"][0]["segmentation"] = [[3, 3, 4, 4], good, []]
    dataset = read(root, document)
    assert counts(dataset) == {"short_polygons": 1}
    assert dataset.document["annotations"][0]["segmentation"] == [good]


@pytest.mark.parametrize("seed", range(5))
def test_every_rle_of_pycocotools_is_usable_and_every_cut_of_it_is_not(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(2, 90, 2)
    mask = rng.random(shape) < rng.choice([0.02, 0.5, 0.98])
    mask[0, 0] = True
    rle, size_wh = to_rle(mask), (int(shape[1]), int(shape[0]))
    assert usable_mask(rle, size_wh) is rle and as_rle(rle, size_wh) is not None
    for cut in range(1, len(rle["counts"]), 7):
        assert usable_mask({**rle, "counts": rle["counts"][:cut]}, size_wh) is None


def test_a_mask_that_reaches_a_little_outside_is_kept(root):
    document = small_dataset()
    document["annotations"][0]["segmentation"] = [[-30, -5, 70, -5, 90, 60.5]]
    assert counts(read(root, document)) == {}


# --- numbers and boxes ---


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


# --- images ---


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


# --- categories in use ---


def test_a_category_that_annotates_nothing_is_used_only_when_asked_for(root):
    document = small_dataset()
    document["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})
    dataset = read(root, document)
    assert counts(dataset) == {"categories_without_objects": 1} and len(dataset.categories) == 3
    assert [c.name for c in dataset.categories_in_use()] == ["can", "cup"]
    assert [c.name for c in dataset.categories_in_use(["things"])] == ["things", "can", "cup"]


# --- what is written ---


def painted(dataset, boxes=((30, 3, 40, 12),)):
    image_id, number = next_ids(dataset.document)
    name = new_file_name(
        dataset.scenes[0].file_name, job=0, suffix="png", taken={s.file_name for s in dataset.scenes}
    )
    image = synthetic_image_record(
        dataset.document["images"][0], image_id=image_id, file_name=name, size_wh=(WIDTH, HEIGHT)
    )
    made = [
        synthetic_annotation(
            annotation_id=number + k,
            image_id=image_id,
            category_id=1,
            box_xyxy=box,
            size_wh=(WIDTH, HEIGHT),
            score=0.9,
        )
        for k, box in enumerate(boxes)
    ]
    return augmented_document(dataset.document, [image], made)


@pytest.mark.parametrize("named", [True, False])
def test_new_objects_of_a_keypoint_file_have_keypoints_that_are_not_labelled(root, named, capsys):
    document = small_dataset()
    for category in document["categories"] if named else ():
        category |= {"keypoints": ["top", "end"], "skeleton": [[1, 2]]}
    for annotation in document["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation |= {"keypoints": [x, y, 2, x + w, y + h, 2], "num_keypoints": 2}
    written = painted(read(root, document))
    assert written["annotations"][-1]["keypoints"] == [0] * 6
    assert written["annotations"][-1]["num_keypoints"] == 0
    write_json(root.parent / "out.json", written)
    truth = COCO(str(root.parent / "out.json"))
    found = [
        {**{k: a[k] for k in ("image_id", "category_id", "keypoints")}, "score": 0.9}
        for a in written["annotations"]
    ]
    judge = COCOeval(truth, truth.loadRes(found), "keypoints")
    judge.params.kpt_oks_sigmas = np.array([0.05, 0.05])
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)
    plain = painted(read(root, small_dataset()))
    assert "keypoints" not in plain["annotations"][-1]


def test_the_output_of_an_earlier_run_can_be_augmented(root):
    first = painted(read(root, small_dataset()))
    assert first["images"][-1]["file_name"] == "augsynth/000000_0.png"
    taken = {record["file_name"] for record in first["images"]}
    again = new_file_name("0.png", job=0, suffix="png", taken=taken)
    assert again == "augsynth/000000_0_2.png"
    assert new_file_name("0.png", job=0, suffix="png", taken=taken | {again}) == "augsynth/000000_0_3.png"
    assert new_file_name("0.png", job=1, suffix="png", taken=taken) == "augsynth/000001_0.png"


@pytest.mark.parametrize("letter", ["図", "a", "é"])
def test_long_names_are_shortened_and_stay_different(root, letter):
    longest = letter * (245 // len(letter.encode()))
    names = [f"deep/{longest}{k:02d}.jpg" for k in range(20)]
    made = {new_file_name(name, job=10**9, suffix="png", taken=()) for name in names}
    assert len(made) == 20 and all(len(os.fsencode(name)) <= 240 for name in made)
    document = small_dataset()
    name = f"{longest}01.jpg"
    Image.open(root / "0.png").save(root / name)
    document["images"][0]["file_name"] = name
    dataset = read(root, document)
    assert "missing_files" not in dataset.repairs
    assert place_original(root / name, root.parent / "out" / name, "copy", root=root) == "copy"
    assert painted(dataset)["images"][-1]["file_name"].startswith("augsynth/000000_" + letter)


def test_ids_at_the_end_of_the_range_are_not_continued_beyond_it(root):
    document = small_dataset()
    document["images"][3]["id"] = document["annotations"][7]["id"] = 2**63 - 1
    for annotation in document["annotations"][6:]:
        annotation["image_id"] = 2**63 - 1
    document["annotations"][5]["id"] = document["annotations"][4]["id"]  # needs a new id, too
    dataset = read(root, document)
    write_json(root.parent / "out.json", painted(dataset))
    again = read_dataset(root.parent / "out.json")
    assert len(again.scenes) == NUM_IMAGES + 1
    ids = [record["id"] for record in again.document["annotations"]]
    assert len(set(ids)) == len(ids) and max(ids) < 2**63
    assert next_ids({"images": [{"id": 4}], "annotations": [{"id": 2**63 - 1}, {"id": 2**62}]}) == (
        5,
        2**62 + 1,
    )


# --- text of others ---


def test_text_of_others_cannot_steer_a_terminal(root):
    document = small_dataset()
    document["categories"].append({"id": 9, "name": "\x1b[2Jx\u202egnp\n"})
    (line,) = repair_lines(read(root, document))
    assert "\\x1b[2Jx\\u202egnp\\n" in line and "\x1b" not in line
    document["images"][0]["file_name"] = "../\x1b]0;x\x07.png"
    with pytest.raises(DatasetError) as caught:
        read(root, document)
    assert "\x1b" not in str(caught.value) and "\x07" not in str(caught.value)
    assert printable("図 é 👩‍👧 $x_{1}$ can't") == "図 é 👩‍👧 $x_{1}$ can't"


def test_a_yaml_file_of_nested_aliases_or_endless_length_is_refused_quickly(tmp_path):
    categories = ()
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)
    )
    merged = "a0: &a0 {x: 1}\n" + "".join(
        f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}\n" for k in range(1, 12)
    )
    cases = {
        "bomb": bomb,
        "merged": merged,
        "itself": "a: &a [*a]",
        "long": "a: " + "x" * 3_000_000,
        "deep": "[" * 9000,
    }
    start = time.monotonic()
    for name, text in cases.items():
        (tmp_path / f"{name}.yaml").write_text(text)
        with pytest.raises(ConfigError, match=rf"{name}\.yaml: .*; "):
            read_words(tmp_path / f"{name}.yaml", categories)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="no ordinary file"):
        read_yaml(tmp_path / "pipe.yaml")
    assert time.monotonic() - start < 30
    (tmp_path / "anchors.yaml").write_text("base: &base {a: 1}\nother: {<<: *base, b: [*base, *base]}\n")
    assert read_yaml(tmp_path / "anchors.yaml")["other"] == {"a": 1, "b": [{"a": 1}, {"a": 1}]}
