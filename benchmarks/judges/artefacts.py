"""Judge of docs/method.md §4: can a small classifier tell synthetic objects from real ones of the same category?

    python -m benchmarks.judges.artefacts RUN_DIR [RUN_DIR …] [--seeds 2] [--size 48] [--out DIR]

A classifier two-sample test: a small network learns on crops (the box grown 1.3 times, square) of synthetic
and real objects, as many of each in every category, and is scored on crops whose source image it never saw.
AUC 0.5 is indistinguishable, 1 is given away at a glance; what the probe finds, a detector can learn instead
of the object. The real objects are those that lie where a run could have placed one (not cut by the border,
not overlapping another box by more than the run's `max_overlap`, no side below its `min_size`): a new object
is never half hidden, so that isn't a fault of painting; the AUC against all real objects is printed too.
The rest says what gives them away: simple models on nameable features, the network with parts hidden, and a
sheet of the crops that decide. The last row takes the mean of every standardised score above it, features and
network alike. An AUC below 0.5 means chance: cross-validation on pure noise leans a little below.
"""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augsynth.core.figures import contact_sheet
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, FloatArray, IntArray, Scene
from augsynth.core.seeding import derive_rng
from benchmarks.judges.crop_features import (
    GROWTH,
    REACH,
    VARIANTS,
    Crop,
    crop_depths,
    crop_pixels,
    cut_crop,
    feature_groups,
    framed,
)
from benchmarks.judges.finished_run import FinishedRun, admissible, read_run
from benchmarks.judges.probe import auc, auc_interval, cnn_scores, feature_scores

SHEET = "artefact_probe.png"
MIN_OBJECTS = 3  # of a category and kind: fewer say nothing
SHOWN = 24
Place = tuple[Scene, int, str, bool]  # scene, index of the object, source image, synthetic


@dataclass(frozen=True, slots=True)
class Options:
    """How hard the probe tries.

    Attributes:
        size: Side of the network's crops in pixels.
        seeds: Repetitions with other folds and weights, averaged.
        folds: Parts of the cross-validation.
        steps: Training steps of the network in each fold.
        max_objects: Synthetic objects at most.
    """

    size: int = 48
    seeds: int = 2
    folds: int = 5
    steps: int = 600
    max_objects: int = 300


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Crops as columns."""

    crops: Sequence[Crop]
    synthetic: NDArray[np.bool_]
    category_ids: IntArray
    groups: NDArray[np.str_]

    @classmethod
    def of(cls, crops: Sequence[Crop]) -> Sample:
        return cls(
            crops,
            np.array([crop.synthetic for crop in crops]),
            np.array([crop.category_id for crop in crops]),
            np.array([crop.group for crop in crops]),
        )

    def probe(self, options: Options, *, variant: str = "whole crop") -> FloatArray:
        """Return the network's held-out scores."""
        pixels = crop_pixels(self.crops, size=options.size, variant=variant)
        return cnn_scores(
            pixels,
            crop_depths(self.crops, size=options.size),
            self.synthetic,
            self.category_ids,
            self.groups,
            folds=options.folds,
            seeds=options.seeds,
            steps=options.steps,
        )

    def judge_features(self, features: FloatArray, options: Options) -> list[FloatArray]:
        """Return the held-out scores of the simple models."""
        return feature_scores(
            features,
            self.synthetic,
            self.category_ids,
            self.groups,
            folds=options.folds,
            seeds=options.seeds,
        )

    def cell(self, scores: FloatArray, chosen: NDArray[np.bool_] | None = None) -> str:
        """Return AUC and interval as text, of all crops or of some."""
        keep = np.ones(len(scores), np.bool_) if chosen is None else chosen
        value = auc(scores[keep], self.synthetic[keep])
        low, high = auc_interval(scores[keep], self.synthetic[keep], self.groups[keep])
        return f"{value:.3f} ({low:.3f}–{high:.3f})"


