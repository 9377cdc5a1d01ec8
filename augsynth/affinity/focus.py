"""What a detector lacks: the average precision of each category, from the files that evaluations leave."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from augsynth.core.errors import ConfigError
from augsynth.core.hub import plain_name
from augsynth.core.scene import Category

LEAST = 0.05  # what a category lacks at least: none is left out because it is found well
_ADVICE = (
    "name a folder of `train-detector`, a JSON object of AP by category name, or the scalars.json of MMDetection with "
    "classwise=True"
)
_PREFIX, _SUFFIX = "coco/", "_precision"


def read_missing(path: Path | str, categories: Sequence[Category]) -> dict[int, float]:
    """Return by COCO id what each category's average precision lacks to 1, from 0.05 to 1.

    A category that the file doesn't name, or for which it has no number (no object was judged), gets the mean of the
    others.

    Args:
        path: A folder that `train-detector` wrote; or a JSON file with AP in [0, 1] by category name, at the top or
            under `category_ap50` or `category_ap`; or MMDetection's scalars.json, whose last validation counts.
        categories: Of the dataset; names are compared without case, with underscores and hyphens as spaces.

    Raises:
        ConfigError: It can't be read, is none of these, or names none of the categories.
    """
    file = focus_file(path)
    found = _precisions(_document(file), file)
    known = {plain_name(name): ap for name, ap in found.items()}
    missing = {
        c.id: max(LEAST, 1 - known[plain_name(c.name)]) for c in categories if plain_name(c.name) in known
    }
    if not missing:
        names = ", ".join(list(found)[:6])
        raise ConfigError(f"focus: {file} names none of the dataset's categories (it has {names}); {_ADVICE}")
    mean = sum(missing.values()) / len(missing)
    return {c.id: missing.get(c.id, mean) for c in categories}


def focus_file(path: Path | str) -> Path:
    """Return the file that a name of `read_missing` stands for."""
    return Path(path) / "config.json" if Path(path).is_dir() else Path(path)


def _document(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise ConfigError(f"focus: {file} can't be read ({reason}); {_ADVICE}") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:  # a JSON object a line: the last one with figures by category
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise ConfigError(f"focus: {file} isn't JSON; {_ADVICE}") from None
    judged = [line for line in lines if isinstance(line, dict) and any(map(_is_classwise, line))]
    return judged[-1] if judged else {}


def _is_classwise(key: str) -> bool:
    return key.startswith(_PREFIX) and key.endswith(_SUFFIX)


def _precisions(document: Any, file: Path) -> dict[str, float]:
    """Return AP by name of what a file holds; without the categories that have no number."""
    values = document
    for keys in (("training", "evaluation"), ("category_ap50",), ("category_ap",)):
        inner = values
        for key in keys:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        values = values if inner is None else inner
    if not isinstance(values, Mapping):
        raise ConfigError(f"focus: {file} holds no AP by category; {_ADVICE}")
    if any(map(_is_classwise, values)):
        values = {k[len(_PREFIX) : -len(_SUFFIX)]: v for k, v in values.items() if _is_classwise(k)}
    found = {}
    for name, value in values.items():
        if value is None or (isinstance(value, float) and math.isnan(value)) or value == -1:
            continue  # COCO's figure for a category without objects
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ConfigError(f"focus: {file}: {name!r} is {value!r}, no AP from 0 to 1; {_ADVICE}")
        found[str(name)] = float(value)
    if not found:
        raise ConfigError(f"focus: {file} holds no AP by category; {_ADVICE}")
    return found
