"""`augsynth check` on the command line: what it prints, its exit codes, and what it writes where."""

import json

import pytest

from tests.checking.tiny_set import write_set


def tiny(d):
    d["annotations"][0]["bbox"] = [10, 10, 1, 30]


def outside(d):
    d["annotations"][0]["bbox"] = [150, 10, 30, 30]


def nearly_twice(d):
    x, y, w, h = d["annotations"][0]["bbox"]
    d["annotations"].append({**d["annotations"][0], "id": 99, "bbox": [x + 1, y, w, h]})


def test_nothing_wrong_is_zero(run, tmp_path):
    path, images = write_set(tmp_path)
    code, out, err = run("check", "--annotations", path, "--images", images)
    assert code == 0 and not err
    assert "12 images, 24 objects, 2 categories" in out and "nothing found" in out
    assert out.rstrip().endswith("0 errors, 0 warnings, 0 notes")


def test_findings_are_one(run, tmp_path):
    path, images = write_set(tmp_path, tiny)
    code, out, err = run("check", "--annotations", path, "--images", images)
    assert code == 1 and not err
    assert "tiny_boxes" in out and "0 errors, 1 warning, 0 notes" in out
    code, _, _ = run("check", "--annotations", path, "--images", images, "--ignore", "tiny_boxes")
    assert code == 0


def test_pictures_are_looked_for_near_the_file(run, tmp_path):
    path, images = write_set(tmp_path)
    (images / "003.png").write_bytes((images / "002.png").read_bytes())
    code, out, _ = run("check", "--annotations", path)
    assert code == 1 and "same_pictures" in out
    images.rename(tmp_path / "elsewhere")
    code, out, _ = run("check", "--annotations", path)
    assert code == 0 and "pictures aren't looked at" in out


def test_a_dataset_of_another_format_is_checked_and_copied_as_coco(run, tmp_path):
    path, images = write_set(tmp_path, nearly_twice)
    run("export", "--annotations", path, "--images", images, "--format", "yolo", "--out", "yolo")
    code, out, _ = run("check", "--annotations", "yolo/data.yaml", "--fix", "fixed")
    assert code == 1 and "repeated_boxes" in out
    copied = json.loads((tmp_path / "fixed" / "data.json").read_text())
    assert len(copied["annotations"]) == 24


def test_json_is_the_findings(run, tmp_path):
    path, _ = write_set(tmp_path, tiny)
    code, out, _ = run("check", "--annotations", path, "--json")
    document = json.loads(out)
    assert code == 1 and document["clean"] is False and document["counts"]["warning"] == 1
    (finding,) = document["findings"]
    assert finding["kind"] == "tiny_boxes" and finding["cases"][0]["annotation_ids"] == [1]
    assert document["datasets"][0]["categories"] == {"can": 12, "cup": 12}


def test_page_and_copy_are_written(run, tmp_path):
    path, images = write_set(tmp_path, outside)
    words = ["check", "--annotations", path, "--images", images]
    code, out, _ = run(*words, "--page", "check.html", "--fix", "fixed")
    assert code == 1 and "check.html" in out and "changes.json" in out
    code, _, _ = run("check", "--annotations", "fixed/a.json", "--images", images)
    assert code == 0
    code, _, err = run(*words, "--fix", "fixed")
    assert code == 2 and len(err) == 1 and "isn't an empty folder" in err[0]


def test_where_only_a_person_can_mend_nothing_is_written_and_the_table_is_shown(run, tmp_path):
    path, _ = write_set(tmp_path, lambda d: d["annotations"][0].update(category_id=99))
    code, out, _ = run("check", "--annotations", path, "--fix", "fixed")
    assert code == 1 and "unknown_category" in out and "only you can mend that" in " ".join(out.split())
    assert not (tmp_path / "fixed").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--annotations", "nowhere.json"], "nowhere.json: annotations can't be read"),
        (["--annotations", "broken.json"], "broken.json: annotations isn't JSON"),
        (["--annotations", "a.json", "--images", "nowhere"], "nowhere: images isn't a directory"),
        (["--annotations", "a.json", "--images", "."], "images[0] (id 1): file_name '001.png'"),
        (["--annotations", "a.json", "--page", "a.json"], "a.json: is an input"),
        (["--annotations", "a.json", "--ignore", "tiny"], "ignore names 'tiny'"),
        (["--annotations", "alone.json", "--detector", "embedded"], "give the image directory"),
        ([], "annotations"),
    ],
)
def test_bad_input_is_one_line_and_two(run, tmp_path, words, said):
    write_set(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    alone = json.loads((tmp_path / "a.json").read_text().replace(".png", ".jpg"))
    (tmp_path / "alone.json").write_text(json.dumps(alone))
    code, out, err = run("check", *words)
    assert code == 2 and not out and len(err) == 1
    assert err[0].startswith("augsynth: ") and said in err[0]
