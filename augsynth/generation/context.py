"""What a run works with: the dataset, what was learnt from it, and the models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from augsynth.affinity.model import DEFAULT_MEASURE, Affinity, load_affinity_file
from augsynth.core.boxes import least_window
from augsynth.core.errors import DatasetError
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.detectors.loading import load_detector
from augsynth.detectors.port import Detector
from augsynth.filtering.class_labels import Vocabulary
from augsynth.filtering.classifiers import Classifier, check_classifier, load_classifier
from augsynth.filtering.judge import FilterRules, Thresholds, calibrate
from augsynth.generation.config import GenerateConfig
from augsynth.generation.statistics import Counts
from augsynth.inpainting.init_images import Donors
from augsynth.inpainting.loading import load_inpainter
from augsynth.inpainting.port import Inpainter
from augsynth.inpainting.prompts.book import PromptBook
from augsynth.masking.sources import Outliner, open_outliner
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import PlacementRules
from augsynth.placement.replacement import related_categories

MODELS = Path(__file__).parents[1] / "sample" / "models"
EMBEDDED_DETECTOR = str(MODELS / "detector")
CALIBRATION_IMAGES = 120


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
    donors: Donors | None = None
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
        quotas = self._quotas_left(counts)
        if among is not None:
            quotas = {c: quota for c, quota in quotas.items() if c in among}
        if self.config.category_choice == "uniform":
            left = sorted(c for c, quota in quotas.items() if quota > 0)
            return int(rng.choice(left)) if left else None
        quotas = {c: q * counts.relative_yield(c) ** -self.config.persistence for c, q in quotas.items()}
        chances = self.affinity.probabilities(
            scene.category_ids.tolist(), tau=self.config.tau or None, gamma=self.config.gamma, quotas=quotas
        )
        if chances.sum() <= 0:
            return None
        return int(rng.choice(self.affinity.category_ids, p=chances))

    def _quotas_left(self, counts: Counts) -> dict[int, float]:
        return {
            c: float(max(0, self.quotas[c] - counts.accepted[c])) if c in self.quotas else 1.0
            for c in self.wanted_ids
        }


def open_studio(config: GenerateConfig, dataset: Dataset) -> Studio:
    """Learn the scenes and load the models; the studio's `config` has the guidance in effect.

    Args:
        config: With `model` filled in, and `detector` unless the filter is off.
        dataset: Read with its images.

    Raises:
        BackendError: A model can't be loaded.
        ConfigError: Detector, affinity file or prompts don't fit the dataset or the model.
        DatasetError: The affinity file is damaged, or nothing can be learnt from the dataset.
    """
    prompts = PromptBook.open(config, dataset.categories)
    donors = None if config.donors is None else Donors.open(config.donors, dataset.categories)
    inpainter = load_inpainter(
        config.model,
        revision=config.model_revision,
        device=config.device,
        precision=config.precision,
        lora=config.lora,
        lora_scale=config.lora_scale,
        sampler=config.sampler,
        window_size=config.window_size,
        steps=config.steps,
        guidance=config.guidance,
        alignment=config.alignment,
        strength=config.strength,
        negative_prompt=config.negative_prompt,
        batch_size=config.batch_size,
    )
    detector = _load_filter(config, dataset)
    classifier = _load_classifier(config, dataset, prompts)
    outliner = open_outliner(config, dataset, detector)
    affinity, layout = _affinity_and_layout(config, dataset)
    reader = partial(_read_or_blank, dataset)
    wanted_ids = _wanted_ids(config, dataset)
    return Studio(
        config=replace(config, guidance=inpainter.guidance),
        dataset=dataset,
        affinity=affinity,
        layout=layout,
        appearance=Appearance.fit(dataset, reader, seed=config.seed)
        if config.placement == "aligned"
        else None,
        inpainter=inpainter,
        detector=detector,
        thresholds=None
        if detector is None
        else calibrate(
            detector,
            dataset,
            reader,
            quantile=config.score_quantile,
            max_images=CALIBRATION_IMAGES,
            seed=config.seed,
        ),
        placement_rules=PlacementRules(
            max_overlap=config.max_overlap,
            min_size=config.min_size,
            context=config.context or default_context(inpainter.size),
            min_side=least_window(inpainter.size, max_zoom=config.max_zoom),
            mask_growth=config.mask_growth,
        ),
        filter_rules=FilterRules(
            min_iou=config.min_iou,
            min_score=config.min_score or None,
            rival_factor=config.rival_factor,
            label_extras=config.extra_objects == "label",
            top_k=config.top_k,
        ),
        names={category.id: category.name for category in dataset.categories},
        wanted_ids=wanted_ids,
        quotas={c.id: config.quotas[c.name] for c in dataset.categories if c.name in config.quotas},
        prompts=prompts.limited_to(inpainter.tokenizer, wanted_ids),
        donors=donors,
        classifier=classifier,
        related={}
        if config.mode == "insert"
        else related_categories(
            affinity, share=1.0 if config.category_choice == "uniform" else config.replace_affinity
        ),
        outliner=outliner,
    )


def default_context(size: int) -> float:
    """Return how much of the surroundings a model of `size` pixels sees, unless told otherwise.

    Where pixels are few, they go to the object: it has to be as sharp as what surrounds it.
    """
    return 1.8 if size > 256 else 1.35


def _load_filter(config: GenerateConfig, dataset: Dataset) -> Detector | None:
    if not config.asks_detector:
        return None
    return load_detector(
        EMBEDDED_DETECTOR if config.detector == "embedded" else config.detector,
        dataset.categories,
        device=config.device,
        revision=config.detector_revision,
    )


def check_models(config: GenerateConfig, dataset: Dataset, prompts: PromptBook) -> None:
    """Check that a classifier, where one is asked, knows the categories, before anything is loaded.

    Raises:
        BackendError: It is no classifier.
        ConfigError: It doesn't know a category.
    """
    if config.asks_classifier:
        check_classifier(
            config.classifier,
            _vocabulary(config, dataset, prompts),
            revision=config.classifier_revision,
            top_k=config.top_k,
        )


def _load_classifier(config: GenerateConfig, dataset: Dataset, prompts: PromptBook) -> Classifier | None:
    if not config.asks_classifier:
        return None
    return load_classifier(
        config.classifier,
        _vocabulary(config, dataset, prompts),
        revision=config.classifier_revision,
        device=config.device,
    )


def _vocabulary(config: GenerateConfig, dataset: Dataset, prompts: PromptBook) -> Vocabulary:
    return Vocabulary(
        dataset.categories,
        _wanted_ids(config, dataset),
        {category_id: words.synonyms for category_id, words in prompts.words.items()},
        config.class_map,
    )


def _wanted_ids(config: GenerateConfig, dataset: Dataset) -> frozenset[int]:
    return frozenset(c.id for c in dataset.categories if not config.categories or c.name in config.categories)


def _affinity_and_layout(config: GenerateConfig, dataset: Dataset) -> tuple[Affinity, Layout]:
    if config.affinity is None:
        return Affinity.fit(dataset, measure=config.measure or DEFAULT_MEASURE), Layout.fit(dataset)
    affinity, layout = load_affinity_file(Path(config.affinity))
    affinity.check_matches(dataset)
    return affinity, Layout.from_dict(layout)


def _read_or_blank(dataset: Dataset, scene: Scene) -> Image:
    """Read an image; one that can't be read teaches nothing, and is reported when a job meets it."""
    try:
        return read_image(dataset, scene)
    except DatasetError:
        return np.zeros((scene.size_wh[1], scene.size_wh[0], 3), np.uint8)
