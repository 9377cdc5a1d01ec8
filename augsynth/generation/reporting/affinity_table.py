"""The affinity of a page: a table of factors whose colours follow the heat map's scale, and its verdict in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from augsynth.affinity.cooccurrence import Pair
from augsynth.affinity.heat_map import scale_of, value_text
from augsynth.affinity.model import Affinity
from augsynth.core.figures import Scale
from augsynth.core.pages import short
from augsynth.core.scene import FloatArray

MOST_CATEGORIES = 20
_MOST_PAIRS = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """An entry of the matrix.

    Attributes:
        text: Its value; empty on the diagonal.
        level: Where it stands on the scale, −1 to 1, or 0 to 1 where the scale has no centre.
        told: Whether the data say more than chance does.
    """

    text: str
    level: float
    told: bool


@dataclass(frozen=True, slots=True)
class AffinityTable:
    """An affinity in words and numbers.

    Attributes:
        verdict: Whether there is structure, and how much.
        found: Whether there is.
        label: What a value is, with its unit.
        ticks: (level, text) of the colour bar.
        names: Categories shown, those with most objects.
        left_out: How many more there are.
        rows: A row of cells for each of them: what its presence says of the column's category.
        together, apart: The strongest pairs of both kinds, as (name, name, evidence and how sure it is).
    """

    verdict: str
    found: bool
    label: str
    ticks: tuple[tuple[float, str], ...]
    names: tuple[str, ...]
    left_out: int
    rows: tuple[tuple[Cell, ...], ...]
    together: tuple[tuple[str, str, str], ...]
    apart: tuple[tuple[str, str, str], ...]


def tabulate(affinity: Affinity) -> AffinityTable:
    """Return the table of an affinity."""
    found, scale = affinity.has_structure(), scale_of(affinity)
    told = affinity.told if found else np.zeros(affinity.matrix.shape, bool)
    values: FloatArray = (
        np.log(np.maximum(affinity.matrix, 1e-12)) if affinity.measure == "lift" else affinity.matrix
    )
    objects = affinity.cooccurrence.instance_counts
    chosen = sorted(np.argsort(-objects, kind="stable")[:MOST_CATEGORIES].tolist())
    gain = affinity.structure.prior_log_loss - affinity.structure.log_loss
    verdict = (
        f"Structure found: what else is in an image tells a hidden category {gain:.2f} nats better than its frequency "
        "alone. New objects are put where their category belongs."
        if found
        else "No structure found: what else is in an image says no more of a category than its frequency does, so new "
        "objects are spread by frequency."
    )
    return AffinityTable(
        verdict=verdict,
        found=found,
        label=scale.label,
        ticks=_ticks(scale),
        names=tuple(short(affinity.names[k], 40) for k in chosen),
        left_out=len(affinity.names) - len(chosen),
        rows=tuple(
            tuple(_cell(values[i, j], scale, told=bool(told[i, j]), same=i == j) for j in chosen)
            for i in chosen
        ),
        together=_pairs(affinity, affinity.strongest_pairs(_MOST_PAIRS)) if found else (),
        apart=_pairs(affinity, affinity.most_repelled_pairs(_MOST_PAIRS)) if found else (),
    )


def _cell(value: float, scale: Scale, *, told: bool, same: bool) -> Cell:
    if same or not np.isfinite(value):
        return Cell("", 0.0, False)
    low = -1.0 if scale.centre is not None else 0.0
    level = float(np.clip((value - (scale.centre or 0.0)) / scale.reach, low, 1.0))
    return Cell(scale.number(round(float(value), 6) + 0.0).replace("-", "−"), round(level, 3), told)


def _ticks(scale: Scale) -> tuple[tuple[float, str], ...]:
    if scale.ticks:
        return tuple(((value - (scale.centre or 0.0)) / scale.reach, text) for value, text in scale.ticks)
    centre = scale.centre or 0.0
    return tuple(
        (level, f"{centre + level * scale.reach:.2f}".replace("-", "−")) for level in (-1.0, 0.0, 1.0)
    )


def _pairs(affinity: Affinity, pairs: list[Pair]) -> tuple[tuple[str, str, str], ...]:
    place = {category_id: k for k, category_id in enumerate(affinity.category_ids.tolist())}
    told = affinity.told | affinity.told.T
    return tuple(
        (
            short(pair.names[0], 40),
            short(pair.names[1], 40),
            f"{value_text(affinity.measure, pair.value)}, together in {pair.count:,} images, "
            f"{pair.expected:,.1f} by chance"
            + ("" if told[tuple(place[id_] for id_ in pair.category_ids)] else "; too few to be sure"),
        )
        for pair in pairs
    )
