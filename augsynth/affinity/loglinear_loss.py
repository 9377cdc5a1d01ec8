"""The penalised loss of the log-linear model over images, and its minimum by L-BFGS.

The cases of an image differ in what they hide alone. Hide c of T, and the evidence is that of all of T less what c
adds: (Σ_{s∈T} u_s − u_c)/√k with u_s = W_s + V_s·log m_s. So a case costs one row more than its image, however many
categories the image shows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

from augsynth.core.scene import FloatArray

THREADS = min(4, os.cpu_count() or 1)
_COUNT_STRENGTH = 5.0  # penalty on V, in units of that on W: counts say less than presence
_BIAS_CATEGORIES = 40  # more than these would let b and d fit the mistakes of the prior
_CHUNK_CELLS = 160_000  # cases × categories that are computed at once, in single precision
_LARGEST_LOG = 80.0  # of what single precision holds


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The hide-one cases of some images, one after another.

    Attributes:
        features: (n, 2C + 2) CSR of the whole images: presence/√k, log m/√k, 1, log k.
        hidden: (R, 2C) CSR of what each case hides: 1/√k and log m/√k of one category.
        image: (R,) row of each case's image; cases: (n, R) CSR, 1 at the cases of each image.
        target: (R,) the hidden category.
        offset: (C,) log odds of the prior.
    """

    features: Any
    hidden: Any
    image: Any
    cases: Any
    target: Any
    offset: Any

    @classmethod
    def of(cls, images: Any, offset: Any) -> Chunk:
        """Return the cases of a CSR matrix (n, C) of objects in images of at least two categories."""
        num, size = images.shape
        shown = np.diff(images.indptr)
        image = np.repeat(np.arange(num), shown)
        values = (
            np.stack([np.ones(len(image)), np.log(images.data)], axis=1) / np.sqrt(shown - 1)[image, None]
        )
        values = values.astype(np.float32)
        columns = np.stack([images.indices, images.indices + size], axis=1)
        twice, cases = np.repeat(image, 2), np.repeat(np.arange(len(image)), 2)
        parts = [
            sparse.coo_matrix((values.ravel(), (rows, columns.ravel())), shape=(count, 2 * size))
            for rows, count in ((twice, num), (cases, len(image)))
        ]
        extra = np.stack([np.ones(num), np.log(shown - 1)], axis=1).astype(np.float32)
        features, hidden = sparse.hstack([parts[0], extra], format="csr"), parts[1].tocsr()
        for part in (features, hidden):
            part.eliminate_zeros()
        ones = np.ones(len(image), np.float32)
        own = sparse.csr_matrix((ones, np.arange(len(image)), images.indptr), shape=(num, len(image)))
        return cls(features, hidden, image, own, images.indices, offset)

    def value_and_gradient(self, theta: Any) -> tuple[float, Any]:
        """Return the summed loss and its (2C + 2, C) gradient; W and V must have empty diagonals."""
        size, rows = theta.shape[1], np.arange(len(self.target))
        shared = self.features @ theta
        shared += self.offset
        hit = shared[self.image, self.target]
        shared[self.image, self.target] = -np.inf  # what is there; a diagonal of 0 leaves `hit` as it is
        logits = shared[self.image]
        logits -= self.hidden @ theta[: 2 * size]
        if logits.max() > _LARGEST_LOG or np.abs(hit).max() > _LARGEST_LOG:
            top = np.maximum(logits.max(axis=1), hit)
            logits -= top[:, None]
            hit -= top
        np.exp(logits, out=logits)
        shown = np.exp(hit)
        total = logits.sum(axis=1) + shown
        logits *= (1 / total)[:, None]
        logits[rows, self.target] = shown / total - 1
        gradient = self.features.T @ (self.cases @ logits)
        gradient[: 2 * size] -= self.hidden.T @ logits
        return float((np.log(total) - hit).sum(dtype=np.float64)), gradient


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """The penalised loss of images.

    Attributes:
        chunks: The cases.
        curvature: (2C + 2, C) about the diagonal of its Hessian, without the penalty.
        strength: Penalty on W.
        members: (C,) categories that each column stands for, or 1.
    """

    chunks: Sequence[Chunk]
    curvature: FloatArray
    strength: float = 1.0
    members: FloatArray | float = 1.0

    @classmethod
    def of(cls, images: Any, offset: FloatArray, *, members: FloatArray | float = 1.0) -> Loss:
        """Return the loss of a CSR matrix (N, C) of objects per image over the prior's log odds (C,)."""
        images = images[np.flatnonzero(np.diff(images.indptr) >= 2)]
        chunks = list(_chunks(images, offset.astype(np.float32)))
        return cls(chunks, _curvature(images, offset), members=members)

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
        self,
        start: FloatArray,
        pool: ThreadPoolExecutor | None,
        *,
        tolerance: float,
        free: slice = slice(None),
    ) -> FloatArray:
        """Return the (2C + 2, C) parameters with the least loss.

        Args:
            start: Where to begin.
            pool: Chunks are shared out to its threads.
            tolerance: Change of the loss, as a share of it, at which to stop.
            free: Rows that may change.
        """
        size, penalty = start.shape[1], self.penalty
        scale = 1 / np.sqrt(self.curvature + penalty)

        def objective(flat: FloatArray) -> tuple[float, FloatArray]:
            current = start.copy()
            current[free] = flat.reshape(-1, size) * scale[free]
            value, gradient = self._value_and_gradient(symmetric(current), pool)
            value += 0.5 * float((penalty * current**2).sum())
            slope = symmetric(gradient) + penalty * current
            return value, (slope * scale)[free].ravel()

        options = {"maxiter": 150, "maxcor": 6, "ftol": tolerance, "gtol": 1e-3}
        found = minimize(
            objective, (start / scale)[free].ravel(), jac=True, method="L-BFGS-B", options=options
        )
        theta = start.copy()
        theta[free] = found.x.reshape(-1, size) * scale[free]
        return theta

    def _value_and_gradient(
        self, theta: FloatArray, pool: ThreadPoolExecutor | None
    ) -> tuple[float, FloatArray]:
        """Return the loss and its gradient, the same to the last bit with any number of threads."""
        value, gradient, single = 0.0, np.zeros_like(theta), theta.astype(np.float32)
        mapped = map if pool is None else pool.map
        window = 2 * THREADS  # at a time: finished gradients take memory
        for start in range(0, len(self.chunks), window):
            some = self.chunks[start : start + window]
            for part, slope in mapped(partial(Chunk.value_and_gradient, theta=single), some):
                value += part
                gradient += slope
        return value, gradient


