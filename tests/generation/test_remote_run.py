"""A run at a URL: killed anywhere and resumed on another machine it is that of a folder, and nothing half counts."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augsynth.core import only_writer
from augsynth.core.errors import BackendError, OutputError, ResumeError
from augsynth.core.storage import Remote, local_folder
from augsynth.generation import run
from augsynth.generation.config import GenerateConfig
from augsynth.generation.loading import with_local_inputs
from augsynth.generation.remote_run import RemoteRun
from augsynth.generation.shard_files import is_record
from tests.generation.fake_run import generate, without_models, write_source
from tests.generation.run_files import files_of
from tests.urls import held, put, s3, s3_server, url

__all__ = ["s3", "s3_server", "url"]
NUM = 6


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GenerateConfig:
    """A run of six shards without models, and what it leaves in `whole`."""
    config = write_source(tmp_path / "source").but(n=NUM)
    painted = without_models(monkeypatch, config)
    generate(config, tmp_path / "whole")
    painted.clear()
    monkeypatch.setattr(only_writer, "BEAT_S", 0.1)
    return config


def on_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str = "other") -> None:
    monkeypatch.setenv("AUGSYNTH_CACHE", str(tmp_path / name))


def records(url: str) -> list[str]:
    return sorted(name for name in Remote(url).list() if is_record(name))


def test_a_run_at_a_url_is_that_of_a_folder(config: GenerateConfig, tmp_path: Path, url: str) -> None:
    tally = generate(config, f"{url}/run")
    assert tally.finished and held(f"{url}/run") == files_of(tmp_path / "whole")
    with pytest.raises(ResumeError, match=f"{url}/run: the run is finished; nothing was changed"):
        generate(config, f"{url}/run")
    assert held(f"{url}/run") == files_of(tmp_path / "whole")


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no processes are forked here"
)
@pytest.mark.parametrize("num", [1, 4])
def test_killed_and_resumed_on_another_machine(
    config: GenerateConfig, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch, num: int
) -> None:
    monkeypatch.setenv("AUGSYNTH_CACHE", str(tmp_path / "cache"))
    inside = run.paint_planned

    def slowly(*given: object, **rest: object) -> object:
        time.sleep(0.3)
        return inside(*given, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(run, "paint_planned", slowly)
        process = multiprocessing.get_context("fork").Process(target=lambda: generate(config, f"{s3}/run"))
        process.start()
        until = time.monotonic() + 120
        while len(records(f"{s3}/run")) < num and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    there = len(records(f"{s3}/run"))
    assert num <= there < NUM
    on_another_machine(monkeypatch, tmp_path)
    painted = without_models(monkeypatch, config)
    generate(config, f"{s3}/run")
    assert len(painted) == NUM - there
    assert held(f"{s3}/run") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("after", range(0, 14, 2))
def test_an_upload_that_fails_leaves_nothing_that_counts(
    config: GenerateConfig, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    inside, left = Remote.send, [after]

    def failing(self: Remote, place: Path, names: object) -> None:
        for name in sorted(names):  # type: ignore[call-overload]
            if not left[0]:
                raise OutputError(f"{self.url}: can't be written (no network)")
            left[0] -= 1
            inside(self, place, [name])

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "send", failing)
        with pytest.raises(OutputError, match="no network"):
            generate(config, f"{url}/run")
    there, painted = records(f"{url}/run"), without_models(monkeypatch, config)
    if after % 4:
        on_another_machine(monkeypatch, tmp_path)
    generate(config, f"{url}/run")
    assert len(painted) == NUM - len(there)
    assert held(f"{url}/run") == files_of(tmp_path / "whole")


def test_a_run_that_painted_nothing_leaves_nothing(
    config: GenerateConfig, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise BackendError("no such model")

    with monkeypatch.context() as patch:
        patch.setattr(run, "open_context", failing)
        with pytest.raises(BackendError, match="no such model"):
            generate(config, f"{url}/run")
    assert held(f"{url}/run") == {} and not local_folder(f"{url}/run").exists()


@pytest.mark.parametrize("name", ["shards/00001.json", "shards/00001.npz", "images/augsynth/half.png"])
def test_what_isnt_whole_is_painted_again(
    config: GenerateConfig, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def stop(self: RemoteRun) -> None:
        raise OutputError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(RemoteRun, "send_rest", stop)
        with pytest.raises(OutputError, match="stopped"):
            generate(config, f"{url}/run")
    there = Remote(f"{url}/run")
    there.write(name, (there.read(name) or b"1234")[:-3])
    on_another_machine(monkeypatch, tmp_path)
    painted = without_models(monkeypatch, config)
    tally = generate(config, f"{url}/run")
    assert len(painted) == (name != "images/augsynth/half.png")
    assert any("damaged or missing" in notice for notice in tally.notices) == bool(painted)
    assert held(f"{url}/run") == files_of(tmp_path / "whole")


def test_other_options_and_other_files_are_refused(
    config: GenerateConfig, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(f"{url}/mine", {"thesis.txt": b"long"})
    with pytest.raises(ResumeError, match=f"{url}/mine: isn't empty and holds no run .thesis.txt"):
        generate(config, f"{url}/mine")
    with monkeypatch.context() as patch:
        patch.setattr(RemoteRun, "send_rest", lambda self: (_ for _ in ()).throw(OutputError("stopped")))
        with pytest.raises(OutputError):
            generate(config, f"{url}/run")
    with pytest.raises(ResumeError, match="holds a run with seed = 42, not 7"):
        generate(config.but(seed=7), f"{url}/run")
    generate(config, f"{url}/run")
    assert held(f"{url}/run") == files_of(tmp_path / "whole")


def test_two_runs_at_one_url(config: GenerateConfig, url: str) -> None:
    writer = only_writer.OnlyWriter(Remote(f"{url}/run"))
    with pytest.raises(ResumeError, match="another run is writing here"):
        generate(config, f"{url}/run")
    writer.end()
    assert records(f"{url}/run") == []


def test_data_at_a_url_has_its_name_in_what_a_run_depends_on(
    config: GenerateConfig, tmp_path: Path, url: str
) -> None:
    from augsynth.generation.config import plain_config

    source = tmp_path / "source"
    put(url, {"data/a.json": (source / "a.json").read_bytes(), "data/pictures/p1.png": b"1"})
    asked = GenerateConfig.of(annotations=f"{url}/data/a.json", images=f"{url}/data/pictures", model="a/b")
    local = with_local_inputs(asked)
    assert Path(str(local.data.annotations)).read_bytes() == (source / "a.json").read_bytes()
    assert Path(str(local.data.images), "p1.png").is_file() and local.painting.model == "a/b"
    assert plain_config(local) == plain_config(asked)
    with pytest.raises(Exception, match="images aren't looked for near a URL; give --images, or the URL of"):
        with_local_inputs(GenerateConfig.of(annotations=f"{url}/data/a.json"))


def test_the_command_says_in_a_line_what_is_wrong(config: GenerateConfig, s3: str) -> None:
    words = ["generate", "--annotations", str(config.data.annotations), "--out", f"{s3}-not/run"]
    ended = subprocess.run(
        [sys.executable, "-m", "augsynth", *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith(
        f"augsynth: {s3}-not/run: can't be read (The specified bucket does not exist)"
    )
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sample", "--out", "s3://bucket/sample"], "only generate takes URLs"),
        (["generate", "--out", "memory://run"], "which ends with this command"),
        (["generate", "--out", "s4://run"], "no URLs begin with s4://"),
        (
            ["generate", "--out", "run", "--annotations", "s4://a/b.json", "--images", "s4://a"],
            "begin with s4://",
        ),
    ],
)
def test_urls_that_no_command_takes_are_refused_in_a_line(
    tmp_path: Path, words: list[str], says: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "augsynth", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ended.returncode == 2 and says in ended.stderr and ended.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())
