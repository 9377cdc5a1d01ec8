"""Fitting the log-linear model: L-BFGS on chunks of cases, its one strength chosen by cross-validation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

from augsynth.affinity.loglinear import (
    MAX_CV_CELLS,
    NO_PAIRS,
    Examples,
    LogLinear,
    Structure,
    folds,
    hide_one,
    log_loss,
    log_odds,
    summed_up,
)
from augsynth.core.scene import FloatArray

STRENGTHS = (np.inf, NO_PAIRS, 64.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.06, 0.03)
_COUNT_STRENGTH = 5.0  # penalty on V, in units of that on W: counts say less than presence
_BIAS_CATEGORIES = 40  # more than these would let b and d fit the mistakes of the prior
_CHUNK_CELLS = 160_000  # cases × categories that are computed at once, in single precision
_THREADS = min(4, os.cpu_count() or 1)
_TOLERANCE = 1e-5  # of the loss; strengths differ by a hundred times as much
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
    with ThreadPoolExecutor(_THREADS) as pool:
        return next(fit_path(hide_one(instances), offset, [strength], pool=pool))


def fit_path(
    examples: Examples,
    offset: FloatArray,
    strengths: Sequence[float],
    *,
    members: FloatArray | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Iterator[LogLinear]:
    """Yield the model at each strength in turn, every fit starting from the one before.

    Args:
        examples: The cases to learn from.
        offset: (C,) log odds of the popularity prior.
        strengths: L2 penalties on W, from strong to weak.
        members: (C,) categories that each column stands for; 1 each by default.
        pool: Cases are shared out to its threads, to the same result.
    """
    size = len(offset)
    loss = _Loss.of(examples, offset, 1.0)
    if members is not None:
        loss = replace(loss, members=members)
    theta = np.zeros((2 * size + 2, size))
    for strength in strengths:
        if np.isinf(strength):
            yield _unpacked(theta, strength)
            continue
        free = slice(None) if strength < NO_PAIRS else slice(2 * size, None)
        theta = replace(loss, strength=strength).minimised(theta, pool, free=free)
        yield _unpacked(_symmetric(theta), strength)


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    """The penalised loss of cases.

    Attributes:
        chunks: Of `_chunks`.
        curvature: (2C + 2, C) about the diagonal of its Hessian, without the penalty.
        strength: Penalty on W.
        members: (C,) categories that each column stands for, or 1.
    """

    chunks: list[Any]
    curvature: FloatArray
    strength: float
    members: FloatArray | float = 1.0

    @classmethod
    def of(cls, examples: Examples, offset: FloatArray, strength: float) -> _Loss:
        """Return the loss of examples over the prior's log odds (C,)."""
        return cls(list(_chunks(examples, offset)), _curvature(examples, offset), strength)

    @property
    def penalty(self) -> FloatArray:
        """(2C + 2, C) penalty on the parameters."""
        size = self.curvature.shape[1]
        members = np.broadcast_to(self.members, size)
        penalty = np.full(self.curvature.shape, max(1.0, float(members.sum()) / _BIAS_CATEGORIES))
        penalty[:size], penalty[size : 2 * size] = self.strength, _COUNT_STRENGTH * self.strength
        penalty *= members
        penalty[: 2 * size] *= np.tile(members, 2)[:, None]
        return penalty

    def minimised(
        self, start: FloatArray, pool: ThreadPoolExecutor | None, *, free: slice = slice(None)
    ) -> FloatArray:
        """Return the (2C + 2, C) parameters with the least loss.

        Args:
            start: Where to begin.
            pool: Chunks are shared out to its threads.
            free: Rows that may change.
        """
        size, penalty = start.shape[1], self.penalty
        scale = 1 / np.sqrt(self.curvature + penalty)

        def objective(flat: FloatArray) -> tuple[float, FloatArray]:
            current = start.copy()
            current[free] = flat.reshape(-1, size) * scale[free]
            value, gradient = _value_and_gradient(_symmetric(current), self.chunks, pool)
            value += 0.5 * float((penalty * current**2).sum())
            slope = _symmetric(gradient) + penalty * current
            return value, (slope * scale)[free].ravel()

        options = {"maxiter": 150, "ftol": _TOLERANCE, "gtol": 1e-3}
        found = minimize(
            objective, (start / scale)[free].ravel(), jac=True, method="L-BFGS-B", options=options
        )
        theta = start.copy()
        theta[free] = found.x.reshape(-1, size) * scale[free]
        return theta


def _unpacked(theta: FloatArray, strength: float) -> LogLinear:
    size = theta.shape[1]
    parts = theta[:size].copy(), theta[size : 2 * size].copy(), theta[2 * size :].copy()
    return LogLinear(*parts, float(strength))


def _curvature(examples: Examples, offset: FloatArray) -> FloatArray:
    """Return about the diagonal of the Hessian, (2C + 2, C): parameters in its units converge much sooner."""
    size = len(offset)
    weight = np.exp(offset - np.logaddexp.reduce(offset))
    squares = np.asarray(examples.features.power(2).sum(0)).ravel()
    curvature = np.outer(squares, weight * (1 - weight))
    curvature[:size] = (curvature[:size] + curvature[:size].T) / 2
    return curvature


