"""`augsynth build-affinity`: what appears with what, as a file and a heat map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from threadpoolctl import threadpool_limits

from augsynth.affinity.cooccurrence import Pair
from augsynth.affinity.embeddings import Embeddings, encode_names, read_embeddings
from augsynth.affinity.file import is_affinity_file
from augsynth.affinity.model import DEFAULT_MEASURE, MEASURES, SOURCES, Affinity, save_affinity_file
from augsynth.affinity.scoring import BLEND, CLIP, check_source
from augsynth.affinity.scoring import check_options as check_fit_options
from augsynth.coco.boxes_only import read_boxes
from augsynth.coco.faults import repair_lines
from augsynth.coco.formats.known import ANNOTATIONS, input_paths
from augsynth.commands.flags import Command
from augsynth.commands.terminal import Report, Terminal
from augsynth.core.errors import ConfigError
from augsynth.core.options import REQUIRED, check_options, option, section
from augsynth.core.outputs import check_output_file
from augsynth.core.processes import begun
from augsynth.core.text import number_of
from augsynth.inpainting.loading import EMBEDDED
from augsynth.placement.layout import Layout


@dataclass(frozen=True, slots=True)
class AffinitySource:
    """Where an affinity comes from.

    Raises:
        ConfigError: Options that don't go together.
    """

    source: Literal["cooccurrence", "clip", "blend"] = option(
        "cooccurrence", "Co-occurrence in the dataset, clip (how alike the names are) or a blend of both."
    )
    clip_model: str | None = option(
        None, "CLIP or diffusers folder, hub id or `embedded`: its text encoder embeds the category names."
    )
    clip_revision: str | None = option(None, "Commit or tag of that hub id.")
    embeddings: Path | None = option(None, "File of the names' embeddings instead: .npy, .npz or .json.")
    blend_weight: float | None = option(
        None, "Share of clip in a blend.", low=0, high=1, unset="chosen on held-out images"
    )

    def __post_init__(self) -> None:
        check_options(self)
        given = [n for n in ("clip_model", "embeddings") if getattr(self, n) is not None]
        if self.source == SOURCES[0] and given:
            flag = "--" + given[0].replace("_", "-")
            raise ConfigError(f"{flag} isn't used with --source {self.source}; add --source clip or blend")
        if self.source != SOURCES[0] and len(given) != 1:
            raise ConfigError(
                f"--source {self.source} takes the names' text embeddings from --clip-model FOLDER_OR_ID or from "
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


@dataclass(frozen=True, slots=True)
class AffinityOptions:
    """What an affinity is learnt from, and how.

    Raises:
        ConfigError: A value is out of range.
    """

    annotations: Path = option(REQUIRED, ANNOTATIONS)
    out: Path = option(REQUIRED, "Affinity file to write (JSON); a heat map goes beside it.")
    measure: str = option(DEFAULT_MEASURE, f"Affinity measure: {', '.join(MEASURES)}.")
    kappa: float = option(1.0, "Shrinkage of pair counts, in images.", low=0, high=1e9)
    pairs: int = option(10, "Pairs to print.", low=0, high=1_000_000)
    names: AffinitySource = field(default_factory=AffinitySource, metadata=section("Source"))

    def __post_init__(self) -> None:
        check_options(self)


def run_build_affinity(options: AffinityOptions, terminal: Terminal) -> Report:
    """Write the affinity file and its heat map.

    Raises:
        BackendError: The text encoder can't be used.
        ConfigError: The output is no JSON path or can't be written there, or an option is out of range.
        DatasetError: The annotations can't be used.
    """
    from augsynth.affinity.heat_map import draw_heat_map
    from augsynth.core.figures import is_heat_map

    out, names = options.out, options.names
    if out.suffix != ".json":
        raise ConfigError(f"{out}: an affinity file is JSON; let --out end with .json")
    check_fit_options(options.measure, options.kappa, None)
    check_source(names.source, options.measure, names.blend_weight)
    annotations, picture = options.annotations, out.with_suffix(".png")
    inputs = input_paths(annotations, names.embeddings)
    check_output_file(out, inputs=inputs, is_own=is_affinity_file)
    check_output_file(picture, inputs=inputs, is_own=is_heat_map)
    dataset = read_boxes(annotations)
    for line in repair_lines(dataset):
        terminal.notice(line)
    embeddings = names.read([category.name for category in dataset.categories])
    with (
        threadpool_limits(1, user_api="blas"),  # cores are for the threads of the fit, and for the layout
        begun(
            [lambda: Layout.fit(dataset).to_dict()], task="learning", remedy="free some and start again"
        ) as layout,
    ):
        affinity = Affinity.fit(
            dataset,
            measure=options.measure,
            kappa=options.kappa,
            source=names.source,
            embeddings=embeddings,
            blend_weight=names.blend_weight,
        )
        title = f"{annotations.absolute().parent.name}/{annotations.name}"
        draw_heat_map(affinity, path=picture, dataset=title)
        save_affinity_file(out, affinity, next(layout))
    objects = int(affinity.instance_counts.sum())
    found = [affinity.strongest_pairs(options.pairs), affinity.most_repelled_pairs(options.pairs)]
    lines = [
        f"{number_of(len(dataset.scenes), 'image')}, {number_of(objects, 'object')}, "
        f"{number_of(len(affinity.names), 'category')}; {affinity.measure}",
        *_source_lines(affinity),
        *_pair_lines(affinity, *found),
        str(affinity.structure),
        f"written: {out}, {picture}",
    ]
    document = {
        "out": str(out),
        "heat_map": str(picture),
        "measure": affinity.measure,
        "images": len(dataset.scenes),
        "objects": objects,
        "categories": list(affinity.names),
        "strongest_pairs": [_pair_values(pair) for pair in found[0]],
        "most_repelled_pairs": [_pair_values(pair) for pair in found[1]],
        "structure": {**asdict(affinity.structure), "found": bool(affinity.structure.found)},
    }
    return Report(lines, document)


def _pair_values(pair: Pair) -> dict[str, Any]:
    return {
        "names": list(pair.names),
        "value": float(pair.value),
        "images": int(pair.count),
        "expected": float(pair.expected),
    }


def _source_lines(affinity: Affinity) -> Iterator[str]:
    """Say what names add, where they do."""
    origin = affinity.embeddings.split(" (sha256")[0]
    if affinity.measure == CLIP:
        yield f"cosines of the names' embeddings, {origin}; temperature {affinity.terms.temperature:.3g}"
    for part in affinity.parts:
        told = f", {origin}" if part.measure == CLIP else ""
        yield f"  {part.weight:.2f} {part.measure} (temperature {part.terms.temperature:.3g}{told})"


def _pair_lines(affinity: Affinity, strongest: Sequence[Pair], repelled: Sequence[Pair]) -> Iterator[str]:
    from augsynth.affinity.heat_map import value_text

    by_name = affinity.measure == CLIP
    rest = ", the rest of the image accounted for" if affinity.measure in (DEFAULT_MEASURE, BLEND) else ""
    for title, found in (
        ("most alike names" if by_name else f"strongest pairs{rest}", strongest),
        ("least alike names" if by_name else f"most repelled pairs{rest}", repelled),
    ):
        yield f"{title}:" if found else f"{title}: none"
        for pair in found:
            names = " + ".join(pair.names)
            value = value_text(affinity.measure, pair.value)
            yield f"  {names}: {value}, together in {number_of(pair.count, 'image')}, {pair.expected:.1f} by chance"


BUILD_AFFINITY = Command(
    "build-affinity",
    AffinityOptions,
    run_build_affinity,
    help="Learn what appears with what, and where: affinity matrix, layout statistics and a heat map.",
    example="augsynth build-affinity --annotations train.json --out affinity.json",
)
