"""The file of prompts: how to speak of the categories."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category
from augsynth.core.yaml_file import read_yaml

_KEYS = ("synonyms", "description", "negative")


@dataclass(frozen=True, slots=True)
class Words:
    """How prompts speak of one category.

    Attributes:
        synonyms: At least one; each object's prompt draws one.
        description: What it looks like, empty for nothing.
        negative: What it should not look like, empty for nothing of its own.
    """

    synonyms: tuple[str, ...]
    description: str = ""
    negative: str = ""


def tidy(text: str) -> str:
    """Return a text in Unicode's composed form (NFC) with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def read_words(path: Path, categories: Sequence[Category]) -> dict[int, Words]:
    """Return the words of the categories that a YAML or JSON file speaks of, by COCO id.

    A category's name maps to a list of synonyms, to a description, or to `synonyms`, `description` and
    `negative`. Synonyms stand in for the name, which is drawn only when it is listed, too.

    Raises:
        ConfigError: The file can't be read, names an unknown category, or an entry is something else.
    """
    ids = {tidy(category.name): category.id for category in categories}
    found: dict[int, Words] = {}
    for name, entry in _read(path).items():
        if not isinstance(name, str):
            raise ConfigError(f"{path}: the name {name!r} is no text; put it in quotes")
        if tidy(name) not in ids:
            near = difflib.get_close_matches(tidy(name), ids, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(list(ids)[:8])}"
            raise ConfigError(f"{path}: {name!r} is no category of the dataset; {advice}")
        if ids[tidy(name)] in found:
            raise ConfigError(f"{path}: {name!r} is given twice; merge the two")
        found[ids[tidy(name)]] = _words(f"{path}: {name}", tidy(name), entry)
    return found


def _read(path: Path) -> Mapping[Any, Any]:
    document = read_yaml(path)  # JSON is YAML, too
    if not isinstance(document, Mapping) or not document:
        raise ConfigError(f"{path}: holds no `name: words`; write a line for each category to speak of")
    return document


def _words(where: str, name: str, entry: Any) -> Words:
    if isinstance(entry, str):
        return Words((name,), _text(where, "description", entry))
    if isinstance(entry, list):
        return Words(_texts(where, entry))
    if not isinstance(entry, Mapping) or not entry:
        raise ConfigError(
            f"{where} is {str(entry)[:40]!r}; write a list of synonyms, a description, or {', '.join(_KEYS)}"
        )
    strange = [str(key) for key in entry if key not in _KEYS]
    if strange:
        near = difflib.get_close_matches(strange[0], _KEYS, n=1)
        advice = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(_KEYS)}"
        raise ConfigError(f"{where}: unknown key {strange[0]!r}; {advice}")
    listed = entry.get("synonyms", [name])
    return Words(
        _texts(where, [listed] if isinstance(listed, str) else listed),
        _text(where, "description", entry["description"]) if "description" in entry else "",
        _text(where, "negative", entry["negative"]) if "negative" in entry else "",
    )


def _texts(where: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}: synonyms must be a list with at least one text in it")
    return tuple(dict.fromkeys(_text(where, "a synonym", value) for value in values))


def _text(where: str, what: str, value: Any) -> str:
    if not isinstance(value, str) or not tidy(value):
        raise ConfigError(f"{where}: {what} is {str(value)[:40]!r}; it must be a text, in quotes if need be")
    return tidy(value)
