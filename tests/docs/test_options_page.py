"""The page of options is what the script writes from the dataclasses, and tells of every command, flag and preset."""

import importlib.util
import re

import typer

from augsynth.cli import COMMANDS, app
from augsynth.core.options import options_of
from augsynth.generation.config import preset_names
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_script_writes():
    spec = importlib.util.spec_from_file_location("options_page", ROOT / "docs" / "options_page.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.page() == PAGE, "run python docs/options_page.py"


def parts():
    """The text of the page about each command."""
    found = re.split(r"^## augsynth (\S+)$", PAGE, flags=re.M)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_every_command_has_its_part_with_every_flag():
    commands = typer.main.get_command(app).commands
    assert parts().keys() == commands.keys() == {command.name for command in COMMANDS}
    common = {"--help", "--quiet", "--verbose", "--json", "--config"}
    for name, command in commands.items():
        flags = {max(p.opts, key=len) for p in command.params if p.param_type_name == "option"} - common
        assert flags == set(re.findall(r"^\| `(--[a-z-]+)` \|", parts()[name], re.M))


def test_options_without_a_flag_are_named_as_in_a_file():
    for command in COMMANDS:
        for option in options_of(command.options):
            name = option.name.upper() if option.name == command.positional else option.name
            assert command.is_flag(option) or f"| `{name}` |" in parts()[command.name]


def test_no_option_lacks_a_meaning():
    rows = [line.split(" | ") for line in PAGE.splitlines() if re.match(r"\| `(--)?[a-z]", line)]
    assert len(rows) > 100
    assert all(len(row[-1].strip(" |")) > 8 for row in rows)


def test_every_preset_is_listed():
    assert preset_names()
    for name in preset_names():
        assert f"| `{name}` |" in PAGE
