"""Options declared as dataclass fields: checked, read from plain values, listed for the command line and the docs.

A dataclass of options may hold others as sections. Files and flags don't see the sections: every option has one name,
which is its key, its flag and its attribute.
"""

from __future__ import annotations

import difflib
import math
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from augsynth.core.errors import ConfigError

T = TypeVar("T")
REQUIRED: Any = MISSING  # as a default: the option has none and must be given
_WANTED = {int: "a whole number", float: "a number", str: "a text"}
_USUAL = {int: "a whole number of at most 64 bits", float: "a finite number of at most 64 bits"}
_LARGEST = 2**63 - 1  # of a whole number, below and above 0
_TYPES = {int: "integer", float: "number", str: "text", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class _Rule:
    """What the metadata of an option's field says."""

    help: str
    low: float | None
    high: float | None
    above: float | None
    unset: str
    flag: bool
    public: bool


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a dataclass or of one of its sections.

    Attributes:
        name: Key in a file and attribute of the dataclass.
        path: Attributes that lead to it, its own name last.
        section: Title of its section, empty where it stands in none.
        hint: Type of its values.
        default: Value when it isn't given; MISSING where it must be.
        help: What it means, as a sentence.
        unset: What None stands for.
        has_flag: Whether the command line has it.
    """

    name: str
    path: tuple[str, ...]
    section: str
    hint: Any
    default: Any
    help: str
    unset: str
    has_flag: bool

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it may have, empty where they aren't listed."""
        return _choices(self.hint)

    @property
    def type_text(self) -> str:
        """The type of its values in words."""
        hint = _without_none(self.hint)
        if self.choices:
            return ", ".join(self.choices)
        if typing.get_origin(hint) is tuple:
            return "list of texts"
        if typing.get_origin(hint) in (types.UnionType, typing.Union):
            return "text or list of texts"
        return _TYPES.get(hint, "mapping" if _is_mapping(hint) else "path")

    @property
    def default_text(self) -> str:
        """Its default in words, empty where there is nothing to say."""
        if self.required:
            return "required"
        if self.default is False or self.default is True:
            return "on" if self.default else "off"
        if self.default in (None, "", ()) or isinstance(self.default, Mapping):
            return self.unset
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    unset: str = "",
    flag: bool = True,
) -> Any:
    """Return the dataclass field of an option.

    Args:
        default: Its one default; REQUIRED for none, None for "choose".
        help: What it means, in a sentence.
        low, high: Least and greatest value.
        above: The value must be greater than this.
        unset: What None, or an empty value, stands for.
        flag: Whether the command line has it.
    """
    return _field(default, _Rule(help, low, high, above, unset, flag, public=True))


def internal(
    default: Any, *, low: float | None = None, high: float | None = None, above: float | None = None
) -> Any:
    """Return a field that is checked like an option, but that only Python code sets."""
    return _field(default, _Rule("", low, high, above, "", flag=False, public=False))


def section(title: str) -> dict[str, str]:
    """Return the metadata of a field that is a section: a dataclass of options under a title."""
    return {"section": title}


def _field(default: Any, rule: _Rule) -> Any:
    if default is MISSING:
        return field(metadata={"option": rule})
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata={"option": rule})
    return field(default=default, metadata={"option": rule})


def check_options(instance: Any) -> None:
    """Check the ranges and choices of a dataclass instance, but not of its sections, which check themselves.

    Raises:
        ConfigError: A value is outside its range or none of the choices.
    """
    hints = _hints(type(instance))
    for item in fields(instance):
        value, rule = getattr(instance, item.name), item.metadata.get("option")
        choices = _choices(hints[item.name])
        if value is None or rule is None:
            continue
        if choices and value not in choices:
            raise ConfigError(f"{item.name} is {_shown(value)}; choose one of {', '.join(choices)}")
        if isinstance(value, int | float) and not isinstance(value, bool) and not _fits(value, rule):
            raise ConfigError(f"{item.name} is {_shown(value)}; it must {_range_text(rule)}")


