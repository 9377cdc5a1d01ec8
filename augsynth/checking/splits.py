"""Splits of one dataset beside each other: do they agree on their categories?"""

from __future__ import annotations

from collections.abc import Sequence

from augsynth.checking.findings import Case, Finding, suspicious
from augsynth.core.hub import plain_name
from augsynth.core.scene import Dataset


def check_categories(datasets: Sequence[Dataset]) -> list[Finding]:
    """Find categories of later datasets that the first one doesn't have, or has under another id."""
    found = []
    for other in datasets[1:]:
        first = datasets[0]
        ids: dict[str, list[int]] = {}  # several where names differ only in what isn't compared
        for category in first.categories:
            ids.setdefault(plain_name(category.name), []).append(category.id)
        names = {category.id: category.name for category in first.categories}
        cases = []
        for category in other.categories:
            known = ids.get(plain_name(category.name), [])
            if category.id in known:
                continue
            told = f"id {category.id} here and {' or '.join(map(str, known))} in {first.source}"
            if not known:
                told = f"id {category.id}, not in {first.source}"
                if category.id in names:
                    told += f", where that id is {names[category.id]}"
            cases.append(Case(name=category.name, note=told, other_file=str(first.source)))
        theirs = {plain_name(category.name) for category in other.categories}
        cases += [
            Case(
                name=category.name,
                note=f"id {category.id} in {first.source}, not here",
                other_file=str(first.source),
            )
            for category in first.categories
            if plain_name(category.name) not in theirs
        ]
        found += suspicious("other_categories", str(other.source), cases)
    return found
