"""What to paste and where, cheaply enough for a data loader: METHOD's placement on few candidates.

Candidate places come from the layout, cut-outs from a stock; a pair's score is the layout's log density and
size, how far the cut-out must be scaled, and how much the surroundings it was cut from resemble the place's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from augsynth.geometry import clip_boxes
from augsynth.layout import Layout
from augsynth.offsets import NUM_CELLS, cell_offset
from augsynth.paste import Patch
from augsynth.placement import overlaps
from augsynth.scene import FloatArray, Image, IntArray, Scene

NUM_RING = 4
_SIDE = 96
_RING_SCALE = np.array([0.08, 0.05, 0.05, 0.06])
_NUM_ANCHORS = 4
_NUM_TRIES = 8
_MAX_TABLES = 2000


@dataclass(frozen=True, slots=True)
class PasteRules:
    """What a pasted object must fulfil, and how places are compared.

    Attributes:
        max_overlap: Largest share of an object, crowd or ignore region that may be covered, in [0, 1].
        min_size: Least side of a pasted object in pixels.
        min_scale, max_scale: How much smaller or larger an object may become, relative to its own picture.
        num_places: Places that are compared.
        anchored_share: Share of them that the layout proposes next to an object, in [0, 1].
        num_cutouts: Cut-outs that are compared.
        size_weight: Weight of log p(size | category, position, scene).
        scale_weight: Price of a change of scale, per natural log squared.
        ring_weight: Price of surroundings that differ from those the cut-out comes from, in typical spreads.
        max_unlike: Largest such difference.
        max_unlike_box: The same where no outline of the object is known, so that its background comes along.
        max_unrest_box: Largest spread of brightness, in [0, 1], around a place for such an object.
        temperature: Width of the choice; towards 0 the best pair is taken.

    Raises:
        ValueError: A field lies outside its range.
    """

    max_overlap: float = 0.1
    min_size: float = 4.0
    min_scale: float = 0.5
    max_scale: float = 1.5
    num_places: int = 24
    anchored_share: float = 0.6
    num_cutouts: int = 6
    size_weight: float = 0.5
    scale_weight: float = 4.0
    ring_weight: float = 1.0
    max_unlike: float = 3.0
    max_unlike_box: float = 1.5
    max_unrest_box: float = 0.06
    temperature: float = 0.5

    def __post_init__(self) -> None:
        ranges = {"max_overlap": (0, 1), "min_size": (1, 1e6), "min_scale": (0.05, 1), "max_scale": (1, 20)}
        ranges |= {"num_places": (1, 1e4), "anchored_share": (0, 1), "num_cutouts": (1, 1e4)}
        ranges |= {"size_weight": (0, 100), "scale_weight": (0, 100), "ring_weight": (0, 100)}
        ranges |= {"max_unlike": (0, 1e6), "max_unlike_box": (0, 1e6), "max_unrest_box": (0, 1)}
        for name, (low, high) in (ranges | {"temperature": (1e-6, 1e6)}).items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value}")


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """Cut-outs to choose from, described without their pixels.

    Attributes:
        members: Category id -> positions of its cut-outs.
        sizes_wh: (N, 2) boxes' sides over the square root of their picture's area.
        ring: Position -> (4,) surroundings as of `Surroundings.rings`; empty when unknown.
        cut: Position -> the cut-out in its own size; raises AugsynthError when it is damaged.
        areas: (N,) areas of their pictures in pixels.
    """

    members: dict[int, IntArray]
    sizes_wh: FloatArray
    ring: Callable[[int], FloatArray]
    cut: Callable[[int], Patch]
    areas: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One cut-out and where it goes.

    Attributes:
        position: Of the cut-out in its stock.
        box_xyxy: (4,) where its box goes, in pixels.
        scale: Factor on the cut-out's pixels.
        box_fits: Whether it could be pasted with the background in its box.
    """

    position: int
    box_xyxy: FloatArray
    scale: float
    box_fits: bool


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Colour and unrest around places of an image, from sums over a small copy of it.

    Attributes:
        sums: (h + 1, w + 1, 4) running sums of brightness, two colour differences and squared brightness.
        scale_xy: (2,) pixels of the small copy per pixel of the image.
    """

    sums: FloatArray
    scale_xy: FloatArray

    @classmethod
    def of(cls, image: Image, *, bgr: bool = False) -> Surroundings:
        """Sum up an (H, W, 3) image with values in 0 to 255."""
        height, width = image.shape[:2]
        step = max(1, round(max(height, width) / _SIDE))
        small = image[step // 2 :: step, step // 2 :: step] if min(height, width) > step else image
        red, green, blue = (small[..., c].astype(np.float64) / 255 for c in ((2, 1, 0) if bgr else (0, 1, 2)))
        light = (red + green + blue) / 3
        planes = np.stack([light, red - green, (red + green) / 2 - blue, light * light], axis=-1)
        sums = np.zeros((planes.shape[0] + 1, planes.shape[1] + 1, NUM_RING))
        np.cumsum(np.cumsum(planes, axis=0), axis=1, out=sums[1:, 1:])
        return cls(sums, np.array([planes.shape[1] / width, planes.shape[0] / height]))

    def rings(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Return (N, 4) mean brightness, red-green, blue-yellow and the spread of brightness around boxes."""
        centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2 * self.scale_xy
        halves = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2 * self.scale_xy
        outer, outer_count = self._totals(centres, halves * 2.0 + 1.0)
        inner, inner_count = self._totals(centres, halves * 1.3 + 0.3)
        hollow = (outer_count - inner_count >= 3)[:, None]
        total = np.where(hollow, outer - inner, outer)
        count = np.where(hollow[:, 0], outer_count - inner_count, outer_count)
        means = total / np.maximum(count, 1)[:, None]
        means[:, 3] = np.sqrt(np.maximum(means[:, 3] - means[:, 0] ** 2, 0))
        return np.asarray(means)

    def _totals(self, centres: FloatArray, halves: FloatArray) -> tuple[FloatArray, FloatArray]:
        size = np.array([self.sums.shape[1] - 1, self.sums.shape[0] - 1])
        x1, y1 = np.clip(np.rint(centres - halves), 0, size).astype(np.int64).T
        x2, y2 = np.clip(np.rint(centres + halves), 0, size).astype(np.int64).T
        total = self.sums[y2, x2] - self.sums[y1, x2] - self.sums[y2, x1] + self.sums[y1, x1]
        return total, ((x2 - x1) * (y2 - y1)).astype(np.float64)


