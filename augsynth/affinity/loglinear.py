"""A log-linear model of which category an image has besides the ones it shows.

One present category is hidden and predicted from the rest S, k = |S| (the benchmark of docs/method.md §1):

    log p(c | S) = log p_c/(1 − p_c) + b_c + d_c·log k + Σ_{s∈S} (W_sc + V_sc·log m_s)/√k + constant

over the absent c, where m_s is the number of objects of s. W is symmetric: without b, d, V and √k these are
exactly the conditionals of a pairwise Markov field (Besag 1975, composite likelihood). All of W, V, b and d
have Gaussian priors around 0, the one free strength is chosen by cross-validation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar

from augsynth.core.scene import FloatArray, IntArray

NO_PAIRS = 1e6  # from this strength on W and V are held at 0
_MAX_CELLS = 40_000_000  # examples × categories that the final fit reads
MAX_CV_CELLS = 1_500_000
_NUM_FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Hide-one cases: for every image with at least two categories, one case per category.

    Attributes:
        present: (R, C) CSR, 1 where the category is among the rest S.
        features: (R, 2C + 2) CSR: presence/√k, log m/√k, 1, log k.
        target: (R,) index of the hidden category.
        scene: (R,) row of the image in the instance matrix.
    """

    present: Any
    features: Any
    target: IntArray
    scene: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class LogLinear:
    """The fitted terms.

    Attributes:
        pairs: (C, C) symmetric W with a zero diagonal, natural-log units.
        counts: (C, C) V, row = present category.
        bias: (2, C): b and d.
        strength: The L2 penalty on W; `NO_PAIRS` means without pairs, inf the prior alone.
    """

    pairs: FloatArray
    counts: FloatArray
    bias: FloatArray
    strength: float

    def evidence(self, features: Any) -> FloatArray:
        """Return (R, C) log odds added to the prior's for (R, 2C + 2) features."""
        return np.asarray(features @ np.vstack([self.pairs, self.counts, self.bias]), np.float64)


@dataclass(frozen=True, slots=True)
class Structure:
    """How much the rest of an image says about one hidden category, cross-validated over images.

    Attributes:
        num_cases: Held-out cases, one per hidden category.
        prior_log_loss: Nats per case of the popularity prior.
        pairless_log_loss: The same of the model without pairs, which knows only how crowded the image is.
        log_loss: The same of the model with pairs, at the strength that won.
        z: Mean gain over the popularity prior per image, in standard errors.
    """

    num_cases: int
    prior_log_loss: float
    pairless_log_loss: float
    log_loss: float
    z: float

    @property
    def found(self) -> bool:
        """Whether the model beats the prior beyond chance (z ≥ 2) and by more than 0.01 nats per case.

        Were categories independent, the prior's odds would be the best forecast there is.
        """
        return self.z >= 2 and self.prior_log_loss - self.log_loss > 0.01

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self) -> str:
        """Return one line for the user."""
        if not self.num_cases:
            return "No structure: too few images show two categories to learn what belongs together."
        figures = f"log loss {self.log_loss:.3f} against {self.prior_log_loss:.3f} "
        figures += f"in {self.num_cases:,} guesses on held-out images, z = {self.z:.1f}"
        if not self.found:
            return (
                "No structure found: what else is in an image helps no more to guess a category in it than how common "
                f"each is ({figures})."
            )
        factor = math.exp(self.prior_log_loss - self.log_loss)
        return (
            "Structure: what else is in an image helps to guess a category in it; the right one gets "
            f"{factor:.3g} times the probability that it has by how common it is ({figures})."
        )


def features_of(instances: Any) -> Any:
    """Return the (R, 2C + 2) CSR features of a CSR matrix (R, C) of objects per category."""
    sizes = np.diff(instances.indptr)
    root = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes)
    presence, counts = instances.copy(), instances.copy()
    presence.data = root
    counts.data = np.log(instances.data) * root
    counts.eliminate_zeros()
    extra = np.column_stack([np.ones(len(sizes)), np.log(np.maximum(sizes, 1))])
    return sparse.hstack([presence, counts, sparse.csr_matrix(extra)], format="csr")


def some_images(instances: Any) -> Any:
    """Return the images of a CSR matrix (N, C) that show two categories: all, or evenly spread ones of very many."""
    return instances[_evenly_spread(instances, True, _MAX_CELLS)]


