"""How often categories share an image: counts, and the measures of docs/method.md §1 that are formulas of counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special
from scipy.optimize import minimize_scalar

from augsynth.affinity.loglinear import Examples, folds, hide_one, log_loss, log_odds
from augsynth.core.scene import FloatArray, IntArray, Scene

FORMULAS = ("npmi", "lift", "conditional", "jaccard", "cosine")
UNKNOWN_TEMPERATURE = 0.2


@dataclass(frozen=True, slots=True)
class Pair:
    """Two categories and the evidence on them.

    Attributes:
        category_ids: COCO ids of both, in file order.
        names: Their names.
        value: The entry of the affinity matrix (of an asymmetric one, the larger of both).
        count: Images that show both.
        expected: Images that would show both if they were independent.
    """

    category_ids: tuple[int, int]
    names: tuple[str, str]
    value: float
    count: int
    expected: float


@dataclass(frozen=True, slots=True, eq=False)
class Cooccurrence:
    """Counts over images, from which every formula follows.

    Attributes:
        num_scenes: N, images with and without objects.
        counts: (C,) int64, n_i: images that show category i, crowds included.
        pair_counts: (C, C) int64 symmetric, n_ij: images that show both; the diagonal is n_i.
        repeat_counts: (C,) int64, images that show category i at least twice.
        instance_counts: (C,) int64, objects of category i.
        kappa: Shrinkage of the pair counts towards independence, > 0, in images.
    """

    num_scenes: int
    counts: IntArray
    pair_counts: IntArray
    repeat_counts: IntArray
    instance_counts: IntArray
    kappa: float = 1.0

    @property
    def prior(self) -> FloatArray:
        """(C,) chance that an image shows the category, (n_i + ½)/(N + 1)."""
        return np.asarray((self.counts + 0.5) / (self.num_scenes + 1.0), np.float64)

    @property
    def log_odds(self) -> FloatArray:
        """(C,) log p_i/(1 − p_i) of the prior."""
        prior = self.prior
        return np.asarray(np.log(prior / (1 - prior)), np.float64)

    @property
    def expected(self) -> FloatArray:
        """(C, C) pair counts under independence, n_i·n_j/N."""
        return np.outer(self.counts, self.counts) / max(self.num_scenes, 1)

    @property
    def beyond_chance(self) -> NDArray[np.bool_]:
        """(C, C) pairs seen together more or less often than independence explains; False on the diagonal.

        Two-sided against the hypergeometric distribution (its normal approximation, Poisson tails where fewer
        than 10 images are expected), at a false discovery rate of 5 % (Benjamini and Hochberg 1995).
        """
        n, total = self.counts.astype(np.float64), max(self.num_scenes, 2)
        seen, expected = self.pair_counts.astype(np.float64), self.expected
        rest = (total - n) / total
        spread = np.sqrt(expected * np.outer(rest, rest) * total / (total - 1))
        z = (np.abs(seen - expected) - 0.5).clip(0) / np.maximum(spread, 1e-12)
        few = np.minimum(special.pdtr(seen, expected), special.pdtrc(seen - 1, np.maximum(expected, 1e-12)))
        chance = np.minimum(1, 2 * np.where(expected < 10, few, special.ndtr(-z)))
        upper = np.triu_indices(len(n), 1)
        values = np.sort(chance[upper])
        passed = values <= 0.05 * np.arange(1, len(values) + 1) / max(len(values), 1)
        limit = values[passed].max(initial=-1.0)
        return np.asarray((chance <= limit) & ~np.eye(len(n), dtype=bool), np.bool_)

    @property
    def lift(self) -> FloatArray:
        """(C, C) shrunken lift, (n_ij + κ)/(E_ij + κ): 1 means independent or unknown."""
        return np.asarray((self.pair_counts + self.kappa) / (self.expected + self.kappa), np.float64)

    @property
    def joint(self) -> FloatArray:
        """(C, C) chance that an image shows both, lift·p_i·p_j, at most the smaller of p_i and p_j."""
        prior = self.prior
        return np.minimum(self.lift * np.outer(prior, prior), np.minimum.outer(prior, prior))

    @property
    def repeat_prob(self) -> FloatArray:
        """(C,) chance of a second instance given one, shrunk by κ images towards the dataset's mean."""
        mean = self.repeat_counts.sum() / max(int(self.counts.sum()), 1)
        return np.asarray((self.repeat_counts + self.kappa * mean) / (self.counts + self.kappa), np.float64)

    def matrix(self, measure: str) -> FloatArray:
        """Return the (C, C) matrix of one of `FORMULAS`, row = present, column = candidate.

        Off the diagonal: npmi = log lift / −log p_ij in [−1, 1]; lift > 0; conditional = p_ij/p_i, the chance
        of the column given the row; jaccard = p_ij/(p_i + p_j − p_ij); cosine = p_ij/√(p_i·p_j). On it: the
        chance of a second instance given one.

        Raises:
            ValueError: The measure isn't one of `FORMULAS`.
        """
        prior, joint = self.prior, self.joint
        if measure == "npmi":
            values = np.clip(np.log(self.lift) / -np.log(np.minimum(joint, 1 - 1e-12)), -1, 1)
        elif measure == "lift":
            values = self.lift
        elif measure == "conditional":
            values = joint / prior[:, None]
        elif measure == "jaccard":
            values = joint / (np.add.outer(prior, prior) - joint)
        elif measure == "cosine":
            values = joint / np.sqrt(np.outer(prior, prior))
        else:
            raise ValueError(f"{measure!r} isn't one of {', '.join(FORMULAS)}")
        values = np.array(values, np.float64)
        np.fill_diagonal(values, self.repeat_prob)
        return values


