"""Asking before any work whether an output may be written."""

import os
from pathlib import Path

import pytest

from augsynth.core.errors import ConfigError
from augsynth.core.outputs import check_output_file, check_output_folder

CHECKS = [check_output_file, check_output_folder]


@pytest.mark.parametrize("check", CHECKS)
def test_a_free_place_is_fine_and_nothing_is_left_behind(tmp_path: Path, check) -> None:
    check(tmp_path / "a" / "b" / "c")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("check", CHECKS)
def test_a_relative_path_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check) -> None:
    monkeypatch.chdir(tmp_path)
    check(Path("out"))
    check(Path("new") / "out")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("notes.txt/out", r"notes\.txt isn't a folder"),
        ("notes.txt/deep/out", r"notes\.txt isn't a folder"),
        ("/proc/out", "can't be written"),
        ("x" * 250, "name is too long"),
        ("y" * 300, "[Nn]ame (is )?too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, check, place: str, says: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=says) as error:
        check(tmp_path / place)
    assert "\n" not in str(error.value)
    assert "nothing was changed" in str(error.value)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("check", CHECKS)
def test_a_folder_that_is_read_only(tmp_path: Path, check) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="can't be written"):
        check(tmp_path / "out")


def test_only_its_own_earlier_output_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="isn't an earlier output"):
        check_output_file(path)
    with pytest.raises(ConfigError, match="isn't an earlier output"):
        check_output_file(path, is_own=lambda p: p.read_text() == "own")
    check_output_file(path, is_own=lambda p: p.read_text() == "mine")


@pytest.mark.parametrize("name", ["same", "symbolic", "hard", "../folder/same"])
def test_an_input_is_never_written_over_by_whatever_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    source = folder / "same"
    source.write_text("{}")
    (folder / "symbolic").symlink_to(source)
    os.link(source, folder / "hard")
    with pytest.raises(ConfigError, match="is an input"):
        check_output_file(folder / name, inputs=[tmp_path / "missing", source], is_own=lambda p: True)


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    for name, says in (("pipe", "isn't an earlier"), ("link", "isn't an earlier"), ("folder", "directory")):
        with pytest.raises(ConfigError, match=says):
            check_output_file(tmp_path / name, is_own=lambda p: pytest.fail("opened"))
    for name in ("pipe", "link"):
        with pytest.raises(ConfigError, match="isn't a folder"):
            check_output_folder(tmp_path / name)


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    check_output_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"isn't an empty folder \(it holds notes.txt\)"):
        check_output_folder(tmp_path)
    with pytest.raises(ConfigError, match="isn't an empty folder"):
        check_output_folder(tmp_path, is_own=lambda p: (p / "index.json").exists())
    check_output_folder(tmp_path, is_own=lambda p: (p / "notes.txt").exists())
    with pytest.raises(ConfigError, match="is a file"):
        check_output_folder(tmp_path / "notes.txt")


def test_a_folder_that_holds_an_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    source = tmp_path / "data" / "train.json"
    source.write_text("{}")
    for out in (tmp_path, tmp_path / "data"):
        with pytest.raises(ConfigError, match=r"holds an input of this command, .*train.json"):
            check_output_folder(out, inputs=[source], is_own=lambda p: True)
    with pytest.raises(ConfigError, match="holds an input"):
        check_output_folder(tmp_path / "data", inputs=[tmp_path / "data"], is_own=lambda p: True)
