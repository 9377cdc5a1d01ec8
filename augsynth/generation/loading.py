"""Load what a run works with: dataset, what is learnt from it, models."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.affinity.model import DEFAULT_MEASURE, Affinity, load_affinity_file
from augsynth.coco.faults import is_mask
from augsynth.coco.reader import read_dataset
from augsynth.core.boxes import least_window
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.detectors.loading import load_detector
from augsynth.detectors.port import Detector, has_masks
from augsynth.filtering.class_labels import Vocabulary
from augsynth.filtering.classifiers import Classifier, check_classifier, load_classifier
from augsynth.filtering.judge import FilterRules, calibrate
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import Studio
from augsynth.inpainting.init_images import InitImages
from augsynth.inpainting.loading import load_inpainter
from augsynth.inpainting.prompts.book import PromptBook
from augsynth.masking.segmenter import Segmenter
from augsynth.masking.sources import DetectorOutlines, MattingOutlines, Outliner, SegmenterOutlines
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import PlacementRules
from augsynth.placement.replacement import related_categories

MODELS = Path(__file__).parents[1] / "sample" / "models"
CALIBRATION_IMAGES = 120


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
    prompts = PromptBook.open(config.prompt_rules, dataset.categories)
    donors = None if config.donors is None else InitImages.open(config.donors, dataset.categories)
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
            affinity.category_ids,
            affinity.matrix,
            share=1.0 if config.category_choice == "uniform" else config.replace_affinity,
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
        config.detector,
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


def open_dataset(config: GenerateConfig) -> tuple[GenerateConfig, Dataset]:
    """Read the dataset, or draw the sample into the output, and fill in the models' defaults.

    What the filter doesn't ask for isn't there, whatever the options say.

    Raises:
        BackendError: The classifier is none.
        ConfigError: A category, quota, prompt or label names no category of the dataset, no prompt can tell two
            categories apart, or the classifier doesn't know one.
        DatasetError: The dataset can't be used.
    """
    if config.annotations is None or config.images is None:
        from augsynth.sample import write_sample

        root = Path(config.out) / "sample"
        annotations, images = write_sample(root), root / "images"
        defaults = {"model": "embedded", "detector": "embedded"}
    else:
        annotations, images = Path(config.annotations), Path(config.images)
        defaults = {
            "model": "stable-diffusion-v1-5/stable-diffusion-inpainting",
            "detector": "IDEA-Research/grounding-dino-tiny",
        }
    dataset = read_dataset(annotations, images=images)
    names = {category.name for category in dataset.categories}
    for key in (*config.categories, *config.quotas, *config.class_map):
        if key not in names:
            raise ConfigError(f"category {key!r} isn't in {annotations}; it has {', '.join(sorted(names))}")
    if config.mode == "replace" and len(names) < 2:
        raise ConfigError(
            f"mode replace needs two categories, {annotations} has {len(names)}; choose mode insert"
        )
    check_models(config, dataset, PromptBook.open(config.prompt_rules, dataset.categories))
    filled: dict[str, Any] = {k: getattr(config, k) or v for k, v in defaults.items()}
    if not config.asks_detector:
        filled.update(detector="", detector_revision=None)
    if not config.asks_classifier:
        filled.update(classifier="", classifier_revision=None)
    return replace(config, **filled), dataset


def open_outliner(config: GenerateConfig, dataset: Dataset, detector: Detector | None) -> Outliner | None:
    """Return who finds the masks of a run, None where objects get boxes only.

    `auto` is the segmenter where one is given; otherwise, in a dataset that has masks itself, the detector if it has a
    mask head, else matting.

    Raises:
        BackendError: The segmenter can't be loaded.
        ConfigError: The detector has no mask head, or there is none.
    """
    kind = config.masks
    if kind == "auto":
        kind = _choose(config, dataset, detector)
    if kind == "segmenter":
        assert config.segmenter is not None  # the configuration has been checked
        return SegmenterOutlines(
            Segmenter.load(config.segmenter, revision=config.segmenter_revision, device=config.device)
        )
    if kind == "detector":
        if detector is None or not has_masks(detector):
            name = "nothing is detected" if detector is None else f"{detector.name} has no mask head"
            raise ConfigError(
                f"masks is 'detector', but {name}; take a detector with masks, or masks: matting or segmenter"
            )
        return DetectorOutlines(detector)
    return MattingOutlines() if kind == "matting" else None


def _choose(config: GenerateConfig, dataset: Dataset, detector: Detector | None) -> str:
    if config.segmenter is not None:
        return "segmenter"
    if not any(is_mask(record.get("segmentation")) for record in dataset.document["annotations"]):
        return "off"
    return "detector" if detector is not None and has_masks(detector) else "matting"
