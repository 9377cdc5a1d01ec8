"""Fitting what category names say (cosines of their text embeddings), alone or mixed with the counts.

The cosines are those of Nie et al. (arXiv 2408.02891). A blend mixes the logits of both sources, which makes it
the geometric pool p(c | S) ∝ p_counts^(1−w) · p_names^w.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from augsynth.affinity.cooccurrence import (
    Cooccurrence,
    HeldOut,
    best_temperature,
    cooccurrence,
    held_out,
)
from augsynth.affinity.loglinear import Structure, log_loss, summed_up
from augsynth.affinity.loglinear_fit import fit
from augsynth.affinity.scoring import BLEND, CLIP, DEFAULT_MEASURE, Part, fit_terms, plain_terms
from augsynth.core.scene import FloatArray

UNKNOWN_WEIGHT = 0.5
_MAX_CASES_CELLS = 1_500_000


def fit_names(instances: Any, cosines: FloatArray) -> tuple[Part, list[HeldOut]]:
    """Return the model of the names alone and the held-out cases that its temperature was chosen on.

    Args:
        instances: CSR (N, C) objects per image and category.
        cosines: (C, C) of the text embeddings.
    """
    shown = np.diff(instances.indptr)
    cells = int(shown[shown >= 2].sum()) * len(cosines)
    spread = instances[:: max(1, cells // _MAX_CASES_CELLS)]
    parts = held_out(spread, lambda train: cosines)
    return Part(CLIP, cosines, plain_terms(best_temperature(parts), len(cosines))), parts


def fit_blend(
    instances: Any,
    counts: Cooccurrence,
    *,
    measure: str,
    strength: float,
    cosines: FloatArray,
    weight: float | None,
) -> tuple[tuple[Part, Part], Structure]:
    """Return the two parts of a blend with their shares, and how well the blend does on held-out images.

    Args:
        instances: CSR (N, C) objects per image and category.
        counts: The same, counted.
        measure: Of the part that counts.
        strength: L2 penalty of the log-linear fit.
        cosines: (C, C) of the text embeddings.
        weight: Share of the names in [0, 1]; None takes the one with the least held-out log loss.
    """
    matrix, terms = fit_terms(instances, counts, measure, strength)
    counted = Part(measure, matrix, terms)
    named, parts = fit_names(instances, cosines)
    logits = [
        (_counted_log_odds(part, counted, counts.kappa), _named_log_odds(part, named)) for part in parts
    ]
    if weight is None:
        weight = best_weight(parts, logits)
    losses = [_mixed_loss(part, pair, weight) for part, pair in zip(parts, logits, strict=True)]
    both = replace(counted, weight=1 - weight), replace(named, weight=weight)
    return both, structure_of(parts, losses)


def mixed(parts: tuple[Part, ...]) -> Part:
    """Return the matrix of a blend as a model to look at: natural-log units, 0 is neutral, temperature 1."""
    shares = [part.weight * (part.matrix - (part.neutral or 0.0)) / part.terms.temperature for part in parts]
    matrix = np.asarray(np.sum(shares, axis=0), np.float64)
    return Part(BLEND, matrix, plain_terms(1.0, len(matrix)))


def best_weight(parts: list[HeldOut], logits: list[tuple[FloatArray, FloatArray]]) -> float:
    """Return the share of the second logits with the least held-out log loss, in hundredths; ½ without cases."""
    if not any(len(part.cases.target) for part in parts):
        return UNKNOWN_WEIGHT

    def loss(weight: float) -> float:
        pairs = zip(parts, logits, strict=True)
        return float(sum(_mixed_loss(part, pair, weight).sum() for part, pair in pairs))

    inner = float(minimize_scalar(loss, bounds=(0, 1), method="bounded").x)
    return min((round(inner, 2), 0.0, 1.0), key=loss)


def names_structure(parts: list[HeldOut], named: Part) -> Structure:
    """Return how much the names alone say about one hidden category."""
    return structure_of(parts, [log_loss(_named_log_odds(part, named), part.cases) for part in parts])


def structure_of(parts: list[HeldOut], losses: list[FloatArray]) -> Structure:
    """Return the held-out gain over the popularity prior, from the (R,) log losses of each part's cases."""
    sizes = [len(part.cases.target) for part in parts]
    if not sum(sizes):
        return Structure(0, 0.0, 0.0, 0.0, 0.0)
    prior = np.concatenate(
        [
            log_loss(np.tile(part.prior, (size, 1)), part.cases)
            for part, size in zip(parts, sizes, strict=True)
        ]
    )
    scene = np.concatenate([part.cases.scene * len(parts) + k for k, part in enumerate(parts)])
    return summed_up(prior, prior, np.concatenate(losses), scene)


def _mixed_loss(part: HeldOut, logits: tuple[FloatArray, FloatArray], weight: float) -> FloatArray:
    return log_loss((1 - weight) * logits[0] + weight * logits[1], part.cases)


def _named_log_odds(part: HeldOut, named: Part) -> FloatArray:
    return np.asarray(part.prior + part.scores / named.terms.temperature, np.float64)


def _counted_log_odds(part: HeldOut, counted: Part, kappa: float) -> FloatArray:
    """Return (R, C) log odds of a fold's cases by the counts of the other folds."""
    cases = part.cases
    if counted.measure == DEFAULT_MEASURE:
        model = fit(part.train, part.prior, counted.terms.strength)
        return np.asarray(part.prior + model.evidence(cases.features), np.float64)
    rest = (cases.present / np.maximum(cases.present.sum(1), 1)).tocsr()
    scores = rest @ cooccurrence(part.train, kappa=kappa).matrix(counted.measure)
    return np.asarray(part.prior + scores / counted.terms.temperature, np.float64)
