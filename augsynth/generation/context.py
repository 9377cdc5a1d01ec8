"""What a run works with, in groups of what a stage uses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from augsynth.affinity.model import Affinity
from augsynth.affinity.options import CategoryRules
from augsynth.core.scene import Dataset, Image, Placement, Reason, Scene
from augsynth.detectors.port import Detector
from augsynth.filtering.classifiers import Classifier
from augsynth.filtering.judge import Thresholds
from augsynth.filtering.options import FilterRules
from augsynth.filtering.real_objects import FilterRow
from augsynth.generation.statistics import CategoryYields
from augsynth.inpainting.port import Inpainter
from augsynth.inpainting.prompts.book import PromptBook
from augsynth.masking.sources import Outliner
from augsynth.pasting.init_images import InitImages
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import BoxShape, PlacementRules, propose, propose_uniform
from augsynth.placement.replacement import ReplacementRules


@dataclass(frozen=True, slots=True, eq=False)
class CategoryChooser:
    """How the category of a new object is drawn.

    Attributes:
        affinity: To what is present.
        wanted_ids: COCO ids of the categories that may be painted.
        quotas: Most accepted objects by COCO id.
        rules: How affinity, rarity and what was turned down weigh; its names are in `wanted_ids` and `quotas`.
        give_up_after: Attempts without an accepted object after which a category is given up, 0 for never.
        missing: What each category's AP lacks to 1, by COCO id; empty where nothing is known.
    """

    affinity: Affinity
    wanted_ids: frozenset[int]
    quotas: Mapping[int, int] = field(default_factory=dict)
    rules: CategoryRules = field(default_factory=CategoryRules)
    give_up_after: int = 0
    missing: Mapping[int, float] = field(default_factory=dict)

    @property
    def is_uniform(self) -> bool:
        """Whether each category is drawn alike, whatever the affinity."""
        return self.rules.category_choice == "uniform"

    def open_ids(self, yields: CategoryYields) -> frozenset[int]:
        """Return the wanted categories with remaining quota that aren't given up."""
        return frozenset(c for c, quota in self._quotas_left(yields).items() if quota > 0)

    def room(self, yields: CategoryYields) -> int | None:
        """Return how many objects the quotas still allow, None where a category that is open has none."""
        left, open_ids = self._quotas_left(yields), self.open_ids(yields)
        return None if open_ids - self.quotas.keys() else int(sum(left[c] for c in open_ids))

    def given_up(self, yields: CategoryYields) -> frozenset[int]:
        """Return the wanted categories that were tried often enough without an accepted object."""
        if not self.give_up_after:
            return frozenset()
        hopeless = {c for c, n in yields.tried.items() if n >= self.give_up_after and not yields.passed(c)}
        return self.wanted_ids & hopeless

    def choose(
        self,
        scene: Scene,
        yields: CategoryYields,
        rng: np.random.Generator,
        *,
        among: Collection[int] | None = None,
    ) -> int | None:
        """Draw a category with remaining quota, None when none is left.

        By affinity to what is present, rarity, remaining quota, what detection lacks and how often the category was
        turned down so far; or, but for what detection lacks, each alike. `among` limits the choice.
        """
        quotas = self._quotas_left(yields)
        if among is not None:
            quotas = {c: quota for c, quota in quotas.items() if c in among}
        if self.is_uniform:
            left = sorted(c for c, quota in quotas.items() if quota > 0)
            if not left or not self.missing:
                return int(rng.choice(left)) if left else None
            weights = np.array([self.missing[c] for c in left])
            return int(rng.choice(left, p=weights / weights.sum()))
        quotas = {
            c: q * self.missing.get(c, 1.0) * yields.relative(c) ** -self.rules.persistence
            for c, q in quotas.items()
        }
        chances = self.affinity.probabilities(
            scene.category_ids.tolist(), tau=self.rules.tau, gamma=self.rules.gamma, quotas=quotas
        )
        if chances.sum() <= 0:
            return None
        return int(rng.choice(self.affinity.category_ids, p=chances))

    def _quotas_left(self, yields: CategoryYields) -> dict[int, float]:
        left = {
            c: float(max(0, self.quotas[c] - yields.accepted[c] - yields.pending[c]))
            if c in self.quotas
            else 1.0
            for c in self.wanted_ids
        }
        return {**left, **dict.fromkeys(self.given_up(yields), 0.0)}


