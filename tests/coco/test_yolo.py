import pytest

from augsynth.coco.faults import repair_lines
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import AugsynthError, DatasetError
from tests.coco.tiny_sets import H, W, boxes_of, picture, text, yolo

BOX = "0 0.5 0.5 0.25 0.5\n"  # of 200 × 100 pixels: 75, 25, 125, 75
AS_BOX = ("cup", 75.0, 25.0, 125.0, 75.0)


def test_boxes_outlines_and_backgrounds_are_read_in_place(tmp_path):
    rows = {
        "train/a.jpg": BOX,
        "train/sub/b.png": "1 0.1 0.2 0.3 0.2 0.3 0.6\n",
        "train/c.jpg": "",
        "train/d.jpg": None,
    }
    dataset = read_dataset(yolo(tmp_path, {**rows, "val/e.jpg": BOX}))
    assert boxes_of(dataset) == {
        "a.jpg": [AS_BOX],
        "c.jpg": [],
        "d.jpg": [],
        "sub/b.png": [("lid", 20.0, 20.0, 60.0, 60.0)],
    }
    assert dataset.image_root == tmp_path / "images" / "train"
    outlined = next(r for r in dataset.document["annotations"] if r.get("segmentation"))
    assert outlined["segmentation"] == [pytest.approx([20, 20, 60, 20, 60, 60])]
    assert outlined["area"] == pytest.approx(800)
    assert [c["id"] for c in dataset.document["categories"]] == [1, 2]
    assert dataset.repairs["missing_labels"].examples == ("d.jpg",)


def test_a_split_is_named_after_the_path(tmp_path):
    file = yolo(tmp_path, {"train/a.jpg": BOX, "val/e.jpg": BOX + "1 0.5 0.5 1 1\n"})
    assert len(read_dataset(f"{file}#val").scenes[0]) == 2
    assert len(read_dataset(f"{tmp_path}#val").scenes[0]) == 2
    with pytest.raises(DatasetError, match="has the splits train, val, not test; name one of them"):
        read_dataset(f"{file}#test")


@pytest.mark.parametrize(
    "head",
    [
        "path: .\ntrain: images/train\n",
        "path: {parent}\ntrain: images/train\n",
        "train: ../train/images\nval: ../valid/images\n",  # Roboflow
        "train: {root}/images/train\n",
        "train: [images/train, images/more]\n",
        "train: list.txt\n",
        "train: images\\train\n",
        "",
    ],
)
def test_images_are_found_as_ultralytics_finds_them(tmp_path, head):
    root = tmp_path / "my set"
    rows = {"train/a ü.jpg": BOX}
    if "more" in head:
        rows["more/b.jpg"] = BOX
    yolo(root, rows)
    if "../train" in head:
        (root / "images" / "train").rename(root / "pictures")
        (root / "train").mkdir()
        (root / "pictures").rename(root / "train" / "images")
        (root / "labels" / "train").rename(root / "train" / "labels")
    text(root / "list.txt", "./images/train/a ü.jpg\r\n", "utf-8-sig")
    names = "names: {0: cup, 1: lid}\n"
    text(root / "data.yaml", head.format(parent=root.name, root=root) + names)
    dataset = read_dataset(root)
    assert all(objects == [AS_BOX] for objects in boxes_of(dataset).values())
    assert len(dataset.scenes) == len(rows)


def test_older_layouts_are_read_too(tmp_path):
    darknet = tmp_path / "darknet"
    picture(darknet / "obj_train_data" / "a.jpg")
    text(darknet / "obj_train_data" / "a.txt", BOX)
    text(darknet / "train.txt", "data/obj_train_data/a.jpg\n")
    text(darknet / "obj.names", "cup\nlid\n")
    text(
        darknet / "obj.data",
        "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
    )
    label_studio = tmp_path / "label_studio"
    picture(label_studio / "images" / "a.jpg")
    text(label_studio / "labels" / "a.txt", BOX)
    text(label_studio / "classes.txt", "cup\nlid\n")
    for root in (darknet, label_studio):
        assert boxes_of(read_dataset(root)) == {"a.jpg": [AS_BOX]}