def _symmetric(theta: FloatArray) -> FloatArray:
    """Return the parameters with W made symmetric and empty diagonals (an absent c never uses them)."""
    size = theta.shape[1]
    full = theta.copy()
    full[:size] = (theta[:size] + theta[:size].T) / 2
    np.fill_diagonal(full[:size], 0)
    np.fill_diagonal(full[size : 2 * size], 0)
    return full


def _chunks(examples: Examples, offset: FloatArray) -> Any:
    features, odds = examples.features.astype(np.float32), offset.astype(np.float32)
    step = max(
        _CHUNK_CELLS // max(len(offset), 1), features.shape[1]
    )  # a gradient is as large as so many rows
    for start in range(0, len(examples.target), step):
        rows = slice(start, start + step)
        chunk = features[rows]
        yield chunk, chunk.T.tocsr(), examples.present[rows].nonzero(), examples.target[rows], odds


def _value_and_gradient(
    theta: FloatArray, chunks: Sequence[Any], pool: ThreadPoolExecutor | None
) -> tuple[float, FloatArray]:
    """Return the loss and its gradient, the same to the last bit with any number of threads."""
    value, gradient, single = 0.0, np.zeros_like(theta), theta.astype(np.float32)
    mapped = map if pool is None else pool.map
    window = 2 * _THREADS  # at a time: finished gradients take memory
    for start in range(0, len(chunks), window):
        for part, slope in mapped(partial(_chunk_value, single), chunks[start : start + window]):
            value += part
            gradient += slope
    return value, gradient


def _chunk_value(theta: Any, chunk: Any) -> tuple[float, Any]:
    features, transposed, present, target, offset = chunk
    logits = features @ theta
    logits += offset
    logits[present] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    rows = np.arange(len(target))
    hit = logits[rows, target]
    np.exp(logits, out=logits)
    total = logits.sum(axis=1)
    value = float((np.log(total) - hit).sum(dtype=np.float64))
    logits /= total[:, None]
    logits[rows, target] -= 1
    return value, transposed @ logits


def cross_validate(instances: Any) -> tuple[float, Structure]:
    """Return the strength with the least held-out log loss, inf if none beats the prior, and its gain."""
    shown = np.diff(instances.indptr)
    limit = max(MAX_CV_CELLS // instances.shape[1], 2000)
    instances = instances[:: max(1, int(shown[shown >= 2].sum() // limit))]
    if (np.diff(instances.indptr) >= 2).sum() < _MIN_CV_IMAGES:
        return _FEW_IMAGES_STRENGTH, Structure(0, 0.0, 0.0, 0.0, 0.0)
    parts = folds(instances)
    held, offsets = [hide_one(rest) for _, rest in parts], [log_odds(train) for train, _ in parts]
    paths = [_grouped_path(train, odds) for (train, _), odds in zip(parts, offsets, strict=True)]
    table: list[FloatArray] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in STRENGTHS:
            forecasts = zip(held, offsets, pool.map(next, paths), strict=True)
            table.append(np.concatenate([log_loss(o + m.evidence(c.features), c) for c, o, m in forecasts]))
            means = [float(losses.mean()) for losses in table]
            best = int(np.argmin(means))
            if len(means) > best + _PATIENCE and len(means) > len(STRENGTHS) // 2:
                break
    scene = np.concatenate([case.scene * len(parts) + index for index, case in enumerate(held)])
    return STRENGTHS[best], summed_up(table[0], table[1], table[best], scene)


def _grouped_path(instances: Any, offset: FloatArray) -> Iterator[LogLinear]:
    """Yield the model of CSR (N, C) images at each of `STRENGTHS`, what no image shows fitted as one column.

    Such categories have the same prior and the same parameters: nothing tells them apart. Of a thousand categories
    a part of the images shows half, and a fit has as many parameters as there are pairs.
    """
    seen = np.bincount(instances.indices, minlength=instances.shape[1]) > 0
    num_seen, num_unseen = int(seen.sum()), int((~seen).sum())
    if num_unseen < 2:
        yield from fit_path(hide_one(instances), offset, STRENGTHS)
        return
    column = np.where(seen, np.cumsum(seen) - 1, num_seen)
    unseen = sparse.csr_matrix((instances.shape[0], 1), dtype=instances.dtype)
    examples = hide_one(sparse.hstack([instances[:, np.flatnonzero(seen)], unseen], format="csr"))
    odds = np.append(offset[seen], offset[~seen][0] + np.log(num_unseen))
    members = np.append(np.ones(num_seen), float(num_unseen))
    for model in fit_path(examples, odds, STRENGTHS, members=members):
        pairs, counts = (each[np.ix_(column, column)] for each in (model.pairs, model.counts))
        yield replace(model, pairs=pairs, counts=counts, bias=model.bias[:, column])
