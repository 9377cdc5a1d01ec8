"""Folds of a dataset: groups stay together, and every fold gets its share of every category.

scikit-learn's StratifiedGroupKFold knows one label an image, iterative-stratification knows several labels
but no groups (its author declined them), so the method is our own: the greedy idea of Sechidis, Tsoumakas
and Vlahavas, "On the stratification of multi-label data" (ECML PKDD 2011), on groups instead of samples and
with counts instead of flags, followed by moves of single groups while they make the folds more even.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augsynth.coco.json_lines import write_json
from augsynth.core.errors import ConfigError
from augsynth.core.files import fill_folder, is_unfinished
from augsynth.core.scene import Dataset, FloatArray, IntArray
from augsynth.core.seeding import derive_rng
from augsynth.core.text import printable

if TYPE_CHECKING:
    from rich.table import Table

_MAX_PASSES = 20
_TRIES, _MANY_GROUPS = 8, 5000


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Which fold each image is held out in.

    Attributes:
        fold_of_image: (N,) fold of each scene, from 0.
        num_groups: (K,) groups of each fold.
        objects: (C, K) annotations of each category and fold, crowds included.
        images: (C, K) images that show the category.
        image_counts: (K,) images of each fold.
        names: (C,) category names.
        alone: Images that the pattern or key says nothing about, each a group of its own.
    """

    fold_of_image: IntArray
    num_groups: IntArray
    objects: IntArray
    images: IntArray
    image_counts: IntArray
    names: tuple[str, ...]
    alone: int


def split_dataset(
    dataset: Dataset,
    *,
    num_folds: int,
    group_pattern: str | None = None,
    group_key: str | None = None,
    seed: int = 42,
) -> Split:
    """Divide a dataset into folds.

    Args:
        dataset: Crowds count as objects of their category.
        num_folds: Number of folds, ≥ 2.
        group_pattern: Regular expression searched in `file_name`; images with the same match, or the same
            capture groups where it has some, stay together.
        group_key: Key of the image records whose value says the group, instead of a pattern.
        seed: Breaks ties and orders what is tried.

    Raises:
        ConfigError: The pattern or key fits no image, both are given, or there are too few groups.
    """
    groups, alone = group_images(dataset, group_pattern=group_pattern, group_key=group_key)
    num_groups = int(groups.max()) + 1
    if not 2 <= num_folds <= num_groups:
        what = "images" if num_groups == len(groups) else "groups of images"
        raise ConfigError(f"folds is {num_folds}; with {num_groups} {what} it must lie in [2, {num_groups}]")
    objects, present = _counts(dataset)
    columns = [objects, present, np.ones((len(groups), 1))]
    totals = np.zeros((num_groups, sum(c.shape[1] for c in columns)))
    np.add.at(totals, groups, np.concatenate(columns, axis=1))
    weights = np.ones(totals.shape[1])
    weights[-1] = max(
        1.0, np.count_nonzero(objects.sum(axis=0)) / 2
    )  # sizes matter as much as many categories
    fold_of_group = assign_folds(totals, num_folds=num_folds, weights=weights, seed=seed)
    fold = fold_of_group[groups]
    inside = fold[:, None] == np.arange(num_folds)
    return Split(
        fold_of_image=fold,
        num_groups=np.bincount(fold_of_group, minlength=num_folds),
        objects=np.rint(objects.T @ inside).astype(np.int64),
        images=np.rint(present.T @ inside).astype(np.int64),
        image_counts=inside.sum(axis=0),
        names=tuple(c.name for c in dataset.categories),
        alone=alone,
    )


def group_images(
    dataset: Dataset, *, group_pattern: str | None, group_key: str | None
) -> tuple[IntArray, int]:
    """Return the (N,) group number of each scene, and how many scenes the rule says nothing about.

    Without a rule every image is a group of its own.

    Raises:
        ConfigError: The pattern or key fits no image, or both are given.
    """
    if group_pattern is not None and group_key is not None:
        raise ConfigError("group_pattern and group_key are both given; give one")
    records = dataset.document["images"]
    keys: Sequence[Hashable | None] = [None] * len(records)
    if group_pattern is not None:
        keys = _matches(group_pattern, [scene.file_name for scene in dataset.scenes])
    elif group_key is not None:
        keys = [_plain(record.get(group_key)) for record in records]
        if all(key is None for key in keys):
            known = ", ".join(sorted({key for record in records for key in record}))
            raise ConfigError(f"group_key {group_key!r} is in no image record; the keys are {known}")
    numbers: dict[Hashable, int] = {}
    groups = [
        numbers.setdefault(("image", scene.image_id) if key is None else ("key", key), len(numbers))
        for scene, key in zip(dataset.scenes, keys, strict=True)
    ]
    ruled = group_pattern is not None or group_key is not None
    return np.array(groups, np.int64), sum(key is None for key in keys) if ruled else 0


def _matches(pattern: str, names: Sequence[str]) -> list[Hashable | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"group_pattern {pattern!r} is no regular expression ({error}); mend it") from None
    found = [compiled.search(name) for name in names]
    if not any(found):
        raise ConfigError(f"group_pattern {pattern!r} fits no file_name; one is {names[0]!r}")
    return [None if m is None else (m.groups() or m.group()) for m in found]


def _plain(value: Any) -> Hashable | None:
    return value if isinstance(value, str | int | float | None) else repr(value)


def _counts(dataset: Dataset) -> tuple[FloatArray, FloatArray]:
    """Return (N, C) objects, and 1 where the category is present."""
    column = {category.id: i for i, category in enumerate(dataset.categories)}
    objects = np.zeros((len(dataset.scenes), len(column)))
    for row, scene in enumerate(dataset.scenes):
        for category, count in Counter(scene.category_ids.tolist()).items():
            if category in column:
                objects[row, column[category]] = count
    return objects, (objects > 0).astype(np.float64)


