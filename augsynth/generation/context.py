"""What a run works with: the dataset, what was learnt from it, and the models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from augsynth.affinity.model import Affinity
from augsynth.core.scene import Dataset, Scene
from augsynth.detectors.port import Detector
from augsynth.filtering.classifiers import Classifier
from augsynth.filtering.judge import FilterRules, Thresholds
from augsynth.generation.config import GenerateConfig
from augsynth.generation.statistics import Counts
from augsynth.inpainting.init_images import InitImages
from augsynth.inpainting.port import Inpainter
from augsynth.inpainting.prompts.book import PromptBook
from augsynth.masking.sources import Outliner
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import PlacementRules


@dataclass(frozen=True, slots=True, eq=False)
class Studio:
    """Everything the engine needs, loaded once.

    Attributes:
        appearance: None where nothing is scored by its surroundings.
        detector, thresholds: None where nothing is filtered.
        donors: What painting starts from, or None for noise.
        classifier: None where none is asked.
        outliner: Who finds the objects' masks, or None for boxes only.
        names: Category names by COCO id.
        wanted_ids: COCO ids of the categories that may be painted.
        quotas: Most accepted objects by COCO id.
        prompts: What the model is told of each category.
        related: COCO id -> ids of the categories that may take its place; needed where objects are replaced.

    Raises:
        ValueError: A detector comes without thresholds, or they without it.
    """

    config: GenerateConfig
    dataset: Dataset
    affinity: Affinity
    layout: Layout
    appearance: Appearance | None
    inpainter: Inpainter
    detector: Detector | None
    thresholds: Thresholds | None
    placement_rules: PlacementRules
    filter_rules: FilterRules
    names: Mapping[int, str]
    wanted_ids: frozenset[int]
    quotas: Mapping[int, int]
    prompts: PromptBook
    donors: InitImages | None = None
    classifier: Classifier | None = None
    related: Mapping[int, frozenset[int]] = field(default_factory=dict)
    outliner: Outliner | None = None

    def __post_init__(self) -> None:
        if (self.detector is None) != (self.thresholds is None):
            raise ValueError("give detector and thresholds, or neither to filter nothing")

    def open_categories(self, counts: Counts) -> frozenset[int]:
        """Return the wanted categories with remaining quota."""
        return frozenset(c for c, quota in self._quotas_left(counts).items() if quota > 0)

    def choose_category(
        self,
        scene: Scene,
        counts: Counts,
        rng: np.random.Generator,
        *,
        among: Collection[int] | None = None,
    ) -> int | None:
        """Draw a category with remaining quota, None when none is left.

        By affinity to what is present, rarity, remaining quota and how often the category was turned down so far;
        or with `category_choice` uniform each alike. `among` limits the choice.
        """
        rules, quotas = self.config.categories, self._quotas_left(counts)
        if among is not None:
            quotas = {c: quota for c, quota in quotas.items() if c in among}
        if rules.category_choice == "uniform":
            left = sorted(c for c, quota in quotas.items() if quota > 0)
            return int(rng.choice(left)) if left else None
        quotas = {c: q * counts.relative_yield(c) ** -rules.persistence for c, q in quotas.items()}
        chances = self.affinity.probabilities(
            scene.category_ids.tolist(), tau=rules.tau, gamma=rules.gamma, quotas=quotas
        )
        if chances.sum() <= 0:
            return None
        return int(rng.choice(self.affinity.category_ids, p=chances))

    def _quotas_left(self, counts: Counts) -> dict[int, float]:
        return {
            c: float(max(0, self.quotas[c] - counts.accepted[c])) if c in self.quotas else 1.0
            for c in self.wanted_ids
        }
