"""Fitting a measure to counted images: what `Affinity.fit` is made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from augsynth.affinity.cooccurrence import (
    FORMULAS,
    Cooccurrence,
    best_temperature,
    cooccurrence,
    held_out,
)
from augsynth.affinity.loglinear import repeat_offset
from augsynth.affinity.loglinear_fit import fit
from augsynth.core.errors import ConfigError
from augsynth.core.scene import Dataset, FloatArray, IntArray

DEFAULT_MEASURE = "loglinear"
MEASURES = (DEFAULT_MEASURE, *FORMULAS)
CLIP, BLEND = "clip", "blend"
SOURCES = ("cooccurrence", CLIP, BLEND)
_BY_LIFT = ("lift", "conditional", "jaccard", "cosine")  # what they say of a pair follows popularity


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a measure's model has besides its matrix.

    Attributes:
        temperature: τ at which the scores predict held-out images best; 1 for `loglinear` and `blend`.
        strength: L2 penalty of the log-linear fit, 0 for other measures, inf for the prior alone.
        bias: (2, C) constant and slope on log |S|; zeros except for `loglinear`.
        counts: (C, C) what each e-fold of more objects of the row adds; zeros except for `loglinear`.
    """

    temperature: float
    strength: float
    bias: FloatArray
    counts: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One way to score a scene's categories: a matrix and the rest of its model.

    Attributes:
        measure: One of `MEASURES`, `clip` or `blend`.
        matrix: (C, C) float64, row = present, column = candidate.
        terms: The rest of the model.
        weight: Share of the part in a blend, in [0, 1]; the shares of all parts sum to 1.
    """

    measure: str
    matrix: FloatArray
    terms: Terms
    weight: float = 1.0

    def scores(self, prior: FloatArray, columns: IntArray, objects: FloatArray) -> FloatArray:
        """Return (C,) scores as `Affinity.scores` describes them.

        Args:
            prior: (C,) log odds of the popularity prior.
            columns: The distinct present categories.
            objects: How many objects each of them has.
        """
        if self.measure != DEFAULT_MEASURE:
            return self.matrix[columns].mean(axis=0) if len(columns) else np.zeros(len(prior))
        if not len(columns):
            return prior
        rows = self.matrix[columns] + np.log(objects)[:, None] * self.terms.counts[columns]
        bias = self.terms.bias[0] + np.log(len(columns)) * self.terms.bias[1]
        scores = prior + bias + rows.sum(axis=0) / np.sqrt(len(columns))
        scores[columns] = prior[columns] + self.matrix[columns, columns]
        return np.asarray(scores, np.float64)

    def log_odds(self, prior: FloatArray, scores: FloatArray) -> FloatArray:
        """Return (C,) log p(c | S) up to a constant, popularity included, from the part's scores."""
        if self.measure == DEFAULT_MEASURE:
            return scores
        return np.asarray(prior + scores / self.terms.temperature, np.float64)

    @property
    def neutral(self) -> float | None:
        """Entry of the matrix that says nothing either way, None where there is no such value.

        Cosines of names are all alike: they say something where they differ from their median.
        """
        if self.measure == CLIP:
            others = self.matrix[~np.eye(len(self.matrix), dtype=bool)]
            return float(np.median(others)) if len(others) else 0.0
        return {"lift": 1.0, "npmi": 0.0, DEFAULT_MEASURE: 0.0}.get(self.measure)

    def pull(self, lift: FloatArray) -> FloatArray:
        """Return (C, C), above 0 attracts, below 0 repels: what pairs are ranked by."""
        return np.log(lift) if self.measure in _BY_LIFT else self.matrix - (self.neutral or 0.0)


def check_source(source: str, measure: str, blend_weight: float | None) -> None:
    """Raise ConfigError unless source, measure and weight go together."""
    if source not in SOURCES:
        raise ConfigError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    if source == CLIP and measure != DEFAULT_MEASURE:
        raise ConfigError(f"measure {measure} isn't used with source clip; leave it out or choose blend")
    if blend_weight is not None and source != BLEND:
        raise ConfigError(f"blend_weight isn't used with source {source}; leave it out or choose blend")
    if blend_weight is not None and not 0 <= blend_weight <= 1:
        raise ConfigError(f"blend_weight is {blend_weight}; it must lie in [0, 1], the share of clip")


