"""`augsynth build-affinity`: what appears with what, as a file and a heat map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from augsynth.affinity.embeddings import Embeddings, encode_names, read_embeddings
from augsynth.affinity.file import is_affinity_file
from augsynth.affinity.model import DEFAULT_MEASURE, SOURCES, Affinity, save_affinity_file
from augsynth.affinity.scoring import BLEND, CLIP, check_options, check_source
from augsynth.coco.boxes_only import read_boxes
from augsynth.coco.faults import repair_lines
from augsynth.core.errors import ConfigError
from augsynth.core.outputs import check_output_file
from augsynth.inpainting.loading import EMBEDDED
from augsynth.placement.layout import Layout


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
        ConfigError: The output is no JSON path or can't be written there, or an option is out of range.
        DatasetError: The annotations can't be used.
    """
    from augsynth.affinity.heat_map import draw_heat_map
    from augsynth.core.figures import is_heat_map

    if out.suffix != ".json":
        raise ConfigError(f"{out}: an affinity file is JSON; let --out end with .json")
    source, measure = source or AffinitySource(), measure or DEFAULT_MEASURE
    check_options(measure, kappa, None)
    check_source(source.kind, measure, source.blend_weight)
    inputs = [annotations, *filter(None, [source.embeddings])]
    picture = out.with_suffix(".png")
    check_output_file(out, inputs=inputs, is_own=is_affinity_file)
    check_output_file(picture, inputs=inputs, is_own=is_heat_map)
    dataset = read_boxes(annotations)
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
    draw_heat_map(affinity, path=picture, dataset=f"{annotations.absolute().parent.name}/{annotations.name}")
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
    from augsynth.affinity.heat_map import value_text

    by_name = affinity.measure == CLIP
    rest = ", the rest of the image accounted for" if affinity.measure in (DEFAULT_MEASURE, BLEND) else ""
    for title, found in (
        ("most alike names" if by_name else f"strongest pairs{rest}", affinity.strongest_pairs(num_pairs)),
        (
            "least alike names" if by_name else f"most repelled pairs{rest}",
            affinity.most_repelled_pairs(num_pairs),
        ),
    ):
        yield f"{title}:" if found else f"{title}: none"
        for pair in found:
            names = " + ".join(pair.names)
            value = value_text(affinity.measure, pair.value)
            yield f"  {names}: {value}, together in {pair.count} images, {pair.expected:.1f} by chance"