def instance_matrix(scenes: tuple[Scene, ...], category_ids: IntArray) -> Any:
    """Return how many objects of each category each scene has, as a scipy CSR matrix (N, C) of float64.

    Raises:
        KeyError: A scene has a category id that isn't in `category_ids`; the argument is that id.
    """
    sizes = [len(scene) for scene in scenes]
    objects = np.concatenate([np.zeros(0, np.int64), *(scene.category_ids for scene in scenes)])
    order = np.argsort(category_ids)
    places = np.minimum(np.searchsorted(category_ids, objects, sorter=order), len(category_ids) - 1)
    columns = order[places]
    strange = category_ids[columns] != objects
    if strange.any():
        raise KeyError(int(objects[strange][0]))
    rows = np.repeat(np.arange(len(scenes)), sizes)
    shape = (len(scenes), len(category_ids))
    return sparse.coo_matrix((np.ones(len(objects)), (rows, columns)), shape=shape).tocsr()


def cooccurrence(instances: Any, *, kappa: float = 1.0) -> Cooccurrence:
    """Count images, pairs and repeats in a CSR matrix (N, C) of objects per image and category."""
    present = instances.copy()
    present.data = np.ones_like(present.data)
    repeated = np.bincount(instances.indices[instances.data > 1], minlength=instances.shape[1])
    return Cooccurrence(
        num_scenes=instances.shape[0],
        counts=np.rint(np.asarray(present.sum(0)).ravel()).astype(np.int64),
        pair_counts=np.rint((present.T @ present).toarray()).astype(np.int64),
        repeat_counts=repeated.astype(np.int64),
        instance_counts=np.rint(np.asarray(instances.sum(0)).ravel()).astype(np.int64),
        kappa=kappa,
    )


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """The hide-one cases of one fold and what the other folds say of them.

    Attributes:
        cases: The cases.
        prior: (C,) log odds of the popularity prior.
        scores: (R, C) mean of the matrix rows of the present categories.
        train: The instance matrix of the other folds.
    """

    cases: Examples
    prior: FloatArray
    scores: FloatArray
    train: Any


def held_out(instances: Any, matrix_of: Callable[[Any], FloatArray]) -> list[HeldOut]:
    """Return the five folds of an instance matrix, scored by the (C, C) matrix of their training part.

    Args:
        instances: Objects of each category in each image, CSR (N, C).
        matrix_of: Called with the instance matrix of a training part.
    """
    found = []
    for train, held in folds(instances[:: max(1, instances.shape[0] // 20_000)]):
        cases = hide_one(held, max_cells=1_500_000)
        rest = cases.present / np.maximum(cases.present.sum(1), 1)
        found.append(HeldOut(cases, log_odds(train), rest.tocsr() @ matrix_of(train), train))
    return found


def best_temperature(parts: Sequence[HeldOut]) -> float:
    """Return the τ at which prior odds · exp(scores / τ) predicts held-out images best, in [0.02, 100].

    0.2 where no image shows two categories.
    """
    if not any(len(part.cases.target) for part in parts):
        return UNKNOWN_TEMPERATURE

    def loss(sharpness: float) -> float:
        return float(sum(log_loss(part.prior + sharpness * part.scores, part.cases).sum() for part in parts))

    return 1 / float(minimize_scalar(loss, bounds=(0.01, 50), method="bounded").x)


def ranked_pairs(
    category_ids: IntArray,
    names: tuple[str, ...],
    counts: Cooccurrence,
    matrix: FloatArray,
    pull: FloatArray,
    known: NDArray[np.bool_],
    k: int,
) -> list[Pair]:
    """Return up to k known pairs with a pull above 0, the largest first; all matrices are (C, C)."""
    first, second = np.nonzero(np.triu(known & (pull > 0), 1))
    order = np.argsort(-pull[first, second], kind="stable")[:k]
    return [
        Pair(
            (int(category_ids[i]), int(category_ids[j])),
            (names[i], names[j]),
            float(max(matrix[i, j], matrix[j, i])),
            int(counts.pair_counts[i, j]),
            float(counts.expected[i, j]),
        )
        for i, j in zip(first[order].tolist(), second[order].tolist(), strict=True)
    ]
