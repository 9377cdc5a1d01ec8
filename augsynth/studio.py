"""What a run works with: the dataset, what was learnt from it, and the models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from augsynth.affinity import Affinity
from augsynth.appearance import Appearance
from augsynth.config import GenerateConfig
from augsynth.detect import Detector
from augsynth.inpaint import Inpainter
from augsynth.layout import Layout
from augsynth.placement import PlacementRules
from augsynth.scene import Dataset, Scene
from augsynth.verify import FilterRules, Thresholds


@dataclass(frozen=True, slots=True, eq=False)
class Studio:
    """Everything the engine needs, loaded once.

    Attributes:
        names: Category names by COCO id.
        wanted_ids: COCO ids of the categories that may be painted.
        quotas: Most accepted objects by COCO id.
    """

    config: GenerateConfig
    dataset: Dataset
    affinity: Affinity
    layout: Layout
    appearance: Appearance
    inpainter: Inpainter
    detector: Detector
    thresholds: Thresholds
    placement_rules: PlacementRules
    filter_rules: FilterRules
    names: Mapping[int, str]
    wanted_ids: frozenset[int]
    quotas: Mapping[int, int]

    def choose_category(
        self, scene: Scene, accepted: Counter[int], rng: np.random.Generator
    ) -> int | None:
        """Draw a category by affinity to what is present, rarity and remaining quotas; None when none is left."""
        quotas = {
            c: float(max(0, self.quotas[c] - accepted[c])) if c in self.quotas else 1.0 for c in self.wanted_ids
        }
        chances = self.affinity.probabilities(
            scene.category_ids.tolist(), tau=self.config.tau or None, gamma=self.config.gamma, quotas=quotas
        )
        if chances.sum() <= 0:
            return None
        return int(rng.choice(self.affinity.category_ids, p=chances))
