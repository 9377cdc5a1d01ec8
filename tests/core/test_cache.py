"""Files that are whole or absent."""

import contextlib
import os
import sys

import pytest
import torch

from augsynth.core import cache
from augsynth.core.cache import Entry, cached, load, remembered, store
from augsynth.core.errors import ResumeError
from tests.tiny_kills import Kill, Killed


def test_a_value_is_made_once_for_a_key(tmp_path):
    path, made = tmp_path / "deep" / "a.pt", []

    def make():
        made.append(1)
        return {"weights": (torch.arange(3), [len(made)])}

    for key, times in (("a", 1), ("a", 1), ("b", 2), ("a", 3)):
        found = cached(path, key, make)
        assert len(made) == times
        assert found["weights"][0].tolist() == [0, 1, 2] and found["weights"][1] == [times]


def test_a_damaged_file_is_made_again_or_refused(tmp_path):
    path = tmp_path / "a.pt"
    assert load(path) is None
    store(path, Entry("key", 1))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ResumeError, match=r"a\.pt: can't be read .*remove it to start again"):
        load(path)
    assert cached(path, "key", lambda: 2) == 2 and cached(path, "key", lambda: 3) == 2


def test_a_killed_writer_leaves_the_old_file_or_the_new(tmp_path, monkeypatch):
    path, seen = tmp_path / "a.pt", set()
    for after in range(20):
        store(path, Entry("old", 1))
        with monkeypatch.context() as patch:
            kill = Kill(patch, tmp_path, after=after)
            with contextlib.suppress(Killed):
                store(path, Entry("new", 2))
        found = load(path)
        assert (found.key, found.value) in {("old", 1), ("new", 2)}
        seen.add(found.key)
        if kill.count < after:
            break
    assert seen == {"old", "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_the_users_cache_keeps_what_was_used_last(tmp_path, monkeypatch):
    monkeypatch.setenv("AUGSYNTH_CACHE", str(tmp_path))
    made = []

    def value(number):
        return remembered("number", {"number": number}, lambda: made.append(number) or number)

    for number in range(64):
        assert value(number) == number
        path = max(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        os.utime(path, (1000 + number, 1000 + number))
    assert value(0) == 0 and made == list(range(64))  # used now
    assert value(64) == 64 and len(list(tmp_path.iterdir())) == 64
    made.clear()
    assert [value(0), value(64), value(2)] == [0, 64, 2] and not made
    assert value(1) == 1 and made == [1]


def test_other_code_takes_nothing_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("AUGSYNTH_CACHE", str(tmp_path))
    assert remembered("a", {}, lambda: 1) == remembered("a", {}, lambda: 2) == 1
    monkeypatch.setattr(cache, "_code_digest", lambda: "edited")
    assert remembered("a", {}, lambda: 2) == 2


def test_without_a_cache_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("AUGSYNTH_CACHE", "")
    monkeypatch.chdir(tmp_path)
    assert [remembered("a", {}, lambda: 1), remembered("a", {}, lambda: 2)] == [1, 2]
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("AUGSYNTH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert remembered("a", {}, lambda: 1) == 1
    if sys.platform == "linux":
        assert [path.name[:2] for path in (tmp_path / "augsynth").iterdir()] == ["a-"]
