"""Write the tables of docs/options.md from the options' dataclasses: `python docs/options_page.py`."""

from __future__ import annotations

import re
from itertools import groupby, takewhile
from pathlib import Path

from augsynth.cli import COMMANDS
from augsynth.commands.flags import Command
from augsynth.core.options import Option, options_of
from augsynth.generation.config import find_preset, preset_names

PAGE = Path(__file__).with_name("options.md")
NOT_RUN = "<!-- not run: the example of the command's help, whose paths are made up; a test parses it -->"
HEAD = ("| option | value | default | meaning |", "|---|---|---|---|")


def cell(text: str) -> str:
    """Return a text as the cell of a table."""
    return " ".join(text.split()).replace("|", "\\|") or "–"


def row(option: Option, command: Command) -> str:
    """Return the row of an option; one without a flag is named as in a file, one without a name by its place."""
    name = option.flag if command.is_flag(option) else option.name
    name = name.upper() if option.name == command.positional else name
    values = ", ".join(f"`{choice}`" for choice in option.choices) or option.type_text
    return f"| `{name}` | {cell(values)} | {cell(option.default_text)} | {cell(option.help)} |"


def command_text(command: Command) -> str:
    """Return the part of the page about one command."""
    parts = [
        f"## augsynth {command.name}",
        cell(command.help),
        f"{NOT_RUN}\n```bash\n{one_line(command.example)}\n```",
    ]
    for section, options in groupby(options_of(command.options), key=lambda option: option.section):
        title = [f"**{section}**"] if section else []
        parts += [*title, "\n".join([*HEAD, *(row(option, command) for option in options)])]
    if command.exits:
        parts.append(cell(command.exits))
    return "\n\n".join(parts)


def one_line(example: str) -> str:
    """Return a command line that may be broken in two as one line."""
    return " ".join(example.replace("\\\n", " ").split())


def preset_row(name: str) -> str:
    """Return the row of a preset: its name and what the comment at its top says first."""
    lines = find_preset(name).read_text(encoding="utf-8").splitlines()
    said = takewhile(lambda line: line.startswith("# ") and not line.startswith("#   "), lines)
    return f"| `{name}` | {cell(' '.join(line.removeprefix('# ') for line in said))} |"


def page() -> str:
    """Return the page with its tables as they should be."""
    tables = {
        "presets": "\n".join(["| preset | what it sets up |", "|---|---|", *map(preset_row, preset_names())]),
        "options": "\n\n".join(map(command_text, COMMANDS)),
    }
    text = PAGE.read_text(encoding="utf-8")
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.S)
        text = place.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
