import math

import pytest

from augsynth.coco.reader import read_dataset
from augsynth.core.errors import DatasetError
from tests.coco.tiny_sets import H, W, boxes_of, picture, text, voc, voc_object

CUP = voc_object("cup", (11, 21, 60, 80))


def test_whole_numbers_count_pixels_from_1(tmp_path):
    dataset = read_dataset(voc(tmp_path, {"a": [CUP, voc_object("lid", (1, 1, W, H))]}))
    assert boxes_of(dataset) == {"a.jpg": [("cup", 10.0, 20.0, 60.0, 80.0), ("lid", 0.0, 0.0, W, H)]}
    assert "voc_from_zero" not in dataset.repairs


@pytest.mark.parametrize("box", [(0, 5, 30, 40), (0.0, 5.0, 30.0, 40.0), (0.5, 5.25, 30.0, 40.0)])
def test_coordinates_from_0_are_taken_as_they_are_and_told(tmp_path, box):
    dataset = read_dataset(voc(tmp_path, {"a": [voc_object("cup", box)]}))
    assert boxes_of(dataset) == {"a.jpg": [("cup", *map(float, box))]}
    assert dataset.repairs["voc_from_zero"].examples == ("a.xml",)


def test_what_numbers_count_from_is_decided_for_all_splits(tmp_path):
    objects = {"a": [CUP], "b": [voc_object("cup", (0, 5, 30, 40))]}
    root = voc(tmp_path, objects, lists={"train": ["a"], "val": ["b"]})
    assert boxes_of(read_dataset(root)) == {"a.jpg": [("cup", 11.0, 21.0, 60.0, 80.0)]}
    assert read_dataset(root).repairs["voc_from_zero"].examples == ("b.xml",)
    assert boxes_of(read_dataset(f"{root}#val")) == {"b.jpg": [("cup", 0.0, 5.0, 30.0, 40.0)]}


def test_a_root_element_may_have_attributes(tmp_path):
    root = voc(tmp_path, {"a": [CUP]})
    file = root / "Annotations" / "a.xml"
    text(file, file.read_text().replace("<annotation>", '<annotation verified="yes">'))  # labelImg
    assert boxes_of(read_dataset(root)) == {"a.jpg": [("cup", 10.0, 20.0, 60.0, 80.0)]}


def test_splits_are_the_lists_and_all_have_the_same_categories(tmp_path):
    lists = {
        "train": ["a", "b  1", "bad name -1"],
        "val": ["c"],
        "trainval": ["a", "b", "c"],
        "cup_train": ["a 1"],
    }
    objects = {"a": [CUP], "b": [], "bad name": [CUP], "c": [voc_object("lid", (11, 21, 60, 80))]}
    root = voc(tmp_path, objects, lists=lists)
    train, val = read_dataset(root), read_dataset(f"{root}#val")
    assert list(boxes_of(train)) == ["a.jpg", "b.jpg", "bad name.jpg"]
    assert list(boxes_of(val)) == ["c.jpg"]
    assert train.document["categories"] == val.document["categories"]


@pytest.mark.parametrize("folders", [("annotations", "images"), ("labels", "data"), ("xmls", "JPEGImages")])
def test_folders_of_other_names_are_found(tmp_path, folders):
    voc(tmp_path / "v", {"a": [CUP]})
    for old, new in zip(("Annotations", "JPEGImages"), folders, strict=True):
        (tmp_path / "v" / old).rename(tmp_path / "v" / new)
    assert boxes_of(read_dataset(tmp_path / "v")) == {"a.jpg": [("cup", 10.0, 20.0, 60.0, 80.0)]}


def test_files_beside_images_and_a_devkit_are_read(tmp_path):
    voc(tmp_path / "VOCdevkit" / "VOC2012", {"a": [CUP]})
    assert len(read_dataset(tmp_path / "VOCdevkit").scenes) == 1
    for split, stem in (("train", "a"), ("valid", "b")):  # Roboflow
        picture(tmp_path / "flat" / split / f"{stem}.jpg")
        text(tmp_path / "flat" / split / f"{stem}.xml", f"<annotation>{CUP}</annotation>")
    assert list(boxes_of(read_dataset(tmp_path / "flat"))) == ["a.jpg"]
    assert list(boxes_of(read_dataset(f"{tmp_path / 'flat'}#val"))) == ["b.jpg"]


