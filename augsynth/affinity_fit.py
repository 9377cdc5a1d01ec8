"""Fitting a measure to counted images: what `Affinity.fit` is made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from augsynth.cooccurrence import FORMULAS, Cooccurrence, best_temperature
from augsynth.errors import ConfigError
from augsynth.loglinear import fit_path, hide_one, repeat_offset
from augsynth.scene import Dataset, FloatArray

DEFAULT_MEASURE = "loglinear"
MEASURES = (DEFAULT_MEASURE, *FORMULAS)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a measure's model has besides its matrix.

    Attributes:
        temperature: τ at which the scores predict held-out images best; 1 for `loglinear`.
        strength: L2 penalty of the log-linear fit, 0 for other measures, inf for the prior alone.
        bias: (2, C) constant and slope on log |S|; zeros except for `loglinear`.
        counts: (C, C) what each e-fold of more objects of the row adds; zeros except for `loglinear`.
    """

    temperature: float
    strength: float
    bias: FloatArray
    counts: FloatArray


def check_options(measure: str, kappa: float, strength: float | None) -> None:
    """Raise ConfigError unless the options of `Affinity.fit` make sense."""
    if measure not in MEASURES:
        raise ConfigError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    if not (np.isfinite(kappa) and kappa > 0):
        raise ConfigError(f"kappa must be a number above 0, got {kappa}; 1 is the default")
    if strength is not None and not strength > 0:
        raise ConfigError(f"strength must be above 0, got {strength}; leave it out to have it chosen")


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
        temperature = best_temperature(instances, measure=measure, kappa=counts.kappa)
        return counts.matrix(measure), Terms(temperature, 0.0, np.zeros((2, size)), np.zeros((size, size)))
    prior, repeats = counts.log_odds, counts.repeat_prob
    model = next(fit_path(hide_one(instances), prior, [strength]))
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
    for scene in dataset.scenes:
        head = np.array([scene.image_id, *scene.size_wh, len(scene)], "<i8")
        for part in (head, scene.boxes_xyxy.astype("<f8"), scene.category_ids.astype("<i8"), scene.is_crowd):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