def _evenly_spread(instances: Any, whole: bool, max_cells: int) -> IntArray:
    """Return the rows of images to hide something in, see `hide_one`."""
    sizes = np.diff(instances.indptr)
    enough = sizes if whole else np.asarray(instances.sum(1)).ravel()
    scenes = np.nonzero(enough >= 2)[0]
    step = int(sizes[scenes].sum()) * instances.shape[1] / max_cells
    if step > 1:
        scenes = scenes[np.unique((np.arange(len(scenes)) / step).astype(np.int64) * step).astype(np.int64)]
    return np.asarray(scenes)


def hide_one(instances: Any, *, whole: bool = True, max_cells: int = _MAX_CELLS) -> Examples:
    """Return the hide-one cases of a CSR matrix (N, C) of objects per image.

    Args:
        instances: Objects of each category in each image.
        whole: Hide all objects of the category; False hides one and keeps images of at least two objects.
        max_cells: Cases × categories to build at most, of evenly spread images.
    """
    sizes = np.diff(instances.indptr)
    scenes = _evenly_spread(instances, whole, max_cells)
    scene = np.repeat(scenes, sizes[scenes])
    target = np.asarray(instances[scenes].indices, np.int64)
    rest = instances[scene]
    hidden = rest.indices == np.repeat(target, sizes[scene])
    rest.data = np.where(hidden, 0.0 if whole else rest.data - 1, rest.data)
    rest.eliminate_zeros()
    features = features_of(rest)
    rest.data = np.ones_like(rest.data)
    return Examples(rest, features, target, scene)


def log_loss(logits: FloatArray, examples: Examples) -> FloatArray:
    """Return the (R,) negative log probabilities of the hidden categories among all absent ones."""
    logits = logits.copy()
    logits[examples.present.nonzero()] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    hit = logits[np.arange(len(logits)), examples.target]
    return np.asarray(np.log(np.exp(logits).sum(axis=1)) - hit, np.float64)


def repeat_offset(model: LogLinear, *, instances: Any, offset: FloatArray, repeats: FloatArray) -> float:
    """Return what to add to the log odds of a second object so that the next object is new as often as it is.

    Hides one object per case and fits the one number by maximum likelihood.

    Args:
        model: Scores the absent categories.
        instances: Objects of each category in each image, CSR (N, C).
        offset: (C,) log odds of the prior.
        repeats: (C,) log odds of a second object given one.
    """
    cases = hide_one(instances, whole=False, max_cells=MAX_CV_CELLS)
    if not len(cases.target):
        return 0.0
    present = cases.present.toarray() > 0
    logits = offset + model.evidence(cases.features)
    new = np.logaddexp.reduce(np.where(present, -np.inf, logits), axis=1)
    again = np.logaddexp.reduce(np.where(present, repeats, -np.inf), axis=1)
    repeated = present[np.arange(len(cases.target)), cases.target]
    weights = instances[cases.scene, cases.target].A1 / np.asarray(instances.sum(1)).ravel()[cases.scene]

    def loss(value: float) -> float:
        return float((weights * (np.logaddexp(new, again + value) - repeated * value)).sum())

    return float(minimize_scalar(loss, bounds=(-8, 8), method="bounded").x)


def two_parts(instances: Any, num_parts: int) -> tuple[Any, Any]:
    """Return two of several equal parts of an instance matrix, images dealt out in a fixed shuffled order."""
    part = np.random.default_rng(0).permutation(instances.shape[0]) % num_parts
    return instances[np.nonzero(part == 0)[0]], instances[np.nonzero(part == 1)[0]]


def folds(instances: Any, *, num_folds: int = _NUM_FOLDS) -> list[tuple[Any, Any]]:
    """Return (training, held-out) pairs of instance matrices, images dealt out in a fixed shuffled order."""
    fold = np.random.default_rng(0).permutation(instances.shape[0]) % num_folds
    return [
        (instances[np.nonzero(fold != i)[0]], instances[np.nonzero(fold == i)[0]]) for i in range(num_folds)
    ]


def log_odds(instances: Any) -> FloatArray:
    """Return the (C,) log odds log p_c/(1 − p_c) of p_c = (n_c + ½)/(N + 1)."""
    counts = np.bincount(instances.indices, minlength=instances.shape[1])
    prior = (counts + 0.5) / (instances.shape[0] + 1)
    return np.asarray(np.log(prior / (1 - prior)), np.float64)


def summed_up(prior: FloatArray, pairless: FloatArray, losses: FloatArray, scene: IntArray) -> Structure:
    """Return the figures of a model from the (R,) log losses of its cases and the image of each case."""
    gain = np.bincount(np.unique(scene, return_inverse=True)[1], weights=prior - losses)
    error = gain.std() / np.sqrt(len(gain))
    z = float(gain.mean() / error) if error > 0 else 0.0
    return Structure(len(losses), float(prior.mean()), float(pairless.mean()), float(losses.mean()), z)