def test_images_elsewhere_are_given(tmp_path):
    root = voc(tmp_path / "v", {"a": [CUP]})
    (root / "JPEGImages").rename(tmp_path / "elsewhere")
    dataset = read_dataset(root, images=tmp_path / "elsewhere")
    assert dataset.image_root == tmp_path / "elsewhere"
    assert len(dataset.scenes[0]) == 1


def test_flags_outlines_and_swapped_corners(tmp_path):
    outline = (
        "<polygon>"
        + "".join(
            f"<x{k}>{x}</x{k}><y{k}>{y}</y{k}>"
            for k, (x, y) in enumerate([(11, 21), (61, 21), (61, 81)], start=1)
        )
        + "</polygon>"
    )
    first = voc_object("cup", (60, 80, 11, 21), difficult=1, truncated=1, pose="Left")
    second = CUP.replace("</object>", outline + "</object>")
    dataset = read_dataset(voc(tmp_path, {"a": [first, second]}))
    assert boxes_of(dataset)["a.jpg"][0] == ("cup", 10.0, 20.0, 60.0, 80.0)
    assert dataset.scenes[0].is_crowd.tolist() == [True, False]
    records = dataset.document["annotations"]
    assert records[0]["attributes"] == {"pose": "Left", "truncated": True}
    assert records[1]["segmentation"] == [[10, 20, 60, 20, 60, 80]]


def test_turned_boxes_of_rolabelimg_keep_their_corners(tmp_path):
    turned = f"<cx>100</cx><cy>50</cy><w>40</w><h>20</h><angle>{math.pi / 2}</angle>"
    robject = f"<object><name>cup</name><robndbox>{turned}</robndbox></object>"
    dataset = read_dataset(voc(tmp_path, {"a": [robject]}))
    assert boxes_of(dataset) == {"a.jpg": [("cup", 90.0, 30.0, 110.0, 70.0)]}
    corners = dataset.document["annotations"][0]["oriented_box"]
    assert corners == pytest.approx([110, 30, 110, 70, 90, 70, 90, 30])


def test_sizes_of_0_are_measured_and_wrong_ones_drop_the_image(tmp_path):
    assert read_dataset(voc(tmp_path / "a", {"a": [CUP]}, size_wh=(0, 0))).scenes[0].size_wh == (W, H)
    root = voc(tmp_path / "b", {"a": [CUP], "b": [CUP]})
    picture(root / "JPEGImages" / "b.jpg", (50, 50))
    assert read_dataset(root).repairs["other_sizes"].examples == ("b.jpg",)


def test_file_names_that_say_something_else_dont_mislead(tmp_path):
    root = voc(tmp_path, {"a b": [CUP], "ü": [CUP]})
    for stem, said in (("a b", "C:\\\\data\\\\a b.png"), ("ü", "../../ü.jpg")):
        file = root / "Annotations" / f"{stem}.xml"
        text(file, file.read_text("utf-8").replace(f"{stem}.jpg", said), "utf-8-sig")
    assert len(read_dataset(root).scenes) == 2
    (root / "JPEGImages" / "ü.jpg").unlink()
    with pytest.raises(DatasetError, match=r"leaves the image directory with '\.\.'"):
        read_dataset(root)


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("<object><bndbox/></object>", r"a\.xml: object 1: name is missing; name the class"),
        ("<object><name>cup</name></object>", r"object 'cup': bndbox/xmin is '', not a number of use"),
        (voc_object("cup", (1, "nan", 3, 4)), r"bndbox/ymin is 'nan', not a number of use"),
        (voc_object("cup", (1, 2, "1e99", 4)), r"bndbox/xmax is '1e99'"),
        ("<object>", r"a\.xml: isn't XML"),
    ],
)
def test_a_bad_object_ends_in_one_line_with_its_place(tmp_path, element, message):
    root = voc(tmp_path, {"a": [element]})
    with pytest.raises(DatasetError, match=message):
        read_dataset(root)


def test_objects_are_counted_in_their_file(tmp_path):
    root = voc(tmp_path, {"a": [CUP], "b": [CUP, "<object/>"]})
    with pytest.raises(DatasetError, match=r"b\.xml: object 2: name is missing"):
        read_dataset(root)


def test_label_maps_may_name_classes_with_colons(tmp_path):
    root = voc(tmp_path, {"a": [voc_object("food:apple", (11, 21, 60, 80))]})
    text(root / "labelmap.txt", "# label:color_rgb:parts:actions\nlid:1,2,3::\nfood:apple:::\n")
    assert [c["name"] for c in read_dataset(root).document["categories"]] == ["lid", "food:apple"]