def collect(run: FinishedRun, *, matched: bool, max_objects: int, seed: int = 42) -> Sample:
    """Return as many synthetic as real crops of every category, drawn at random.

    Args:
        matched: Draw real objects from those that lie where the run could have placed one.
        max_objects: Synthetic objects at most.
    """
    painted = [
        (scene, int(i), str(run.synthetic[int(scene.annotation_ids[i])]["source_image_id"]), True)
        for scene in run.edited.scenes
        for i in np.flatnonzero(run.is_synthetic(scene))
    ]
    real = []
    for scene in run.source.scenes:
        fit = ~scene.is_crowd
        if matched:
            fit = admissible(
                scene, max_overlap=run.config.placement.max_overlap, min_size=run.config.placement.min_size
            )
        real += [(scene, int(i), str(scene.image_id), False) for i in np.flatnonzero(fit)]
    rng = derive_rng(seed, "artefact probe", int(matched))
    painted = [painted[i] for i in rng.permutation(len(painted))[:max_objects]]
    chosen: list[Place] = []
    for category in run.names:
        sides = [_of(painted, category), _of(real, category)]
        count = min(len(side) for side in sides)
        if count >= MIN_OBJECTS:
            chosen += [side[i] for side in sides for i in rng.permutation(len(side))[:count]]
    return Sample.of([*_cut(run.edited, chosen, True), *_cut(run.source, chosen, False)])


def _of(places: Sequence[Place], category: int) -> list[Place]:
    return [place for place in places if place[0].category_ids[place[1]] == category]


def _cut(dataset: Dataset, places: Sequence[Place], synthetic: bool) -> list[Crop]:
    by_image: dict[int, list[Place]] = {}
    for place in places:
        if place[3] == synthetic:
            by_image.setdefault(place[0].image_id, []).append(place)
    crops = []
    for found in by_image.values():
        image = read_image(dataset, found[0][0])
        for scene, i, group, _ in found:
            category = int(scene.category_ids[i])
            crops.append(
                cut_crop(image, scene.boxes_xyxy[i], category_id=category, group=group, synthetic=synthetic)
            )
    return crops


def judge_run(run: FinishedRun, options: Options, *, sheet: Path) -> float:
    """Print all tables of one run, write the sheet, and return the AUC."""
    start = time.perf_counter()
    sample = collect(run, matched=True, max_objects=options.max_objects)
    print(f"\n### {run.folder.name}: {_sizes(run, sample)}\n")
    if sample.synthetic.sum() < 2 * options.folds:
        print("too few synthetic objects to judge")
        return float("nan")
    scores = sample.probe(options)
    network_s = time.perf_counter() - start
    unmatched = collect(run, matched=False, max_objects=options.max_objects)
    print("| held-out AUC | objects | network (95 % interval) |\n|---|---:|---:|")
    num = int(sample.synthetic.sum())
    print(f"| **all categories** | {num} + {num} | **{sample.cell(scores)}** |")
    for category, name in run.names.items():
        chosen = sample.category_ids == category
        if chosen.any():
            num = int((sample.synthetic & chosen).sum())
            print(f"| {name} | {num} + {num} | {sample.cell(scores, chosen)} |")
    num = int(unmatched.synthetic.sum())
    print(f"| against all real objects | {num} + {num} | {unmatched.cell(unmatched.probe(options))} |")
    print_reasons(sample, scores, options)
    write_sheet(sample, scores, names=run.names, path=sheet)
    total_s = time.perf_counter() - start
    print(f"\n{network_s:.0f} s for the network, {total_s:.0f} s in all; the crops that decide: {sheet.name}")
    return auc(scores, sample.synthetic)


def _sizes(run: FinishedRun, sample: Sample) -> str:
    placed = sum(int(run.is_synthetic(scene).sum()) for scene in run.edited.scenes)
    side = np.median([crop.patch.shape[0] for crop in sample.crops]) / REACH * GROWTH
    return (
        f"{int(sample.synthetic.sum())} of {placed} synthetic objects against as many real ones, "
        f"{len(set(sample.groups))} source images, median crop {side:.0f} px"
    )