def check_cosines(source: str, cosines: FloatArray | None, size: int) -> None:
    """Raise ConfigError unless there are cosines of all `size` categories where the source needs them."""
    if (cosines is None) != (source == SOURCES[0]):
        wrong = "needs embeddings of the names" if cosines is None else "takes no embeddings"
        raise ConfigError(f"source {source} {wrong}; choose the source that fits what you have")
    if cosines is not None and cosines.shape != (size, size):
        raise ConfigError(f"embeddings: cosines of shape {cosines.shape} don't fit {size} categories")


def check_options(measure: str, kappa: float, strength: float | None) -> None:
    """Raise ConfigError unless the options of `Affinity.fit` make sense."""
    if measure not in MEASURES:
        raise ConfigError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    if not (np.isfinite(kappa) and kappa > 0):
        raise ConfigError(f"kappa must be a number above 0, got {kappa}; 1 is the default")
    if strength is not None and not strength > 0:
        raise ConfigError(f"strength must be above 0, got {strength}; leave it out to have it chosen")


def plain_terms(temperature: float, size: int) -> Terms:
    """Return the terms of a model that is its (size, size) matrix and a temperature."""
    return Terms(temperature, 0.0, np.zeros((2, size)), np.zeros((size, size)))


def fit_terms(
    instances: Any, counts: Cooccurrence, measure: str, strength: float
) -> tuple[FloatArray, Terms]:
    """Return the (C, C) matrix of a measure and the rest of its model.

    Args:
        instances: CSR (N, C) objects per image and category.
        counts: The same, counted.
        measure: One of `MEASURES`.
        strength: L2 penalty of the log-linear fit.
    """
    size = instances.shape[1]
    if measure != DEFAULT_MEASURE:
        parts = held_out(instances, lambda train: cooccurrence(train, kappa=counts.kappa).matrix(measure))
        return counts.matrix(measure), plain_terms(best_temperature(parts), size)
    prior, repeats = counts.log_odds, counts.repeat_prob
    model = fit(instances, prior, strength)
    repeats = np.log(np.clip(repeats, 1e-6, 1 - 1e-6))
    repeats = repeats - np.log1p(-np.exp(repeats))
    repeats += repeat_offset(model, instances=instances, offset=prior, repeats=repeats)
    matrix = model.pairs.copy()
    np.fill_diagonal(matrix, repeats - prior)
    return matrix, Terms(1.0, strength, model.bias, model.counts)


def fingerprint(dataset: Dataset) -> str:
    """Return the sha256 of what statistics are built from: categories, image sizes, boxes, labels, crowds."""
    digest = hashlib.sha256()
    categories = [[category.id, category.name] for category in dataset.categories]
    digest.update(json.dumps(categories, ensure_ascii=True).encode())
    scenes = dataset.scenes
    ends = np.cumsum([0, *map(len, scenes)])
    heads = np.array([[s.image_id, *s.size_wh, len(s)] for s in scenes], "<i8").reshape(-1, 4).tobytes()
    boxes = np.concatenate([np.zeros((0, 4)), *(s.boxes_xyxy for s in scenes)]).astype("<f8").tobytes()
    kinds = np.concatenate([np.zeros(0, np.int64), *(s.category_ids for s in scenes)]).astype("<i8").tobytes()
    crowds = np.concatenate([np.zeros(0, np.bool_), *(s.is_crowd for s in scenes)]).tobytes()
    columns = (
        (heads, 32, np.arange(len(scenes) + 1)),
        (boxes, 32, ends),
        (kinds, 8, ends),
        (crowds, 1, ends),
    )
    slices = [(memoryview(data), (size * at).tolist()) for data, size, at in columns]
    for k in range(len(scenes)):
        for view, places in slices:
            digest.update(view[places[k] : places[k + 1]])
    return digest.hexdigest()
