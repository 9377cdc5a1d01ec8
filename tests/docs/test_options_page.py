"""The page of options lists every command, option and default as the command line has them, and every preset."""

import re

import pytest
import typer

from augsynth.cli import COMMANDS as LISTED
from augsynth.cli import app
from augsynth.core.options import options_of
from augsynth.generation.config import GenerateConfig, preset_names, read_config
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


def test_every_command_is_documented():
    assert set(re.findall(r"<!-- options: (\S+) -->", PAGE)) == set(COMMANDS)


@pytest.mark.parametrize("command", LISTED, ids=lambda command: command.name)
def test_every_option_is_documented_with_its_flag_and_default(command):
    expected = [
        [option.name, option.flag if option.has_flag else NONE, option.default_text or NONE]
        for option in options_of(command.options)
    ]
    assert [row[:3] for row in table(command.name)] == expected


def test_no_option_lacks_a_meaning():
    for name in COMMANDS:
        for row in table(name):
            assert len(row[-1]) > 3, f"{name}: {row[0]}"


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid_and_named(name):
    assert isinstance(read_config(name), GenerateConfig)
    assert f"`{name}`" in PAGE