def print_reasons(sample: Sample, whole: FloatArray, options: Options) -> None:
    """Print what the probe looks at: the network with parts hidden, simple models on groups of features."""
    print("\n| the network sees | AUC |\n|---|---:|")
    seen = {VARIANTS[0]: whole}
    print(f"| {VARIANTS[0]} | {sample.cell(whole)} |")
    for variant in VARIANTS[1:]:
        seen[variant] = sample.probe(options, variant=variant)
        print(f"| {variant} | {sample.cell(seen[variant])} |")
    groups = feature_groups(sample.crops)
    groups["all of them"] = np.concatenate(list(groups.values()), axis=1)
    print("\n| features | logistic regression | random forest |\n|---|---:|---:|")
    named: dict[str, list[FloatArray]] = {}
    for name, features in groups.items():
        named[name] = sample.judge_features(features, options)
        print(f"| {name} | " + " | ".join(sample.cell(scores) for scores in named[name]) + " |")
    every = [*seen.values(), *(scores for found in named.values() for scores in found)]
    together = np.mean([(scores - scores.mean()) / (scores.std() + 1e-9) for scores in every], axis=0)
    print(f"| network and features together | {sample.cell(together)} | |")
    named.pop("all of them")
    best = {name: max(auc(scores, sample.synthetic) for scores in found) for name, found in named.items()}
    print("\n" + in_words(best, {name: auc(scores, sample.synthetic) for name, scores in seen.items()}))


def in_words(best: dict[str, float], hidden: dict[str, float]) -> str:
    """Return the strongest evidence as a sentence."""
    ranked = sorted(best.items(), key=lambda item: -item[1])
    name, value = ranked[0]
    if value < 0.58 and hidden["whole crop"] < 0.58:
        return "No group of features and no part of the crop tells them apart by much."
    second, next_value = ranked[1]
    text = f"The strongest nameable group is {name} (AUC {value:.2f}), then {second} ({next_value:.2f}). "
    whole, blurred = hidden["whole crop"], hidden["both blurred"]
    text += f"Smoothing every crop by one pixel takes the network from {whole:.2f} to {blurred:.2f}: "
    text += "fine detail is what it uses" if whole - blurred > 0.05 else "it hardly needs fine detail"
    inner, outer = hidden["surroundings hidden"], hidden["object hidden"]
    side = "the object itself" if inner >= outer else "what surrounds the object"
    return f"{text}; {side} gives more away (object alone {inner:.2f}, surroundings alone {outer:.2f})."


def write_sheet(sample: Sample, scores: FloatArray, *, names: dict[int, str], path: Path) -> None:
    """Write the synthetic crops that the network finds most synthetic and the real ones it finds real."""
    tiles, captions, real = [], [], []
    for synthetic in (True, False):
        chosen = np.flatnonzero(sample.synthetic == synthetic)
        order = np.argsort(-scores[chosen] if synthetic else scores[chosen], kind="stable")[:SHOWN]
        for i in chosen[order]:
            tiles.append([framed(sample.crops[i], size=128)])
            captions.append(f"{names[int(sample.category_ids[i])]} {scores[i]:+.1f}")
            real.append(not synthetic)
    title = (
        "red: synthetic objects that the probe finds most synthetic\ngreen: real ones that it finds most real"
    )
    contact_sheet(tiles, path=path, captions=captions, accepted=real, columns=8, tile_px=128, title=title)


def main() -> None:
    usual = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN_DIR", help="outputs of `augsynth generate`"
    )
    parser.add_argument("--seeds", type=int, default=usual.seeds, help="repetitions that are averaged")
    parser.add_argument("--size", type=int, default=usual.size, help="side of the network's crops in pixels")
    parser.add_argument(
        "--max-objects", type=int, default=usual.max_objects, help="synthetic objects at most"
    )
    parser.add_argument("--out", type=Path, help="directory of the sheets (default: each RUN_DIR)")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    options = Options(size=given.size, seeds=given.seeds, max_objects=given.max_objects)
    print(f"Artefact judge, {datetime.date.today()}: 0.5 is indistinguishable")
    for folder in given.runs:
        run = read_run(folder)
        sheet = (given.out / f"{folder.name}_{SHEET}") if given.out else folder / SHEET
        judge_run(run, options, sheet=sheet)


if __name__ == "__main__":
    main()