def assign_folds(totals: FloatArray, *, num_folds: int, weights: FloatArray, seed: int) -> IntArray:
    """Return the (G,) fold of each group such that every column is spread evenly.

    What is made small is the sum over folds and columns of weight · (share of the column − 1/K)², so that a rare
    category counts as much as a frequent one. The best of a few tries is taken.

    Args:
        totals: (G, F) what each group holds of what is to be spread.
        num_folds: K, at most G.
        weights: (F,) importance of the columns.
        seed: Draws the orders.
    """
    shares = totals / np.maximum(totals.sum(axis=0), 1e-12) * np.sqrt(weights)
    best: tuple[float, IntArray] | None = None
    for number in range(_TRIES if len(totals) <= _MANY_GROUPS else 1):
        rng = derive_rng(seed, "split", number)
        folds = _fill(shares, num_folds, rng)
        sums = _improve(shares, folds, num_folds, rng)
        uneven = float(((sums - sums.mean(axis=0)) ** 2).sum())
        if best is None or uneven < best[0] - 1e-12:
            best = uneven, folds
    assert best is not None  # there is at least one try
    return best[1]


def _fill(shares: FloatArray, num_folds: int, rng: np.random.Generator) -> IntArray:
    """Place the groups, those that weigh most first, each where it does least harm."""
    num_groups = len(shares)
    order = rng.permutation(num_groups)
    order = order[np.argsort(-(shares[order] ** 2).sum(axis=1), kind="stable")]
    folds = np.zeros(num_groups, np.int64)
    sums, counts = np.zeros((num_folds, shares.shape[1])), np.zeros(num_folds, np.int64)
    for done, group in enumerate(order.tolist()):
        harm = sums @ shares[group] + 1e-9 * counts
        if (counts == 0).sum() >= num_groups - done:  # the last groups fill the folds that are still empty
            harm = np.where(counts == 0, harm, np.inf)
        fold = int(rng.choice(np.flatnonzero(harm <= harm.min() + 1e-15)))
        folds[group] = fold
        sums[fold] += shares[group]
        counts[fold] += 1
    return folds


def _improve(shares: FloatArray, folds: IntArray, num_folds: int, rng: np.random.Generator) -> FloatArray:
    """Move single groups to another fold while that makes the folds more even; return the (K, F) sums."""
    sums = np.zeros((num_folds, shares.shape[1]))
    np.add.at(sums, folds, shares)
    counts = np.bincount(folds, minlength=num_folds)
    for _ in range(_MAX_PASSES):
        moved = False
        for group in rng.permutation(len(shares)).tolist():
            own, row = int(folds[group]), shares[group]
            if counts[own] == 1:
                continue
            change = (sums - sums[own]) @ row + row @ row  # half of the change of the sum of squares
            change[own] = 0.0
            target = int(change.argmin())
            if change[target] < -1e-12:
                sums[own] -= row
                sums[target] += row
                counts[own] -= 1
                counts[target] += 1
                folds[group] = target
                moved = True
        if not moved:
            break
    return sums


def is_fold_file(name: str) -> bool:
    """Tell whether a file in the output has a name that `write_folds` gives."""
    return name == "split.json" or re.fullmatch(r"fold_[0-9]+_(train|val)\.json", name) is not None


def write_folds(out: Path, dataset: Dataset, split: Split, *, settings: Mapping[str, Any]) -> list[Path]:
    """Write `fold_<k>_train.json` and `fold_<k>_val.json` for every fold, and `split.json` last.

    Records are those of the source, in its order; categories and all other blocks are complete in every file. What a
    process that was killed has left is written anew.

    Raises:
        ConfigError: The directory holds something.
        OutputError: It can't be written.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not is_unfinished(out)):
        raise ConfigError(f"{out}: isn't an empty directory; nothing was changed; choose another --out")
    document = dataset.document
    fold_of = {s.image_id: int(f) for s, f in zip(dataset.scenes, split.fold_of_image, strict=True)}
    images = [[i for i, f in fold_of.items() if f == fold] for fold in range(len(split.image_counts))]
    names = []
    with fill_folder(out, is_own=is_fold_file, last="split.json") as draft:
        for fold, part in itertools.product(range(len(images)), ("train", "val")):
            held_out = part == "val"
            blocks = {
                "images": [r for r in document["images"] if (fold_of[r["id"]] == fold) == held_out],
                "annotations": [
                    r for r in document["annotations"] if (fold_of[r["image_id"]] == fold) == held_out
                ],
            }
            names.append(f"fold_{fold + 1}_{part}.json")
            write_json(draft / names[-1], {**document, **blocks})
        write_json(draft / "split.json", {**settings, "val_image_ids": dict(enumerate(images, start=1))})
    return [out / name for name in names]


def balance_table(split: Split) -> Table:
    """Return the table a user reads: for each category the objects that each fold holds out, and their share."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="objects held out by fold (share of the category)", title_justify="left")
    table.add_column("category")
    for title in ("objects", *(f"fold {k + 1}" for k in range(len(split.image_counts)))):
        table.add_column(title, justify="right", no_wrap=True)
    for name, row in zip(split.names, split.objects, strict=True):
        total = int(row.sum())
        table.add_row(
            Text(printable(name)),
            f"{total:,}",
            *(f"{v:,} ({v / total:.0%})" if total else "0" for v in row.tolist()),
        )
    table.add_section()
    for name, row in (("images", split.image_counts), ("groups", split.num_groups)):
        total = int(row.sum())
        table.add_row(name, f"{total:,}", *(f"{v:,} ({v / total:.0%})" for v in row.tolist()))
    return table
