"""Load what a run works with: dataset, what is learnt from it, models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from augsynth.affinity.focus import read_missing
from augsynth.coco.reader import read_with_images
from augsynth.core.devices import fast_precision
from augsynth.core.errors import ConfigError
from augsynth.core.options import plain
from augsynth.core.processes import begun
from augsynth.core.scene import Dataset
from augsynth.core.storage import fetched, local_folder
from augsynth.detectors.loading import load_detector
from augsynth.detectors.port import Detector, has_masks
from augsynth.filtering.class_labels import Vocabulary
from augsynth.filtering.classifiers import Classifier, check_classifier, load_classifier
from augsynth.filtering.real_objects import untold
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import (
    CategoryChooser,
    Judging,
    LoopRules,
    Painting,
    Placing,
    RunContext,
)
from augsynth.generation.label_truth import check_judge
from augsynth.generation.learning import (
    calibrate_filter,
    draw_sample,
    learn_scenes,
    learn_surroundings,
    wanted_ids,
)
from augsynth.generation.processes import GO_ON
from augsynth.inpainting.change_map import KEEPS_CORE
from augsynth.inpainting.loading import open_inpainter
from augsynth.inpainting.prompts.book import PromptBook
from augsynth.masking.segmenter import Segmenter
from augsynth.masking.sources import DetectorOutlines, MattingOutlines, Outliner, SegmenterOutlines
from augsynth.pasting.init_images import InitImages
from augsynth.placement.appearance import Appearance
from augsynth.placement.replacement import related_categories
from augsynth.placement.scene_model import SceneModel

_WINDOWS_TOGETHER = 8  # on a CPU
INPUTS = (
    *("annotations", "images", "affinity", "focus", "prompts"),
    *("model", "lora", "init_images", "detector", "classifier", "segmenter", "judge"),
)
OWN_DATA_MODEL = "stable-diffusion-v1-5/stable-diffusion-inpainting"
OWN_DATA_DETECTOR = "IDEA-Research/grounding-dino-tiny"
STRENGTH = 0.2
UNSEEN_STRENGTH = 0.0  # the embedded model draws specks around objects of photographs, even at 0.02


def open_context(
    config: GenerateConfig, dataset: Dataset, *, tell: Callable[[str], None] = lambda stage: None
) -> RunContext:
    """Learn the scenes and load the models.

    Args:
        config: With `model` and `strength` filled in, and `detector` unless the filter is off.
        dataset: Read with its images.
        tell: Called with the name of each stage when it begins: `loading`, `judging`, `learning`.

    Raises:
        BackendError: A model can't be loaded.
        ConfigError: Detector, affinity file or prompts don't fit the dataset or the model.
        DatasetError: The affinity file is damaged, or nothing can be learnt from the dataset.
    """
    learn: list[Callable[[], Any]] = [partial(learn_scenes, config, dataset)]
    if config.placement.placement == "aligned":
        learn.append(partial(learn_surroundings, config, dataset))
    elsewhere = config.run.processes != 1 and config.run.ray is None
    with begun(learn, task="learning", remedy=GO_ON, elsewhere=elsewhere) as learnt:
        return _open_context(config, dataset, learnt, tell=tell)


def _open_context(
    config: GenerateConfig, dataset: Dataset, learnt: Iterator[Any], *, tell: Callable[[str], None]
) -> RunContext:
    tell("loading")
    prompts = _prompt_book(config, dataset)
    bank = config.painting.init_images
    strength = config.painting.strength
    assert strength is not None  # as the model
    alone = strength > KEEPS_CORE
    init_images = None if bank is None else InitImages.open(bank, dataset.categories, alone=alone)
    inpainter = open_inpainter(
        config.painting, device=config.run.device, negative_prompt=config.prompts.negative_prompt
    )
    detector = _load_filter(config, dataset)
    classifier = _load_classifier(config, dataset, prompts)
    outliner = open_outliner(config, dataset, detector)
    unmasked = config.masking.unmasked
    run = config.run
    vocabulary = _vocabulary(config, dataset, prompts)
    tell("judging")
    thresholds, rows = calibrate_filter(config, dataset, detector, classifier, vocabulary)
    wanted = wanted_ids(config, dataset)
    tell("learning")
    left = wanted - untold(rows, min_auc=config.filter_models.min_auc)
    return RunContext(
        dataset=dataset,
        placing=_open_placing(config, dataset, left, init_images, learnt, model_window=inpainter.size),
        painting=Painting(
            inpainter,
            prompts.limited_to(
                inpainter.tokenizer,
                [c for c in dataset.categories if c.id in wanted],
                is_shown=init_images is not None and strength == 0,
            ),
            config.painting.feather,
            strength,
        ),
        judging=Judging(
            config.filter_rules,
            detector,
            thresholds,
            classifier,
            outliner,
            outliner is not None and (all_have_masks(dataset) if unmasked is None else unmasked == "reject"),
        ),
        loop=LoopRules(
            run.seed,
            config.slots,
            run.retries,
            run.decoys,
            config.output.image_format,
            _WINDOWS_TOGETHER if run.device == "cpu" else 0,
        ),
        filter_rows=rows,
    )


def _open_placing(
    config: GenerateConfig,
    dataset: Dataset,
    wanted_ids: frozenset[int],
    init_images: InitImages | None,
    learnt: Iterator[Any],
    *,
    model_window: int,
) -> Placing:
    scenes: SceneModel = next(learnt)
    affinity = scenes.affinity
    rules, replacement = config.categories, config.replacement
    quotas = {c.id: rules.quotas[c.name] for c in dataset.categories if c.name in rules.quotas}
    uses = {} if init_images is None else init_images.quotas
    if init_images is not None and not (wanted_ids := wanted_ids & init_images.members.keys()):
        raise ConfigError(
            f"{config.painting.init_images}: the bank has no whole object of a category that is to be painted; make "
            "one of more images with `augsynth bank`"
        )
    chooser = CategoryChooser(
        affinity,
        wanted_ids,
        {**uses, **{c: min(quota, uses.get(c, quota)) for c, quota in quotas.items()}},
        rules,
        config.run.give_up_after,
        {} if rules.focus is None else read_missing(rules.focus, dataset.categories),
    )
    appearance: Appearance | None = next(learnt, None)
    related: Mapping[int, frozenset[int]] = {}
    if replacement.mode != "insert":
        share = 1.0 if chooser.is_uniform else replacement.replace_affinity
        related = related_categories(affinity.category_ids, affinity.matrix, share=share)
    placement = replace(config.placement, model_window=model_window)
    return Placing(chooser, scenes.layout, appearance, placement, replacement, related, init_images)


def _prompt_book(config: GenerateConfig, dataset: Dataset) -> PromptBook:
    asked = config.categories.categories
    wanted = asked or tuple(category.name for category in dataset.categories_in_use())
    return PromptBook.open(config.prompts, dataset.categories, wanted=wanted)


def _load_filter(config: GenerateConfig, dataset: Dataset) -> Detector | None:
    models = config.filter_models
    if not models.asks_detector or models.detector is None:
        return None
    load = partial(
        load_detector, models.detector, device=config.run.device, revision=models.detector_revision
    )
    asked = config.categories.categories
    try:
        return load(categories=dataset.categories_in_use(asked))
    except ConfigError:
        if not asked:
            raise
        return load(
            categories=[c for c in dataset.categories if c.name in asked]
        )  # they are all that it needs


def check_models(config: GenerateConfig, dataset: Dataset, prompts: PromptBook) -> None:
    """Check that a classifier, where one is asked, knows the categories, before anything is loaded.

    Raises:
        BackendError: It is no classifier.
        ConfigError: It doesn't know a category.
    """
    models = config.filter_models
    if models.asks_classifier and models.classifier is not None:
        check_classifier(
            models.classifier,
            _vocabulary(config, dataset, prompts),
            revision=models.classifier_revision,
            top_k=config.filter_rules.top_k,
        )


def _load_classifier(config: GenerateConfig, dataset: Dataset, prompts: PromptBook) -> Classifier | None:
    models = config.filter_models
    if not models.asks_classifier or models.classifier is None:
        return None
    return load_classifier(
        models.classifier,
        _vocabulary(config, dataset, prompts),
        revision=models.classifier_revision,
        device=config.run.device,
    )


def _vocabulary(config: GenerateConfig, dataset: Dataset, prompts: PromptBook) -> Vocabulary:
    return Vocabulary(
        dataset.categories_in_use(config.categories.categories),
        wanted_ids(config, dataset),
        {category_id: words.synonyms for category_id, words in prompts.words.items()},
        config.filter_models.class_map,
    )


def open_dataset(config: GenerateConfig) -> tuple[GenerateConfig, Dataset]:
    """Read the dataset, or draw the sample into the output, and fill in the models' defaults.

    What the filter doesn't ask for isn't there, whatever the options say.

    Raises:
        BackendError: The classifier is none, or the judge can't be loaded.
        ConfigError: A category, quota, prompt or label names no category of the dataset, no prompt can tell two
            categories apart, the classifier doesn't know one, or the judge is the detector that filters.
        DatasetError: The dataset can't be used.
    """
    config = with_local_inputs(config)
    annotations, images = source_files(config)
    if config.data.annotations is None:
        model, detector, strength = "embedded", "embedded", STRENGTH
    else:
        model = OWN_DATA_MODEL if config.painting.init_images is None else "embedded"
        detector = OWN_DATA_DETECTOR
        strength = UNSEEN_STRENGTH if (config.painting.model or model) == "embedded" else STRENGTH
    dataset = read_with_images(annotations, images)
    names = {category.name for category in dataset.categories}
    models = config.filter_models
    for key in (*config.categories.categories, *config.categories.quotas, *models.class_map):
        if key not in names:
            raise ConfigError(f"category {key!r} isn't in {annotations}; it has {', '.join(sorted(names))}")
    if config.replacement.mode == "replace" and len(names) < 2:
        raise ConfigError(
            f"mode replace needs two categories, {annotations} has {len(names)}; choose mode insert"
        )
    check_models(config, dataset, _prompt_book(config, dataset))
    if config.categories.focus is not None:
        read_missing(
            config.categories.focus, dataset.categories
        )  # a mistake is found before models are loaded
    filled: dict[str, str | float | None] = {
        "model": config.painting.model or model,
        "strength": strength if config.painting.strength is None else config.painting.strength,
        "precision": config.painting.precision or fast_precision(config.run.device),
    }
    if models.asks_detector:
        filled["detector"] = models.detector or detector
    else:
        filled.update(detector=None, detector_revision=None)
    if not models.asks_classifier:
        filled.update(classifier=None, classifier_revision=None)
    config = config.but(**filled)
    check_judge(config, dataset)
    return config, dataset


def with_local_inputs(config: GenerateConfig) -> GenerateConfig:
    """Return the options with local paths in place of the URLs of data and models, which are fetched.

    Raises:
        ConfigError: There is nothing at a URL, it can't be reached, or images would have to be looked for near one.
    """
    given = plain(config)
    local = {
        key: fetched(given[key]) for key in INPUTS if isinstance(given[key], str) and "://" in given[key]
    }
    if "annotations" in local and config.data.images is None and Path(local["annotations"]).is_file():
        raise ConfigError(
            f"{config.data.annotations}: images aren't looked for near a URL; give --images, or the URL of the "
            "dataset's folder"
        )
    return config.but(**local) if local else config


def source_files(config: GenerateConfig) -> tuple[Path, str | None]:
    """Return a run's source and, where it is given, its image directory; the sample is drawn into the output."""
    data = config.data
    if data.annotations is not None:
        return Path(data.annotations), data.images
    root = local_folder(config.output.out) / "sample"
    return draw_sample(root), str(root / "images")


