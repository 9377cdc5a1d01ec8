"""Two `generate` commands that are stopped at the same time: each says so in a line, and the same commands go on."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from augsynth import cli
from augsynth.generation import processes, run, run_folder
from augsynth.generation.rounds import ShardPlan
from tests.generation.fake_run import without_models, write_source
from tests.generation.run_files import files_of

pytestmark = pytest.mark.skipif(not processes.can_fork(), reason="no processes are forked here")
NUM = 10
LAST = "augsynth: interrupted; the same command goes on from what is finished"


class Commands:
    """Commands in processes of their own, each with two that paint.

    Attributes:
        together: How many must be painting before any of them paints on, slowly then.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.together = root, 1
        config = write_source(root / "source").but(n=NUM)
        without_models(patch, config)
        patch.setattr(run, "open_processes", processes.open_processes)
        for module in (run, run_folder):
            patch.setattr(module, "LOOK_AGAIN_S", 0.02)
        self.words = ["augsynth", "generate", "--n", str(NUM), "--model", "none", "--processes", "2"]
        self.words += ["--annotations", str(config.data.annotations), "--images", str(config.data.images)]
        inside = run.paint_planned

        def slowly(context: Any, plan: ShardPlan, **rest: Any) -> object:
            with (root / "painting").open("a") as file:
                file.write(f"{os.getppid()}\n")
            while len(self.painting()) < self.together:
                time.sleep(0.01)
            time.sleep(0.3 * (self.together > 1))
            return inside(context, plan, **rest)

        patch.setattr(run, "paint_planned", slowly)
        self._started: list[BaseProcess] = []

    def start(self, out: Path, log: str) -> BaseProcess:
        """Start a command; what it says goes into a file."""
        process = multiprocessing.get_context("fork").Process(target=self._command, args=(out, log))
        process.start()
        self._started.append(process)
        return process

    def _command(self, out: Path, log: str) -> None:
        sys.argv = [*self.words, "--out", str(out)]
        sys.stderr = (self.root / log).open("w")
        sys.stdout = (self.root / f"{log}.out").open("w")
        signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs that a shell put aside ignore it
        cli.main()

    def painting(self) -> set[int]:
        """The commands for which shards are painted."""
        path = self.root / "painting"
        return set(map(int, path.read_text().split())) if path.exists() else set()

    def end(self) -> None:
        for process in self._started:
            process.kill()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    commands = Commands(tmp_path, monkeypatch)
    yield commands
    commands.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("names", [("one", "one"), ("one", "two")])
def test_both_end_with_a_line_and_go_on(
    commands: Commands, tmp_path: Path, number: signal.Signals, names: tuple[str, str]
) -> None:
    alone = commands.start(tmp_path / "whole", "whole.log")
    alone.join(300)
    assert alone.exitcode == 0, (tmp_path / "whole.log").read_text()
    outs, commands.together = [tmp_path / name for name in names], 2
    (tmp_path / "painting").unlink()
    both = [commands.start(out, f"{k}.log") for k, out in enumerate(outs)]
    while not all(list(out.glob("shards/[0-9]*.json")) for out in outs):
        assert all(process.is_alive() for process in both)
        time.sleep(0.01)
    for process in both:
        os.kill(process.pid or 0, number)
    assert commands.painting() == {process.pid for process in both}
    commands.together = 1
    for k, process in enumerate(both):
        process.join(300)
        assert process.exitcode == cli.INTERRUPTED
        said = (tmp_path / f"{k}.log").read_text()
        assert said.splitlines()[-1] == LAST and said.count("interrupted") == 1 and "Traceback" not in said
    for out in set(outs):
        kept = {path: path.read_bytes() for path in out.glob("shards/[0-9]*.json")}
        assert kept and not (out / "annotations").exists() and not (out / "provenance.jsonl").exists()
        again = commands.start(out, "again.log")
        again.join(300)
        assert again.exitcode == 0 and "painted again" not in (tmp_path / "again.log").read_text()
        assert all(path.read_bytes() == text for path, text in kept.items())
        assert files_of(out) == files_of(tmp_path / "whole")
