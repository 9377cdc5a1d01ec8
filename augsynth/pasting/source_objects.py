"""What there is to paste: an object bank, or the objects of other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from augsynth.bank.reader import Bank
from augsynth.core.boxes import box_areas, intersection_boxes, intersections, shown_along
from augsynth.core.errors import ConfigError
from augsynth.core.scene import FloatArray, Image, IntArray
from augsynth.pasting.patch import Opacity, Patch
from augsynth.pasting.surroundings import Surroundings
from augsynth.pasting.visibility import pixel_region
from augsynth.placement.ring_features import NUM_SUMMARY, ring_summary

_MARGIN = 0.25
_MAX_SHARED = 0.1
_MIN_ROOM = 0.02


def bank_ids(bank: Bank, ids_by_name: Mapping[str, int]) -> dict[int, int]:
    """Return the bank's category ids as ids of the affinity, matched by name.

    Args:
        bank: Opened bank.
        ids_by_name: Name of each trained class -> id in the affinity.

    Raises:
        ConfigError: The bank has no cut-out of any of the classes.
    """
    found = {c.id: ids_by_name[c.name] for c in bank.categories if c.name in ids_by_name}
    if not any(len(bank.of_category(c)) for c in found):
        theirs = _shown([c.name for c in bank.categories if len(bank.of_category(c.id))])
        raise ConfigError(
            f"{bank.path}: the bank is of other categories ({theirs}) than the classes "
            f"({_shown(list(ids_by_name))}); make a bank of the dataset you train on, or mend `classes`"
        )
    return found


def bank_objects(
    bank: Bank, ids: Mapping[int, int], *, bgr: bool, min_score: float = 0.0, need_mask: bool = False
) -> SourceObjects:
    """Describe a bank's cut-outs.

    Args:
        bank: Opened bank; its pixels are read when a cut-out is pasted, never before.
        ids: Of `bank_ids`.
        bgr: Give the pixels in this order rather than the bank's RGB.
        min_score: Leave out cut-outs that the filter gave less.
        need_mask: Leave out cut-outs without an outline.
    """
    usable = bank.scores >= min_score
    if need_mask:
        usable &= bank.has_masks
    members = {}
    for theirs, ours in ids.items():
        positions = bank.of_category(theirs)
        positions = positions[usable[positions]]
        if len(positions):
            members[ours] = positions
    areas = bank.source_sizes_wh.astype(np.float64).prod(axis=1)

    sizes = bank.box_sizes_wh / np.sqrt(areas)[:, None]
    return SourceObjects(members, sizes, _BankRings(bank), partial(_bank_cut, bank, ids, bgr), areas)


class _BankRings:
    """The surroundings of a bank's cut-outs, each read once: 16 bytes a cut-out."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._rings = np.full(
            (len(bank), NUM_SUMMARY), np.inf, np.float32
        )  # inf is not read yet, nan is unknown

    def __call__(self, positions: IntArray) -> FloatArray:
        for position in positions[np.isposinf(self._rings[positions, 0])].tolist():
            self._rings[position] = ring_summary(self._bank.ring(position))
        return np.asarray(self._rings[positions], np.float64)


def _bank_cut(bank: Bank, ids: Mapping[int, int], bgr: bool, position: int) -> Patch:
    cutout = bank[position]
    known = [k for k, category_id in enumerate(cutout.other_ids.tolist()) if category_id in ids]
    patch = Patch(
        cutout.image,
        cutout.alpha,
        cutout.box_xyxy,
        cutout.has_mask,
        others_xyxy=cutout.others_xyxy[known],
        other_ids=np.array([ids[category_id] for category_id in cutout.other_ids[known].tolist()], np.int64),
    )
    patch = patch.trimmed(_MARGIN)
    return replace(patch, image=cv2.cvtColor(patch.image, cv2.COLOR_RGB2BGR)) if bgr else patch


