"""What a check finds in a file, and that a cleaned copy is without what it mends."""

import copy
import json

import pytest

import augsynth
from augsynth.checking.findings import KINDS
from augsynth.checking.overview import look_over
from augsynth.coco.faults import REPAIRS
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import ConfigError, DatasetError
from tests.checking.tiny_set import WH, kinds, write_set
from tests.coco.tiny_sets import voc, voc_object

W, H = WH


def test_a_clean_dataset_is_clean(tmp_path):
    found = augsynth.check(*write_set(tmp_path))
    assert found.clean and not found.findings
    assert found.to_dict()["counts"] == {"error": 0, "warning": 0, "note": 0}


def test_the_rendered_sample_is_clean(tmp_path):
    from augsynth.sample import write_sample

    path = write_sample(tmp_path / "sample", num_images=12, workers=1)
    found = augsynth.check(path, tmp_path / "sample" / "images")
    assert found.clean and kinds(found, "note").keys() <= {"categories_without_objects"}


def box(*bbox):
    return lambda d: d["annotations"][0].update(bbox=list(bbox), area=float(bbox[2] * bbox[3]))


def again(d, *, shift=0.0, **changes):
    twin = copy.deepcopy(d["annotations"][0])
    twin["bbox"][0] += shift
    d["annotations"].append({**twin, "id": 900, **changes})


def with_masks(d, *, apart):
    """The first object twice in one box: with one mask, or with the two halves of the box along its diagonal."""
    x, y, w, h = d["annotations"][0]["bbox"]
    halves = [[x, y, x + w, y, x, y + h], [x + w, y, x + w, y + h, x, y + h]]
    again(d)
    for record in d["annotations"]:
        a, b, c, e = record["bbox"]
        record["segmentation"] = [[a, b, a + c, b, a + c, b + e, a, b + e]]
    d["annotations"][0]["segmentation"] = [halves[0]]
    d["annotations"][-1]["segmentation"] = [halves[1 if apart else 0]]


