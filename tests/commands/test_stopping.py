"""Ctrl-C and SIGTERM end two runs at once, each with a line that says how to go on, and both go on."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augsynth.sample import write_sample


def start(root: Path, out: Path, num: int) -> "subprocess.Popen[str]":
    data = ["--annotations", str(root / "annotations" / "instances.json"), "--images", str(root / "images")]
    models = ["--model", "embedded", "--detector", "embedded", "--masks", "off", "--min-score", "0.05"]
    words = [
        "generate",
        *data,
        *models,
        "--n",
        str(num),
        "--steps",
        "2",
        "--processes",
        "2",
        "--out",
        str(out),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "augsynth", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")
def test_two_runs_are_stopped_at_once(tmp_path: Path) -> None:
    write_sample(tmp_path / "data", num_images=8, seed=1)
    runs = [start(tmp_path / "data", tmp_path / f"run-{k}", 400) for k in range(2)]
    until = time.monotonic() + 500
    while not all(list((tmp_path / f"run-{k}" / "shards").glob("0*.json")) for k in range(2)):
        assert time.monotonic() < until and all(run.poll() is None for run in runs)
        time.sleep(0.1)
    children = [Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split() for run in runs]
    for run, kind in zip(runs, (signal.SIGINT, signal.SIGTERM), strict=True):
        run.send_signal(kind)
    for k, run in enumerate(runs):
        said = run.communicate(timeout=300)[1]
        assert run.returncode == 130
        assert said.splitlines()[-1] == "augsynth: interrupted; the same command goes on where it stopped"
        assert "Traceback" not in said
        assert list((tmp_path / f"run-{k}" / "shards").glob("0*.json"))
    assert len(children[0]) >= 2 and not any(
        Path(f"/proc/{pid}").exists() for pids in children for pid in pids
    )
