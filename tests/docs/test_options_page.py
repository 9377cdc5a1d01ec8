"""The page of options lists every command, option and default as the command line has them, and every preset."""

import re

import pytest
import typer

from augsynth.cli import app
from augsynth.core import options
from augsynth.generation.config import GenerateConfig, read_config
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands
NONE = "–"


def table(name):
    """Rows of the option table of a command: cells without backticks."""
    block = re.search(rf"<!-- options: {name} -->\n(.*?)<!-- end -->", PAGE, re.S)
    assert block, f"the page has no option table for {name}"
    rows = [[c.strip() for c in line.strip("|").split(" | ")] for line in block[1].splitlines()]
    return [[cell.strip("`| ") for cell in row] for row in rows[2:]]


def options_of(name):
    return {max(p.opts, key=len): p for p in COMMANDS[name].params if p.name != "help"}


def shown(value):
    return str(value) if value not in (None, "", (), {}) else NONE


def test_every_command_is_documented():
    assert set(re.findall(r"<!-- options: (\S+) -->", PAGE)) == set(COMMANDS)


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


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_presets_are_valid_and_named(path):
    assert isinstance(read_config(path), GenerateConfig)
    assert f"configs/{path.name}" in PAGE
