"""Source pictures that change, are cut short or vanish, and places that do, under a run and between stop and resume."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from augsynth.core.errors import AugsynthError, DatasetError, ResumeError
from augsynth.generation import publishing, run
from augsynth.generation.config import GenerateConfig
from tests.generation.fake_run import NUM, generate, without_models, write_source
from tests.generation.run_files import files_of


def rewritten(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(1, 1))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


CHANGES = [rewritten, cut_short, Path.unlink]


@pytest.fixture
def config(tmp_path: Path) -> GenerateConfig:
    return write_source(tmp_path / "source")


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_that_changes_before_the_run_goes_on(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    without_models(monkeypatch, config)
    stop_before(monkeypatch, "_publish")
    with pytest.raises(KeyboardInterrupt):
        generate(config, tmp_path / "out")
    before = files_of(tmp_path / "out")
    change(tmp_path / "source" / "pictures" / "p2.png")
    with pytest.raises(ResumeError, match=r"p2\.png: (is gone|was changed) since the run began; put back"):
        generate(config, tmp_path / "out")
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize("moment", ["while it is painted", "after it was painted", "while it is published"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_that_changes_under_a_run(
    config: GenerateConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    change: Callable[[Path], object],
) -> None:
    without_models(monkeypatch, config)
    picture = tmp_path / "source" / "pictures" / "p1.png"
    module, part, is_first = {
        "while it is painted": (run, "paint_planned", False),
        "after it was painted": (run, "_publish", True),
        "while it is published": (publishing, "write_contact_sheets", False),
    }[moment]
    does = getattr(module, part)

    def changing(*arguments: object, **named: object) -> object:
        if is_first:
            change(picture)
        done = does(*arguments, **named)
        if picture.exists() and picture.stat().st_mtime_ns != 1:
            change(picture)
        return done

    monkeypatch.setattr(module, part, changing)
    with pytest.raises(DatasetError, match=r"p1\.png: (is gone|was changed) while the run went on; put back"):
        generate(config, tmp_path / "out")
    assert '"running"' in (tmp_path / "out" / "run.json").read_text()


@pytest.mark.parametrize("name", ["images/augsynth/000000_*", "shards/00000.npz", "shards/00000.json"])
def test_a_damaged_shard_is_painted_again_and_the_run_ends_the_same(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    painted = without_models(monkeypatch, config)
    generate(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_before(patch, "_publish")
        with pytest.raises(KeyboardInterrupt):
            generate(config, tmp_path / "out")
    painted.clear()
    (damaged,) = (tmp_path / "out").glob(name)
    damaged.write_bytes(b"")
    tally = generate(config, tmp_path / "out")
    assert painted == [0]
    assert [n for n in tally.notices if f"1 of {NUM} shards are painted again" in n and damaged.name in n]
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("part", ["paint_planned", "_publish"])
def test_an_output_that_is_moved_under_a_run(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    without_models(monkeypatch, config)
    does = getattr(run, part)

    def moving(*arguments: object, **named: object) -> object:
        (tmp_path / "out").rename(tmp_path / "elsewhere")
        return does(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(run, part, moving)
        with pytest.raises(ResumeError, match="was moved or deleted while the run went on"):
            generate(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert generate(config, tmp_path / "elsewhere").finished


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EFBIG])
def test_a_disk_that_takes_no_more(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """At every change of the disk a run ends in one line, and goes on when there is room."""
    without_models(monkeypatch, config)
    generate(config, tmp_path / "whole")
    wanted, sync, count = files_of(tmp_path / "whole"), os.fsync, [0]

    def full(handle: int) -> None:
        count[0] += 1
        if count[0] > allowed:
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    allowed = 10_000
    generate(config, tmp_path / "counted")
    for allowed in range(2, count[0], 5):
        out = tmp_path / f"out-{allowed}"
        count[0] = 0
        with pytest.raises(AugsynthError, match=os.strerror(number)):
            generate(config, out)
        count[0] = -10_000
        generate(config, out)
        assert files_of(out) == wanted


def stop_before(patch: pytest.MonkeyPatch, part: str) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    patch.setattr(run, part, stopped)
