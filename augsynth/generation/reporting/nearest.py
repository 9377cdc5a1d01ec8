"""The real object that a painted one is most like, so that a painter which copies is seen.

Objects are compared by the pixels in their boxes, stretched to a small square: first by correlation, and the best few
once more at shifted and scaled boxes, since a copy's box is never quite that of its original. Mirrored ones count, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from augsynth.core.errors import DatasetError
from augsynth.core.scene import Dataset, FloatArray, Image, Scene
from augsynth.core.seeding import derive_rng

ALIKE = 0.95  # likeness from which two objects are nearly the same
MOST_OBJECTS = 2000  # real ones that painted ones are compared with
MOST_PIXELS = 200_000_000  # of the images that these are cut from
PICTURE_PX = 80
_COARSE = 16  # side of the squares that are compared first
_WIDE, _PAD = (
    38,
    0.2,
)  # side of a real one's square for shifts, and what of its box lies around it: 27 px are the box
_TEMPLATES = ((27, 27), (25, 25), (25, 29), (29, 25), (29, 29))  # widths and heights of the painted one in it
_CANDIDATES = 3
_FLAT = 2.0  # grey levels, standard deviation of what shows nothing that could be compared
_MIN_PX = 8.0
Patch = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class RealObject:
    """A real object that painted ones are compared with.

    Attributes:
        file_name: Of its image.
        box_xyxy: In the image.
        picture: (80, 80, 3) uint8, the object with a little of its surroundings.
        coarse: (768,) float32 of length 1.
        wide: Its box and a little more, stretched.
    """

    file_name: str
    box_xyxy: tuple[float, ...]
    picture: Image
    coarse: Patch
    wide: Patch


@dataclass(slots=True, eq=False)
class RealObjects:
    """Real objects by category id."""

    by_category: dict[int, list[RealObject]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.by_category.values()))

    @classmethod
    def collect(
        cls, dataset: Dataset, read_image: Callable[[Scene], Image], *, ids: Collection[int]
    ) -> RealObjects:
        """Cut real objects out of images in random order, as many of each category, until there are enough.

        Args:
            dataset: The source.
            read_image: Returns a scene's image; one that can't be read is passed over.
            ids: Categories that are painted.
        """
        found: dict[int, list[RealObject]] = {category_id: [] for category_id in ids}
        pixels, each = 0, max(1, MOST_OBJECTS // max(1, len(found)))
        for k in derive_rng(0, "nearest").permutation(len(dataset.scenes)):
            scene = dataset.scenes[k]
            wanted = [category_id for category_id, there in found.items() if len(there) < each]
            sides = (scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]).min(1, initial=np.inf)
            fits = ~scene.is_crowd & (sides >= _MIN_PX) & np.isin(scene.category_ids, wanted)
            if not fits.any():
                continue
            pixels += scene.size_wh[0] * scene.size_wh[1]
            if pixels > MOST_PIXELS:
                break
            try:
                image = read_image(scene)
            except DatasetError:
                continue
            for number in np.flatnonzero(fits).tolist():
                there = found[int(scene.category_ids[number])]
                if len(there) < each:
                    there.append(_real_object(image, scene.file_name, scene.boxes_xyxy[number]))
        return cls(found)

    def nearest(self, category_id: int, painted: Image) -> tuple[RealObject, float] | None:
        """Return the real object that is most like a painted one, and how much, at most 1; None where there is none.

        Args:
            category_id: Of the painted object.
            painted: (h, w, 3) uint8, the pixels in its box.
        """
        real = self.by_category.get(category_id)
        if not real:
            return None
        known = np.stack([one.coarse for one in real])
        views = [painted, np.ascontiguousarray(painted[:, ::-1])]
        alike = np.stack([known @ _coarse(view) for view in views])  # as it is, and mirrored
        best: tuple[float, int] | None = None
        for k in np.argsort(-alike.max(0), kind="stable")[:_CANDIDATES].tolist():
            likeness = _likeness(views[int(alike[:, k].argmax())], real[k])
            if best is None or likeness > best[0]:
                best = likeness, k
        assert best is not None  # there is a real one
        return real[best[1]], round(best[0], 3)


def pixels_in(tile: Image, box_xyxy: Sequence[float], window_xyxy: Sequence[int]) -> Image | None:
    """Return what a picture of a window shows of a box in the image, None where that is too small to compare."""
    scale = tile.shape[1] / (window_xyxy[2] - window_xyxy[0])
    box = (np.array(box_xyxy) - np.tile(np.array(window_xyxy[:2]), 2)) * scale
    box = np.clip(box, 0, [tile.shape[1], tile.shape[0]] * 2)
    return _cut(tile, box) if (box[2:] - box[:2]).min() >= _MIN_PX else None


def _real_object(image: Image, file_name: str, box_xyxy: FloatArray) -> RealObject:
    size = box_xyxy[2:] - box_xyxy[:2]
    around = np.concatenate([box_xyxy[:2] - _PAD * size, box_xyxy[2:] + _PAD * size])
    centre, half = (box_xyxy[:2] + box_xyxy[2:]) / 2, 0.65 * size.max()
    square = np.concatenate([centre - half, centre + half])
    return RealObject(
        file_name,
        tuple(np.round(box_xyxy, 1).tolist()),
        _stretched(_cut(image, square), PICTURE_PX),
        _coarse(_cut(image, box_xyxy)),
        _stretched(_cut(image, around), _WIDE).astype(np.float32),
    )


def _cut(image: Image, box_xyxy: FloatArray) -> Image:
    """Return the pixels of a box; beyond the image its edge is repeated."""
    low, high = np.floor(box_xyxy[:2]).astype(int), np.ceil(box_xyxy[2:]).astype(int)
    columns = np.clip(np.arange(low[0], max(high[0], low[0] + 1)), 0, image.shape[1] - 1)
    rows = np.clip(np.arange(low[1], max(high[1], low[1] + 1)), 0, image.shape[0] - 1)
    return np.asarray(image[np.ix_(rows, columns)], np.uint8)


def _stretched(picture: Image, side: int) -> Image:
    how = cv2.INTER_AREA if min(picture.shape[:2]) >= side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how), np.uint8)


def _coarse(picture: Image) -> Patch:
    values = _stretched(picture, _COARSE).astype(np.float32).ravel()
    values -= values.mean()
    return np.asarray(values / (np.linalg.norm(values) + np.sqrt(values.size)), np.float32)


def _likeness(painted: Image, real: RealObject) -> float:
    """Return the best correlation of a painted object with what is about a real one's box, over shifts and scales."""
    fine = _stretched(painted, 32)
    if min(fine.std(), real.wide.std()) < _FLAT:
        return 0.0
    templates = (
        cv2.resize(fine, size, interpolation=cv2.INTER_AREA).astype(np.float32) for size in _TEMPLATES
    )
    found = [cv2.matchTemplate(real.wide, each, cv2.TM_CCOEFF_NORMED) for each in templates]
    return float(min(1.0, max(each.max() for each in found)))