@dataclass(frozen=True, slots=True, eq=False)
class Placing:
    """What decides what is painted, and where.

    Attributes:
        chooser: Draws the category.
        layout: Proposes places and sizes.
        appearance: None where nothing is scored by its surroundings.
        rules: What a place must fulfil.
        replacement: Whether an object is inserted or replaces another.
        related: COCO id -> ids of the categories that may take its place; needed where objects are replaced.
        init_images: Real objects that painting starts from, None where it starts from noise.
    """

    chooser: CategoryChooser
    layout: Layout
    appearance: Appearance | None
    rules: PlacementRules
    replacement: ReplacementRules = field(default_factory=ReplacementRules)
    related: Mapping[int, frozenset[int]] = field(default_factory=dict)
    init_images: InitImages | None = None

    def place(
        self,
        scene: Scene,
        pixels: Image,
        *,
        category_id: int,
        rng: np.random.Generator,
        rules: PlacementRules | None = None,
        shape: BoxShape | None = None,
    ) -> Placement | Reason:
        """Choose a place for an object of a category; `rules` take the place of the run's."""
        rules = rules or self.rules
        if rules.placement == "uniform":
            return propose_uniform(
                scene, category_id=category_id, layout=self.layout, rng=rng, rules=rules, shape=shape
            )
        return propose(
            scene,
            pixels,
            category_id=category_id,
            layout=self.layout,
            appearance=self.appearance,
            rng=rng,
            rules=rules,
            shape=shape,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Painting:
    """What paints.

    Attributes:
        inpainter: The model.
        prompts: What it is told of each category.
        feather: Soft edge in pixels of the model's window.
        strength: How far an object that painting starts from is repainted, in [0, 1].
    """

    inpainter: Inpainter
    prompts: PromptBook
    feather: float = 3.0
    strength: float = 1.0

    @property
    def num_cells(self) -> int:
        """Latent cells along a side of the model's window."""
        return self.inpainter.size // self.inpainter.cell


@dataclass(frozen=True, slots=True, eq=False)
class Judging:
    """What judges.

    Attributes:
        rules: What must hold.
        detector, thresholds: None where no detector is asked.
        classifier: None where none is asked.
        outliner: Who finds the objects' masks, None for boxes only.
        needs_mask: Whether an object without a mask is turned down.

    Raises:
        ValueError: A detector comes without thresholds, or they without it.
    """

    rules: FilterRules
    detector: Detector | None = None
    thresholds: Thresholds | None = None
    classifier: Classifier | None = None
    outliner: Outliner | None = None
    needs_mask: bool = False

    def __post_init__(self) -> None:
        if (self.detector is None) != (self.thresholds is None):
            raise ValueError("give detector and thresholds, or neither to filter nothing")


@dataclass(frozen=True, slots=True)
class LoopRules:
    """How many attempts are made, and from which seed.

    Attributes:
        seed: Seed of the run.
        slots: New objects an image can get.
        retries: Attempts for one object, or one decoy.
        decoys: Decoys for each accepted object, on average.
        image_format: `png` or `jpg`.
        windows_together: How many are painted and judged at a time, 0 for all that can be. Fixed on a CPU, where a
            batch of another size gives other last bits.
    """

    seed: int = 42
    slots: int = 2
    retries: int = 3
    decoys: float = 0.0
    image_format: str = "png"
    windows_together: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class RunContext:
    """Everything a run works with, loaded once; only the engine takes it apart.

    Attributes:
        dataset: The source.
        placing, painting, judging: What the stages use.
        loop: Attempts and seed.
        filter_rows: What the filter says of the dataset's own objects; empty without a detector.
    """

    dataset: Dataset
    placing: Placing
    painting: Painting
    judging: Judging
    loop: LoopRules
    filter_rows: tuple[FilterRow, ...] = ()