def open_outliner(config: GenerateConfig, dataset: Dataset, detector: Detector | None) -> Outliner | None:
    """Return who finds the masks of a run, None where objects get boxes only.

    `auto` is the segmenter where one is given; otherwise, in a dataset that has masks itself, the detector if it has a
    mask head, else matting.

    Raises:
        BackendError: The segmenter can't be loaded.
        ConfigError: The detector has no mask head, or there is none.
    """
    options = config.masking
    kind = options.masks if options.masks != "auto" else _choose(config, dataset, detector)
    if kind == "segmenter":
        assert options.segmenter is not None  # the configuration has been checked
        return SegmenterOutlines(
            Segmenter.load(options.segmenter, revision=options.segmenter_revision, device=config.run.device)
        )
    if kind == "detector":
        if detector is None or not has_masks(detector):
            name = "nothing is detected" if detector is None else f"{detector.name} has no mask head"
            raise ConfigError(
                f"masks is 'detector', but {name}; take a detector with masks, or masks: matting or segmenter"
            )
        return DetectorOutlines(detector)
    return MattingOutlines() if kind == "matting" else None


def all_have_masks(dataset: Dataset) -> bool:
    """Say whether each annotated object has a mask, crowds aside, and there is one."""
    objects = [record for record in dataset.document["annotations"] if not record.get("iscrowd")]
    return bool(objects) and all(record.get("segmentation") for record in objects)


def _choose(config: GenerateConfig, dataset: Dataset, detector: Detector | None) -> str:
    if config.masking.segmenter is not None:
        return "segmenter"
    needed = config.masking.unmasked == "reject"
    if not needed and not any("segmentation" in record for record in dataset.document["annotations"]):
        return "off"
    return "detector" if detector is not None and has_masks(detector) else "matting"
