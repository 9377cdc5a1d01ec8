"""Several processes paint what one paints, don't outlive their parent, and say when one was ended."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from augsynth.core.errors import BackendError
from augsynth.generation import processes, run
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import RunContext
from augsynth.generation.processes import choose_processes, num_cores, open_processes, threads_of
from augsynth.generation.rounds import ShardPlan
from augsynth.generation.run import generate
from augsynth.generation.statistics import CategoryYields
from tests.generation.run_files import ignore

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no processes are forked here"
)


def published(out: Path) -> dict[str, bytes]:
    """What a run published, but for its record of options and times."""
    kept = ("images", "annotations", "provenance.jsonl")
    paths = [path for path in out.rglob("*") if path.is_file() and path.relative_to(out).parts[0] in kept]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def test_the_number_of_processes_changes_nothing(config: GenerateConfig, tmp_path: Path) -> None:
    few = config.but(n=20, steps=2, objects_per_image=2, masks="detector", decoys=0.5, bank=False)
    found = []
    for num in (1, 2, 3):
        tally = generate(few.but(out=str(tmp_path / str(num)), processes=num), progress=ignore)
        assert tally.accepted == 20
        found.append(published(tmp_path / str(num)))
    assert found[0] == found[1] == found[2] and len(found[0]) > 10


def test_an_ended_process_ends_the_run_in_one_line_and_it_goes_on(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = config.but(n=20, steps=2, masks="off", bank=False, out=str(tmp_path / "run"))
    inside, parent = run.paint_planned, os.getpid()

    def killed(context: RunContext, plan: ShardPlan, **rest: Any) -> object:
        if os.getpid() != parent and plan.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return inside(context, plan, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(run, "paint_planned", killed)
        with pytest.raises(BackendError, match=r"a painting process was ended, .* fewer --processes"):
            generate(few.but(processes=2), progress=ignore)
    generate(few.but(processes=1), progress=ignore)
    generate(few.but(processes=1, out=str(tmp_path / "other")), progress=ignore)
    assert published(tmp_path / "run") == published(tmp_path / "other")


def test_an_error_in_a_process_is_that_of_the_run(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*given: object, **rest: object) -> object:
        raise BackendError("no such thing")

    monkeypatch.setattr(run, "paint_planned", failing)
    with pytest.raises(BackendError, match="no such thing"):
        generate(
            config.but(n=4, steps=2, masks="off", processes=2, out=str(tmp_path / "run")), progress=ignore
        )


def test_an_error_ends_processes_that_only_begin() -> None:
    """Where the system is slow to run a new process, its parent's handlers of signals are still its own."""
    code = """
import multiprocessing, os, signal, time
signal.signal(signal.SIGTERM, lambda *_: None)  # as that of Ray, say
begun = multiprocessing.Value("i", 0)
def slow():
    with begun.get_lock():
        begun.value += 1
    if begun.value == 2:
        time.sleep(2)
os.register_at_fork(after_in_child=slow)
from augsynth.core.errors import BackendError
from augsynth.generation.config import GenerateConfig
from augsynth.generation.processes import open_processes
from augsynth.generation.rounds import ShardPlan
from augsynth.generation.statistics import CategoryYields
def paint(plan):
    if plan.index == 0:
        raise BackendError("no such thing")
    time.sleep(600)
plans = [ShardPlan(k, k, 6, k, 1, 1, 1, CategoryYields()) for k in range(6)]
try:
    with open_processes(GenerateConfig.of(processes=2), paint) as paint_shards:
        list(paint_shards(plans))
except BackendError as error:
    print(error, len(multiprocessing.active_children()))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert (ended.stdout, ended.stderr) == ("no such thing 0\n", "")


def test_an_interrupted_run_ends_its_processes_at_once(config: GenerateConfig, tmp_path: Path) -> None:
    def sleep(plan: ShardPlan) -> None:
        time.sleep(600)

    plans = [ShardPlan(k, k, 2, k, 1, 1, 1, CategoryYields()) for k in range(2)]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), open_processes(config.but(processes=2), sleep) as paint:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(2)
        list(paint(plans))
    assert time.monotonic() - began < 300  # not the time that they sleep
    assert not multiprocessing.active_children()


@pytest.mark.skipif(
    sys.platform != "linux", reason="the system ends children with their parent on Linux only"
)
def test_processes_end_with_a_parent_that_is_killed(config: GenerateConfig, tmp_path: Path) -> None:
    words = ["generate", "--n", "500", "--steps", "2", "--processes", "2", "--out", str(tmp_path / "run")]
    words += ["--annotations", str(config.data.annotations), "--images", str(config.data.images)]
    words += ["--model", "embedded", "--detector", "embedded", "--min-score", "0.05", "--masks", "off"]
    parent = subprocess.Popen(
        [sys.executable, "-m", "augsynth", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    until, started = time.monotonic() + 300, list[int]()
    while len(started) < 2 and time.monotonic() < until:
        assert parent.poll() is None, "it ended by itself"
        time.sleep(0.1)
        started = [int(word) for word in children.read_text().split()]
    assert len(started) == 2
    parent.kill()
    parent.wait()
    while any(_is_running(pid) for pid in started) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_is_running(pid) for pid in started)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_how_many_processes_paint(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_processes(config) == num_cores() >= 1
    assert choose_processes(config.but(processes=5)) == 5
    with monkeypatch.context() as patch:
        patch.setattr(processes, "num_cores", lambda: 9)
        for name, value in (("RANK", "1"), ("WORLD_SIZE", "8"), ("LOCAL_WORLD_SIZE", "4")):
            patch.setenv(name, value)
        assert choose_processes(config) == 2
    assert choose_processes(config.but(device="cuda")) == 1
    assert choose_processes(config.but(model="someone/something")) == 1
    large = tmp_path / "large" / "unet"
    large.mkdir(parents=True)
    with (large / "model.safetensors").open("wb") as file:
        file.truncate(processes.SMALL_BYTES)  # a hole, not a gigabyte
    assert choose_processes(config.but(model=str(tmp_path / "large"))) == 1
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for values, inside in (
            ({}, 1),
            ({"processes": 1}, 1),
            ({"model": "a/b"}, 3),
            ({"device": "cuda"}, 3),
        ):
            with threads_of(config.but(**values)):
                assert torch.get_num_threads() == inside
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_run_doesnt_depend_on_the_number_of_processes(config: GenerateConfig, tmp_path: Path) -> None:
    few = config.but(n=3, steps=2, masks="off", bank=False, out=str(tmp_path / "run"))
    generate(few.but(processes=2), progress=ignore)
    options = json.loads((tmp_path / "run" / "run.json").read_text())["fingerprint"]
    assert "processes" not in options and options["num_threads"] == 1
