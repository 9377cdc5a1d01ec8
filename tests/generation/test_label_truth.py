"""Label truth: an independent detector grades what a run labelled; the filter's own is refused."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import augsynth
from augsynth.cli import app
from augsynth.core.errors import AugsynthError, ConfigError
from augsynth.detectors.loading import EMBEDDED_DETECTOR
from augsynth.generation import label_truth
from augsynth.generation.config import GenerateConfig
from augsynth.generation.label_truth import check_judge
from augsynth.generation.loading import open_dataset
from augsynth.generation.report import PAGE
from augsynth.generation.run import generate
from augsynth.generation.statistics import Tally
from tests.filtering.recorded import Recorded
from tests.generation.run_files import ignore
from tests.generation.test_finalize_small import BOXES, write_run
from tests.generation.test_report import document_of


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that knows what the embedded one knows, with weights of its own."""
    folder = tmp_path_factory.mktemp("judge") / "judge"
    shutil.copytree(EMBEDDED_DETECTOR, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value * 1.001 for name, value in weights.items()}, folder / "model.safetensors")
    return folder


def test_a_finished_run_is_graded_in_a_copy(
    run: tuple[Path, Tally], other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((run[0] / "summary.json").read_text())
    assert "label_truth" not in before and document_of(run[0])["label_truth"] is None
    out = tmp_path / "graded"
    with pytest.raises(SystemExit, match=r"^0$"):
        app(["finalize", str(run[0]), "--judge", str(other), "--out", str(out), "--json"])
    said = json.loads(capsys.readouterr().out)
    summary, document = json.loads((out / "summary.json").read_text()), document_of(out)
    truth = summary["label_truth"]
    assert said["label_truth"] == truth == document["label_truth"]
    assert truth["accepted"]["objects"] == before["objects"] == summary["objects"]
    assert 0 <= truth["accepted"]["low"] <= truth["accepted"]["high"] <= 1
    assert truth["real"]["right"] / truth["real"]["objects"] > 0.6
    assert sum(line["accepted"]["objects"] for line in truth["categories"]) == summary["objects"]
    assert "A detector that took no part finds " in document["verdict"]["filter"]
    assert "Labels right, painted and real" in (out / PAGE).read_text("utf-8")


def test_a_run_is_graded_when_it_ends(config: GenerateConfig, other: Path, tmp_path: Path) -> None:
    short = config.but(n=2, steps=2, bank=False, masks="off", judge=str(other), out=str(tmp_path / "run"))
    tally = generate(short, progress=ignore)
    assert tally.truth is not None and tally.truth.accepted.objects == 2
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "judge" not in state["fingerprint"], "a run can't get its judge later"


def test_painted_and_real_objects_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new image has three painted cups and a real object; the judge sees the first cup, and a dog at its place."""
    out, dataset = write_run(tmp_path)
    record = Recorded([BOXES[0], (4, 4, 13, 13)], [0.9, 0.8], [1, 2])
    monkeypatch.setattr(label_truth, "load_detector", lambda *given, **named: record)
    copy = augsynth.finalize(out, out=tmp_path / "copy", judge="somebody")
    truth = copy.summary["label_truth"]
    assert truth["judge"] == "somebody"
    assert (truth["accepted"]["right"], truth["accepted"]["objects"]) == (2, 6)
    real = {scene.category_ids[0]: scene for scene in dataset.scenes}
    assert (truth["real"]["right"], truth["real"]["objects"]) == (int(2 in real), 2)


def test_the_filter_is_no_judge_of_its_own(config: GenerateConfig, tmp_path: Path, other: Path) -> None:
    with pytest.raises(ConfigError, match=r"^judge embedded is the detector that filters.*trained apart$"):
        open_dataset(config.but(judge="embedded"))
    copied = tmp_path / "under another name"
    shutil.copytree(EMBEDDED_DETECTOR, copied)
    with pytest.raises(ConfigError, match="under another name is the detector that filters"):
        open_dataset(config.but(judge=str(copied)))
    with pytest.raises(ConfigError, match="judge embedded is the detector"):
        open_dataset(config.but(detector=f"{other},embedded", judge="embedded"))
    config_without, dataset = open_dataset(config.but(filter="off", judge="embedded"))
    check_judge(config_without, dataset)


def test_a_judge_that_lacks_a_category_is_refused_before_painting(
    config: GenerateConfig, other: Path, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger"
    shutil.copytree(other, stranger)
    text = (stranger / "config.json").read_text()
    (stranger / "config.json").write_text(text.replace('"bottle"', '"penguin"'))
    with pytest.raises(
        ConfigError, match=r"^judge .*doesn't know 1 of the dataset's categories: bottle.*to --judge$"
    ):
        open_dataset(config.but(judge=str(stranger)))
    with pytest.raises(AugsynthError, match=r"or leave --judge out$"):
        open_dataset(config.but(judge=str(tmp_path / "nowhere")))


def test_finalize_asks_for_something_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither veto nor judge is given"):
        app(["finalize", str(tmp_path / "run"), "--out", str(tmp_path / "out")])