def test_a_file_that_isnt_there_is_told_from_one_that_cant_be_read(tmp_path):
    file = text(tmp_path / "obj.data", "train = train.txt\nnames = obj.names\n")
    with pytest.raises(DatasetError, match=r"obj\.names: file can't be read \(No such file or directory\)"):
        read_dataset(file)
    (tmp_path / "obj.names").mkdir()
    with pytest.raises(DatasetError, match=r"obj\.names: file can't be read \(no ordinary file\)"):
        read_dataset(file)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (BOX.replace("\n", "\r\n"), "utf-8"),
        (BOX, "utf-8-sig"),
        (BOX, "utf-16"),
        ("\n \n" + BOX + "\n\n", "utf-8"),
    ],
)
def test_line_ends_marks_and_blank_lines_make_no_difference(tmp_path, content, encoding):
    file = yolo(tmp_path, {"train/a.jpg": ""})
    text(tmp_path / "labels" / "train" / "a.txt", content, encoding)
    assert boxes_of(read_dataset(file)) == {"a.jpg": [AS_BOX]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", r"a\.txt: line 2: class is '2', and data\.yaml names 2 classes; correct it"),
        ("-1 0.5 0.5 0.1 0.1", r"class is '-1'"),
        ("0.5 0.5 0.5 0.1 0.1", r"class is '0\.5'"),
        ("0 nan 0.5 0.1 0.1", r"line 2: row has 'nan', which is no share of the image"),
        ("0 inf 0.5 0.1 0.1", r"no share"),
        ("0 150 50 20 20", r"row has '150', which is no share of the image; divide x by the image's width"),
        ("0 0,5 0.5 0.1 0.1", r"row is '0,5', not a number"),
        ("0 0.5 0.5 0.1", r"has a class and 3 numbers; write a class and 4 numbers"),
        ("0 0.5 0.5 0.1 0.1 0.9", r"a confidence at the end makes it a prediction: delete it"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", r"has a class and 7 numbers"),
    ],
)
def test_a_bad_row_ends_in_one_line_with_its_place(tmp_path, row, message):
    file = yolo(tmp_path, {"train/a.jpg": BOX + row + "\n"})
    with pytest.raises(DatasetError, match=message):
        read_dataset(file)


def test_boxes_a_little_outside_are_cut_and_rows_given_twice_read_once(tmp_path):
    file = yolo(tmp_path, {"train/a.jpg": "0 0.1 0.5 0.22 0.5\n" + BOX + BOX})
    dataset = read_dataset(file)
    assert boxes_of(dataset)["a.jpg"] == [("cup", 0.0, 25.0, 42.0, 75.0), AS_BOX]
    assert dataset.repairs["boxes_clipped"].count == 1
    assert dataset.repairs["repeated_annotations"].count == 1


def test_sizes_are_those_after_exif_orientation(tmp_path):
    file = yolo(tmp_path, {"train/a.jpg": BOX})
    picture(tmp_path / "images" / "train" / "a.jpg", (H, W), orientation=6)  # upright: 200 × 100
    dataset = read_dataset(file)
    assert dataset.scenes[0].size_wh == (W, H)
    assert boxes_of(dataset) == {"a.jpg": [AS_BOX]}


def test_oriented_boxes_become_their_enclosing_ones_and_keep_their_corners(tmp_path):
    corners = "0 0.5 0.1 0.7 0.5 0.5 0.9 0.3 0.5\n"
    dataset = read_dataset(yolo(tmp_path, {"train/a.jpg": corners, "train/b.jpg": ""}))
    assert boxes_of(dataset)["a.jpg"] == [("cup", 60.0, 10.0, 140.0, 90.0)]
    record = dataset.document["annotations"][0]
    assert record["oriented_box"] == pytest.approx([100, 10, 140, 50, 100, 90, 60, 50])
    assert "segmentation" not in record
    assert any(
        "oriented boxes, read as the upright boxes around them" in line for line in repair_lines(dataset)
    )


