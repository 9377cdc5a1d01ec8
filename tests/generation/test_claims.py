"""Several processes in one run's directory, as launchers and people start them: the result is that of one."""

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from augsynth.core.errors import ResumeError
from augsynth.generation import run, run_folder
from augsynth.generation.claims import Claims
from augsynth.generation.config import GenerateConfig
from augsynth.generation.rounds import ShardPlan
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.run_state import read_state
from augsynth.generation.source_pictures import SourcePictures
from tests.generation.fake_run import generate, without_models, write_source
from tests.generation.run_files import files_of

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no processes are forked here"
)
NUM = 6
NOTHING = SourcePictures(Path(), {})


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GenerateConfig:
    """A run of six shards without models, each painted in a twentieth of a second; `painted` says by which process."""
    config = write_source(tmp_path / "source").but(n=NUM)
    without_models(monkeypatch, config)
    generate(config, tmp_path / "whole")
    inside = run.paint_planned

    def slowly(context: Any, plan: ShardPlan, **rest: Any) -> object:
        time.sleep(0.05)
        done = inside(context, plan, **rest)
        with (tmp_path / "painted").open("a") as file:
            file.write(f"{plan.index} {os.getpid()}\n")
        return done

    monkeypatch.setattr(run, "paint_planned", slowly)
    monkeypatch.setattr(run_folder, "LOOK_AGAIN_S", 0.02)
    monkeypatch.setattr(run, "LOOK_AGAIN_S", 0.02)
    return config


def started(work: Callable[[], object]) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_two_processes_share_the_shards_of_a_run(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    others = [started(lambda: generate(config, out)) for _ in range(2)]
    while not (out / "run.json").exists():
        time.sleep(0.01)
    tally = generate(config, out)
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    assert tally.finished and tally.accepted == NUM
    assert files_of(out) == files_of(tmp_path / "whole")
    lines = (tmp_path / "painted").read_text().split()
    assert sorted(int(word) for word in lines[::2]) == list(range(NUM))  # none twice
    assert len(set(lines[1::2])) > 1
    assert [n for n in tally.notices if "this one helps it" in n]


@pytest.mark.parametrize("seed", range(int(os.environ.get("AUGSYNTH_TRIALS", "4"))))
def test_any_of_them_may_be_killed(config: GenerateConfig, tmp_path: Path, seed: int) -> None:
    out, turns = tmp_path / "out", random.Random(seed)
    others = [started(lambda: generate(config, out)) for _ in range(3)]
    for other in others[: turns.choice([2, 3])]:  # the one that leads may be among them
        time.sleep(turns.uniform(0.0, 0.25))
        os.kill(other.pid or 0, signal.SIGKILL)
    for other in others:
        other.join(60)
        assert other.exitcode is not None
    with contextlib.suppress(ResumeError):  # that it is finished
        generate(config, out)
    state = read_state(out)
    assert state is not None and state.status == "finished"
    assert files_of(out) == files_of(tmp_path / "whole")


def test_the_one_that_is_left_leads(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    leader = started(lambda: generate(config, out))
    while not (out / "run.json").exists():
        time.sleep(0.01)
    other = started(lambda: generate(config, out))
    time.sleep(0.1)
    os.kill(leader.pid or 0, signal.SIGKILL)
    other.join(60)
    assert other.exitcode == 0
    assert files_of(out) == files_of(tmp_path / "whole")


def test_another_run_is_refused(config: GenerateConfig, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out", {"model": "one"}, NOTHING) as folder:
        assert folder.leads
        for fingerprint, may_join, words in (
            ({"model": "two"}, True, "model = 'one', not 'two'"),
            ({"model": "one"}, False, "another run is writing here"),
        ):
            with (
                pytest.raises(ResumeError, match=words),
                RunFolder(tmp_path / "out", fingerprint, NOTHING, may_join=may_join),
            ):
                pass
        with RunFolder(tmp_path / "out", {"model": "one"}, NOTHING, may_join=True) as other:
            assert not other.leads


def test_a_run_that_never_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "_JOIN_S", 0.0)
    with RunFolder(tmp_path / "out", {}, NOTHING):
        (tmp_path / "out" / "run.json").unlink()
        (tmp_path / "out" / "sample").mkdir()
        with (
            pytest.raises(ResumeError, match="another run is writing here; choose another"),
            RunFolder(tmp_path / "out", {}, NOTHING, may_join=True),
        ):
            pass


def test_what_fails_in_a_shard_is_not_blamed_on_the_directory(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path / "out", {}, NOTHING) as folder,
        pytest.raises(FileNotFoundError, match="model"),
        folder.claim(0),
    ):
        raise FileNotFoundError("model")


def test_nothing_is_removed_while_another_process_paints(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out", {}, NOTHING) as folder:
        stray = tmp_path / "out" / "images" / "augsynth" / "half.png"
        stray.parent.mkdir(parents=True)
        stray.write_bytes(b"half")
        with Claims(tmp_path / "out" / "shards").one(7) as is_own:
            assert is_own
            folder.read_shards()
            assert stray.exists()
        folder.read_shards()
        assert not stray.exists()
