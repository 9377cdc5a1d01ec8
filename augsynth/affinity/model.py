"""Which category belongs beside which: counted in the dataset or told by names, a matrix to sample from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.affinity import file as affinity_file
from augsynth.affinity.blend import fit_blend, fit_names, mixed, names_structure
from augsynth.affinity.cooccurrence import (
    Cooccurrence,
    Pair,
    cooccurrence,
    instance_matrix,
    ranked_pairs,
)
from augsynth.affinity.embeddings import Embeddings
from augsynth.affinity.loglinear import Structure
from augsynth.affinity.loglinear_fit import cross_validate
from augsynth.affinity.scoring import (
    CLIP,
    DEFAULT_MEASURE,
    MEASURES,
    SOURCES,
    Part,
    Terms,
    check_cosines,
    check_options,
    check_source,
    fingerprint,
    fit_terms,
)
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.scene import Dataset, FloatArray, IntArray

__all__ = [
    "DEFAULT_MEASURE",
    "MEASURES",
    "SOURCES",
    "Affinity",
    "Pair",
    "load_affinity_file",
    "save_affinity_file",
]


@dataclass(frozen=True, slots=True, eq=False)
class Affinity:
    """Affinity of a dataset's categories (docs/method.md §1); C categories in file order.

    Attributes:
        category_ids: (C,) int64 COCO ids.
        names: Category names.
        cooccurrence: The counts behind everything, with the shrinkage κ.
        measure: One of `MEASURES`; `clip` or `blend` where names have a say.
        matrix: (C, C) float64, row = present, column = candidate. For `loglinear` the natural log of the
            factor by which the row's category changes the odds of the column's (each of k present ones counts
            1/√k); the diagonal is that of a second object. `clip`: the cosine of the names' text embeddings,
            1 on the diagonal. `blend`: the mean of its parts' matrices, each less what is neutral in it and over
            its temperature. For the rest see `Cooccurrence.matrix`.
        terms: The rest of the fitted model: temperature, bias and counts.
        structure: How much the rest of an image predicts, cross-validated: by pairs whatever the measure, by
            names for `clip`, by both for `blend`.
        source_sha256: Fingerprint of the categories, boxes and labels it was built from.
        parts: What a blend mixes, empty otherwise.
        embeddings: Where the text embeddings came from, empty without.
    """

    category_ids: IntArray
    names: tuple[str, ...]
    cooccurrence: Cooccurrence
    measure: str
    matrix: FloatArray
    terms: Terms
    structure: Structure
    source_sha256: str
    parts: tuple[Part, ...] = ()
    embeddings: str = ""

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        *,
        measure: str = DEFAULT_MEASURE,
        kappa: float = 1.0,
        strength: float | None = None,
        source: str = SOURCES[0],
        embeddings: Embeddings | None = None,
        blend_weight: float | None = None,
    ) -> Affinity:
        """Count the dataset and fit the source; deterministic.

        Args:
            dataset: Categories and scenes; images aren't needed.
            measure: One of `MEASURES`; of a blend, its part that counts.
            kappa: Shrinkage of pair counts towards independence, in images; 0.5 to 2 does well.
            strength: L2 penalty of `loglinear`; None chooses it by cross-validation, inf is the prior.
            source: `cooccurrence`, `clip` (cosines of the names' text embeddings) or `blend` of both.
            embeddings: Of the dataset's names in its order; needed for `clip` and `blend`.
            blend_weight: Share of the names in a blend, in [0, 1]; None chooses it by cross-validation.

        Raises:
            ConfigError: Unknown measure or source, kappa or strength isn't positive, or options that don't go
                together.
            DatasetError: No image or no category, or an annotation of an unknown category.
        """
        check_options(measure, kappa, strength)
        cosines = None if embeddings is None else embeddings.cosines
        check_source(source, measure, blend_weight)
        check_cosines(source, cosines, len(dataset.categories))
        category_ids, instances = _instances(dataset)
        counts = cooccurrence(instances, kappa=kappa)
        parts: tuple[Part, ...] = ()
        if source == CLIP and cosines is not None:
            named, cases = fit_names(instances, cosines)
            model, structure = named, names_structure(cases, named)
        else:
            best, structure = cross_validate(instances)
            strength = best if strength is None else strength
            if cosines is None:
                model = Part(measure, *fit_terms(instances, counts, measure, strength))
            else:
                parts, structure = fit_blend(
                    instances,
                    counts,
                    measure=measure,
                    strength=strength,
                    cosines=cosines,
                    weight=blend_weight,
                )
                model = mixed(parts)
        return cls(
            category_ids=category_ids,
            names=tuple(category.name for category in dataset.categories),
            cooccurrence=counts,
            measure=model.measure,
            matrix=model.matrix,
            terms=model.terms,
            structure=structure,
            source_sha256=fingerprint(dataset),
            parts=parts,
            embeddings="" if embeddings is None else embeddings.origin,
        )

    @property
    def source(self) -> str:
        """One of `SOURCES`."""
        return self.measure if self.measure in SOURCES else SOURCES[0]

    @property
    def neutral(self) -> float | None:
        """Entry of the matrix that says nothing either way, None where there is no such value."""
        return 0.0 if self.parts else self._model.neutral

    @property
    def num_scenes(self) -> int:
        """Images counted, with and without objects."""
        return self.cooccurrence.num_scenes

    @property
    def counts(self) -> IntArray:
        """(C,) images that show the category."""
        return self.cooccurrence.counts

    @property
    def pair_counts(self) -> IntArray:
        """(C, C) images that show both categories; the diagonal is `counts`."""
        return self.cooccurrence.pair_counts

    @property
    def instance_counts(self) -> IntArray:
        """(C,) objects of the category."""
        return self.cooccurrence.instance_counts

    @property
    def kappa(self) -> float:
        """Shrinkage of pair counts towards independence, in images."""
        return self.cooccurrence.kappa

    @property
    def prior(self) -> FloatArray:
        """(C,) chance that an image shows the category, (n_i + ½)/(N + 1)."""
        return self.cooccurrence.prior

    def log_rarity(self, *, saturation: float | None = None) -> FloatArray:
        """Return (C,) minus the log of each category's share of all objects, (m_c + ½)/(M + C/2).

        Args:
            saturation: Objects are counted by what they are worth, s · (1 − (1 − 1/s)^m), which never exceeds s:
                categories with many more than s aren't rare, whatever else there is (the effective number of
                samples, Cui et al., CVPR 2019). None counts them as they are.

        Raises:
            ConfigError: The saturation isn't above 1.
        """
        objects = self.instance_counts + 0.5
        if saturation is not None:
            if not (np.isfinite(saturation) and saturation > 1):
                raise ConfigError(f"saturation must be a number above 1, got {saturation}")
            objects = -saturation * np.expm1(objects * np.log1p(-1 / saturation))
        return np.asarray(np.log(objects.sum()) - np.log(objects), np.float64)

    def has_structure(self) -> bool:
        """Return whether the rest of an image predicts a category better than popularity, beyond chance."""
        return self.structure.found

    def scores(self, present_ids: Iterable[int]) -> FloatArray:
        """Score every category as an addition to a scene.

        Args:
            present_ids: Category ids of the scene's objects; an id given twice means two objects.

        Returns:
            (C,) float64. `loglinear`: log odds with popularity, so that softmax gives p(c | S); an empty
            scene gets those of the prior. Other measures and `clip`: mean of the matrix rows of the present
            categories, without popularity (docs/method.md §1); an empty scene gets zeros. `blend`: the mean of its
            parts' scores, each over its temperature.

        Raises:
            DatasetError: An id isn't one of the categories.
        """
        columns, objects = self._columns(present_ids)
        prior = self.cooccurrence.log_odds
        if not self.parts:
            return self._model.scores(prior, columns, objects)
        shares = [
            part.weight * part.scores(prior, columns, objects) / part.terms.temperature for part in self.parts
        ]
        return np.asarray(np.sum(shares, axis=0), np.float64)

    def log_odds(self, present_ids: Iterable[int]) -> FloatArray:
        """Return (C,) log p(c | S) up to a constant: popularity and evidence, whatever the measure."""
        columns, objects = self._columns(present_ids)
        prior = self.cooccurrence.log_odds
        shares = [
            part.weight * part.log_odds(prior, part.scores(prior, columns, objects))
            for part in self.parts or (self._model,)
        ]
        return np.asarray(np.sum(shares, axis=0), np.float64)

    def probabilities(
        self,
        present_ids: Iterable[int],
        *,
        tau: float | None = None,
        gamma: float = 0.0,
        saturation: float | None = None,
        quotas: Mapping[int, float] | None = None,
    ) -> FloatArray:
        """Return the chances of adding each category: p(c) ∝ exp(score/τ) · rarity(c)^γ · remaining quota(c).

        Args:
            present_ids: Category ids of the scene's objects. An empty scene falls back to the prior p_c.
            tau: Temperature, > 0: lower follows the affinity more strictly. None: the measure's best one.
            gamma: Exponent of rarity(c) = 1 / the category's share of all objects; above 0 favours rare
                categories, 1 evens out what their numbers alone would do.
            saturation: Of `log_rarity`.
            quotas: Category id → objects still wanted, ≥ 0; a category that isn't listed gets none.

        Returns:
            (C,) float64 that sum to 1, or all zero when every quota is spent.

        Raises:
            ConfigError: tau isn't above 0, gamma isn't finite, saturation isn't above 1, or a quota is negative or of
                an unknown category.
            DatasetError: A present id isn't one of the categories.
        """
        tau = self.terms.temperature if tau is None else tau
        if not (np.isfinite(tau) and tau > 0):
            raise ConfigError(f"tau must be a number above 0, got {tau}; 1 is neutral")
        if not np.isfinite(gamma):
            raise ConfigError(f"gamma must be a finite number, got {gamma}; 0 leaves rarity out")
        present = list(present_ids)
        log_prior = np.log(self.prior)
        logits = self.scores(present) / tau if present else log_prior
        logits = logits + gamma * self.log_rarity(saturation=saturation)
        wanted = np.ones(len(logits)) if quotas is None else self._quotas(quotas)
        if not wanted.any():
            return wanted
        weights = wanted * np.exp(
            logits - logits[wanted > 0].max(), where=wanted > 0, out=np.zeros_like(logits)
        )
        return np.asarray(weights / weights.sum(), np.float64)

    def strongest_pairs(self, k: int = 10) -> list[Pair]:
        """Return up to k pairs that attract, strongest first: seen more often than by chance, twice at least.

        A pair that the counts tell from chance beyond doubt is among them whatever its count: a log-linear model
        accounts for the rest of the image. Those of `clip` are the names that are most alike.
        """
        counts = self.cooccurrence
        return self._pairs(self._pull, (counts.pair_counts >= 2) & (counts.pair_counts > counts.expected), k)

    def most_repelled_pairs(self, k: int = 10) -> list[Pair]:
        """Return up to k pairs that repel, strongest first; unknown ones (expected below κ) are left out.

        A pair that the counts tell from chance beyond doubt is among them whatever its count: a log-linear model
        accounts for the rest of the image. Those of `clip` are the names that are least alike.
        """
        counts = self.cooccurrence
        enough = counts.expected >= max(counts.kappa, 1.0)
        return self._pairs(-self._pull, enough & (counts.pair_counts < counts.expected), k)

    @property
    def told(self) -> NDArray[np.bool_]:
        """(C, C) pairs of which the data say something: beyond chance, or by their names."""
        by_name = self.measure == CLIP
        return ~np.eye(len(self.names), dtype=bool) if by_name else self.cooccurrence.beyond_chance

    def _pairs(self, pull: FloatArray, likely: NDArray[np.bool_], k: int) -> list[Pair]:
        counts, known = self.cooccurrence, self.told | likely
        return ranked_pairs(self.category_ids, self.names, counts, self.matrix, pull, known, k)

    def check_matches(self, dataset: Dataset, *, title: str = "the affinity") -> None:
        """Raise ConfigError unless the dataset has the same category ids with the same names; errors say `title`."""
        mine: dict[int, str] = dict(zip(self.category_ids.tolist(), self.names, strict=True))
        theirs = {category.id: category.name for category in dataset.categories}
        for category_id in sorted(mine.keys() | theirs.keys()):
            here, there = mine.get(category_id), theirs.get(category_id)
            if here != there:
                here, there = ("missing" if name is None else repr(name) for name in (here, there))
                raise ConfigError(
                    f"{title} doesn't fit {dataset.source}: category id {category_id} is {here} in the "
                    f"affinity and {there} in the dataset; build it again with `augsynth build-affinity`"
                )

    @property
    def _model(self) -> Part:
        return Part(self.measure, self.matrix, self.terms)

    @property
    def _pull(self) -> FloatArray:
        """(C, C), above 0 attracts, below 0 repels: what pairs are ranked by."""
        lift = self.cooccurrence.lift
        if not self.parts:
            return self._model.pull(lift)
        shares = [part.weight * part.pull(lift) / part.terms.temperature for part in self.parts]
        return np.asarray(np.sum(shares, axis=0), np.float64)

    def _columns(self, present_ids: Iterable[int]) -> tuple[IntArray, FloatArray]:
        """Return the distinct present categories' columns and how many objects each has."""
        ids, objects = np.unique(np.fromiter(present_ids, np.int64), return_counts=True)
        places = {category_id: column for column, category_id in enumerate(self.category_ids.tolist())}
        strange = [category_id for category_id in ids.tolist() if category_id not in places]
        if strange:
            raise DatasetError(f"category id {strange[0]} isn't in the affinity; build it from this dataset")
        return np.array([places[i] for i in ids.tolist()], np.int64), objects.astype(np.float64)

    def _quotas(self, quotas: Mapping[int, float]) -> FloatArray:
        strange = set(quotas) - set(self.category_ids.tolist())
        if strange:
            raise ConfigError(
                f"quotas: category id {min(strange)} isn't in the affinity; use the dataset's ids"
            )
        values = np.array([quotas.get(i, 0.0) for i in self.category_ids.tolist()], np.float64)
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ConfigError("quotas: every quota must be a finite number, 0 or more")
        return values


