"""Judge of docs/method.md §3: take one real object out of a held-out image's annotation and rank its place.

    python -m benchmarks.judges.placement [--data DIR] [--sets aerial_maritime taco sample blood_cells …]
    python -m benchmarks.judges.placement --train FILE --judge FILE [FILE …] --images DIR DIR [DIR …]

The true box is ranked among 200 random boxes of its size that overlap no other object (and the true box by at
most a tenth). AUC is the share of them it beats, ties half; rank 1 is best, the median is given. Its pixels
stay in the image, so everything that looks at pixels looks only outside the box grown by a third; a long
shadow or a reflection can still give an object away.

Where real objects overlap each other, or are cut by the image border, they differ from all 200 by that alone
and any rule that prefers nearness wins. `alike` therefore counts only true boxes that overlap nothing and are
not cut: they obey the rule that the 200 obey.

A second table judges the boxes that are planned in the held-out images, see `planned_boxes`. `--max-objects 0`
leaves out the first one, `--max-planned 0` the second.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from augsynth.coco.reader import read_dataset
from augsynth.core.boxes import intersections
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, FloatArray, Scene
from augsynth.core.seeding import derive_rng
from augsynth.placement.appearance import Appearance
from augsynth.placement.free_standing import is_cut
from augsynth.placement.layout import Layout
from augsynth.placement.negatives import random_places, without_object
from augsynth.placement.proposal import PlacementRules, score_boxes
from augsynth.placement.ring_features import Rings
from benchmarks.judges.fans import write_fans
from benchmarks.judges.planned_boxes import judge_planned, show_planned

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PARTS = {
    "aerial_maritime": (("train", "valid", "test"), ()),
    "blood_cells": (("train", "val", "test"), ("images",) * 3),
    "aquarium": (("train", "valid", "test"), ()),
    "face_mask": (("train", "valid"), ()),
    "car_damage": (("train", "valid", "test"), ()),
}  # annotation files, and image folders where they have other names
DRAWN = ("sample", "fans")
SETS = ("aerial_maritime", "taco", "sample", "blood_cells", "aquarium", "face_mask", "car_damage", "fans")
RULES = PlacementRules(context=1.8)
ROWS = ("uniform", "nearest to another object", "layout alone", "appearance alone", "full")
NUM_RANDOM, MIN_RANDOM = 200, 20


@dataclass(frozen=True)
class Fold:
    """Models fitted without the judged images, and these."""

    train: Dataset
    layout: Layout
    appearance: Appearance
    judged: tuple[Dataset, ...]


@dataclass(frozen=True)
class Case:
    """One object taken out: the share of random places that its true place beats, by row of the table."""

    category: str
    alike: bool
    wins: dict[str, float]


def fit(train: Dataset, judged: tuple[Dataset, ...], *, layout: Layout | None = None) -> Fold:
    layout = layout or Layout.fit(train)
    return Fold(train, layout, Appearance.fit(train, lambda scene: read_image(train, scene)), judged)


def nearest_gap(scene: Scene, boxes_xyxy: FloatArray) -> FloatArray:
    """Return minus the distance to the nearest other object, 0 where boxes touch or the scene is empty."""
    if not len(scene):
        return np.zeros(len(boxes_xyxy))
    others = scene.boxes_xyxy
    gap = np.maximum(boxes_xyxy[:, None, :2] - others[:, 2:], others[:, :2] - boxes_xyxy[:, None, 2:])
    return -np.linalg.norm(np.clip(gap, 0, None), axis=2).min(axis=1)


def win_share(scores: FloatArray) -> float:
    return float((scores[0] > scores[1:]).mean() + (scores[0] == scores[1:]).mean() / 2)


def judge(fold: Fold, *, max_objects: int, seed: int) -> Iterator[Case]:
    """Yield a case for each object (or a sample of them) of the judged data sets."""
    total = sum(len(scene) for dataset in fold.judged for scene in dataset.scenes)
    for dataset in fold.judged:
        names = {c.id: c.name for c in dataset.categories}
        for scene in dataset.scenes:
            rng = derive_rng(seed, "placement judge", str(dataset.source.name), scene.image_id)
            picked = np.flatnonzero(~scene.is_crowd & (rng.random(len(scene)) < max_objects / max(total, 1)))
            if len(picked):
                rings = Rings.of(read_image(dataset, scene))
            for k in picked.tolist():
                case = judge_one(fold, scene, k, rings, names, rng)
                if case is not None:
                    yield case


def judge_one(
    fold: Fold, scene: Scene, k: int, rings: Rings, names: dict[int, str], rng: np.random.Generator
) -> Case | None:
    box, category, rest = scene.boxes_xyxy[k], int(scene.category_ids[k]), without_object(scene, k)
    random = random_places(rest, box[2:] - box[:2], num=NUM_RANDOM, rng=rng, avoid_xyxy=box)
    if len(random) < MIN_RANDOM:
        return None
    boxes = np.concatenate([box[None], random])
    models = {"layout": fold.layout, "appearance": fold.appearance}
    scores = {
        "uniform": np.zeros(len(boxes)),
        "nearest to another object": nearest_gap(rest, boxes),
        "layout alone": score_boxes(
            rest, rings, boxes, category, **{**models, "appearance": None}, rules=RULES
        ),
        "appearance alone": fold.appearance.log_odds(rest, rings, boxes, category),
        "full": score_boxes(rest, rings, boxes, category, **models, rules=RULES),
    }
    overlaps = bool(len(rest)) and bool((intersections(box[None], rest.boxes_xyxy) > 0).any())
    alike = not overlaps and not bool(is_cut(box[None], scene.size_wh)[0])
    return Case(names[category], alike, {row: win_share(s) for row, s in scores.items()})


def show(name: str, cases: list[Case], seconds: float) -> None:
    """Print the table of one data set."""
    if not cases:
        print(f"\n{name}; {seconds:.0f} s")
        return
    alike = [c for c in cases if c.alike]
    print(f"\n{name}: {len(cases)} objects, {len(alike)} alike; {seconds:.0f} s\n")
    print("| | AUC | median rank | AUC, alike | median rank, alike |\n|---|---|---|---|---|")
    for row in ROWS:
        cells = []
        for part in (cases, alike):
            wins = np.array([c.wins[row] for c in part])
            cells += (
                [f"{wins.mean():.3f}", f"{np.median(1 - wins) * NUM_RANDOM + 1:.0f}"]
                if len(part)
                else ["", ""]
            )
        print(f"| {row} | {' | '.join(cells)} |")
    kinds = sorted({c.category for c in cases})
    if len(kinds) > 12:
        return
    print("\n| category | objects | " + " | ".join(f"{row}, AUC (rank)" for row in ROWS[1:]) + " |")
    print("|---" * (len(ROWS) + 1) + "|")
    for kind in kinds:
        own = [c for c in cases if c.category == kind]
        wins = {row: np.array([c.wins[row] for c in own]) for row in ROWS[1:]}
        cells = [f"{w.mean():.3f} ({np.median(1 - w) * NUM_RANDOM + 1:.0f})" for w in wins.values()]
        print(f"| {kind} | {len(own)} | {' | '.join(cells)} |")


def only(dataset: Dataset, keep: Callable[[int, Scene], bool]) -> Dataset:
    return replace(dataset, scenes=tuple(s for i, s in enumerate(dataset.scenes) if keep(i, s)))


def divided(root: Path, parts: tuple[str, ...], folders: tuple[str, ...]) -> list[Fold]:
    """Return the one fold of a data set that comes with a training and judged parts."""
    train, *judged = (
        read_dataset(root / f"instances_{part}.json", images=root / folder)
        for part, folder in zip(parts, folders, strict=True)
    )
    return [fit(train, tuple(judged))]


def taco(root: Path, num_folds: int = 5) -> Iterator[Fold]:
    """Yield folds of the photos; layout also from the annotations of all images that are not judged."""
    photos = read_dataset(root / "instances_photos.json", images=root / "images")
    names = {s.file_name.lower() for s in photos.scenes}
    other = only(
        read_dataset(root / "annotations_all.json"),
        lambda _, s: s.file_name.replace("/", "_").lower() not in names,
    )
    layout = Layout.fit(other)
    for fold in range(num_folds):
        train = only(photos, lambda i, _, fold=fold: i % num_folds != fold)
        yield fit(train, (only(photos, lambda i, _, fold=fold: i % num_folds == fold),), layout=layout)


def drawn(name: str) -> Iterator[Fold]:
    """Yield the one fold of a rendered set, both parts drawn here with different seeds."""
    from augsynth.sample.dataset import write_sample

    write, counts = (write_sample, (300, 100)) if name == "sample" else (write_fans, (160, 80))
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for seed, count in zip((101, 202), counts, strict=True):
            root = Path(folder) / str(seed)
            parts.append(read_dataset(write(root, num_images=count, seed=seed), images=root / "images"))
        yield fit(parts[0], (parts[1],))


def folds_of(name: str, data: Path) -> Iterator[Fold]:
    if name == "taco":
        yield from taco(data / name)
    elif name in DRAWN:
        yield from drawn(name)
    else:
        parts, folders = PARTS[name]
        yield from divided(data / name, parts, folders or parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real data sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--train", type=Path, help="annotation file to fit on, instead of the sets")
    parser.add_argument("--judge", type=Path, nargs="+", help="annotation files to judge on")
    parser.add_argument("--images", type=Path, nargs="+", help="image folders of --train and each --judge")
    parser.add_argument("--max-objects", type=int, default=1000, help="judge about this many objects a fold")
    parser.add_argument("--max-planned", type=int, default=400, help="plan about this many boxes a set")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    print(f"Placement judge, {datetime.date.today()}")
    if options.train:
        files = [options.train, *options.judge]
        if len(options.images or []) != len(files):
            parser.error("give --images one folder for --train and one for each --judge")
        train, *judged = (read_dataset(f, images=i) for f, i in zip(files, options.images, strict=True))
        todo = [(options.train.parent.name, lambda: iter([fit(train, tuple(judged))]))]
    else:
        todo = [(name, lambda name=name: folds_of(name, options.data)) for name in options.sets]
    for name, folds in todo:
        if name in SETS and name not in DRAWN and not (options.data / name).is_dir():
            print(f"\n{name}: skipped, {options.data / name} is not there")
            continue
        start, cases, planned = time.perf_counter(), [], []
        for fold in folds():
            cases += judge(fold, max_objects=options.max_objects, seed=options.seed)
            if options.max_planned and name != "taco":  # too few photographs of a category
                planned += judge_planned(
                    fold.train, fold.judged, layout=fold.layout, appearance=fold.appearance,
                    seed=options.seed, num=options.max_planned,
                )  # fmt: skip
        show(name, cases, time.perf_counter() - start)
        show_planned(planned)


if __name__ == "__main__":
    main()
