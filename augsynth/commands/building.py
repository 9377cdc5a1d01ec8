"""The verbs beside `generate`: affinity file, object bank, folds, training an inpainter or a detector."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PilImage

from augsynth import __version__
from augsynth.affinity.embeddings import Embeddings, encode_names, read_embeddings
from augsynth.affinity.model import DEFAULT_MEASURE, SOURCES, Affinity, save_affinity_file
from augsynth.affinity.scoring import CLIP, check_options, check_source
from augsynth.bank.cutting import CutRules, cut_dataset
from augsynth.bank.reader import Bank, BankError
from augsynth.bank.writer import BankWriter
from augsynth.coco.faults import repair_lines
from augsynth.coco.reader import read_dataset
from augsynth.coco.split import balance_table, split_dataset, write_folds
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.inpainting.checkpoints import is_non_commercial
from augsynth.inpainting.loading import EMBEDDED
from augsynth.placement.layout import Layout

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class AffinitySource:
    """Where an affinity comes from.

    Attributes:
        kind: `cooccurrence`, `clip` or `blend`.
        clip_model: Folder or hub id whose CLIP text encoder embeds the category names; or `embedded`.
        clip_revision: Commit or tag of a hub id.
        embeddings: File of embeddings instead of a model.
        blend_weight: Share of the names in a blend; None chooses it.

    Raises:
        ConfigError: Options that don't go together.
    """

    kind: str = SOURCES[0]
    clip_model: str | None = None
    clip_revision: str | None = None
    embeddings: Path | None = None
    blend_weight: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            raise ConfigError(f"--source is {self.kind!r}; choose one of {', '.join(SOURCES)}")
        given = [n for n in ("clip_model", "embeddings") if getattr(self, n) is not None]
        if self.kind == SOURCES[0] and given:
            flag = "--" + given[0].replace("_", "-")
            raise ConfigError(f"{flag} isn't used with --source {self.kind}; add --source clip or blend")
        if self.kind != SOURCES[0] and len(given) != 1:
            raise ConfigError(
                f"--source {self.kind} takes the names' text embeddings from --clip-model FOLDER_OR_ID or from "
                f"--embeddings FILE; give {'one of them, not both' if given else 'one of them'}"
            )
        if self.clip_revision is not None and self.clip_model is None:
            raise ConfigError("--clip-revision is of a hub id; give --clip-model, too")

    def read(self, names: Sequence[str]) -> Embeddings | None:
        """Return the embeddings of the names, None for `cooccurrence`."""
        if self.embeddings is not None:
            return read_embeddings(self.embeddings, names)
        if self.clip_model is None:
            return None
        model = str(EMBEDDED) if self.clip_model == "embedded" else self.clip_model
        return encode_names(model, names, revision=self.clip_revision, title=self.clip_model)


def build_affinity_file(
    annotations: Path,
    out: Path,
    *,
    measure: str | None,
    kappa: float,
    num_pairs: int,
    source: AffinitySource | None = None,
) -> Iterator[str]:
    """Write the affinity file and its heat map; yield the lines a user reads.

    Raises:
        BackendError: The text encoder can't be used.
        ConfigError: The output is no JSON path or an option is out of range.
        DatasetError: The annotations can't be used.
    """
    from augsynth.core.figures import heat_map

    if out.suffix != ".json":
        raise ConfigError(f"{out}: an affinity file is JSON; let --out end with .json")
    source, measure = source or AffinitySource(), measure or DEFAULT_MEASURE
    check_options(measure, kappa, None)
    check_source(source.kind, measure, source.blend_weight)
    dataset = read_dataset(annotations)
    yield from repair_lines(dataset)
    affinity = Affinity.fit(
        dataset,
        measure=measure,
        kappa=kappa,
        source=source.kind,
        embeddings=source.read([category.name for category in dataset.categories]),
        blend_weight=source.blend_weight,
    )
    save_affinity_file(out, affinity, Layout.fit(dataset).to_dict())
    picture = out.with_suffix(".png")
    title = f"{affinity.measure}, {annotations.name}"
    heat_map(affinity.matrix, affinity.names, path=picture, title=title, centre=affinity.neutral)
    objects = int(affinity.instance_counts.sum())
    yield f"{len(dataset.scenes)} images, {objects} objects, {len(affinity.names)} categories; {affinity.measure}"
    yield from _source_lines(affinity)
    yield from _pair_lines(affinity, num_pairs)
    yield str(affinity.structure)
    yield f"written: {out}, {picture}"


def _source_lines(affinity: Affinity) -> Iterator[str]:
    """Say what names add, where they do."""
    origin = affinity.embeddings.split(" (sha256")[0]
    if affinity.measure == CLIP:
        yield f"cosines of the names' embeddings, {origin}; temperature {affinity.terms.temperature:.3g}"
    for part in affinity.parts:
        told = f", {origin}" if part.measure == CLIP else ""
        yield f"  {part.weight:.2f} {part.measure} (temperature {part.terms.temperature:.3g}{told})"


def _pair_lines(affinity: Affinity, num_pairs: int) -> Iterator[str]:
    by_name = affinity.measure == CLIP
    for title, found in (
        ("most alike names" if by_name else "strongest pairs", affinity.strongest_pairs(num_pairs)),
        ("least alike names" if by_name else "most repelled pairs", affinity.most_repelled_pairs(num_pairs)),
    ):
        yield f"{title}:" if found else f"{title}: none"
        for pair in found:
            names = " + ".join(pair.names)
            yield f"  {names}: {pair.value:+.2f}, together in {pair.count} images, {pair.expected:.1f} by chance"


def build_bank(annotations: Path, images: Path, out: Path, *, rules: CutRules) -> Iterator[str]:
    """Write an object bank of a dataset's own objects; yield the lines a user reads.

    Raises:
        BankError: The output isn't an empty folder, or no object can be cut.
        DatasetError: The dataset can't be used.
    """
    dataset = read_dataset(annotations, images=images)
    yield from repair_lines(dataset)
    source = {
        "made_by": "augsynth bank",
        "version": __version__,
        "annotations": annotations.name,
        "annotations_sha256": hashlib.sha256(annotations.read_bytes()).hexdigest(),
        **asdict(rules),
    }
    with BankWriter(out, categories=dataset.categories, source=source) as writer:
        left = cut_dataset(dataset, lambda s: read_image(dataset, s), rules=rules, add=writer.add)
        reasons = ", ".join(f"{count} {reason}" for reason, count in left.most_common())
        if not len(writer):
            found = f"left out: {reasons}" if left else "there are no annotations"
            raise BankError(f"{annotations}: no object can be cut ({found}); loosen the options")
    if left:
        yield f"left out: {reasons}"
    yield Bank.open(out).summary()


def build_folds(
    annotations: Path,
    out: Path,
    *,
    num_folds: int,
    group_pattern: str | None,
    group_key: str | None,
    seed: int,
) -> Iterator[str | Table]:
    """Write the folds of a dataset; yield what a user reads, the balance as a table.

    Raises:
        ConfigError: An option doesn't fit the dataset, or the output isn't an empty directory.
        DatasetError: The annotations can't be used.
    """
    dataset = read_dataset(annotations)
    yield from repair_lines(dataset)
    found = split_dataset(
        dataset, num_folds=num_folds, group_pattern=group_pattern, group_key=group_key, seed=seed
    )
    settings = {
        "annotations": annotations.name,
        "folds": num_folds,
        "group_pattern": group_pattern,
        "group_key": group_key,
        "seed": seed,
    }
    paths = write_folds(out, dataset, found, settings=settings)
    yield balance_table(found)
    if found.alone:
        yield f"{found.alone} images say nothing about their group; each is a group of its own"
    yield f"written: {len(paths)} files, {paths[0]}, …"


def scaled(dataset: Dataset, image_scale: float) -> tuple[Dataset, Callable[[Scene], Image]]:
    """Return a dataset whose scenes and images are resized, and the function that reads its images.

    Raises:
        ConfigError: The scale isn't in (0, 4].
    """
    if not 0 < image_scale <= 4:
        raise ConfigError(f"image_scale is {image_scale}; it must lie in (0, 4]")
    if image_scale == 1:
        return dataset, partial(read_image, dataset)
    scenes = []
    originals = {scene.image_id: scene for scene in dataset.scenes}
    for scene in dataset.scenes:
        width, height = (max(1, round(side * image_scale)) for side in scene.size_wh)
        factor = np.tile([width / scene.size_wh[0], height / scene.size_wh[1]], 2)
        scenes.append(replace(scene, size_wh=(width, height), boxes_xyxy=scene.boxes_xyxy * factor))

    def read_scaled(scene: Scene) -> Image:
        picture = PilImage.fromarray(read_image(dataset, originals[scene.image_id]))
        return np.asarray(picture.resize(scene.size_wh, PilImage.Resampling.LANCZOS))

    return replace(dataset, scenes=tuple(scenes)), read_scaled


def run_finetune(
    options: Mapping[str, Any],
    *,
    progress: Callable[[str, int, int, float], None],
    show: Callable[[str], None],
) -> Path:
    """Train an inpainting model, or a LoRA of `model`, with the command line's options and return its folder.

    Raises:
        AugsynthError: As `finetune` and `train_lora`; ConfigError for options out of range.
    """
    import torch

    from augsynth.training.painter.train import FinetuneConfig, finetune

    if options["threads"]:
        torch.set_num_threads(options["threads"])
    if options["model"] is not None:
        return _run_lora(options, progress=progress, show=show)
    names = FinetuneConfig.__dataclass_fields__
    chosen = {k: v for k, v in options.items() if k in names and v is not None}
    dataset, read = scaled(
        read_dataset(options["annotations"], images=options["images"]), options["image_scale"]
    )
    return finetune(
        dataset,
        read,
        config=FinetuneConfig(**chosen),
        out=options["out"],
        progress=progress,
        start_from=options["start"],
    )


def _run_lora(
    options: Mapping[str, Any],
    *,
    progress: Callable[[str, int, int, float], None],
    show: Callable[[str], None],
) -> Path:
    from augsynth.training.lora.options import LoraTraining, check_base
    from augsynth.training.lora.train import train_lora

    names = LoraTraining.__dataclass_fields__
    chosen = {k: v for k, v in options.items() if k in names and v is not None}
    training = LoraTraining(**{**chosen, "categories": tuple(options["categories"] or ())})
    checkpoint = check_base(training)
    if is_non_commercial(checkpoint.licence):
        show(
            f"{training.model} is for non-commercial use only ({checkpoint.licence}), and so is a LoRA of it"
        )
    dataset, read = scaled(
        read_dataset(options["annotations"], images=options["images"]), options["image_scale"]
    )
    return train_lora(
        dataset, read, training=training, checkpoint=checkpoint, out=options["out"], progress=progress
    )


def run_train_detector(options: Mapping[str, Any], *, show: Callable[[str], None]) -> Iterator[str]:
    """Train a detector with the command line's options; yield its figures as lines.

    Raises:
        AugsynthError: As `train_detector`; ConfigError for options out of range.
    """
    from augsynth.training.detector.train import DetectorTraining, train_detector

    dataset = read_dataset(options["annotations"], images=options["images"])
    yield from repair_lines(dataset)
    val = None
    if options["val_annotations"] is not None:
        val = read_dataset(options["val_annotations"], images=options["val_images"] or options["images"])
    names = DetectorTraining.__dataclass_fields__
    try:
        training = DetectorTraining(**{k: v for k, v in options.items() if k in names and v is not None})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    roots = {id(scene): dataset for scene in dataset.scenes}
    if val is not None:
        roots.update({id(scene): val for scene in val.scenes})

    def read(scene: Scene) -> Image:
        return read_image(roots.get(id(scene), dataset), scene)

    report = train_detector(
        dataset, read, out=options["out"], options=training, val=val, progress=lambda p: show(str(p))
    )
    figures = report.evaluation
    where = "held-out images" if report.held_out else "its own training images"
    yield f"AP {figures.ap:.3f}, AP50 {figures.ap50:.3f}, AP75 {figures.ap75:.3f} on {figures.num_images} {where}"
    yield "AP50: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.category_ap50.items())
    yield f"detector in {report.out}; use it with --detector {report.out}"
