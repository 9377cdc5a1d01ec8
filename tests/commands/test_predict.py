"""`augsynth predict` on the command line: what it prints and writes, and what it refuses."""

import json

import pytest

from augsynth.sample import write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample"), num_images=6, seed=5, workers=1)


def test_results_and_evaluation_are_written_and_told(run, sample, tmp_path):
    words = ("predict", "--annotations", sample, "--detector", "embedded", "--out", "found")
    code, out, err = run(*words)
    assert code == 0 and all("without objects" in line for line in err)
    evaluation = json.loads((tmp_path / "found" / "evaluation.json").read_text())
    assert f"AP {evaluation['ap']:.4f}, AP50 {evaluation['ap50']:.4f} on" in out
    for name, ap in evaluation["category_ap"].items():
        [line] = [line for line in out.splitlines() if line.startswith(f"{name} ")]
        assert line.split()[-2:] == [f"{ap:.4f}", f"{evaluation['category_ap50'][name]:.4f}"]
    rows = json.loads((tmp_path / "found" / "predictions.json").read_text())
    assert f"{len(rows):,} detections in 6 images by embedded\n" in out
    assert evaluation["detector"] == "embedded"
    code, _, err = run(*words)
    assert code == 2 and "isn't an empty folder" in err[0] and len(err) == 1


def test_json_is_the_figures(run, sample):
    code, out, _ = run("predict", "--annotations", sample, "--detector", "embedded", "--out", "f", "--json")
    document = json.loads(out)
    assert code == 0 and document["images"] == 6
    assert document["evaluation"]["num_images"] == 6 and len(document["files"]) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--detector", "embedded,"), "with a comma between"),
        (("--detector", ""), "detector is ''; write one detector"),
        (("--detector", "./nowhere"), "nowhere"),
        (("--detector", "embedded", "--device", "cuda:99"), "cuda:99"),
        (("--detector", "embedded", "--images", "none"), "none"),
        ((), "--detector"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, sample, tmp_path, words, says):
    code, out, err = run("predict", "-q", "--annotations", sample, "--out", "found", *words)
    assert code == 2 and not out
    assert len(err) == 1 and says in err[0]
    assert not (tmp_path / "found").exists()


def test_a_picture_that_cannot_be_decoded_leaves_no_output(run, sample, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(sample.parents[1], copy)
    annotations = copy / "annotations" / "instances.json"
    name = json.loads(annotations.read_text())["images"][-1]["file_name"]
    picture = copy / "images" / name
    picture.write_bytes(picture.read_bytes()[:2000])
    code, out, err = run("predict", "--annotations", annotations, "--detector", "embedded", "--out", "found")
    assert code == 2 and not out and name in err[-1]
    assert not (tmp_path / "found").exists()
