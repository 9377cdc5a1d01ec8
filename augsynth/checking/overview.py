"""What is good to know of a dataset before work: the windows a painter would need, and whether there is structure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from augsynth.affinity.model import Affinity
from augsynth.checking.findings import Case, Finding, case_of, suspicious
from augsynth.core.scene import Dataset
from augsynth.core.text import number_of
from augsynth.training.windows import WindowRules

MOST_CATEGORIES, MOST_IMAGES = 40, 2000  # that a verdict on structure is taken from
SIZES = (64, 128, 256, 512)  # pixels of a painter's window, from our smallest to public checkpoints'


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset in figures.

    Attributes:
        file: The annotation file.
        with_pictures: Whether its pictures are looked at.
        images, objects: How many can be used.
        categories: Name -> objects, in file order.
        windows: Sides in source pixels of the windows around objects: percentiles 5, 50 and 95; empty without objects.
        shown: Size of a painter's window -> share of windows that it shows without shrinking them.
        structure: Whether the categories of an image predict one another, in words; empty where there is nothing to
            fit.
        structured: The same as yes or no.
    """

    file: str
    with_pictures: bool
    images: int
    objects: int
    categories: dict[str, int]
    windows: tuple[int, ...]
    shown: dict[int, float]
    structure: str
    structured: bool

    def lines(self) -> list[str]:
        """Return it as lines for people."""
        counts = {"image": self.images, "object": self.objects, "category": len(self.categories)}
        told = [", ".join(number_of(count, noun) for noun, count in counts.items())]
        if self.windows:
            low, middle, high = self.windows
            shares = ", ".join(f"of {size} px {share:.0%}" for size, share in self.shown.items())
            told.append(
                f"windows around objects: median {middle} px, 9 of 10 from {low} to {high}; "
                f"shown without shrinking by a painter {shares}"
            )
        return [*told, *filter(None, [self.structure])]


def look_over(dataset: Dataset) -> tuple[Overview, list[Finding]]:
    """Return a dataset in figures, and what is to be noted of its objects and images."""
    rules = WindowRules(SIZES[0], 8, 1)
    context = (rules.min_context + rules.max_context) / 2
    sides: list[float] = []
    too_long: list[Case] = []
    counts: dict[int, int] = {}
    for scene in dataset.scenes:
        wh = scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]
        longest, least = wh.max(1, initial=0.0), min(scene.size_wh)
        for k in np.flatnonzero(~scene.is_crowd).tolist():
            counts[int(scene.category_ids[k])] = counts.get(int(scene.category_ids[k]), 0) + 1
            sides.append(min(float(longest[k]) * context, least))
            if np.ceil(longest[k]) > least:
                too_long.append(case_of(scene, [k], value=round(float(longest[k]), 2)))
    empty = [
        Case(image_id=scene.image_id, file_name=scene.file_name) for scene in dataset.scenes if not len(scene)
    ]
    verdict, structured = _structure(dataset, len(counts))
    array = np.array(sides)
    overview = Overview(
        file=str(dataset.source),
        with_pictures=dataset.image_root is not None,
        images=len(dataset.scenes),
        objects=len(sides),
        categories={c.name: counts.get(c.id, 0) for c in dataset.categories},
        windows=tuple(int(v) for v in np.ceil(np.percentile(array, (5, 50, 95)))) if sides else (),
        shown={size: round(float((array <= size).mean()), 3) for size in SIZES} if sides else {},
        structure=verdict,
        structured=structured,
    )
    source = str(dataset.source)
    return overview, [
        *suspicious("images_without_objects", source, empty),
        *suspicious("objects_without_window", source, too_long),
    ]


def _structure(dataset: Dataset, num_categories: int) -> tuple[str, bool]:
    """Return what the affinity says of structure, in words and as yes or no."""
    if num_categories < 2:
        return "", False
    part = _part(dataset)
    found: Any = Affinity.fit(part).structure
    told = f" Judged by {len(part.categories)} frequent categories in {len(part.scenes):,} images."
    return f"{found}{told if part is not dataset else ''}", bool(found.found)


def _part(dataset: Dataset) -> Dataset:
    """Return enough of a dataset for a verdict on structure in seconds: frequent categories, evenly spaced images."""
    ids, counts = np.unique(np.concatenate([s.category_ids for s in dataset.scenes]), return_counts=True)
    if len(ids) <= MOST_CATEGORIES and len(dataset.scenes) <= MOST_IMAGES:
        return dataset
    kept = ids[np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]]
    chosen = np.unique(np.linspace(0, len(dataset.scenes) - 1, MOST_IMAGES).astype(np.int64))
    some = [dataset.scenes[k] for k in chosen.tolist()]
    scenes = tuple(scene.keeping(np.isin(scene.category_ids, kept)) for scene in some)
    return replace(dataset, scenes=scenes, categories=tuple(c for c in dataset.categories if c.id in kept))
