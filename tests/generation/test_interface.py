"""A run from Python: started, looked at, opened again; wrong options are refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

import augsynth
from augsynth.core.errors import ConfigError, ResumeError
from augsynth.sample import write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    return write_sample(root, num_images=40, workers=1), root / "images"


@pytest.fixture(scope="module")
def dataset(sample):
    annotations, images = sample
    return augsynth.read_dataset(str(annotations), images=str(images))


@pytest.fixture(scope="module")
def run(sample, tmp_path_factory):
    stages = []
    run = augsynth.generate(
        *sample,
        out=tmp_path_factory.mktemp("runs") / "first",
        n=2,
        progress=lambda stage, tally: stages.append((stage, tally.accepted)),
        model="embedded",
        detector=Path("embedded"),
        steps=4,
        max_attempts=60,
        min_score=0.05,
        min_iou=0.3,
    )
    assert stages[0] == ("reading", 0) and stages[-1][0] == "done"
    return run


def test_a_run_can_be_looked_at(run, dataset, capsys):
    assert run.summary["attempts"] == len(run.attempts) > 0
    kept = [attempt for attempt in run.attempts if "annotation_id" in attempt]
    assert len(kept) == run.summary["objects"] >= 1
    assert len(run.dataset.scenes) == len(dataset.scenes) + run.summary["images"]
    assert run.annotations.is_file() and run.images.is_dir()
    before, after = run.before_and_after(kept[0])
    assert before.shape == after.shape and before.dtype == np.uint8
    assert (before != after).any()
    assert run.contact_sheet().size[0] > 100
    assert run._repr_png_()[:4] == b"\x89PNG"
    assert str(run).startswith(f"{len(kept)} objects in ")
    assert run.decoys == ()
    assert capsys.readouterr() == ("", ""), "the interface is quiet"
    rejected = [attempt for attempt in run.attempts if "annotation_id" not in attempt]
    for attempt in rejected[:1]:
        with pytest.raises(ResumeError, match=r"contact_sheet\(accepted=False\)"):
            run.before_and_after(attempt)


def test_a_finished_run_is_opened_again_and_no_other(run, tmp_path):
    again = augsynth.open_run(str(run.path))
    assert again == run and again.attempts == run.attempts
    with pytest.raises(ResumeError, match="holds no run"):
        augsynth.open_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "status": "running", "fingerprint": {}}))
    with pytest.raises(ResumeError, match="isn't finished; repeat its command"):
        augsynth.open_run(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 3}, "^generate: unknown key 'step'; did you mean steps?"),
        ({"steps": "many"}, "steps is .many."),
        ({"min_iou": 3}, "min_iou is 3"),
        ({"images": "pictures"}, "images is given without annotations"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        augsynth.generate(out=tmp_path / "run", **options)
    assert isinstance(caught.value, augsynth.AugsynthError)
    assert not (tmp_path / "run").exists()
