"""Fitting the log-linear model: its one strength is chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from augsynth.affinity.loglinear import (
    MAX_CV_CELLS,
    NO_PAIRS,
    LogLinear,
    Structure,
    folds,
    hide_one,
    log_loss,
    log_odds,
    some_images,
    summed_up,
    two_parts,
)
from augsynth.affinity.loglinear_loss import THREADS, Loss, symmetric
from augsynth.core.scene import FloatArray

STRENGTHS = (np.inf, NO_PAIRS, 64.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.06, 0.03)
_TOLERANCE = 1e-5  # of the loss; strengths differ by a hundred times as much
_LARGE_CELLS, _LARGE_TOLERANCE = 5_000_000, 1e-4  # a large final fit ends within 0.003 nats of the least loss
_PATIENCE = 2  # strengths in a row that don't improve before the weaker ones are left out
_MIN_CV_IMAGES = 10
_FEW_IMAGES_STRENGTH = 1.0


def fit(instances: Any, offset: FloatArray, strength: float) -> LogLinear:
    """Fit the model to a CSR matrix (N, C) of objects per image.

    Args:
        instances: Objects of each category in each image.
        offset: (C,) log odds of the popularity prior.
        strength: L2 penalty on W; inf is the prior alone.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        images = some_images(instances)
        tolerance = _TOLERANCE if images.nnz * images.shape[1] < _LARGE_CELLS else _LARGE_TOLERANCE
        return next(fit_path(images, offset, [strength], pool=pool, tolerance=tolerance))


def fit_path(
    images: Any,
    offset: FloatArray,
    strengths: Sequence[float],
    *,
    members: FloatArray | float = 1.0,
    pool: ThreadPoolExecutor | None = None,
    tolerance: float = _TOLERANCE,
) -> Iterator[LogLinear]:
    """Yield the model at each strength in turn, every fit starting from the one before.

    Args:
        images: CSR (N, C) objects in each image; those of one category teach nothing.
        offset: (C,) log odds of the popularity prior.
        strengths: L2 penalties on W, from strong to weak.
        members: (C,) categories that each column stands for; 1 each by default.
        pool: Cases are shared out to its threads, to the same result.
        tolerance: Share of the loss by which it still changes where a fit ends.
    """
    size = len(offset)
    loss = Loss.of(images, offset, members=members)
    theta = np.zeros((2 * size + 2, size))
    for strength in strengths:
        if np.isinf(strength):
            yield _unpacked(theta, strength)
            continue
        free = slice(None) if strength < NO_PAIRS else slice(2 * size, None)
        theta = replace(loss, strength=strength).minimised(theta, pool, tolerance=tolerance, free=free)
        yield _unpacked(symmetric(theta), strength)


def _unpacked(theta: FloatArray, strength: float) -> LogLinear:
    size = theta.shape[1]
    parts = theta[:size].copy(), theta[size : 2 * size].copy(), theta[2 * size :].copy()
    return LogLinear(*parts, float(strength))


def cross_validate(instances: Any) -> tuple[float, Structure]:
    """Return the strength with the least held-out log loss, inf if none beats the prior, and its gain.

    Where images are plenty, one part of them is learned from and another, as large, is forecast: that tells as much as
    five folds of one part, in a fifth of the time.
    """
    if (np.diff(instances.indptr) >= 2).sum() < _MIN_CV_IMAGES:
        return _FEW_IMAGES_STRENGTH, Structure(0, 0.0, 0.0, 0.0, 0.0)
    parts = _parts(instances)
    held, offsets = [hide_one(rest) for _, rest in parts], [log_odds(train) for train, _ in parts]
    paths = [_grouped_path(train, odds) for (train, _), odds in zip(parts, offsets, strict=True)]
    table: list[FloatArray] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in STRENGTHS:
            forecasts = zip(held, offsets, pool.map(next, paths), strict=True)
            table.append(np.concatenate([log_loss(o + m.evidence(c.features), c) for c, o, m in forecasts]))
            means = [float(losses.mean()) for losses in table]
            best = int(np.argmin(means))
            if len(means) > best + _PATIENCE and len(means) > len(STRENGTHS) // 2:
                break
    scene = np.concatenate([case.scene * len(parts) + index for index, case in enumerate(held)])
    return STRENGTHS[best], summed_up(table[0], table[1], table[best], scene)


def _parts(instances: Any) -> list[tuple[Any, Any]]:
    """Return (training, held-out) pairs of instance matrices: five folds, or one pair of parts of many images."""
    shown = np.diff(instances.indptr)
    num_parts = int(shown[shown >= 2].sum()) // max(MAX_CV_CELLS // instances.shape[1], 2000)
    return folds(instances) if num_parts < 2 else [two_parts(instances, num_parts)]


def _grouped_path(
    instances: Any, offset: FloatArray, *, tolerance: float = _TOLERANCE
) -> Iterator[LogLinear]:
    """Yield the model of CSR (N, C) images at each of `STRENGTHS`, what no image shows fitted as one column.

    Such categories have the same prior and the same parameters: nothing tells them apart. Of a thousand categories
    a part of the images shows half, and a fit has as many parameters as there are pairs.
    """
    seen = np.bincount(instances.indices, minlength=instances.shape[1]) > 0
    num_seen, num_unseen = int(seen.sum()), int((~seen).sum())
    if num_unseen < 2:
        yield from fit_path(instances, offset, STRENGTHS, tolerance=tolerance)
        return
    column = np.where(seen, np.cumsum(seen) - 1, num_seen)
    unseen = sparse.csr_matrix((instances.shape[0], 1), dtype=instances.dtype)
    images = sparse.hstack([instances[:, np.flatnonzero(seen)], unseen], format="csr")
    odds = np.append(offset[seen], offset[~seen][0] + np.log(num_unseen))
    members = np.append(np.ones(num_seen), float(num_unseen))
    for model in fit_path(images, odds, STRENGTHS, members=members, tolerance=tolerance):
        pairs, counts = (each[np.ix_(column, column)] for each in (model.pairs, model.counts))
        yield replace(model, pairs=pairs, counts=counts, bias=model.bias[:, column])
