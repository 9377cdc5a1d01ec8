"""Files at URLs: fetched once, again where they changed, never half; what can't be reached is said in a line."""

import os
from pathlib import Path

import pytest

from augsynth.core import storage
from augsynth.core.errors import ConfigError, OutputError
from augsynth.core.storage import Remote, fetched, is_url, local_folder, named
from tests.urls import put, s3, s3_server, url

__all__ = ["s3", "s3_server", "url"]


def test_what_is_a_url(tmp_path: Path) -> None:
    assert is_url("s3://bucket/a") and is_url("memory://a")
    for text in ("a/b", "/a", "owner/name", "config.py:weights.pth", "C:\\data", "file:///data", "a, b"):
        assert not is_url(text)
    assert fetched("file:///data/a.json#val") == "/data/a.json#val" and fetched("a/b,c") == "a/b,c"
    assert local_folder("file:///data/run") == Path("/data/run") and local_folder("runs/a") == Path("runs/a")
    assert local_folder("C:\\data") == Path("C:\\data")
    for text in ("s3:/bucket/run", "S3://bucket/run"):
        with pytest.raises(ConfigError, match="neither a folder nor a URL"):
            local_folder(text)


def test_a_folder_is_fetched_once_and_what_changed_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(f"{url}/data", {"a.json": b"one", "images/b.png": b"two", "images/c.png": b"three"})
    place = Path(fetched(f"{url}/data"))
    assert place.name == "data" and (place / "images" / "b.png").read_bytes() == b"two"
    assert named(f"{place}/a.json: no") == f"{url}/data/a.json: no"
    inside, asked = Remote.fetch, list[str]()

    def counted(self, names, place):
        asked.extend(names)
        inside(self, names, place)

    monkeypatch.setattr(Remote, "fetch", counted)
    times = {path: path.stat().st_mtime_ns for path in place.rglob("*.*")}
    assert fetched(f"{url}/data#val") == f"{place}#val" and not asked
    put(f"{url}/data", {"images/c.png": b"other"})
    Remote(f"{url}/data").remove(["images/b.png"])
    fetched(f"{url}/data")
    assert asked == ["images/c.png"] and (place / "images" / "c.png").read_bytes() == b"other"
    assert not (place / "images" / "b.png").exists()
    (place / "a.json").unlink()
    fetched(f"{url}/data")
    assert (place / "a.json").stat().st_mtime_ns == times[place / "a.json"]  # as on any machine
    assert (place / "images" / "c.png").stat().st_mtime_ns != times[place / "images" / "c.png"]


def test_several_urls_in_one_text(url: str) -> None:
    put(url, {"a/config.json": b"{}", "b/config.json": b"{}", "c.py": b"", "w.pth": b"w"})
    first, second = fetched(f"{url}/a, {url}/b").split(", ")
    assert Path(first, "config.json").is_file() and Path(second, "config.json").is_file()
    config, weights = fetched(f"{url}/c.py:{url}/w.pth").split(":")
    assert config.endswith("/c.py") and Path(weights).read_bytes() == b"w"
    assert named(f"{config}:{weights}") == f"{url}/c.py:{url}/w.pth"


def test_a_download_that_stops_leaves_nothing_half(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url, {"data/a.png": b"one", "data/b.png": b"two"})
    inside = Path.replace

    def stopping(self, target):
        if Path(target).name == "b.png":
            raise OSError(28, "No space left on device")
        return inside(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        with pytest.raises(OutputError, match=r"can't be written \(No space left on device\)"):
            fetched(f"{url}/data")
    place = Path(fetched(f"{url}/data"))
    assert sorted(os.listdir(place)) == ["a.png", "b.png"] and (place / "b.png").read_bytes() == b"two"


def test_a_file_that_is_new_is_written_once(url: str) -> None:
    there = Remote(url)
    assert there.write("sign", b"one", new=True) and not there.write("sign", b"two", new=True)
    assert there.read("sign") == b"one" and there.read("other") is None
    there.remove(["sign", "other"])
    assert there.list() == {}


def test_what_cant_be_reached_is_said_in_a_line(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    for call, kind, words in (
        (lambda: fetched(f"{s3}/nothing"), ConfigError, f"{s3}/nothing: there is nothing; check the address"),
        (
            lambda: Remote(f"{s3}-not/run").list(),
            ConfigError,
            r"can't be read \(The specified bucket does not exist\)",
        ),
        (lambda: Remote(f"{s3}-not/run").write("a", b"x"), OutputError, "can't be written .*bucket does not"),
        (lambda: Remote("nope://x/y").list(), ConfigError, "x/y: no URLs begin with nope://; give s3://"),
    ):
        with pytest.raises(kind, match=words):
            call()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ConfigError, match=r"Unable to locate credentials.*; check the address, the cred"):
        Remote(s3).list()


def test_without_its_library_or_a_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec.core

    def missing(url):
        raise ImportError("Install s3fs to access S3")

    with monkeypatch.context() as patch:
        patch.setattr(fsspec.core, "url_to_fs", missing)
        with pytest.raises(ConfigError, match=r"isn't installed: pip install 'augsynth\[s3\]'"):
            Remote("s3://bucket/a").list()
        with pytest.raises(ConfigError, match="isn't installed: Install s3fs"):
            Remote("s3a://bucket/a").list()
    monkeypatch.setenv("AUGSYNTH_CACHE", "")
    with pytest.raises(ConfigError, match="s3://bucket/a: needs a cache folder; set AUGSYNTH_CACHE"):
        local_folder("s3://bucket/a")


def test_many_files_are_fetched_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    put(url, {f"data/{k}.txt": bytes([k]) for k in range(7)})
    monkeypatch.setattr(storage, "_FILES_AT_ONCE", 3)
    place = Path(fetched(f"{url}/data"))
    assert [(place / f"{k}.txt").read_bytes() for k in range(7)] == [bytes([k]) for k in range(7)]
    Remote(f"{url}/copy").send(place, [f"{k}.txt" for k in range(7)])
    assert Remote(f"{url}/copy").list().keys() == Remote(f"{url}/data").list().keys()
