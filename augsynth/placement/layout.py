"""Where and how large, relative to what is there: METHOD's layout, from annotations alone.

The density of a place is learned as a log ratio of real against random places of the same size in the same
image, from offsets to every anchor (`offsets`), size given position and scene (`sizes`) and simple geometry.
Conditioning on the scene makes it the pseudo-likelihood of a pairwise point process (Baddeley et al. 2014).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from augsynth.core.boxes import box_areas, intersections
from augsynth.core.scene import Dataset, FloatArray, IntArray, Scene
from augsynth.core.seeding import derive_rng
from augsynth.placement.boosting import BoostedTrees, Growth, fit_trees
from augsynth.placement.negatives import COMPARED, random_places, without_object
from augsynth.placement.relative_position import Offsets, count_offsets, offset_cells, offsets
from augsynth.placement.size import Sizes, fit_sizes, vertical_positions

_GROWTH = Growth()
_NUM_FOLDS = 4
_NUM_RANDOM = 30
_MAX_OBJECTS = 2500
_MAX_SCENES = 4000
_MAX_RANKS = 16
_FAR = 12.0


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
        counts = np.bincount([c.kind for c in comparisons], minlength=len(ids))
        ranks = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
        fold = {
            s.image_id: int(f) for s, f in zip(dataset.scenes, _folds(len(dataset.scenes), rng), strict=True)
        }
        scenes = [(s.image_id, *_anchors(s, index), s.size_wh) for s in _some_scenes(dataset, seed)]
        parts: list[FloatArray] = [np.zeros((0, 0))] * len(comparisons)
        for f in range(_NUM_FOLDS):
            seen = [c for c in comparisons if fold[c.image_id] != f]
            held = [k for k, c in enumerate(comparisons) if fold[c.image_id] == f]
            if held:
                part = _tables(ids, ranks, seen, [s[1:] for s in scenes if fold[s[0]] != f], seed)
                for k in held:
                    parts[k] = part._features(comparisons[k])
        layout = _tables(ids, ranks, comparisons, [s[1:] for s in scenes], seed)
        if not comparisons:
            return layout
        sizes = np.array([len(part) for part in parts])
        images = np.array([c.image_id for c in comparisons])
        trees = fit_trees(
            np.concatenate(parts), sizes, rng=derive_rng(seed, "trees"), clusters=images, growth=_GROWTH
        )
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
        kind, (anchors, kinds) = self.index_of(category_id), self.anchors(scene)
        deviation = self.sizes.deviation(anchors, kinds, scene.size_wh)
        return self.sizes.log_densities(boxes_xyxy, kind, scene.size_wh, deviation=deviation)

    def anchors(self, scene: Scene) -> tuple[FloatArray, IntArray]:
        """Return (M, 4) boxes and (M,) category indices of objects; crowds and unknown kinds are left out."""
        return _anchors(scene, _index(self.category_ids))

    def features(self, scene: Scene, boxes_xyxy: FloatArray, category_id: int) -> FloatArray:
        """Return the (N, F) columns that `trees` combine."""
        anchors, kinds = self.anchors(scene)
        kind = self.index_of(category_id)
        return self._features(_Comparison(scene.image_id, scene.size_wh, anchors, kinds, kind, boxes_xyxy))

    def _features(self, at: _Comparison) -> FloatArray:
        n = len(at.boxes)
        deviation = self.sizes.deviation(at.anchors, at.kinds, at.size_wh)
        fit = self.sizes.log_densities(at.boxes, at.kind, at.size_wh, deviation=deviation)
        rank = np.full(n, float(min(self.ranks[at.kind], _MAX_RANKS)))
        columns = [rank, fit, *_place_columns(at)]
        columns += _relation_columns(self.offsets, at)
        same = at.kinds == at.kind
        for chosen in (np.ones(len(same), bool), same, ~same):
            columns += _near_columns(at.anchors[chosen], at.boxes)
        return np.stack(columns, axis=1)

    def draw(
        self, scene: Scene, category_id: int, *, num: int, anchored_share: float, rng: np.random.Generator
    ) -> tuple[FloatArray, IntArray]:
        """Draw places for a category: a share next to anchors, the others anywhere; sizes to fit.

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
        deviation = self.sizes.deviation(scene.boxes_xyxy[usable], kinds[usable], scene.size_wh)
        height = np.clip(centres[:, 1] / size[1], 0, 1) - 0.5
        half = self.sizes.draw(height, kind, scene.size_wh, deviation=deviation, rng=rng) / 2
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
            return cls(
                tuple(int(c) for c in data["category_ids"]),
                np.asarray(data["ranks"], np.int64),
                Offsets.from_dict(data["offsets"]),
                Sizes.from_dict(data["sizes"]),
                BoostedTrees.from_dict(data["evidence"]),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a layout: {error!r}; build the affinity file again") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Comparison:
    """Boxes of one size in one scene: in fitting, the real one first, then random ones."""

    image_id: int
    size_wh: tuple[int, int]
    anchors: FloatArray
    kinds: IntArray
    kind: int
    boxes: FloatArray


def _anchors(scene: Scene, index: Mapping[int, int]) -> tuple[FloatArray, IntArray]:
    kinds = np.array([index.get(int(c), -1) for c in scene.category_ids], np.int64)
    keep = (kinds >= 0) & ~scene.is_crowd
    return scene.boxes_xyxy[keep], kinds[keep]


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


def _compare(dataset: Dataset, index: Mapping[int, int], rng: np.random.Generator) -> list[_Comparison]:
    """Return each real object (or a sample of them) with random places of its size."""
    total = sum(int((~s.is_crowd).sum()) for s in dataset.scenes)
    share = min(1.0, _MAX_OBJECTS / max(total, 1))
    found = []
    for scene in dataset.scenes:
        for k in np.flatnonzero(~scene.is_crowd & (rng.random(len(scene)) < share)):
            box, rest = scene.boxes_xyxy[k], without_object(scene, int(k))
            random = random_places(
                rest, box[2:] - box[:2], num=_NUM_RANDOM, rng=rng, avoid_xyxy=box, **COMPARED
            )
            kind = index.get(int(scene.category_ids[k]))
            if len(random) and kind is not None:
                boxes = np.concatenate([box[None], random])
                anchors, kinds = _anchors(rest, index)
                found.append(_Comparison(scene.image_id, scene.size_wh, anchors, kinds, kind, boxes))
    return found


def _tables(
    ids: tuple[int, ...],
    ranks: IntArray,
    comparisons: list[_Comparison],
    scenes: list[tuple[FloatArray, IntArray, tuple[int, int]]],
    seed: int,
) -> Layout:
    """Return a layout whose trees are still missing."""
    groups = [(c.kinds, c.kind, offset_cells(c.anchors, c.boxes)) for c in comparisons if len(c.anchors)]
    table = count_offsets(groups, len(ids))
    sizes = fit_sizes(scenes, len(ids), rng=derive_rng(seed, "sizes"))
    return Layout(ids, ranks, table, sizes, BoostedTrees.empty())


def _place_columns(at: _Comparison) -> list[FloatArray]:
    """Return columns of position, size and company that need no anchor."""
    far = np.array(at.size_wh, np.float64)
    wh = at.boxes[:, 2:] - at.boxes[:, :2]
    side = wh.max(axis=1)
    gaps = np.concatenate([at.boxes[:, :2], far - at.boxes[:, 2:]], axis=1) / side[:, None]
    same = float((at.kinds == at.kind).sum())
    n = len(at.boxes)
    return [
        vertical_positions(at.boxes, at.size_wh),
        np.abs(at.boxes[:, [0, 2]].mean(axis=1) / far[0] - 0.5),
        gaps.min(axis=1),
        gaps[:, [0, 2]].min(axis=1),
        np.log(side / np.sqrt(far.prod())),
        np.log(wh[:, 0] / wh[:, 1]),
        np.full(n, np.log1p(len(at.kinds))),
        np.full(n, np.log1p(same)),
    ]


def _relation_columns(table: Offsets, at: _Comparison) -> list[FloatArray]:
    """Return the log lifts of all anchors: mixture, product, best and nearest, for both kernels."""
    n = len(at.boxes)
    if not len(at.anchors):
        return [np.zeros(n)] * 8
    narrow, wide = table.log_lifts(at.kinds, at.kind, offset_cells(at.anchors, at.boxes))
    offset, _ = offsets(at.anchors, at.boxes)
    nearest = np.hypot(offset[..., 0], offset[..., 1]).argmin(axis=1)
    columns = []
    for lift in (narrow.astype(np.float64), wide.astype(np.float64)):
        columns += [np.log(np.exp(lift).mean(axis=1)), lift.sum(axis=1), lift.max(axis=1)]
        columns.append(lift[np.arange(n), nearest])
    return columns


def _near_columns(anchors: FloatArray, boxes: FloatArray) -> list[FloatArray]:
    """Return columns about the nearest of some anchors and the crowd around."""
    n = len(boxes)
    if not len(anchors):
        return [np.full(n, v) for v in (_FAR, _FAR, _FAR, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    offset, sides = offsets(anchors, boxes)
    own = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    distance = np.hypot(offset[..., 0], offset[..., 1])
    shared = distance * np.sqrt(sides / own[:, None])
    nearest, row = shared.argmin(axis=1), np.arange(n)
    cover = intersections(boxes, anchors)
    gap = np.clip(
        np.maximum(boxes[:, None, :2] - anchors[:, 2:], anchors[:, :2] - boxes[:, None, 2:]), 0, None
    )
    gaps = np.hypot(gap[..., 0], gap[..., 1]) / np.sqrt(sides * own[:, None])
    unit = offset[row, nearest] / (distance[row, nearest] + 0.1)[:, None]
    return [
        np.minimum(shared[row, nearest], _FAR),
        np.minimum(distance.min(axis=1), _FAR),
        np.minimum(gaps.min(axis=1), _FAR),
        (cover / box_areas(boxes)[:, None]).max(axis=1),
        (cover / box_areas(anchors)).max(axis=1),
        unit[:, 1],
        np.abs(unit[:, 0]),
        np.log(own / sides[nearest]),
        np.exp(-((shared / 3) ** 2) / 2).sum(axis=1),
    ]
