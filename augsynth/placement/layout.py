"""Where and how large, relative to what is there: from annotations alone (docs/method.md §2).

The density of a place is learned as a log ratio of real against random places of the same size in the same
image, from offsets to every anchor (`offsets`), size given position and scene (`sizes`) and simple geometry.
Conditioning on the scene makes it the pseudo-likelihood of a pairwise point process (Baddeley et al. 2014).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.arrays import unique_ids, wholes
from augsynth.core.scene import Dataset, FloatArray, IntArray, Scene
from augsynth.core.seeding import derive_rng
from augsynth.placement.boosting import BoostedTrees, fit_trees
from augsynth.placement.free_standing import stand_free
from augsynth.placement.layout_features import (
    Comparison,
    Pairs,
    near_columns,
    place_columns,
    relation_columns,
)
from augsynth.placement.negatives import COMPARED, compared_objects, random_places, without_object
from augsynth.placement.relative_position import OffsetCounts, Offsets, fit_offsets
from augsynth.placement.size import Sizes
from augsynth.placement.size_fitting import MeasuredObjects, fit_sizes

_NUM_FOLDS = 4
_NUM_RANDOM = 15  # random places of each real one; twice as many teach nothing that a judge could measure
_MAX_OBJECTS = 2500
_MAX_SCENES = 4000
_MAX_RANKS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Layout statistics of a dataset.

    Attributes:
        category_ids: COCO ids in dataset order; indices below refer to it.
        ranks: (C,) rank of each category by its number of objects, 0 the commonest.
        offsets: Where objects lie relative to one another.
        sizes: How large they are.
        trees: Combine the features of `features` into a log density.
    """

    category_ids: tuple[int, ...]
    ranks: IntArray
    offsets: Offsets
    sizes: Sizes
    trees: BoostedTrees

    @classmethod
    def fit(cls, dataset: Dataset, *, seed: int = 42) -> Layout:
        """Learn the layout of a dataset from its annotations.

        Args:
            dataset: Images are not read.
            seed: Draws the random places that real ones are compared with.
        """
        ids = tuple(c.id for c in dataset.categories)
        index = _index(ids)
        rng = derive_rng(seed, "layout")
        comparisons = _compare(dataset, index, rng)
        counts = [OffsetCounts.of(c.kinds, c.kind, c.cells) for c in comparisons]
        number = np.bincount([c.kind for c in comparisons], minlength=len(ids))
        ranks = np.argsort(np.argsort(-number, kind="stable"), kind="stable")
        fold = {
            s.image_id: int(f) for s, f in zip(dataset.scenes, _folds(len(dataset.scenes), rng), strict=True)
        }
        scenes = _some_scenes(dataset, seed)
        objects = MeasuredObjects.of([(*_anchors(s, index), s.size_wh) for s in scenes])
        fold_of = np.array([fold[s.image_id] for s in scenes])
        parts: list[FloatArray] = [np.zeros((0, 0))] * len(comparisons)
        for f in range(_NUM_FOLDS):
            seen = [n for n, c in zip(counts, comparisons, strict=True) if fold[c.image_id] != f]
            held = [k for k, c in enumerate(comparisons) if fold[c.image_id] == f]
            if held:
                part = _tables(ids, ranks, seen, objects.of_scenes(fold_of != f), seed)
                for k in held:
                    parts[k] = part._features(comparisons[k])
        layout = _tables(ids, ranks, counts, objects, seed)
        if not comparisons:
            return layout
        sizes = np.array([len(part) for part in parts])
        images = np.array([c.image_id for c in comparisons])
        trees = fit_trees(np.concatenate(parts), sizes, rng=derive_rng(seed, "trees"), clusters=images)
        # Through the file form, so that a layout read back scores exactly as the one that was fitted.
        return cls.from_dict(cls(ids, ranks, layout.offsets, layout.sizes, trees).to_dict())

    def index_of(self, category_id: int) -> int:
        """Return the index of a COCO category id.

        Raises:
            ValueError: The layout knows no such category.
        """
        if category_id not in self.category_ids:
            raise ValueError(f"category_id {category_id} is not one of the layout's {self.category_ids}")
        return self.category_ids.index(category_id)

    def log_densities(self, scene: Scene, boxes_xyxy: FloatArray, category_id: int) -> FloatArray:
        """Return (N,) log density of places for a category, relative to uniform, up to a constant."""
        return self.trees.scores(self.features(scene, boxes_xyxy, category_id))

    def log_sizes(self, scene: Scene, boxes_xyxy: FloatArray, category_id: int) -> FloatArray:
        """Return (N,) log p(size | category, position, scene)."""
        kind, deviation = self.index_of(category_id), self._deviation(scene)
        return self.sizes.log_densities(boxes_xyxy, kind, scene.size_wh, deviation=deviation)

    def usual_side(self, scene: Scene, category_id: int) -> float:
        """Return the longer side in pixels that an object of a category most likely has at mid height of a scene."""
        log_side = self.sizes.centres[self.index_of(category_id)] + self._deviation(scene)
        return float(np.exp(log_side) * np.sqrt(np.prod(scene.size_wh, dtype=float)))

    def _deviation(self, scene: Scene) -> float:
        return self.sizes.deviation(*self.anchors(scene), scene.size_wh)

    def anchors(self, scene: Scene) -> tuple[FloatArray, IntArray]:
        """Return (M, 4) boxes and (M,) category indices of objects; crowds and unknown kinds are left out."""
        return _anchors(scene, _index(self.category_ids))

    def features(self, scene: Scene, boxes_xyxy: FloatArray, category_id: int) -> FloatArray:
        """Return the (N, F) columns that `trees` combine."""
        anchors, kinds = self.anchors(scene)
        kind = self.index_of(category_id)
        free = stand_free(anchors, scene.size_wh)
        return self._features(Comparison.of(scene, anchors, kinds, free, kind, boxes_xyxy))

    def _features(self, at: Comparison) -> FloatArray:
        n = len(at.boxes)
        deviation = self.sizes.deviation(at.anchors, at.kinds, at.size_wh, free=at.free)
        fit = self.sizes.log_densities(at.boxes, at.kind, at.size_wh, deviation=deviation)
        rank = np.full(n, float(min(self.ranks[at.kind], _MAX_RANKS)))
        columns = [rank, fit, *place_columns(at)]
        pairs = Pairs.of(at)
        columns += relation_columns(self.offsets, at, pairs)
        same = at.kinds == at.kind
        for chosen in (pairs, pairs.of_anchors(same), pairs.of_anchors(~same)):
            columns += near_columns(chosen, n)
        return np.stack(columns, axis=1)

    def draw(
        self, scene: Scene, category_id: int, *, num: int, anchored_share: float, rng: np.random.Generator
    ) -> tuple[FloatArray, IntArray]:
        """Draw places for an object of a category: a share next to anchors, the others anywhere.

        Size and shape are one draw of the category's, seen at each place: what is easily placed isn't planned more
        often for that.

        Args:
            scene: Gives the anchors; without any, all places are drawn anywhere.
            category_id: What is to be placed.
            num: Number of draws.
            anchored_share: Share of the draws next to an anchor, in [0, 1].
            rng: Where the draws come from.

        Returns:
            (K, 4) boxes inside the image, K ≤ num, and the (K,) index of each one's anchor among the scene's
            objects, or -1.
        """
        kind, size = self.index_of(category_id), np.array(scene.size_wh, np.float64)
        kinds = np.array([_index(self.category_ids).get(int(c), -1) for c in scene.category_ids], np.int64)
        usable = np.flatnonzero((kinds >= 0) & ~scene.is_crowd)
        chosen = np.full(num, -1)
        if len(usable):
            chosen[: round(anchored_share * num)] = rng.choice(usable, round(anchored_share * num))
        centres = rng.random((num, 2)) * size
        for a in np.unique(chosen[chosen >= 0]):
            mine = np.flatnonzero(chosen == a)
            box = scene.boxes_xyxy[a]
            offset = self.offsets.draw(int(kinds[a]), kind, num=len(mine), rng=rng)
            centres[mine] = (box[:2] + box[2:]) / 2 + offset * (box[2:] - box[:2]).max()
        deviation = self._deviation(scene)
        height = np.clip(centres[:, 1] / size[1], 0, 1) - 0.5
        half = self.sizes.draw(height, kind, scene.size_wh, deviation=deviation, rng=rng, alike=True) / 2
        boxes = np.hstack([centres - half, centres + half])
        inside = (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= size).all(axis=1)
        return boxes[inside], chosen[inside]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {
            "category_ids": list(self.category_ids),
            "ranks": self.ranks.tolist(),
            "offsets": self.offsets.to_dict(),
            "sizes": self.sizes.to_dict(),
            "evidence": self.trees.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Layout:
        """Return the layout of `to_dict`.

        Raises:
            ValueError: A key is missing or holds something else.
        """
        try:
            category_ids = tuple(unique_ids(data["category_ids"], "category_ids").tolist())
            num = len(category_ids)
            layout = cls(
                category_ids,
                wholes(data["ranks"], "ranks", (num,), high=max(num - 1, 0)),
                Offsets.from_dict(data["offsets"]),
                Sizes.from_dict(data["sizes"]),
                BoostedTrees.from_dict(data["evidence"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a layout: {error!r}") from error
        if layout.offsets.num_categories != num or len(layout.sizes.centres) != num:
            raise ValueError(f"not a layout of {num} categories")
        if num:
            everything = np.array([[0.0, 0.0, 1.0, 1.0]])
            columns = layout.features(Scene(0, "", (1, 1)), everything, category_ids[0]).shape[1]
            layout.trees.check_columns(columns)
        return layout


def _anchors(scene: Scene, index: Mapping[int, int]) -> tuple[FloatArray, IntArray]:
    keep = _known(scene, index)
    kinds = np.array([index[c] for c in scene.category_ids[keep].tolist()], np.int64)
    return scene.boxes_xyxy[keep], kinds


def _known(scene: Scene, index: Mapping[int, int]) -> NDArray[np.bool_]:
    """Return (N,) bool: an object that may be an anchor, no crowd and of a known category."""
    known = np.array([category_id in index for category_id in scene.category_ids.tolist()], np.bool_)
    return known & ~scene.is_crowd


def _index(category_ids: tuple[int, ...]) -> dict[int, int]:
    return {c: i for i, c in enumerate(category_ids)}


def _some_scenes(dataset: Dataset, seed: int) -> list[Scene]:
    """Return the scenes that sizes are learned from: all, or a sample of a large data set."""
    if len(dataset.scenes) <= _MAX_SCENES:
        return list(dataset.scenes)
    chosen = derive_rng(seed, "scenes").choice(len(dataset.scenes), _MAX_SCENES, replace=False)
    return [dataset.scenes[i] for i in np.sort(chosen)]


def _folds(num: int, rng: np.random.Generator) -> IntArray:
    return np.asarray(rng.permutation(num) % _NUM_FOLDS)


def _compare(dataset: Dataset, index: Mapping[int, int], rng: np.random.Generator) -> list[Comparison]:
    """Return each real object (or a sample of them) with random places of its size."""
    crowds = np.concatenate([np.zeros(0, np.bool_), *(s.is_crowd for s in dataset.scenes)])
    share = _MAX_OBJECTS / max(int((~crowds).sum()), 1)
    drawn = ~crowds & (rng.random(len(crowds)) < share)
    ends = np.cumsum([len(s) for s in dataset.scenes])
    found = []
    for at in np.unique(np.searchsorted(ends, np.flatnonzero(drawn), side="right")).tolist():
        scene = dataset.scenes[at]
        chosen = compared_objects(scene, drawn[ends[at] - len(scene) : ends[at]], rng=rng)
        free = stand_free(scene.boxes_xyxy, scene.size_wh)
        for k in chosen.tolist():
            box, rest = scene.boxes_xyxy[k], without_object(scene, k)
            random = random_places(
                rest, box[2:] - box[:2], num=_NUM_RANDOM, rng=rng, avoid_xyxy=box, **COMPARED
            )
            kind = index.get(int(scene.category_ids[k]))
            if len(random) and kind is not None:
                boxes = np.concatenate([box[None], random])
                anchors, kinds = _anchors(rest, index)
                known = _known(rest, index)
                found.append(Comparison.of(scene, anchors, kinds, np.delete(free, k)[known], kind, boxes))
    return found


def _tables(
    ids: tuple[int, ...],
    ranks: IntArray,
    seen: list[OffsetCounts],
    objects: MeasuredObjects,
    seed: int,
) -> Layout:
    """Return a layout whose trees are still missing."""
    table = fit_offsets(seen, len(ids))
    sizes = fit_sizes(objects, len(ids), rng=derive_rng(seed, "sizes"))
    return Layout(ids, ranks, table, sizes, BoostedTrees.empty())
