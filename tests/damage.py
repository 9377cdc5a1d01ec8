"""Systematic damage to JSON files: every kind of place in a document, set to what doesn't belong there."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from augsynth.core.errors import AugsynthError

STRANGE: list[Any] = [None, True, "x", "", -1, 0, 0.5, 2**63, 10**400, 1e300, [], {}, [[]], [None], "\x1b[2J"]
_WORDS = ["NaN", "-Infinity", "1e999"]  # that Python's reader takes for numbers
_HERE = "3.2514e-217"  # stands for one of them, a number that is nowhere else


def places(document: Any) -> Iterator[tuple[str | int, ...]]:
    """Yield paths of all keys, but of a list only its first and its last item."""
    keys: list[str | int] = []
    if isinstance(document, dict):
        keys = list(document)
    elif isinstance(document, list):
        keys = sorted({0, len(document) - 1}) if document else []
    for key in keys:
        yield (key,)
        for below in places(document[key]):
            yield (key, *below)


def damaged(document: Any, *, without: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield what was done, and the text of a damaged document.

    Args:
        document: JSON values.
        without: Keys below which nothing is changed.
    """
    yield "empty", ""
    yield "cut short", json.dumps(document)[:-2]
    yield "nested", "[" * 100_000
    for strange in STRANGE:
        yield f"whole: {str(strange)[:9]}", json.dumps(strange)
    for path in places(document):
        if set(path) & set(without):
            continue
        yield from _changes(document, path)


def _changes(document: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str, str]]:
    name = ".".join(map(str, path))
    spoilt = copy.deepcopy(document)
    holder = spoilt
    for key in path[:-1]:
        holder = holder[key]
    last: Any = path[-1]
    good = holder[last]
    for strange in STRANGE:
        if strange != good or type(strange) is not type(good):
            holder[last] = strange
            yield f"{name} = {str(strange)[:9]!r}", json.dumps(spoilt)
    holder[last] = float(_HERE)
    text = json.dumps(spoilt)
    for word in _WORDS:
        yield f"{name} = {word}", text.replace(str(float(_HERE)), word)
    del holder[last]
    yield f"without {name}", json.dumps(spoilt)


def check_damage(
    path: Path, use: Callable[[], object], *, without: tuple[str, ...] = (), every: int = 1, named: str = ""
) -> tuple[int, int]:
    """Damage a JSON file in every way, and use it: it is used, or refused in one line that names it.

    Args:
        path: The file; it is as before afterwards.
        use: Reads the file and works with what it says.
        without: Keys below which nothing is changed.
        every: Try each n-th damage only; all with AUGSYNTH_EVERY_DAMAGE=1 in the environment.
        named: What the line names, the file's own name unless given.

    Returns:
        How many damaged files were used, and how many refused.
    """
    before = path.read_bytes()
    used = refused = 0
    failures = []
    for number, (what, text) in enumerate(damaged(json.loads(before), without=without)):
        if number % every and os.environ.get("AUGSYNTH_EVERY_DAMAGE") != "1":
            continue
        path.write_text(text, "utf-8")
        try:
            use()
            used += 1
        except AugsynthError as error:
            refused += 1
            line = str(error)
            if (named or path.name) not in line or "\n" in line or ";" not in line or len(line) > 2000:
                failures.append(f"{what}: {line[:200]}")
        except Exception as error:
            failures.append(f"{what}: {error!r}"[:300])
    path.write_bytes(before)
    if failures:
        pytest.fail(f"{len(failures)} of {used + refused + len(failures)}:\n" + "\n".join(failures[:40]))
    return used, refused
