"""The folders of a training: whose they are, and results that appear whole."""

import contextlib

import pytest

from augsynth.core.errors import ConfigError, ResumeError
from augsynth.training.folder import check_out, check_work, claim, release, replace_folder, settle_folder
from tests.tiny_kills import Kill, Killed, files_of


def test_only_ones_own_training_is_gone_on_with(tmp_path):
    out = tmp_path / "out"
    check_out(out, verb="train-lora")
    assert not out.exists()
    claim(out / "training", verb="train-lora", key="a")
    (out / "last").mkdir()
    (out / "notes.txt").write_text("mine")
    before = files_of(out)
    check_out(out, verb="train-lora")
    claim(out / "training", verb="train-lora", key="a")
    with pytest.raises(ResumeError, match=r"training: holds the training of another .*--out"):
        claim(out / "training", verb="train-lora", key="b")
    with pytest.raises(ConfigError, match=r"out: isn't an empty folder"):
        check_out(out, verb="train-inpainter")
    assert files_of(out) == before


@pytest.mark.parametrize(
    "held", ["photo.jpg", "training/photo.jpg", "model/model_index.json", "training.json"]
)
def test_a_foreign_folder_is_refused(tmp_path, held):
    file = tmp_path / "out" / held
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    with pytest.raises(ConfigError, match=r"out: isn't an empty folder .*nothing was changed"):
        check_out(tmp_path / "out", verb="train-lora")
    with pytest.raises(ConfigError, match="isn't an empty folder"):
        check_work(tmp_path / "out", verb="train-detector")


def test_a_place_that_cannot_be_written_and_an_input_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    for out, says in ((tmp_path / "a.json" / "x", "isn't a folder"), (tmp_path / "a.json", "is a file")):
        with pytest.raises(ConfigError, match=says):
            check_out(out, verb="train-lora")
    with pytest.raises(ConfigError, match="can't be written"):
        check_out(tmp_path.__class__("/proc/x"), verb="train-lora")
    (tmp_path / "data" / "images").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds an input"):
        check_out(tmp_path / "data", verb="train-lora", inputs=[tmp_path / "data" / "images"])


def test_a_claim_and_a_release_that_were_killed_are_repeated(tmp_path, monkeypatch):
    out = tmp_path / "out"
    for after in range(40):
        with monkeypatch.context() as patch:
            kill = Kill(patch, tmp_path, after=after)
            try:
                claim(out / "training", verb="v", key="a")
                (out / "training" / "bank").mkdir(exist_ok=True)
                (out / "training" / "checkpoint").write_text("x")
                release(out / "training")
            except Killed:
                pass
        check_out(out, verb="v")
        claim(out / "training", verb="v", key="a")
        release(out / "training")
        assert not (out / "training").exists()
        if kill.count < after:
            return
    pytest.fail("it never ended")


def test_a_killed_replacement_leaves_the_old_folder_or_the_new(tmp_path, monkeypatch):
    folder, seen = tmp_path / "model", set()

    def fill_with(text):
        def fill(fresh):
            fresh.mkdir()
            for name in ("a", "b"):
                (fresh / name).write_text(text)

        return fill

    for after in range(40):
        replace_folder(folder, fill_with("old"))
        with monkeypatch.context() as patch:
            kill = Kill(patch, tmp_path, after=after)
            with contextlib.suppress(Killed):
                replace_folder(folder, fill_with("new"))
        settle_folder(folder)
        assert [p.name for p in tmp_path.iterdir()] == ["model"]
        held = files_of(folder)
        assert held in ({"a": b"old", "b": b"old"}, {"a": b"new", "b": b"new"})
        seen.add(held["a"])
        if kill.count < after:
            break
    assert seen == {b"old", b"new"}