def _fits(value: float, rule: _Rule) -> bool:
    return (
        _is_usual(value)
        and (rule.low is None or value >= rule.low)
        and (rule.above is None or value > rule.above)
        and (rule.high is None or value <= rule.high)
    )


def _is_usual(value: float) -> bool:
    """Say whether a number is finite and, where it is whole, has no more than 64 bits."""
    return abs(value) <= _LARGEST if isinstance(value, int) else math.isfinite(value)


def _shown(value: object) -> str:
    """Return a value short enough for a message."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "…"


def _range_text(rule: _Rule) -> str:
    if rule.above is not None:
        most = "" if rule.high is None else f" and at most {rule.high}"
        return f"be above {rule.above}{most}" + (f", or left out for {rule.unset}" if rule.unset else "")
    if rule.low is None:
        return "be a number of at most 64 bits"
    if rule.high is None:
        return f"be at least {rule.low}"
    return f"lie in [{rule.low}, {rule.high}]"


def options_of(kind: type) -> tuple[Option, ...]:
    """Return the options of a dataclass and of its sections, in their order."""
    return tuple(_walk(kind, (), ""))


def _walk(kind: type, path: tuple[str, ...], title: str) -> Iterator[Option]:
    hints = _hints(kind)
    for item in fields(kind):
        here = (*path, item.name)
        if "section" in item.metadata:
            yield from _walk(hints[item.name], here, item.metadata["section"])
        elif (rule := item.metadata.get("option")) is not None and rule.public:
            yield Option(
                item.name,
                here,
                title,
                hints[item.name],
                _default(item),
                rule.help,
                rule.unset,
                rule.flag,
            )


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def build(kind: type[T], values: Mapping[str, Any], *, source: str) -> T:
    """Return a dataclass of options, sections included, from plain values by name.

    Args:
        kind: The dataclass.
        values: As a file or the command line gives them; what is missing takes its default.
        source: Names the file in errors.

    Raises:
        ConfigError: An unknown name, for which a near one is suggested, a wrong type or value, or nothing where an
            option must be given.
    """
    coerced = _coerced(kind, values, source)
    for entry in options_of(kind):
        if entry.required and entry.name not in values:
            raise ConfigError(f"{source}: {entry.name} is missing; give {entry.flag}")
    return _assemble(kind, coerced)


def _coerced(kind: type, values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return values as their options hold them; all names must be known."""
    known = {entry.name: entry for entry in options_of(kind)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(sorted(known))}"
            raise ConfigError(f"{source}: unknown key {key!r}; {advice}")
    return {key: _coerce(key, value, known[key].hint, source) for key, value in values.items()}


def _assemble(kind: type[T], values: Mapping[str, Any]) -> T:
    hints = _hints(kind)
    taken: dict[str, Any] = {}
    for item in fields(typing.cast(Any, kind)):
        if "section" in item.metadata:
            taken[item.name] = _assemble(hints[item.name], values)
        elif item.name in values and "option" in item.metadata:
            taken[item.name] = values[item.name]
    return kind(**taken)


def change(instance: T, values: Mapping[str, Any], *, source: str = "options") -> T:
    """Return a dataclass of options with other values of some, whatever section they stand in.

    Fields that are no options stay as they are.

    Raises:
        ConfigError: As `build`.
    """
    return typing.cast(T, _changed(instance, _coerced(type(instance), values, source)))


def _changed(instance: Any, values: Mapping[str, Any]) -> Any:
    taken: dict[str, Any] = {}
    for item in fields(instance):
        if "section" in item.metadata:
            taken[item.name] = _changed(getattr(instance, item.name), values)
        elif item.name in values and "option" in item.metadata:
            taken[item.name] = values[item.name]
    return replace(instance, **taken)