# case: change of the document, what is found, which of it a copy is without
CASES = {
    "whole image": (box(0, 0, W, H), {"whole_image_boxes": 1}, False),
    "nearly the whole image is usual": (box(0, 0, W, 0.95 * H), {}, False),
    "tiny": (box(10, 10, 2.5, 30), {"tiny_boxes": 1}, False),
    "small is no fault": (box(10, 10, 3, 3), {}, False),
    "long beyond its category": (box(4, 10, 150, 4), {"extreme_shapes": 1}, False),
    "long": (box(4, 10, 30, 4), {}, False),
    "twice": (again, {"repeated_boxes": 1}, True),
    "nearly twice": (lambda d: again(d, shift=1.0), {"repeated_boxes": 1}, True),
    "close together": (lambda d: again(d, shift=8.0), {}, False),
    "twice as a crowd": (lambda d: again(d, iscrowd=1), {}, False),
    "two categories": (lambda d: again(d, category_id=5), {"contradicting_boxes": 1}, False),
    "twice with one mask": (lambda d: with_masks(d, apart=False), {"repeated_boxes": 1}, True),
    "one box, two masks": (lambda d: with_masks(d, apart=True), {}, False),
    "outside": (box(W - 10, 10, 30, 30), {"boxes_clipped": 1}, True),
    "empty": (box(10, 10, 0, 5), {"boxes_ignored": 1}, True),
    "no numbers": (lambda d: d["annotations"][0].update(bbox=["1", 2, 3, 4]), {"bad_box": 1}, True),
    "no iscrowd": (lambda d: d["annotations"][0].pop("iscrowd"), {"missing_iscrowd": 1}, True),
    "no image": (lambda d: d["annotations"][0].update(image_id=77), {"annotations_without_image": 1}, True),
    "no info": (lambda d: d.pop("info"), {"missing_info": 1}, True),
    "no file": (
        lambda d: d["images"][0].update(file_name="gone.png"),
        {"missing_files": 1, "annotations_of_lost_images": 2},
        True,
    ),
    "other size": (
        lambda d: d["images"][0].update(width=W + 1),
        {"other_sizes": 1, "annotations_of_lost_images": 2},
        True,
    ),
    "id of another": (lambda d: d["annotations"][1].update(id=1), {"duplicate_annotation_ids": 1}, True),
    "unused namesake": (
        lambda d: d["categories"].append({"id": 9, "name": "Can"}),
        {"shadowed_categories": 1},
        True,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_found_and_a_copy_is_without_what_it_mends(case, tmp_path):
    change, expected, mended = CASES[case]
    path, images = write_set(tmp_path, change)
    before = path.read_bytes()
    found = augsynth.check(path, images)
    assert kinds(found) == expected and found.clean == (not expected)
    assert all(finding.fixable == mended for finding in found.findings if finding.level != "note")
    copied, changes = found.write_fixed(tmp_path / "fixed")
    left = kinds(augsynth.check(copied, images))
    assert left == ({} if mended else expected)
    told = json.loads(changes.read_text())
    assert {c["kind"] for c in told["files"][0]["changes"]} == (set(expected) if mended else set())
    assert {c["kind"] for c in told["left_to_you"] if c["level"] != "note"} == (
        set() if mended else set(expected)
    )
    assert path.read_bytes() == before
    read_dataset(copied, images=images)


def test_every_finding_names_its_record(tmp_path):
    found = augsynth.check(*write_set(tmp_path, lambda d: again(d, shift=1.0)))
    (finding,) = found.findings
    (case,) = finding.cases
    assert case.annotation_ids == (1, 900) and case.image_id == 1 and case.file_name == "001.png"
    assert len(case.boxes_xywh) == 2 and 0.9 < case.value < 1
    assert "can, IoU 0.9" in str(case)


def test_all_that_is_wrong_is_found_at_once(tmp_path):
    def change(d):
        d["annotations"][0]["bbox"] = None
        d["annotations"][1]["category_id"] = 99
        d["annotations"][2]["iscrowd"] = 5
        d["annotations"][3]["bbox"] = [10, 10, 1, 30]
        d["images"][9]["file_name"] = "/etc/passwd"

    path, images = write_set(tmp_path, change)
    found = augsynth.check(path, images)
    assert kinds(found) == {
        "bad_box": 1,
        "unknown_category": 1,
        "bad_iscrowd": 1,
        "bad_file_name": 1,
        "tiny_boxes": 1,
    }
    with pytest.raises(DatasetError, match=r"a\.json: .* and 2 more: only you can mend that"):
        found.write_fixed(tmp_path / "fixed")
    assert not (tmp_path / "fixed").exists()


def test_normalised_boxes_are_a_finding_although_nothing_else_can_be_said(tmp_path):
    def change(d):
        for record in d["annotations"]:
            record["bbox"] = [0.1, 0.2, 0.3, 0.4]

    found = augsynth.check(*write_set(tmp_path, change))
    assert kinds(found) == {"normalised_boxes": 1} and not found.overviews


def test_what_is_ignored_is_not_told(tmp_path):
    path, images = write_set(tmp_path, box(10, 10, 1, 30))
    assert not augsynth.check(path, images).clean
    assert augsynth.check(path, images, ignore=["tiny_boxes"]).clean
    with pytest.raises(ConfigError, match="ignore names 'tiny'"):
        augsynth.check(path, images, ignore=["tiny"])


def test_kinds_have_names_of_their_own():
    assert len(set(KINDS)) == len(KINDS) and set(REPAIRS) < set(KINDS)


def test_splits_are_compared(tmp_path):
    def renumbered(d):
        d["categories"][1]["id"] = 6
        for record in d["annotations"]:
            record["category_id"] = {5: 6}.get(record["category_id"], record["category_id"])

    train = write_set(tmp_path / "train")
    val = write_set(tmp_path / "val", renumbered, first=50)
    found = augsynth.check([train[0], val[0]], [train[1], val[1]])
    assert kinds(found) == {"other_categories": 1}
    assert "id 6 here and 5 in" in str(found.findings[0].cases[0])
    copies = found.write_fixed(tmp_path / "fixed")
    assert [str(p.relative_to(tmp_path / "fixed")) for p in copies] == [
        "train/a.json",
        "val/a.json",
        "changes.json",
    ]
    with pytest.raises(ConfigError, match="2 annotation files but 3 image directories"):
        augsynth.check([train[0], val[0]], [tmp_path] * 3)
    with pytest.raises(ConfigError, match="is given twice"):
        augsynth.check([train[0], tmp_path / "val" / ".." / "train" / "a.json"])


def test_files_that_another_split_lists_are_no_finding(tmp_path):
    train, images = write_set(tmp_path)
    val, _ = write_set(tmp_path, first=50, name="b.json")
    assert kinds(augsynth.check(train, images), "note") == {"unlisted_files": 12}
    assert not augsynth.check([train, val], images).findings


def test_one_name_in_two_splits_is_a_leak_where_pictures_are_not_given(tmp_path):
    train, _ = write_set(tmp_path)
    val, _ = write_set(tmp_path, name="b.json")
    assert kinds(augsynth.check([train, val])) == {"leaked_pictures": 12}


def test_structure_of_a_large_dataset_is_judged_by_a_part_of_it(tmp_path, monkeypatch):
    path, _ = write_set(tmp_path)
    dataset = read_dataset(path)
    whole = look_over(dataset)[0]
    monkeypatch.setattr("augsynth.checking.overview.MOST_IMAGES", 6)
    part = look_over(dataset)[0]
    assert part.structure.endswith("Judged by 2 frequent categories in 6 images.")
    assert "Judged" not in whole.structure and part.images == whole.images == 12


def test_figures_of_the_dataset(tmp_path):
    path, _ = write_set(tmp_path, box(4, 10, 150, 100))
    overview, noted = look_over(read_dataset(path))
    assert (overview.images, overview.objects, overview.categories) == (12, 24, {"can": 12, "cup": 12})
    assert overview.windows[2] <= H and overview.shown[512] == 1 and 0 <= overview.shown[64] < 1
    assert "no structure" in overview.structure.lower() and not overview.structured
    assert [(finding.kind, finding.level, finding.count) for finding in noted] == [
        ("objects_without_window", "note", 1)
    ]


def test_categories_that_differ_only_in_case_are_the_same_in_both_splits(tmp_path):
    def cased(d):
        d["categories"][0]["name"], d["categories"][1]["name"] = "Stop_Sign", "stop sign"

    train, val = write_set(tmp_path / "train", cased), write_set(tmp_path / "val", cased, first=50)
    found = augsynth.check([train[0], val[0]], [train[1], val[1]])
    assert "other_categories" not in kinds(found)


def test_pictures_are_told_by_name_only_where_one_split_has_none(tmp_path):
    train, val = write_set(tmp_path / "train"), write_set(tmp_path / "val")
    other, images = write_set(tmp_path / "test", first=50)
    images.rename(tmp_path / "elsewhere")
    found = augsynth.check([train[0], val[0], other])
    leaks = [(finding.kind, finding.count) for finding in found.findings if finding.level == "error"]
    assert leaks == [("leaked_pictures", 12)], "by their pictures, and not by name again"


def test_copies_of_folders_with_dots_in_their_names_have_names_of_their_own(tmp_path):
    first, second = (
        voc(tmp_path / name, {name[-1]: [voc_object("cup", (5, 5, 30, 20))]}) for name in ("cups.1", "cups.2")
    )
    copies = augsynth.check([first, second]).write_fixed(tmp_path / "fixed")
    assert [path.name for path in copies] == ["cups.1.json", "cups.2.json", "changes.json"]
    for path, name in zip(copies, "12", strict=False):
        assert json.loads(path.read_text())["images"][0]["file_name"].endswith(f"{name}.jpg")
