"""The README and ARCHITECTURE.md say what is there: commands, options, defaults, presets, modules."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from augsynth.cli import app
from augsynth.core import options
from augsynth.generation.config import GenerateConfig, read_config

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIGURES = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands
NONE = "–"


def marked_command(name):
    """The single line in the fence below the marker of a two-command block."""
    found = re.findall(rf"<!-- command: {name} -->\n```bash\n(.+)\n```", README)
    assert len(found) == 1, f"the README has no single-line command {name}"
    return found[0]


def table(name):
    """Rows of the option table of a command: cells without backticks."""
    block = re.search(rf"<!-- options: {name} -->\n(.*?)<!-- end -->", README, re.S)
    assert block, f"the README has no option table for {name}"
    rows = [[c.strip() for c in line.strip("|").split(" | ")] for line in block[1].splitlines()]
    return [[cell.strip("`| ") for cell in row] for row in rows[2:]]


def flag_of(param):
    return max(param.opts, key=len)


def options_of(name):
    return {flag_of(p): p for p in COMMANDS[name].params if p.name != "help"}


def shown(value):
    return str(value) if value not in (None, "", (), {}) else NONE


def readme_lines():
    """Every `augsynth …` line in the shell blocks of the README and of the figures' own."""
    blocks = re.findall(r"```bash\n(.*?)```", README + FIGURES, re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.split(" && ")[-1] for line in lines if "augsynth " in line.split(" && ")[-1]]


def test_every_command_is_documented():
    documented = set(re.findall(r"<!-- options: (\S+) -->", README))
    assert documented == set(COMMANDS)
    assert all(f"augsynth {name}" in README for name in COMMANDS)


def test_every_option_of_generate_is_documented_with_its_flag_and_default():
    flags = options_of("generate")
    expected = [
        [option.name, option.flag if option.flag in flags else NONE, option.default_text or NONE]
        for option in options.options_of(GenerateConfig)
    ]
    assert [row[:3] for row in table("generate")] == expected


def test_flags_of_generate_are_keys_of_the_configuration():
    keys = {option.name for option in options.options_of(GenerateConfig)}
    assert {flag.removeprefix("--").replace("-", "_") for flag in options_of("generate")} - keys == {"config"}


def test_help_names_the_defaults_of_generate():
    defaults = {option.name: option.default for option in options.options_of(GenerateConfig)}
    for flag, param in options_of("generate").items():
        default = defaults.get(flag.removeprefix("--").replace("-", "_"))
        if isinstance(default, int | float | str) and default:
            assert f"({default}" in param.help, f"{flag}: its help doesn't say ({default})"


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"generate"}))
def test_every_flag_is_documented_with_its_default(name):
    expected = [
        [flag, "required" if param.required else shown(param.default)]
        for flag, param in options_of(name).items()
    ]
    assert [row[:2] for row in table(name)] == expected


def test_no_option_lacks_a_meaning():
    for name in COMMANDS:
        for row in table(name):
            assert len(row[-1]) > 3, f"{name}: {row[0]}"


@pytest.mark.parametrize("line", readme_lines())
def test_commands_in_the_readme_parse(line):
    words = shlex.split(line)
    assert words[0].split("/")[-1] == "augsynth"
    command = COMMANDS[words[1]]
    with command.make_context(words[1], words[2:]):
        pass


def test_the_road_on_own_data_runs_as_written(tmp_path, monkeypatch):
    """Every command of the README but those that need a network, each told to do very little."""
    little = {
        "sample": "--num-images 16 --workers 1",
        "build-affinity": "",
        "bank": "",
        "split": "",
        "train-detector": "--preset fcos_tiny --steps 2 --batch-size 2 --threads 1",
        "finetune": "--preset tiny-32 --num-windows 24 --autoencoder-steps 2 --decoder-steps 2 --denoiser-steps 2 "
        "--save-every 2 --autoencoder-batch-size 4 --denoiser-batch-size 4 --threads 1",
        "generate": "--n 1 --max-attempts 2 --steps 2",
    }
    monkeypatch.chdir(tmp_path)
    lines = [shlex.split(line) for line in readme_lines() if "sd15" not in line and ".venv" not in line]
    assert {words[1] for words in lines} == set(COMMANDS) == set(little)
    for words in sorted(lines, key=lambda words: words[1] != "sample"):
        app([*words[1:], *little[words[1]].split()], standalone_mode=False)
        if words[1] == "sample" and "data/sample" in words:
            (tmp_path / "data" / "images").symlink_to(tmp_path / "data" / "sample" / "images")
            (tmp_path / "data" / "train.json").symlink_to(
                tmp_path / "data" / "sample" / "annotations" / "instances.json"
            )
    provenance = (tmp_path / "runs" / "mine" / "provenance.jsonl").read_text().splitlines()
    assert 1 <= len(provenance) <= 2
    assert (tmp_path / "runs" / "mine" / "annotations" / "instances_augmented.json").is_file()
    listing = re.search(r"```\nruns/first/\n(.*?)```", README, re.S)[1]
    listed = {line.split()[0].rstrip("/") for line in listing.splitlines()} - {"contact_sheet_accepted.png"}
    run = tmp_path / "runs" / "mine"
    there = {path.relative_to(run).as_posix() for path in run.rglob("*")}
    assert listed <= there, "the README lists files that a run doesn't write"


@pytest.mark.parametrize("name", ["run", "tests"])
def test_the_two_commands_are_one_line_each_and_can_be_repeated(name):
    command = marked_command(name)
    assert "--allow-existing" in command
    assert "-c constraints.txt" in command
    assert subprocess.run(["bash", "-n", "-c", command], check=False).returncode == 0


def test_continuous_integration_runs_the_command_of_the_readme(tmp_path):
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    extract = re.search(r"^command=\$\((awk .+)\)$", script, re.M)
    found = subprocess.run(["bash", "-c", extract[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == marked_command("tests")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_presets_are_valid_and_named_in_the_readme(path):
    assert isinstance(read_config(path), GenerateConfig)
    assert f"configs/{path.name}" in README


def test_constraints_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in pins)


def test_constraints_pin_what_the_project_asks_for():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["dev"] + extras["mmdet"] + extras["ensemble"]
    names = {re.match(r"[A-Za-z0-9-]+", requirement)[0].lower() for requirement in wanted} - {"augsynth"}
    pins = {
        line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert names <= pins


def modules():
    package = ROOT / "augsynth"
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not name.endswith("__init__.py") and name != "__main__.py":
            yield name


def test_architecture_has_a_line_for_every_module_and_for_no_other():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)?[a-z_]+\.py)`", text))
    elsewhere = {name for name in named if name.split("/")[0] in ("tests", "benchmarks", "pipelines")}
    assert all((ROOT / name).is_file() for name in elsewhere)
    there = set(modules())
    assert there <= named, f"add a line for {sorted(there - named)} to ARCHITECTURE.md"
    assert named - elsewhere <= there, f"{sorted(named - elsewhere - there)} is gone; mend ARCHITECTURE.md"


@pytest.mark.parametrize(
    "name", ["README.md", "benchmarks/README.md", "benchmarks/gain/LOG.md", "ARCHITECTURE.md"]
)
def test_links_lead_somewhere(name):
    file = ROOT / name
    for target, place in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", file.read_text("utf-8")):
        if "://" in target:
            continue
        there = file.parent / target if target else file
        assert there.exists(), target
        assert not place or place in headings(there), f"{target}#{place}"


def headings(file):
    """Anchors of a Markdown file's headings, as they are made on GitHub."""
    titles = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
