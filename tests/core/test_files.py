"""Files are whole or absent, folders appear whole, and what the system refuses is one line."""

from pathlib import Path

import pytest

from augsynth.core.errors import OutputError
from augsynth.core.files import DRAFT, fill_folder, is_unfinished, make_folder, sync_tree, write_atomically


def is_own(name: str) -> bool:
    return name.startswith("own")


def fill(folder: Path, text: str = "new", names: tuple[str, ...] = ("own-a", "own-z")) -> None:
    with fill_folder(folder, is_own=is_own, last="own-a") as draft:
        for name in names:
            (draft / name).write_text(text)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "a.txt"
    write_atomically(path, lambda file: file.write(b"old"))
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, lambda file: file.write(b"new") / 0)
    assert path.read_bytes() == b"old"
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".txt")
    write_atomically(path, lambda file: file.write(b"x"))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a", tmp_path / ("n" * 300), tmp_path):
        with pytest.raises(
            OutputError, match=r"can't be written \(.*\); make room or choose another"
        ) as raised:
            write_atomically(path, lambda file: file.write(b"x"))
        assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)
    with pytest.raises(OutputError, match="can't be written"):
        fill(tmp_path / "file")


def test_order_of_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file before its name, a folder's name when it is made, what is inside of a folder before its own names."""
    done: list[str] = []

    def noted(handle: int) -> None:
        done.append(Path(f"/proc/self/fd/{handle}").resolve().relative_to(tmp_path).as_posix())

    monkeypatch.setattr("os.fsync", noted)
    write_atomically(tmp_path / "a" / "b" / "c", lambda file: file.write(b"x"))
    assert done == [".", "a", "a/b/.c.part", "a/b"]
    done.clear()
    make_folder(tmp_path / "a" / "b")
    assert done == []
    sync_tree(tmp_path / "a")
    assert done == ["a/b/c", "a/b", "a"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with pytest.raises(ZeroDivisionError), fill_folder(folder, is_own=is_own, last="own-a") as draft:
        (draft / "own-a").touch()
        raise ZeroDivisionError
    assert not folder.exists()
    fill(folder)
    assert {p.name for p in folder.iterdir()} == {"own-a", "own-z"}


def test_what_a_stopped_process_left_makes_way_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / DRAFT).mkdir()
    for name in (f"{DRAFT}/own-half", "own-old", "mine"):
        (tmp_path / name).touch()
    assert is_unfinished(tmp_path)
    fill(tmp_path)
    assert not is_unfinished(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"own-a", "own-z", "mine"}
