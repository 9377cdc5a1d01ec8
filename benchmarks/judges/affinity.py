"""Judge of docs/method.md §1: hide one category of a held-out image, rank all absent ones given the rest.

    python -m benchmarks.judges.affinity [--data DIR] [--sample ANNOTATIONS] [--seeds 5] [--clip-model MODEL]
    python -m benchmarks.judges.affinity --train FILE [FILE …] --test FILE [FILE …] \
        [--embeddings FILE | --clip-model MODEL]

Every image with at least two categories gives one case per category. Log loss in nats, its ratio to that of
the popularity prior p_c/(1 − p_c), recall@1, recall@3 and mean reciprocal rank (ties count half). Nothing is
chosen on held-out images: temperatures and the log-linear strength come from cross-validation inside the
training part. The rows `clip` and `blend` need embeddings of the category names: those of COCO's are read from
the data folder, others come from a CLIP text encoder (`--clip-model`) or a file.
"""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from augsynth.affinity.cooccurrence import FORMULAS, instance_matrix
from augsynth.affinity.embeddings import Embeddings, encode_names, read_embeddings
from augsynth.affinity.loglinear import NO_PAIRS
from augsynth.affinity.model import DEFAULT_MEASURE, SOURCES, Affinity
from augsynth.affinity.scoring import Terms, fit_terms
from augsynth.coco.reader import read_dataset
from augsynth.core.scene import Dataset, FloatArray, Scene
from augsynth.core.seeding import derive_rng

Judge = dict[str, FloatArray]
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
COLUMNS = ("log loss", "ratio", "recall@1", "recall@3", "MRR")


def read(*files: Path) -> Dataset:
    """Read files of the same categories as one dataset."""
    parts = [read_dataset(file) for file in files]
    return replace(parts[0], scenes=tuple(scene for part in parts for scene in part.scenes))


def split(dataset: Dataset, num_train: int, *, seed: int) -> tuple[Dataset, Dataset]:
    """Deal the images out at random."""
    order = derive_rng(seed, "affinity judge").permutation(len(dataset.scenes))
    train, test = ([dataset.scenes[i] for i in part] for part in (order[:num_train], order[num_train:]))
    return replace(dataset, scenes=tuple(train)), replace(dataset, scenes=tuple(test))


def variants(train: Dataset, embeddings: Embeddings | None = None) -> Iterator[tuple[str, Affinity]]:
    """Yield every row of the table: a name and an affinity whose `log_odds` are to be judged.

    The default comes last; `clip` and `blend` where there are embeddings.
    """
    fitted = Affinity.fit(train)
    instances = instance_matrix(train.scenes, fitted.category_ids)
    zeros = Terms(1.0, 0.0, np.zeros_like(fitted.terms.bias), np.zeros_like(fitted.matrix))
    yield "prior", replace(fitted, measure="npmi", matrix=zeros.counts, terms=zeros)
    for name, strength in (
        *((formula, 0.0) for formula in FORMULAS),
        (f"{DEFAULT_MEASURE}, no pairs", NO_PAIRS),
    ):
        measure = name.split(",")[0]
        matrix, terms = fit_terms(instances, fitted.cooccurrence, measure, strength)
        if name == "npmi":
            quarter = replace(terms, temperature=0.25)
            yield "npmi, β = 4", replace(fitted, measure=measure, matrix=matrix, terms=quarter)
        yield name, replace(fitted, measure=measure, matrix=matrix, terms=terms)
    if embeddings is not None:
        for source in SOURCES[1:]:
            yield source, Affinity.fit(train, source=source, embeddings=embeddings)
    yield DEFAULT_MEASURE, fitted


def find_embeddings(dataset: Dataset, options: argparse.Namespace) -> Embeddings | None:
    """Return embeddings of the category names from what was asked for, or COCO's where the names are COCO's."""
    names = [category.name for category in dataset.categories]
    if options.embeddings:
        return read_embeddings(options.embeddings, names)
    if options.clip_model:
        return encode_names(options.clip_model, names)
    file = options.data / "clip_text" / "coco_clip_a+cname.npy"
    coco = options.data / "coco_mini" / "instances.json"
    if not (file.exists() and coco.exists()):
        return None
    known = [category.name for category in read_dataset(coco).categories]
    return read_embeddings(file, names) if names == known else None


def judge(affinity: Affinity, scenes: tuple[Scene, ...]) -> FloatArray:
    """Return log loss, recall@1, recall@3 and mean reciprocal rank over the cases of the scenes."""
    rows = []
    for scene in scenes:
        for hidden in np.unique(scene.category_ids):
            rest = scene.category_ids[scene.category_ids != hidden]
            if len(rest):
                rows.append(_case(affinity, int(hidden), rest))
    return np.mean(rows, axis=0) if rows else np.full(4, np.nan)


