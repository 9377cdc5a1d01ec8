"""Every number that a verb takes: one that makes no sense is one line and exit code 2, wherever it is given."""

import math
import sys
from dataclasses import replace
from typing import Union, get_args, get_origin

import pytest
import typer

from augsynth import cli
from augsynth.commands.flags import add_command
from augsynth.commands.generate import GENERATE
from augsynth.commands.terminal import Report
from augsynth.core.errors import ConfigError
from augsynth.core.options import build, options_of
from augsynth.generation.config import GenerateConfig, read_config

WORDS = ["-1", "0", "nan", "inf", "-inf", "1e308", "9" * 400, "-" + "9" * 400, "9" * 5000, "9223372036854775808",
         "", "abc", "1.5.5", "0x10", "\x1b[2J"]  # fmt: skip
VALUES = [-1, 0, math.nan, math.inf, 1e308, 10**400, -(10**400), 10**5000, 2**63, "", "abc", "5", [], [1], {}, {"a": 1},
          True]  # fmt: skip
TEXTS = [
    ".nan",
    "-.inf",
    "9" * 400,
    "9" * 5000,
    "''",
    "[1, 2]",
    "{a: 1}",
    "2020-01-01",
    "0o17",
    "!!binary aGk=",
]


def is_number(option):
    return {int, float} & {option.hint, *get_args(option.hint)} and get_origin(option.hint) in (
        None,
        Union,
        type(int | None),
    )


NUMBERS = [
    pytest.param(command, option, id=f"{command.name}-{option.name}")
    for command in cli.COMMANDS
    for option in options_of(command.options)
    if is_number(option)
]


def required(command):
    return {option.name: "given" for option in options_of(command.options) if option.required}


def check_kept(value, option):
    """A number that was taken is one that can be worked with."""
    whole = int in (option.hint, *get_args(option.hint))
    assert type(value) is (int if whole else float)
    assert math.isfinite(value) and abs(value) <= (2**63 - 1 if option.name == "seed" else 1e10)


@pytest.fixture(scope="module")
def commands():
    """The commands, none of which does anything, and the list of the options that each was started with."""
    found = []
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

    def run(options, terminal):
        is_plain = isinstance(options, dict)
        found.append(build(GENERATE.options, options, source="command line") if is_plain else options)
        return Report([], {})

    for command in cli.COMMANDS:
        add_command(app, replace(command, run=run))
    return typer.main.get_command(app), found


@pytest.fixture
def call(commands, monkeypatch, capsys):
    """Return what an option was set to, or None where it was refused in one line."""
    app, started = commands
    monkeypatch.setattr(cli, "app", app)

    def called(command, option, *words):
        started.clear()
        given = [word for o in options_of(command.options) if o.required for word in (o.flag, "given")]
        monkeypatch.setattr(sys, "argv", ["augsynth", command.name, *given, *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr().err.strip().splitlines()
        if not ended.value.code:
            value = started[0]
            for name in option.path:
                value = getattr(value, name)
            return value
        assert ended.value.code == 2 and not started
        assert len(told) == 1 and told[0].startswith("augsynth: ") and len(told[0]) < 400, told
        assert option.name in told[0] or option.flag in told[0], told
        return None

    return called


@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_on_the_command_line(command, option, call):
    for word in WORDS:
        value = call(command, option, f"{option.flag}={word}")
        assert value is None or word in ("-1", "0"), word
        if value is not None:
            check_kept(value, option)


@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_as_a_value(command, option):
    for value in VALUES:
        try:
            found = build(command.options, {**required(command), option.name: value}, source="a.yaml")
        except ConfigError as error:
            assert option.name in str(error) and len(str(error)) < 400
            continue
        for name in option.path:
            found = getattr(found, name)
        check_kept(found, option)


@pytest.mark.parametrize(
    "option", [o for o in options_of(GenerateConfig) if is_number(o)], ids=lambda o: o.name
)
def test_in_a_file(option, tmp_path):
    path = tmp_path / "a.yaml"
    for text in TEXTS:
        path.write_text(f"{option.name}: {text}\n")
        try:
            found = read_config(path)
        except ConfigError as error:
            assert "a.yaml" in str(error) and "\n" not in str(error) and len(str(error)) < 400
            continue
        assert text == "0o17", "this is a text in YAML 1.1"
        for name in option.path:
            found = getattr(found, name)
        check_kept(found, option)


@pytest.mark.parametrize("counts", [-1, 10**400, 2**63, True, 1.5, "3", [1], None])
def test_counts_of_categories(counts):
    with pytest.raises(ConfigError, match="quotas") as caught:
        GenerateConfig.of(quotas={"cup": counts})
    assert len(str(caught.value)) < 400