def test_rows_of_eight_numbers_are_outlines_where_another_split_has_others(tmp_path):
    corners = "0 0.5 0.1 0.7 0.5 0.5 0.9 0.3 0.5\n"
    file = yolo(tmp_path, {"train/a.jpg": corners, "val/b.jpg": corners})
    assert all("oriented_box" in read_dataset(p).document["annotations"][0] for p in (file, f"{file}#val"))
    text(tmp_path / "labels" / "train" / "a.txt", corners + BOX)
    record = read_dataset(f"{file}#val").document["annotations"][0]
    assert "oriented_box" not in record
    assert record["segmentation"] == [pytest.approx([100, 10, 140, 50, 100, 90, 60, 50])]
    text(tmp_path / "data.yaml", "train: gone\nval: images/val\nnames: [cup]\n")
    assert "oriented_box" in read_dataset(f"{file}#val").document["annotations"][0]


@pytest.mark.parametrize("path", [".", "classes.txt"])
def test_folders_with_classes_are_read_where_one_stands(tmp_path, monkeypatch, path):
    picture(tmp_path / "images" / "a.jpg")
    text(tmp_path / "labels" / "a.txt", BOX)
    text(tmp_path / "classes.txt", "cup\n")
    monkeypatch.chdir(tmp_path)
    assert boxes_of(read_dataset(path)) == {"a.jpg": [AS_BOX]}


def test_keypoints_come_along(tmp_path):
    head = "train: images/train\nkpt_shape: [2, 3]\n"
    rows = {"train/a.jpg": "0 0.5 0.5 0.25 0.5 0.4 0.4 2 0 0 0\n"}
    record = read_dataset(yolo(tmp_path, rows, head=head)).document["annotations"][0]
    assert record["keypoints"] == pytest.approx([80, 40, 2, 0, 0, 0])
    assert record["num_keypoints"] == 1


def test_missing_images_are_dropped_and_labels_elsewhere_are_told(tmp_path):
    file = yolo(tmp_path, {"train/a.jpg": BOX, "train/b.jpg": BOX}, head="train: list.txt\n")
    text(tmp_path / "list.txt", "images/train/a.jpg\nimages/train/gone.jpg\nimages/train/b.jpg\n")
    text(tmp_path / "images" / "train" / "b.jpg", "no picture")
    dataset = read_dataset(file)
    assert boxes_of(dataset) == {"a.jpg": [AS_BOX]}
    assert dataset.repairs["missing_files"].examples == ("gone.jpg",)
    assert dataset.repairs["unopened_files"].examples == ("b.jpg",)
    (tmp_path / "labels").rename(tmp_path / "other")
    with pytest.raises(
        DatasetError, match=r"labels/train/a\.txt: labels aren't there, nor those of any other"
    ):
        read_dataset(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "document is a null, no YOLO dataset"),
        ("- 1", "document is a list"),
        ("names: [a]", "train is missing, and so are val and test"),
        ("train: 5\nnames: [a]", "train is 5, not a path"),
        ("train: nowhere\nnames: [a]", r"nowhere: train isn't a folder or a list of images; correct it in"),
        ("train: images\nnames: {a: b}", "names has the key 'a'"),
        ("train: images\nnames: {²: b}", "names has the key '²'"),
        ("train: images\nnames: 7", "names is 7, not a list of names"),
        ("train: images\nnames: [a]\nkpt_shape: [0, 9]", "kpt_shape is"),
        ("train: [", "neither YAML nor JSON"),
    ],
)
def test_a_bad_data_yaml_ends_in_one_line(tmp_path, content, message):
    file = text(tmp_path / "data.yaml", content)
    with pytest.raises(AugsynthError, match=message):
        read_dataset(file)


@pytest.mark.parametrize("line", ["/", ".", "./"])
def test_a_list_that_names_no_image_ends_in_one_line(tmp_path, line):
    file = yolo(tmp_path, {"train/a.jpg": BOX}, head="train: list.txt\n")
    text(tmp_path / "list.txt", f"images/train/a.jpg\n{line}\n")
    with pytest.raises(DatasetError, match=rf"list\.txt: line 2: path is '{line}', no file; name an image"):
        read_dataset(file)


def test_its_images_are_where_it_says(tmp_path):
    file = yolo(tmp_path, {"train/a.jpg": BOX})
    with pytest.raises(DatasetError, match="leave --images out"):
        read_dataset(file, images=tmp_path)