def symmetric(theta: FloatArray) -> FloatArray:
    """Return the parameters with W made symmetric and empty diagonals (an absent c never uses them)."""
    size = theta.shape[1]
    full = theta.copy()
    full[:size] = (theta[:size] + theta[:size].T) / 2
    np.fill_diagonal(full[:size], 0)
    np.fill_diagonal(full[size : 2 * size], 0)
    return full


def _chunks(images: Any, offset: Any) -> Iterator[Chunk]:
    size = images.shape[1]
    step = max(_CHUNK_CELLS // size, 2 * size + 2)  # cases; a gradient is as large as 2C + 2 of them
    first = np.searchsorted(images.indptr, np.arange(0, images.nnz, step)).tolist()
    for start, end in pairwise([*first, images.shape[0]]):
        if end > start:
            yield Chunk.of(images[start:end], offset)


def _curvature(images: Any, offset: FloatArray) -> FloatArray:
    """Return about the diagonal of the Hessian, (2C + 2, C): parameters in its units converge much sooner.

    Of k + 1 cases k have a category of their image, each with 1/k of the square.
    """
    size, shown = len(offset), np.diff(images.indptr)
    weight = np.exp(offset - np.logaddexp.reduce(offset))
    squares = [np.bincount(images.indices, each, size) for each in (None, np.log(images.data) ** 2)]
    bias = [images.nnz, float(shown @ np.log(np.maximum(shown - 1, 1)) ** 2)]
    curvature = np.outer(np.concatenate([*squares, bias]), weight * (1 - weight))
    curvature[:size] = (curvature[:size] + curvature[:size].T) / 2
    return curvature