def _case(affinity: Affinity, hidden: int, rest: FloatArray) -> tuple[float, float, float, float]:
    absent = ~np.isin(affinity.category_ids, rest)
    scores = affinity.log_odds(rest)[absent]
    score = scores[affinity.category_ids[absent] == hidden][0]
    rank = 1 + (scores > score).sum() + ((scores == score).sum() - 1) / 2
    return float(np.logaddexp.reduce(scores) - score), float(rank <= 1), float(rank <= 3), 1 / rank


def evaluate(train: Dataset, test: Dataset, embeddings: Embeddings | None = None) -> tuple[Judge, Affinity]:
    """Return the figures of every row, and the default affinity."""
    table: Judge = {}
    for name, affinity in variants(train, embeddings):
        loss, *ranks = judge(affinity, test.scenes)
        prior = table["prior"][0] if table else loss
        table[name] = np.array([loss, loss / prior, *ranks])
        if affinity.parts:
            print(f"blend: {affinity.parts[1].weight:.2f} of clip")
    return table, affinity


def show(title: str, pairs: list[tuple[Dataset, Dataset]], options: argparse.Namespace) -> None:
    """Print the mean table over splits, the spread of the ratios, and what the user is told."""
    start = time.perf_counter()
    embeddings = find_embeddings(pairs[0][0], options)
    tables, affinities = zip(*(evaluate(*pair, embeddings) for pair in pairs), strict=True)
    seconds = time.perf_counter() - start
    train, test = pairs[0]
    over = f", mean of {len(pairs)} splits" if len(pairs) > 1 else ""
    print(f"\n### {title}: {len(train.scenes):,} → {len(test.scenes):,} images{over}\n")
    print("| measure | " + " | ".join(COLUMNS) + " |")
    print("|---|" + "---:|" * len(COLUMNS))
    for name in tables[0]:
        figures = np.array([table[name] for table in tables])
        cells = [f"{value:.3f}" for value in figures.mean(axis=0)]
        if len(pairs) > 1:
            cells[1] += f" ± {figures[:, 1].std():.3f}"
        print(f"| {name} | " + " | ".join(cells) + " |")
    strengths = ", ".join(f"{affinity.terms.strength:g}" for affinity in affinities)
    print(
        f"\nstrength chosen: {strengths}; {seconds:.0f} s for all rows\n{affinities[0].structure.sentence()}"
    )


def _chosen(name: str, options: argparse.Namespace) -> bool:
    return not options.only or name in options.only


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real data sets")
    parser.add_argument("--sample", type=Path, help="annotation file of the rendered sample")
    parser.add_argument("--train", type=Path, nargs="+", help="annotation files to fit on")
    parser.add_argument("--test", type=Path, nargs="+", help="annotation files to judge on")
    parser.add_argument("--seeds", type=int, default=5, help="random splits of undivided data sets")
    parser.add_argument("--embeddings", type=Path, help="embeddings of the category names")
    parser.add_argument("--clip-model", help="CLIP or diffusers checkpoint that embeds them")
    parser.add_argument("--only", nargs="+", help="names of the data sets to judge on")
    options = parser.parse_args()
    print(f"Affinity judge, {datetime.date.today()}")
    if options.train and options.test:
        show(options.train[0].parent.name, [(read(*options.train), read(*options.test))], options)
        return
    for name, train, test in (
        ("trash_annotations", ("fold_1", "fold_2"), ("fold_3",)),
        ("aerial_maritime", ("instances_train",), ("instances_valid", "instances_test")),
        ("blood_cells", ("instances_train",), ("instances_val", "instances_test")),
    ):
        files = [[options.data / name / f"{part}.json" for part in parts] for parts in (train, test)]
        if _chosen(name, options) and all(file.exists() for part in files for file in part):
            show(name, [(read(*files[0]), read(*files[1]))], options)
    undivided = [
        ("TACO", options.data / "taco" / "annotations_all.json", 1100 / 1500),
        ("coco_mini", options.data / "coco_mini" / "instances.json", 2 / 3),
    ]
    if options.sample:
        undivided.append(("sample", options.sample, 0.7))
    for name, file, share in undivided:
        if _chosen(name, options) and file.exists():
            dataset = read(file)
            num_train = round(share * len(dataset.scenes))
            show(name, [split(dataset, num_train, seed=seed) for seed in range(options.seeds)], options)


if __name__ == "__main__":
    main()
