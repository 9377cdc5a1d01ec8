"""Commands from dataclasses of options: a flag for each option, titled groups in the help."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer
from typer.core import TyperCommand

from augsynth.commands.terminal import TERMINAL, Report, Terminal
from augsynth.core.errors import ConfigError
from augsynth.core.options import Option, build, options_of
from augsynth.core.storage import is_url

COMMAND_LINE = "command line"
COMMON = "Common"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the tool.

    Attributes:
        name: As it is typed.
        options: Dataclass of its options.
        run: Called with the options and the terminal.
        help: What it does, in a sentence.
        example: A command line that works.
        exits: Exit codes beside 0 and 2 in words.
        presets: Whether `--config` reads options from a file: then `run` is called with the values given by name
            instead of the dataclass.
        positional: Name of the option that is given first and without a flag, empty for none.
    """

    name: str
    options: type
    run: Callable[[Any, Terminal], Report]
    help: str
    example: str
    exits: str = ""
    presets: bool = False
    positional: str = ""

    def is_flag(self, option: Option) -> bool:
        """Say whether an option is given by a flag."""
        return option.has_flag and option.name != self.positional


class _GroupedCommand(TyperCommand):
    """A command whose help lists its options under the titles of their sections, and never cuts a name off."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options group by group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                title = getattr(param, "rich_help_panel", None) or COMMON
                groups.setdefault(title, []).append(record)
        for title, records in sorted(groups.items(), key=lambda group: group[0] == COMMON):
            with formatter.section(title):
                formatter.write_dl(records)


def add_command(app: typer.Typer, command: Command) -> None:
    """Register a command: its flags are generated from its dataclass."""
    listed = [option for option in options_of(command.options) if option.has_flag]
    parameters = [_parameter(option) if command.is_flag(option) else _argument(option) for option in listed]
    if command.presets:
        parameters.insert(0, _CONFIG)
    parameters += _COMMON

    def call(**given: Any) -> int:
        TERMINAL.notices.quiet = bool(given.pop("quiet"))
        TERMINAL.verbose, TERMINAL.as_json = bool(given.pop("verbose")), bool(given.pop("json"))
        values = {key: _plain(value) for key, value in given.items() if value is not None}
        _refuse_urls(values, takes_urls=bool(command.presets))
        options = values if command.presets else build(command.options, values, source=COMMAND_LINE)
        report = command.run(options, TERMINAL)
        TERMINAL.show(report)
        return report.status

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command(
        command.name,
        cls=_GroupedCommand,
        help=command.help,
        short_help=command.help.partition(". ")[0].removesuffix(".") + ".",
        epilog="\n\n".join(
            filter(None, [command.exits, "\b\nExample:\n  " + command.example.replace("\n", "\n  ")])
        ),
    )(call)


def _refuse_urls(values: Mapping[str, Any], *, takes_urls: bool) -> None:
    """Raise ConfigError where an option names a URL: `generate` alone takes those that outlast it."""
    for key, value in values.items():
        texts = [str(each) for each in (value if isinstance(value, tuple) else (value,))]
        for text in [each.replace(":/", "://") for each in texts] if isinstance(value, Path) else texts:
            if text.startswith("memory://"):
                raise ConfigError(
                    f"{key} is {text!r}, which ends with this command; give a folder or s3://, gs://, …"
                )
            if is_url(text) and not takes_urls:
                raise ConfigError(f"{key} is {text!r}, a URL; only generate takes URLs, so fetch it first")


def _plain(value: Any) -> Any:
    """Return a value as a file would give it: a list of one text is that text where both are allowed."""
    return tuple(value) if isinstance(value, list) else value


def _parameter(option: Option) -> inspect.Parameter:
    """Return the parameter of an option: None unless it is given, so that the dataclass has the only default."""
    words = [option.flag]
    if _kind(option.hint) is bool:
        words = [f"{option.flag}/--no-{option.flag.removeprefix('--')}"]
    annotation = _annotation(option.hint)
    info = typer.Option(
        ... if option.required else None,
        *words,
        help=_help(option),
        metavar="<str>" if typing.get_origin(_annotation(option.hint)) is list else None,
        rich_help_panel=option.section or "Options",
        show_default=False,
    )
    if not option.required:
        annotation = annotation | None
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=annotation)


def _argument(option: Option) -> inspect.Parameter:
    """Return the parameter of the option that has no flag."""
    info = typer.Argument(metavar=option.name.upper(), help=option.help, show_default=False)
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=_annotation(option.hint)
    )


def _help(option: Option) -> str:
    """Return an option's meaning with its default in parentheses."""
    if option.required or not option.default_text:
        return option.help
    return f"{option.help}  [default: {option.default_text}]"


def _kind(hint: Any) -> Any:
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return parts[0] if union and len(parts) == 1 else hint


def _annotation(hint: Any) -> Any:
    """Return the type that the command line reads."""
    kind = _kind(hint)
    if kind in (bool, int, float, str, Path) or typing.get_origin(kind) is Literal:
        return kind
    return list[str]


def _switch(name: str, *words: str, help: str) -> inspect.Parameter:
    info = typer.Option(False, *words, help=help, rich_help_panel=COMMON, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=bool)


_CONFIG = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=typer.Option(
        None,
        "--config",
        help="Preset by name, or a YAML file with any option of the run; flags win over it.",
        rich_help_panel="Preset",
        show_default=False,
    ),
    annotation=str | None,
)
_COMMON: Sequence[inspect.Parameter] = [
    _switch("quiet", "--quiet", "-q", help="No progress and no notices."),
    _switch("verbose", "--verbose", "-v", help="Say more, and where an error arose."),
    _switch("json", "--json", help="Print the result as JSON."),
]