def bank_ring(features: FloatArray) -> FloatArray:
    """Return the (4,) surroundings among `rings.Rings.features` of a cut-out; empty when they are unknown."""
    return features[[0, 1, 2, 9]] if len(features) > 9 else np.zeros(0)


@dataclass(slots=True, eq=False)
class Placer:
    """Chooses cut-outs and places by a layout; keeps the layout's offset tables between images.

    Attributes:
        layout: Proposes and scores places.
        rules: Hard rules and weights.
    """

    layout: Layout
    rules: PasteRules
    _tables: dict[tuple[int, int], FloatArray] = field(default_factory=dict)

    def choose(
        self,
        scene: Scene,
        category_id: int,
        *,
        stock: Stock,
        surroundings: Surroundings,
        reference_area: float,
        used: Collection[int],
        rng: np.random.Generator,
    ) -> Choice | None:
        """Choose a cut-out of a category and its place in a scene.

        Args:
            scene: What is there.
            category_id: Known to the layout.
            stock: Must have members of the category.
            surroundings: Of the scene's image.
            reference_area: Area in pixels that sizes are relative to: that of the image before cropping.
            used: Positions of the stock that are not to be taken again.
            rng: All chance comes from here.

        Returns:
            The choice, or None where no place fulfils the rules.
        """
        members = stock.members[category_id]
        picked = np.unique(members[rng.integers(len(members), size=self.rules.num_cutouts)])
        picked = picked[[position not in used for position in picked.tolist()]]
        places = self._places(scene, category_id, reference_area, rng)
        if not len(places) or not len(picked):
            return None
        own = stock.sizes_wh[picked]
        sides = (places[:, 2:] - places[:, :2]) / np.sqrt(reference_area)
        wanted = np.log(sides.max(axis=1))[:, None] - np.log(own.max(axis=1))[None]
        low, high = np.log(self.rules.min_scale), np.log(self.rules.max_scale)
        stretch = np.clip(wanted, low, high)
        aspect = np.log(sides[:, 0] / sides[:, 1])[:, None] - np.log(own[:, 0] / own[:, 1])[None]
        scores = self._scores(scene, places, category_id)[:, None]
        scores = scores - self.rules.scale_weight * (stretch**2 / 4 + (wanted - stretch) ** 2)
        scores = scores - self.rules.scale_weight * aspect**2 / 4
        here = surroundings.rings(places)
        unlike = _unlike(here, stock, picked)
        scores = np.where(unlike <= self.rules.max_unlike, scores - self.rules.ring_weight * unlike, -np.inf)
        chance = scores / self.rules.temperature + rng.gumbel(size=scores.shape)
        for flat in np.argsort(-chance, axis=None)[:_NUM_TRIES]:
            place, cutout = np.unravel_index(int(flat), scores.shape)
            if not np.isfinite(scores[place, cutout]):
                break
            size_wh = own[cutout] * np.exp(stretch[place, cutout]) * np.sqrt(reference_area)
            box = _centred(places[place], size_wh, scene.size_wh)
            if box is not None and self._fulfils(scene, box[None])[0]:
                position = int(picked[cutout])
                ratio = np.sqrt(reference_area / stock.areas[position])
                factor = float(np.exp(stretch[place, cutout]) * ratio)
                calm = bool(here[place, 3] <= self.rules.max_unrest_box)
                calm &= bool(unlike[place, cutout] <= self.rules.max_unlike_box)
                return Choice(position, box, factor, calm)
        return None

    def _scores(self, scene: Scene, places: FloatArray, category_id: int) -> FloatArray:
        scores = self.layout.log_densities(scene, places, category_id)
        if self.rules.size_weight:
            scores = scores + self.rules.size_weight * self.layout.log_sizes(scene, places, category_id)
        return scores

    def _places(
        self, scene: Scene, category_id: int, reference_area: float, rng: np.random.Generator
    ) -> FloatArray:
        """Return (N, 4) candidate places that fulfil the rules."""
        num, size = self.rules.num_places, np.array(scene.size_wh, np.float64)
        kind, (anchors, kinds) = self.layout.index_of(category_id), self.layout.anchors(scene)
        # Most candidates fall to the rules: draw more, keep as many as are asked for.
        centres = rng.random((2 * num, 2)) * size
        if len(anchors) and self.rules.anchored_share:
            share = round(self.rules.anchored_share * 2 * num)
            chosen = rng.integers(len(anchors), size=_NUM_ANCHORS)
            for part, a in zip(np.array_split(np.arange(share), _NUM_ANCHORS), chosen, strict=True):
                box = anchors[a]
                offset = self._offsets(int(kinds[a]), kind, len(part), rng)
                centres[part] = (box[:2] + box[2:]) / 2 + offset * (box[2:] - box[:2]).max()
        centres = centres[((centres > 0) & (centres < size)).all(axis=1)]
        deviation = self.layout.sizes.deviation(anchors, kinds, scene.size_wh)
        zoom = float(np.sqrt(reference_area / (size[0] * size[1])))
        height = centres[:, 1] / size[1] - 0.5
        half = self.layout.sizes.draw(height, kind, scene.size_wh, deviation=deviation, rng=rng) / 2
        half = half * (zoom if not len(anchors) else zoom**0.5)
        boxes = np.hstack([centres - half, centres + half])
        keep = self._fulfils(scene, boxes)
        return boxes[keep][rng.permutation(int(keep.sum()))[:num]]

    def _offsets(self, anchor: int, kind: int, num: int, rng: np.random.Generator) -> FloatArray:
        """Draw (num, 2) offsets as `Offsets.draw` does, from a table that is kept."""
        table = self._tables.get((anchor, kind))
        if table is None:
            offsets = self.layout.offsets
            row = offsets.row_of[anchor, kind]
            table = np.cumsum(
                np.exp(offsets.narrow[row].astype(np.float64)) * (offsets.expected[anchor] + 1e-6)
            )
            if len(self._tables) >= _MAX_TABLES:
                self._tables.clear()
            self._tables[anchor, kind] = table
        cells = np.minimum(np.searchsorted(table, rng.random(num) * table[-1]), NUM_CELLS - 1)
        return cell_offset(cells, rng.random((num, 2)))

    def _fulfils(self, scene: Scene, boxes: FloatArray) -> NDArray[np.bool_]:
        if not len(boxes):
            return np.zeros(0, bool)
        inside = (clip_boxes(boxes, scene.size_wh) == boxes).all(axis=1)
        inside &= (boxes[:, 2:] - boxes[:, :2] >= self.rules.min_size).all(axis=1)
        return np.asarray(inside & (overlaps(scene, boxes) <= self.rules.max_overlap))


def _unlike(here: FloatArray, stock: Stock, picked: IntArray) -> FloatArray:
    """Return (P, K) distances between (P, 4) rings of places and those that cut-outs come from."""
    unlike = np.zeros((len(here), len(picked)))
    for k, position in enumerate(picked.tolist()):
        ring = stock.ring(position)
        if len(ring):
            unlike[:, k] = np.linalg.norm((here - ring) / _RING_SCALE, axis=1)
    return unlike


def _centred(place: FloatArray, size_wh: FloatArray, image_wh: tuple[int, int]) -> FloatArray | None:
    """Return a box of a size around a place's centre, moved inside the image; None where it is too large."""
    room = np.array(image_wh, np.float64) - size_wh
    if (room < 0).any():
        return None
    low = np.clip((place[:2] + place[2:]) / 2 - size_wh / 2, 0, room)
    return np.concatenate([low, low + size_wh])