@dataclass(frozen=True, slots=True, eq=False)
class SourceImage:
    """An image whose objects may be pasted elsewhere.

    Attributes:
        image: (H, W, 3) uint8.
        boxes_xyxy: (N, 4) pixels.
        category_ids: (N,) ids of the affinity.
        usable: (N,) bool, False for crowds and ignore regions.
        mask_of: Object and (4,) region of the image -> (h, w) bool pixels; None where no outline is known.
    """

    image: Image
    boxes_xyxy: FloatArray
    category_ids: IntArray
    usable: NDArray[np.bool_]
    mask_of: Callable[[int, IntArray], NDArray[np.bool_]] | None

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def candidates(self, min_size: float) -> IntArray:
        """Return the objects that can be cut: whole, large enough, and not mixed up with others.

        An object next to the image's border is taken for cut off. Without an outline, what else lies in the box
        is pasted along with its label; a box that shows too little of another object for that is left out.
        """
        if not len(self.boxes_xyxy):
            return np.zeros(0, np.int64)
        far = np.array(self.size_wh, np.float64)
        room = np.stack([self.boxes_xyxy[:, :2], far - self.boxes_xyxy[:, 2:]]).min(axis=(0, 2))
        wh = self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]
        keep = self.usable & (wh >= min_size).all(axis=1)
        keep &= room > 1 + _MIN_ROOM * wh.max(axis=1)
        if self.mask_of is None:
            areas, shared = box_areas(self.boxes_xyxy), intersections(self.boxes_xyxy, self.boxes_xyxy)
            np.fill_diagonal(shared, 0)
            for k in np.flatnonzero(keep).tolist():
                shared[k, self._along(k)] = 0
            keep &= shared.max(axis=1) <= _MAX_SHARED * areas
        return np.flatnonzero(keep)

    def _along(self, k: int) -> IntArray:
        """Return the other objects that the k-th box shows; crowds have no label of their own."""
        along = shown_along(self.boxes_xyxy, k)
        return along[self.usable[along]]

    def cut(self, k: int) -> Patch:
        """Return an object with a margin around it."""
        box = self.boxes_xyxy[k]
        room = _MARGIN * float((box[2:] - box[:2]).max()) + 3
        region = pixel_region(np.concatenate([box[:2] - room, box[2:] + room]), self.size_wh)
        x1, y1, x2, y2 = region.tolist()
        inner = box - np.tile(region[:2], 2)
        if self.mask_of is None:
            alpha: Opacity = np.zeros((y2 - y1, x2 - x1), np.uint8)
            low, high = np.floor(inner[:2]).astype(int), np.ceil(inner[2:]).astype(int)
            alpha[low[1] : high[1], low[0] : high[0]] = 255
        else:
            alpha = np.where(self.mask_of(k, region), np.uint8(255), np.uint8(0))
        along = self._along(k) if self.mask_of is None else np.zeros(0, np.int64)
        return Patch(
            self.image[y1:y2, x1:x2],
            alpha,
            inner,
            self.mask_of is not None,
            others_xyxy=intersection_boxes(self.boxes_xyxy[along], box) - np.tile(region[:2], 2),
            other_ids=self.category_ids[along],
        )


def image_objects(images: Sequence[SourceImage], *, min_size: float, bgr: bool) -> SourceObjects:
    """Describe the objects of other images that can be cut."""
    places = [(d, k) for d, image in enumerate(images) for k in image.candidates(min_size).tolist()]
    kinds = np.array([images[d].category_ids[k] for d, k in places], np.int64)
    members = {int(c): np.flatnonzero(kinds == c) for c in np.unique(kinds)}
    boxes = np.array([images[d].boxes_xyxy[k] for d, k in places], np.float64).reshape(-1, 4)
    areas = np.array([np.prod(images[d].size_wh, dtype=float) for d, _ in places], np.float64)
    sizes = (boxes[:, 2:] - boxes[:, :2]) / np.sqrt(np.maximum(areas, 1))[:, None]
    surroundings = {d: Surroundings.of(images[d].image, bgr=bgr) for d in {d for d, _ in places}}

    def rings(positions: IntArray) -> FloatArray:
        found = [surroundings[places[p][0]].rings(boxes[p : p + 1]) for p in positions.tolist()]
        return np.concatenate(found)

    def cut(position: int) -> Patch:
        d, k = places[position]
        return images[d].cut(k)

    return SourceObjects(members, sizes, rings, cut, areas)


def _shown(names: Sequence[str]) -> str:
    text = ", ".join(names[:6])
    return text + (f" and {len(names) - 6} more" if len(names) > 6 else "")


@dataclass(frozen=True, slots=True, eq=False)
class SourceObjects:
    """Cut-outs to choose from, described without their pixels.

    Attributes:
        members: Category id -> positions of its cut-outs.
        sizes_wh: (N, 2) boxes' sides over the square root of their picture's area.
        rings: (K,) positions -> (K, 4) surroundings as of `Surroundings.rings`; nan when unknown.
        cut: Position -> the cut-out in its own size; raises AugsynthError when it is damaged.
        areas: (N,) areas of their pictures in pixels.
    """

    members: dict[int, IntArray]
    sizes_wh: FloatArray
    rings: Callable[[IntArray], FloatArray]
    cut: Callable[[int], Patch]
    areas: FloatArray
