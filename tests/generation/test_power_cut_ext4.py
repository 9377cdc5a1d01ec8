"""A power cut on a real file system: ext4 in a file, shut down without writing its journal, mounted again.

Skipped where this process may not mount.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from augsynth.core.errors import ResumeError
from augsynth.core.files import is_unfinished
from augsynth.generation.config import GenerateConfig
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.run_state import read_state
from augsynth.training.folder import claim, release, replace_folder, settle_folder
from tests.generation.fake_run import NUM, generate, without_models, write_source
from tests.generation.run_files import counted_commits, files_of
from tests.generation.test_power_cut import write_bank, write_split
from tests.tiny_kills import Kill, Killed

SHUTDOWN, WITHOUT_JOURNAL = 0x8004587D, (2).to_bytes(4, "little")  # EXT4_IOC_SHUTDOWN, nothing is flushed
CUTS = 12  # of each kind of work


class Disk:
    """An ext4 file system in a file."""

    def __init__(self, folder: Path) -> None:
        self.image, self.root = folder / "disk.img", folder / "disk"
        self.root.mkdir()

    def _run(self, *words: object) -> None:
        subprocess.run([str(word) for word in words], check=True, capture_output=True)

    def format(self) -> None:
        with self.image.open("wb") as file:
            file.truncate(24 << 20)
        self._run("mkfs.ext4", "-q", "-F", self.image)
        self.mount()
        shutil.rmtree(self.root / "lost+found")
        os.sync()

    def mount(self) -> None:
        self._run("mount", "-o", "loop", self.image, self.root)

    def cut(self) -> None:
        """Take the power away, and give it back."""
        handle = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, WITHOUT_JOURNAL)
        finally:
            os.close(handle)
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        if os.path.ismount(self.root):
            self._run("umount", self.root)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    found = Disk(tmp_path)
    try:
        try:
            found.format()
            handle = os.open(found.root, os.O_RDONLY)
            try:
                fcntl.ioctl(handle, SHUTDOWN, WITHOUT_JOURNAL)
            finally:
                os.close(handle)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no ext4 can be mounted and shut down here: {error}")
        found.unmount()
        yield found
    finally:
        found.unmount()


@pytest.fixture
def config(tmp_path: Path) -> GenerateConfig:
    return write_source(tmp_path / "source")


def cuts(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, work: Callable[[Path], object], after_cut: Callable[[], None]
) -> None:
    """Cut the power at moments of some work, spread evenly, the last one just after its end."""
    disk.format()
    with monkeypatch.context() as patch:
        whole = Kill(patch, disk.root)
        work(disk.root / "out")
    disk.unmount()
    for number in range(CUTS):
        disk.format()
        with monkeypatch.context() as patch:
            Kill(patch, disk.root, after=(number + 1) * whole.count // CUTS)
            with contextlib.suppress(Killed):
                work(disk.root / "out")
        disk.cut()
        after_cut()
        disk.unmount()


def test_a_run(disk: Disk, config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painted = without_models(monkeypatch, config)
    committed, counted = counted_commits()
    monkeypatch.setattr(RunFolder, "commit", counted)
    generate(config, tmp_path / "plain" / "out")
    wanted = files_of(tmp_path / "plain" / "out")
    ended = []

    def after_cut() -> None:
        out = disk.root / "out"
        kept = len(committed)
        state = read_state(out)
        if state is not None and state.status == "finished":
            ended.append(kept)
        painted.clear()
        with contextlib.suppress(ResumeError):
            generate(config, out)
        assert len(painted) <= NUM - kept, "a committed shard was painted again"
        assert files_of(out) == wanted
        painted.clear()

    def work(out: Path) -> None:
        committed.clear()
        generate(config, out)

    cuts(disk, monkeypatch, work, after_cut)
    assert ended, "a run that had ended was tried, too"


@pytest.mark.parametrize("write", [write_bank, write_split])
def test_a_folder(
    disk: Disk,
    config: GenerateConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], None],
) -> None:
    (tmp_path / "plain").mkdir()
    write(tmp_path / "plain" / "out")
    wanted = files_of(tmp_path / "plain" / "out")
    last = "bank.json" if write is write_bank else "split.json"
    whole = []

    def after_cut() -> None:
        out = disk.root / "out"
        if (out / last).exists() and not is_unfinished(out):
            whole.append(out)
        else:
            write(out)
        assert files_of(out) == wanted

    cuts(disk, monkeypatch, write, after_cut)
    assert whole, "a folder that was whole was tried, too"


def test_results_of_a_training(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(text: str) -> Callable[[Path], None]:
        def filled(folder: Path) -> None:
            folder.mkdir()
            for name in ("config.json", "weights.bin"):
                (folder / name).write_text(text)

        return filled

    def work(out: Path) -> None:
        claim(out / "training", verb="train-inpainter", key="one")
        replace_folder(out / "model", fill("old"))
        replace_folder(out / "model", fill("new"))
        release(out / "training")

    def after_cut() -> None:
        out = disk.root / "out"
        if (out / "training" / "training.json").exists() or not (out / "model").exists():
            settle_folder(out / "model")
            if (out / "model").exists():
                found = files_of(out / "model")
                assert len(found) == 2 and len(set(found.values())) == 1, found
            work(out)
        assert files_of(out) == {"model/config.json": b"new", "model/weights.bin": b"new"}

    cuts(disk, monkeypatch, work, after_cut)