def plain(instance: Any) -> dict[str, Any]:
    """Return the options of a dataclass and its sections as flat plain values, for YAML or JSON."""
    values: dict[str, Any] = {}
    for entry in options_of(type(instance)):
        value = instance
        for name in entry.path:
            value = getattr(value, name)
        values[entry.name] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return {key: _plain(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def _hints(kind: type) -> dict[str, Any]:
    assert is_dataclass(kind)
    return typing.get_type_hints(kind)


def _without_none(hint: Any) -> Any:
    """Return a hint without `| None`."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        left = [part for part in typing.get_args(hint) if part is not type(None)]
        return left[0] if len(left) == 1 else hint
    return hint


def _choices(hint: Any) -> tuple[str, ...]:
    inner = _without_none(hint)
    return typing.get_args(inner) if typing.get_origin(inner) is Literal else ()


def _is_mapping(hint: Any) -> bool:
    return typing.get_origin(hint) is Mapping


def _coerce(key: str, value: Any, hint: Any, source: str) -> Any:
    """Return a plain value as its option holds it, or raise ConfigError for a wrong type."""
    inner = _without_none(hint)
    if value is None and inner is not hint:
        return None
    if _is_mapping(inner):
        return _coerce_mapping(key, value, typing.get_args(inner)[1], source)
    if inner is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{source}: {key} is {_shown(value)}; it must be true or false")
        return value
    if inner is Path:
        if not isinstance(value, str | os.PathLike) or not os.fspath(value):
            raise ConfigError(f"{source}: {key} is {_shown(value)}; it must be a path")
        return Path(value)
    if _choices(hint) or inner in _WANTED:
        found = _coerce_scalar(key, value, hint, source)
        if found == "" and inner is not hint:
            raise ConfigError(f"{source}: {key} is empty; give a text, or leave it out")
        return found
    return _coerce_list(key, value, inner, source)


def _coerce_scalar(key: str, value: Any, hint: Any, source: str) -> str | int | float:
    """Return a text, one of some choices or a number."""
    choices = _choices(hint)
    wanted = str if choices else _without_none(hint)
    if value is False and "off" in choices:
        value = "off"  # which YAML reads as false when it has no quotes
    if wanted is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = is_number and wanted is not str and _is_usual(value)
    if fits and wanted is float:
        return float(value)
    if not isinstance(value, wanted) or isinstance(value, bool) or (is_number and not fits):
        wish = _WANTED[wanted] if isinstance(value, bool) or not is_number else _USUAL.get(wanted, "a text")
        raise ConfigError(f"{source}: {key} is {_shown(value)}; it must be {wish}")
    return typing.cast("str | int | float", value)


def _coerce_list(key: str, value: Any, hint: Any, source: str) -> str | tuple[str, ...]:
    single = str in typing.get_args(hint) and typing.get_origin(hint) is not tuple
    if single and isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        wanted = "a text or a list of texts" if single else "a list of names"
        raise ConfigError(f"{source}: {key} is {_shown(value)}; it must be {wanted}")
    return tuple(value)


def _coerce_mapping(key: str, value: Any, hint: Any, source: str) -> dict[str, Any]:
    wanted = "counts" if hint is int else "a label or a list"
    wrong = ConfigError(f"{source}: {key} is {_shown(value)}; it must map category names to {wanted}")
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise wrong
    if hint is int:
        if not all(type(v) is int and 0 <= v <= _LARGEST for v in value.values()):
            raise wrong
        return dict(value)
    found: dict[str, Any] = {}
    for name, labels in value.items():
        listed = [labels] if isinstance(labels, str) else labels
        if not isinstance(listed, list | tuple) or not listed:
            raise wrong
        if not all(isinstance(label, str) and label.strip() for label in listed):
            raise ConfigError(f"{source}: {key}: the labels of {name!r} must be texts, in quotes if need be")
        found[name] = tuple(listed)
    return found
