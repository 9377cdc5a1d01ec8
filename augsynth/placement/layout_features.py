"""What tells a likely place from an unlikely one: the columns that the layout's trees combine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import box_areas, intersections
from augsynth.core.scene import FloatArray, IntArray, Scene
from augsynth.placement.relative_position import Offsets, offset_cells, offsets
from augsynth.placement.size import vertical_positions

_FAR = 12.0  # in longer sides: beyond it distances are alike


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Boxes of one size in one scene: in fitting, the real one first, then random ones.

    Attributes:
        image_id: Of the scene.
        size_wh: Of its image, in pixels.
        anchors: (M, 4) boxes of what is there.
        kinds: (M,) their category indices.
        free: (M,) bool, whether they stand free.
        kind: Category index of the boxes.
        boxes: (N, 4) boxes.
        cells: (N, M) log-polar cells of the boxes as seen from the anchors.
    """

    image_id: int
    size_wh: tuple[int, int]
    anchors: FloatArray
    kinds: IntArray
    free: NDArray[np.bool_]
    kind: int
    boxes: FloatArray
    cells: IntArray

    @classmethod
    def of(
        cls,
        scene: Scene,
        anchors: FloatArray,
        kinds: IntArray,
        free: NDArray[np.bool_],
        kind: int,
        boxes: FloatArray,
    ) -> Comparison:
        """Return the comparison of boxes, with their cells."""
        cells = offset_cells(offsets(anchors, boxes)[0])
        return cls(scene.image_id, scene.size_wh, anchors, kinds, free, kind, boxes, cells)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Each of N boxes against each of M anchors, lengths in longer sides.

    Attributes:
        offset: (N, M, 2) from the anchor's centre, in the anchor's sides; distance: (N, M) its length.
        shared: (N, M) the distance in the mean of both sides; gaps: (N, M) between the edges, likewise.
        inside: (N, M) share of the box that the anchor covers; covered: (N, M) share of the anchor.
        larger: (N, M) side of the box over that of the anchor.
    """

    offset: FloatArray
    distance: FloatArray
    shared: FloatArray
    gaps: FloatArray
    inside: FloatArray
    covered: FloatArray
    larger: FloatArray

    @classmethod
    def of(cls, at: Comparison) -> Pairs:
        """Measure the pairs of a comparison."""
        anchors, boxes = at.anchors, at.boxes
        offset, sides = offsets(anchors, boxes)
        own = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)[:, None]
        distance = np.hypot(offset[..., 0], offset[..., 1])
        cover = intersections(boxes, anchors)
        gap = np.clip(
            np.maximum(boxes[:, None, :2] - anchors[:, 2:], anchors[:, :2] - boxes[:, None, 2:]), 0, None
        )
        return cls(
            offset,
            distance,
            distance * np.sqrt(sides / own),
            np.hypot(gap[..., 0], gap[..., 1]) / np.sqrt(sides * own),
            cover / box_areas(boxes)[:, None],
            cover / box_areas(anchors),
            own / sides,
        )

    def of_anchors(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Return the pairs with some of the anchors, by (M,) bool."""
        return Pairs(*(np.compress(chosen, getattr(self, name), axis=1) for name in self.__slots__))


def place_columns(at: Comparison) -> list[FloatArray]:
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


def relation_columns(table: Offsets, at: Comparison, pairs: Pairs) -> list[FloatArray]:
    """Return the log lifts of all anchors: mixture, product, best and nearest, for both kernels."""
    n = len(at.boxes)
    if not len(at.anchors):
        return [np.zeros(n)] * 8
    narrow, wide = table.log_lifts(at.kinds, at.kind, at.cells)
    nearest = pairs.distance.argmin(axis=1)
    columns = []
    for lift in (narrow.astype(np.float64), wide.astype(np.float64)):
        columns += [np.log(np.exp(lift).mean(axis=1)), lift.sum(axis=1), lift.max(axis=1)]
        columns.append(lift[np.arange(n), nearest])
    return columns


def near_columns(pairs: Pairs, n: int) -> list[FloatArray]:
    """Return columns about the nearest of some anchors and the crowd around."""
    if not pairs.distance.shape[1]:
        return [np.full(n, v) for v in (_FAR, _FAR, _FAR, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    nearest, row = pairs.shared.argmin(axis=1), np.arange(n)
    unit = pairs.offset[row, nearest] / (pairs.distance[row, nearest] + 0.1)[:, None]
    return [
        np.minimum(pairs.shared[row, nearest], _FAR),
        np.minimum(pairs.distance.min(axis=1), _FAR),
        np.minimum(pairs.gaps.min(axis=1), _FAR),
        pairs.inside.max(axis=1),
        pairs.covered.max(axis=1),
        unit[:, 1],
        np.abs(unit[:, 0]),
        np.log(pairs.larger[row, nearest]),
        np.exp(-((pairs.shared / 3) ** 2) / 2).sum(axis=1),
    ]
