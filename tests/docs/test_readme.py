"""The README is a front page: short, with commands that stay as they are and figures that were measured."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, fences, marked_command
from tests.docs.test_pages import tables

README = ROOT / "README.md"
MOST_BYTES = 10 * 1024
UV = Path(sys.prefix) / "uv" / "bin" / "uv"


def test_it_is_a_front_page():
    assert len(README.read_bytes()) <= MOST_BYTES
    assert "docs/images/how_it_works_dark.svg" in README.read_text("utf-8")


@pytest.mark.parametrize("name", ["run", "tests"])
def test_the_two_commands_are_one_line_each_and_can_be_repeated(name):
    command = marked_command(name)
    assert "--allow-existing" in command
    assert "-c constraints.txt" in command
    assert subprocess.run(["bash", "-n", "-c", command], check=False).returncode == 0


def test_the_docs_install_as_the_readme_does():
    shown = [fence.text.strip() for fence in fences(ROOT / "docs" / "own-data.md", language="bash")]
    assert shown[0] == marked_command("run")
    mmdet = marked_command("mmdet", ROOT / "docs" / "mmdetection.md")
    assert marked_command("tests").startswith(mmdet.split("[dev")[0])


@pytest.mark.parametrize(
    ("name", "page"), [("tests", "README.md"), ("run", "README.md"), ("mmdet", "docs/mmdetection.md")]
)
def test_continuous_integration_runs_the_commands_of_the_pages(name, page):
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    function = re.search(r"^command_of\(\) \{\n.*?^\}$", script, re.M | re.S)[0]
    assert f"command_of {name} {page}" in script
    found = subprocess.run(
        ["bash", "-c", f"{function}\ncommand_of {name} {page}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == marked_command(name, ROOT / page)


@pytest.mark.skipif(not UV.is_file(), reason="the environment wasn't made by the README's command")
def test_uv_knows_the_way_without_cuda():
    option = re.search(r"--torch-backend=\S+(?=`)", README.read_text("utf-8"))[0]
    known = subprocess.run([UV, "pip", "install", option, "--help"], capture_output=True, check=False)
    assert known.returncode == 0
    wrong = subprocess.run(
        [UV, "pip", "install", "--torch-backend=none", "--help"], capture_output=True, check=False
    )
    assert wrong.returncode != 0, "uv accepts anything, so this test says nothing"


def test_the_small_table_has_the_figures_of_the_results():
    measured = {row[0]: row for row in tables(ROOT / "docs" / "results.md") if "YOLOX-Nano" in row[0]}
    shown = re.search(r"<!-- figures: front page -->\n(.*?)<!-- end -->", README.read_text("utf-8"), re.S)[1]
    names = {
        "rendered sample, 50": "sample, 5%, YOLOX-Nano",
        "aerial photographs, 37": "aerial_maritime, 10%, YOLOX-Nano",
        "blood cells, 10": "blood_cells, 5%, YOLOX-Nano",
        "face masks, 34": "face_mask, 5%, YOLOX-Nano",
    }
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in shown.splitlines()[2:]]
    assert [row[0] for row in rows] == list(names)
    for name, *cells in rows:
        _, _, none, _, paste, *others = measured[names[name]]
        means = [cell.strip(" |").split(" ± ")[0] for cell in (none, paste, *others)]
        none, paste, *alone_and_both = means
        expected = [none, paste]
        for noise, real in zip(alone_and_both[:2], alone_and_both[2:], strict=True):
            started = "not measured" if real == "–" else f"{real}, from real objects"
            expected.append(started if noise == "–" else noise)
        assert [cell.strip(" |") for cell in cells] == expected


def test_constraints_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in pins)


def test_constraints_pin_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [
        r for extra in project["optional-dependencies"].values() for r in extra
    ]
    names = {re.match(r"[A-Za-z0-9-]+", requirement)[0].lower() for requirement in wanted} - {"augsynth"}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert names <= {line.split("==")[0] for line in lines}