def _instances(dataset: Dataset) -> tuple[IntArray, Any]:
    """Return category ids in file order and the (N, C) CSR matrix of objects per image and category."""
    if not dataset.categories or not dataset.scenes:
        raise DatasetError(f"{dataset.source}: no categories or no images; nothing to build an affinity from")
    category_ids = np.array([category.id for category in dataset.categories], np.int64)
    try:
        return category_ids, instance_matrix(dataset.scenes, category_ids)
    except KeyError as error:
        where = f"{dataset.source}: annotations: category id {error.args[0]}"
        raise DatasetError(f"{where} isn't in categories; add it there") from None


def save_affinity_file(path: Path, affinity: Affinity, layout: Mapping[str, Any]) -> None:
    """Write matrix and layout statistics as one self-contained JSON file, atomically and with stable bytes.

    Args:
        path: The file to write or replace; missing folders are made.
        affinity: The matrix.
        layout: JSON values or numpy arrays; not looked into.

    Raises:
        OutputError: The file can't be written.
    """
    affinity_file.write(path, affinity_file.encode(affinity), layout)


def load_affinity_file(path: Path) -> tuple[Affinity, dict[str, Any]]:
    """Read what `save_affinity_file` wrote: the affinity, and the layout as JSON values.

    Raises:
        DatasetError: The file can't be read, isn't an affinity file, or a field of it is damaged.
    """
    fields, layout = affinity_file.read(path)
    return Affinity(**fields), layout
