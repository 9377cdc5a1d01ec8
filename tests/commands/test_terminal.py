"""What commands print: whole names in the help, results alone on standard output, and nothing where quiet is asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from augsynth.cli import COMMANDS
from augsynth.core.options import options_of


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_no_name_of_an_option_is_cut_off(run, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = run(command.name, "--help")
    assert code == 0
    words = set(out.replace(",", " ").split())
    wanted = {option.flag for option in options_of(command.options) if command.is_flag(option)}
    wanted |= {"--quiet", "--verbose", "--json", "--help"} | ({"--config"} if command.presets else set())
    assert wanted <= words, wanted - words
    assert "…" not in out
    assert columns < 80 or max(map(len, out.split("Example:")[0].splitlines())) <= 80


@pytest.fixture(scope="module")
def words(dataset):
    """Quick command lines by name; each writes to a folder of its own."""
    annotations = ["--annotations", dataset / "instances.json"]
    data = [*annotations, "--images", dataset / "images"]
    return {
        "build-affinity": [*annotations, "--out", "out.json"],
        "bank": [*data, "--out", "out"],
        "split": [*annotations, "--folds", "2", "--out", "out"],
        "sample": ["--num-images", "2", "--workers", "1", "--out", "out"],
    }


@pytest.mark.parametrize("name", ["build-affinity", "bank", "split", "sample"])
def test_json_is_all_there_is_on_standard_output(run, words, name):
    code, out, told = run(name, *words[name], "--json")
    assert code == 0 and isinstance(json.loads(out), dict)
    assert out.startswith("{") and not any(line.startswith("{") for line in told)


@pytest.mark.parametrize("name", ["build-affinity", "bank", "split", "sample"])
def test_a_quiet_command_prints_its_result_alone(run, words, name):
    code, out, told = run(name, *words[name], "-q")
    assert code == 0 and out.strip() and told == []


def generate(dataset, *more):
    return [
        "generate", "--annotations", dataset / "instances.json", "--images", dataset / "images",
        "--model", "embedded", "--detector", "embedded", "--steps", "1", "--n", "3", "--max-attempts", "1",
        "--placement", "uniform", "--min-auc", "0", "--out", "out", *more,
    ]  # fmt: skip


def test_a_run_that_made_too_few_ends_with_3_and_says_as_much_as_it_is_asked_to(run, dataset):
    code, out, told = run(*generate(dataset, "--json", "-q"))
    assert code == 3 and told == []
    found = json.loads(out)
    assert found["objects"] < 3 and Path(found["annotations"]).is_file()
    # The same command again is refused, and says first which options aren't as usual.
    code, out, told = run(*generate(dataset, "-v"))
    assert code == 2 and not out and told[-1].startswith("augsynth: out: the run is finished")
    assert "steps: 1" in told and "max_attempts: 1" in told
    assert not any(line.startswith("min_iou") for line in told)


@pytest.mark.parametrize("more", [[], ["-v"]])
def test_verbose_shows_where_an_error_arose(run, more):
    code, out, told = run("build-affinity", "--annotations", "gone.json", "--out", "a.json", *more)
    assert code == 2 and not out
    assert told[-1].startswith("augsynth: ") and "gone.json" in told[-1]
    assert (len(told) > 1) == any("Traceback" in line for line in told) == bool(more)


def in_ascii(*words, folder):
    """Run a command in a process whose streams hold ASCII alone."""
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        [sys.executable, "-m", "augsynth", *map(str, words)],
        capture_output=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(root)},
    )
    return found.returncode, found.stdout.decode("ascii"), found.stderr.decode("ascii")


def test_a_terminal_that_is_not_utf_8_gets_what_it_can_show(dataset, tmp_path):
    document = json.loads((dataset / "instances.json").read_text())
    for category, name in zip(document["categories"], ("Küche", "図"), strict=True):
        category["name"] = name
    document["annotations"].append({**document["annotations"][0], "id": 99, "bbox": [0, 0, 0, 0]})
    (tmp_path / "größe.json").write_text(json.dumps(document), encoding="utf-8")
    command = ("split", "--annotations", "größe.json", "--folds", "2", "--out")
    code, out, told = in_ascii(*command, "one", folder=tmp_path)
    assert code == 0 and "K?che" in out and "gr??e.json" in told and "Traceback" not in told
    code, out, told = in_ascii(*command, "two", "--json", folder=tmp_path)
    assert code == 0 and {*json.loads(out)["objects"]} == {"Küche", "図"}, "nothing is lost"
    code, out, told = in_ascii(
        "build-affinity", "--annotations", "öde.json", "--out", "b.json", folder=tmp_path
    )
    assert code == 2 and not out and len(told.splitlines()) == 1 and "?de.json" in told
