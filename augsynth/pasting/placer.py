"""What to paste and where, cheaply enough for a data loader: the placement of docs/method.md §3 on few candidates.

Candidate places come from the layout, cut-outs from a sources; a pair's score is the layout's log density and
size, how far the cut-out must be scaled, and how much the surroundings it was cut from resemble the place's.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import fit_inside
from augsynth.core.options import check_options, option
from augsynth.core.scene import FloatArray, IntArray, Scene
from augsynth.pasting.source_objects import SourceObjects
from augsynth.pasting.surroundings import TYPICAL_SPREADS, Surroundings
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import overlaps
from augsynth.placement.relative_position import OffsetSampler, offset_cells, offsets

_NUM_ANCHORS = 4
_NUM_TRIES = 12


@dataclass(frozen=True, slots=True)
class PasteRules:
    """What a pasted object must fulfil, and how places are compared.

    Raises:
        ConfigError: A value is out of range.
    """

    max_overlap: float = option(
        0.1, "Largest share of an object, crowd or ignore region that may be covered.", low=0, high=1
    )
    min_size: float = option(4.0, "Least side of a pasted object in pixels.", low=1, high=1e6)
    min_scale: float = option(
        0.5, "How much smaller an object may become, relative to its own picture.", low=0.05, high=1
    )
    max_scale: float = option(1.5, "How much larger.", low=1, high=20)
    num_places: int = option(16, "Places that are compared.", low=1, high=10_000)
    anchored_share: float = option(
        0.6, "Share of them that the layout proposes next to an object.", low=0, high=1
    )
    num_cutouts: int = option(12, "Cut-outs that are compared.", low=1, high=10_000)
    size_weight: float = option(0.5, "Weight of log p(size | category, position, scene).", low=0, high=100)
    scale_weight: float = option(4.0, "Price of a change of scale, per natural log squared.", low=0, high=100)
    ring_weight: float = option(
        1.0,
        "Price of surroundings that differ from those the cut-out comes from, in typical spreads.",
        low=0,
        high=100,
    )
    temperature: float = option(
        0.5, "Width of the choice; towards 0 the best pair is taken.", low=1e-6, high=1e6
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One cut-out and where it goes.

    Attributes:
        position: Of the cut-out in its sources.
        box_xyxy: (4,) where its box goes, in pixels.
        scale: Factor on the cut-out's pixels.
        quarters: How often it is turned by a quarter of a circle, counter-clockwise.
    """

    position: int
    box_xyxy: FloatArray
    scale: float
    quarters: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where one object of a category could stand in a scene.

    Attributes:
        category_id: What is to stand there.
        boxes_xyxy: (N, 4) pixels.
        scores: (N,) log density by the layout, up to a constant.
        rings: (N, 4) their surroundings.
    """

    category_id: int
    boxes_xyxy: FloatArray
    scores: FloatArray
    rings: FloatArray


class Placer:
    """Chooses cut-outs and places by a layout; keeps the layout's offset tables between images.

    Attributes:
        layout: Proposes and scores places.
        rules: Hard rules and weights.
    """

    def __init__(self, layout: Layout, rules: PasteRules) -> None:
        self.layout = layout
        self.rules = rules
        self._kinds = {category_id: kind for kind, category_id in enumerate(layout.category_ids)}
        self._offsets = OffsetSampler(layout.offsets)
        self._log_scales = float(np.log(rules.min_scale)), float(np.log(rules.max_scale))

    def propose(
        self,
        scene: Scene,
        category_ids: Sequence[int],
        *,
        surroundings: Surroundings,
        reference_area: float,
        rng: np.random.Generator,
    ) -> list[Places]:
        """Propose places for several objects at once, each as if it were the only one.

        Args:
            scene: What is there.
            category_ids: One for each object, known to the layout.
            surroundings: Of the scene's image.
            reference_area: Area in pixels that sizes are relative to: that of the image before cropping.
            rng: All chance comes from here.

        Returns:
            For each object the places that fulfil the rules, possibly none.
        """
        anchors, kinds = self.layout.anchors(scene)
        wanted = np.array([self._kinds[c] for c in category_ids], np.int64)
        owner = np.repeat(np.arange(len(wanted)), 2 * self.rules.num_places)
        centres = self._centres(scene, wanted, anchors, kinds, rng)
        order = rng.permutation(len(owner))
        inside = np.minimum(*np.minimum(centres, scene.size_wh - centres).T) > 0
        order = order[inside[order]]
        owner, centres = owner[order], centres[order]
        zoom = reference_area / (scene.size_wh[0] * scene.size_wh[1])
        deviation = self.layout.sizes.deviation(anchors, kinds, scene.size_wh)
        half = self._sizes(scene, centres, wanted[owner], deviation, rng) / 2
        half = half * (zoom**0.5 if not len(anchors) else zoom**0.25)
        boxes = np.hstack([centres - half, centres + half])
        keep = np.flatnonzero(self._allowed(scene, boxes))
        owners = owner[keep]
        mine = [keep[owners == k][: self.rules.num_places] for k in range(len(wanted))]
        chosen = np.concatenate(mine)
        boxes, owner = boxes[chosen], owner[chosen]
        scores = self._scores(scene, boxes, wanted[owner], anchors, kinds, deviation)
        rings = surroundings.rings(boxes)
        ends = np.cumsum([len(rows) for rows in mine]).tolist()
        parts = [slice(end - len(rows), end) for rows, end in zip(mine, ends, strict=True)]
        return [
            Places(category_id, boxes[part], scores[part], rings[part])
            for category_id, part in zip(category_ids, parts, strict=True)
        ]

    def choose(
        self,
        scene: Scene,
        places: Places,
        *,
        sources: SourceObjects,
        reference_area: float,
        used: Collection[int],
        rng: np.random.Generator,
        turn_prob: float = 0.0,
    ) -> Choice | None:
        """Choose a cut-out for an object, and one of its places.

        Args:
            scene: What is there by now.
            places: Of `propose`.
            sources: Must have members of the category.
            reference_area: As for `propose`.
            used: Positions of the sources that are not to be taken again.
            rng: All chance comes from here.
            turn_prob: Chance that a cut-out is turned by one to three quarters of a circle.

        Returns:
            The choice, or None where no place fulfils the rules.
        """
        members, rules = sources.members[places.category_id], self.rules
        drawn = members[rng.integers(len(members), size=rules.num_cutouts)].tolist()
        picked = np.array(sorted({position for position in drawn if position not in used}), np.int64)
        if not len(places.boxes_xyxy) or not len(picked):
            return None
        root = math.sqrt(reference_area)
        own, quarters = sources.sizes_wh[picked], np.zeros(len(picked), np.int64)
        if turn_prob:
            quarters = rng.integers(1, 4, size=len(picked)) * (rng.random(len(picked)) < turn_prob)
            own = np.where(quarters[:, None] % 2, own[:, ::-1], own)
        sides = (places.boxes_xyxy[:, 2:] - places.boxes_xyxy[:, :2]) / root
        change = np.log(np.maximum(*sides.T))[:, None] - np.log(np.maximum(*own.T))[None]
        stretch = np.minimum(np.maximum(change, self._log_scales[0]), self._log_scales[1])
        aspect = np.log(sides[:, 0] / sides[:, 1])[:, None] - np.log(own[:, 0] / own[:, 1])[None]
        cost = stretch**2 / 4 + (change - stretch) ** 2 + aspect**2 / 4
        unlike = _unlike(places.rings, sources, picked)
        scores = places.scores[:, None] - rules.scale_weight * cost - rules.ring_weight * unlike
        chance = (scores / rules.temperature + rng.gumbel(size=scores.shape)).ravel()
        best = np.argsort(-chance)[:_NUM_TRIES]
        place, cutout = best // len(picked), best % len(picked)
        sizes = own[cutout] * (np.exp(stretch[place, cutout]) * root)[:, None]
        boxes = _centred(places.boxes_xyxy[place], sizes, scene.size_wh)
        fine = np.flatnonzero(self._allowed(scene, boxes))
        if not len(fine):
            return None
        k = int(fine[0])
        at, which = int(place[k]), int(cutout[k])
        position = int(picked[which])
        scale = float(np.exp(stretch[at, which])) * root / math.sqrt(sources.areas[position])
        return Choice(position, boxes[k], scale, int(quarters[which]))

    def _centres(
        self, scene: Scene, wanted: IntArray, anchors: FloatArray, kinds: IntArray, rng: np.random.Generator
    ) -> FloatArray:
        """Draw centres for each of O objects: a share next to what is there, the others anywhere."""
        num = 2 * self.rules.num_places  # most of them fall to the rules
        centres = rng.random((len(wanted), num, 2)) * scene.size_wh
        share = round(self.rules.anchored_share * num) if len(anchors) else 0
        if share:
            chosen = rng.integers(len(anchors), size=(len(wanted), _NUM_ANCHORS))
            drawn = rng.random((len(wanted), share, 3))
            offset = self._offsets.at(kinds[chosen], wanted, drawn)
            boxes = anchors[chosen[:, np.arange(share) % _NUM_ANCHORS]]
            sides = (boxes[..., 2:] - boxes[..., :2]).max(axis=-1)
            centres[:, :share] = (boxes[..., :2] + boxes[..., 2:]) / 2 + offset * sides[..., None]
        return centres.reshape(-1, 2)

    def _sizes(
        self, scene: Scene, centres: FloatArray, kinds: IntArray, deviation: float, rng: np.random.Generator
    ) -> FloatArray:
        """Draw (N, 2) widths and heights as `Sizes.draw` does, for objects of several kinds."""
        sizes, height = self.layout.sizes, centres[:, 1] / scene.size_wh[1] - 0.5
        drawn = np.empty((len(kinds), 2))
        for kind in set(kinds.tolist()):
            mine = np.flatnonzero(kinds == kind)
            drawn[mine] = sizes.draw(height[mine], kind, scene.size_wh, deviation=deviation, rng=rng)
        return drawn

    def _scores(
        self,
        scene: Scene,
        boxes: FloatArray,
        wanted: IntArray,
        anchors: FloatArray,
        kinds: IntArray,
        deviation: float,
    ) -> FloatArray:
        """Return (N,) how well places fit by the layout's pair offsets and sizes."""
        layout, scores = self.layout, np.zeros(len(boxes))
        if len(anchors) and len(boxes):
            narrow, wide = layout.offsets.log_lifts(kinds, wanted, offset_cells(offsets(anchors, boxes)[0]))
            scores = np.log(np.exp((narrow + wide) / 2).mean(axis=1))
        if self.rules.size_weight:
            fit = layout.sizes.log_densities(boxes, wanted, scene.size_wh, deviation=deviation)
            scores += self.rules.size_weight * fit
        return scores

    def _allowed(self, scene: Scene, boxes: FloatArray) -> NDArray[np.bool_]:
        """Return (N,) bool: inside the image, large enough, and covers little."""
        inside = fit_inside(boxes, scene.size_wh, min_side=self.rules.min_size)
        return np.asarray(inside & (overlaps(scene, boxes) <= self.rules.max_overlap))


def _unlike(here: FloatArray, sources: SourceObjects, picked: IntArray) -> FloatArray:
    """Return (P, K) distances between (P, 4) rings of places and those that cut-outs come from; 0 if unknown."""
    there = sources.rings(picked)
    distance = np.sqrt((((here[:, None] - there[None]) / TYPICAL_SPREADS) ** 2).sum(axis=2))
    distance[np.isnan(distance)] = 0.0
    return np.asarray(distance)


def _centred(places: FloatArray, sizes_wh: FloatArray, image_wh: tuple[int, int]) -> FloatArray:
    """Return (N, 4) boxes of given sizes around places' centres, moved inside the image where they fit at all."""
    room = np.array(image_wh, np.float64) - sizes_wh
    low = np.minimum(np.maximum((places[:, :2] + places[:, 2:]) / 2 - sizes_wh / 2, 0), room)
    return np.concatenate([low, low + sizes_wh], axis=1)
