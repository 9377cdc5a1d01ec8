"""Cutting a dataset's own objects out of its images, for the object bank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from augsynth.bank.reader import Cutout
from augsynth.core.boxes import box_areas, intersection_boxes, intersections, ious, shown_along
from augsynth.core.errors import DatasetError
from augsynth.core.masks import as_rle
from augsynth.core.options import check_options, option
from augsynth.core.scene import Dataset, FloatArray, Image, IntArray, Scene
from augsynth.placement.ring_features import Rings

_MARGIN, _MIN_MARGIN, _MAX_MARGIN = 0.15, 2, 48
_GRID = 48  # sample points a side that measure how much of a box others cover
_BORDER_PX = 1.0
_HOLDER_GROWTH, _HELD_SHARE = 2.0, 0.95
# An outline that fills its box is most often a box drawn as a polygon; one that hardly does is of another object.
_FULL_SHARE, _LEAST_SHARE, _LEAST_FIT = 0.98, 0.1, 0.5


class Leftover(StrEnum):
    """Why an object isn't cut out; the value is what the user reads."""

    CROWD = "crowd or ignore region"
    TINY = "tiny"
    CUT_OFF = "cut off by the border"
    OVERLAPPED = "overlapped by others"
    UNREADABLE = "image unreadable"


@dataclass(frozen=True, slots=True)
class CutRules:
    """Which objects are worth cutting out, and how.

    Raises:
        ConfigError: A value is out of range.
    """

    min_size: float = option(8.0, "Least shorter side of an object in pixels.", low=1, high=1_000_000)
    max_overlap: float = option(
        0.3,
        "Share of its box that boxes of other objects may cover, except larger ones that hold it and, where no outline "
        "is known, those that come along with it.",
        low=0,
        high=1,
    )
    keep_cut_off: bool = option(False, "Take objects that touch the image's border, too.")
    max_side: int = option(
        640,
        "Reduce larger cut-outs to this longer side in pixels, together with the size of their source.",
        low=16,
        high=100_000,
    )

    def __post_init__(self) -> None:
        check_options(self)


def segmentations_of(dataset: Dataset) -> dict[int, Any]:
    """Return the usable polygons and RLEs of a dataset by annotation id."""
    records = dataset.document.get("annotations", ())
    return {r["id"]: r["segmentation"] for r in records if "segmentation" in r}


def sort_objects(
    scene: Scene, rules: CutRules, *, segmentations: Mapping[int, Any]
) -> tuple[IntArray, Counter[Leftover]]:
    """Return the positions of the objects to cut, and why the others aren't, without reading the image.

    An object may lie within a box of more than twice its size: a table holds a cup, it doesn't hide it. Without
    an outline the table's box shows the cup, too, which is then pasted along with its label.
    """
    keep = np.ones(len(scene), np.bool_)
    left: Counter[Leftover] = Counter()
    boxes = scene.boxes_xyxy
    limit = np.array(scene.size_wh, np.float64)
    outside = (boxes[:, :2] < _BORDER_PX).any(axis=1) | (boxes[:, 2:] > limit - _BORDER_PX).any(axis=1)
    faults = {
        Leftover.CROWD: scene.is_crowd,
        Leftover.TINY: (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) < rules.min_size,
        Leftover.CUT_OFF: outside & (not rules.keep_cut_off),
    }
    for reason, faulty in faults.items():
        left[reason] += int((faulty & keep).sum())
        keep &= ~faulty
    areas = box_areas(boxes)
    for k in np.flatnonzero(keep).tolist():
        others = np.arange(len(scene)) != k
        inside = intersections(boxes, boxes[k][None])[:, 0] >= _HELD_SHARE * areas[k]
        others &= ~inside | (areas <= _HOLDER_GROWTH * areas[k])
        if int(scene.annotation_ids[k]) not in segmentations:
            others[_labelled_along(scene, k)] = False
        if covered_share(boxes[k], boxes[others]) > rules.max_overlap:
            keep[k] = False
            left[Leftover.OVERLAPPED] += 1
    return np.flatnonzero(keep), +left


def _labelled_along(scene: Scene, k: int) -> IntArray:
    """Return the positions of the other objects that a box shows; crowds have no label of their own."""
    along = shown_along(scene.boxes_xyxy, k)
    return along[~scene.is_crowd[along]]


def covered_share(box_xyxy: FloatArray, others_xyxy: FloatArray) -> float:
    """Return the share of a box that (M, 4) other boxes cover together, on a grid of sample points."""
    low, high = box_xyxy[:2], box_xyxy[2:]
    near = others_xyxy[((others_xyxy[:, :2] < high) & (others_xyxy[:, 2:] > low)).all(axis=1)]
    points = (np.arange(_GRID) + 0.5) / _GRID
    x, y = (low[i] + points * (high[i] - low[i]) for i in (0, 1))
    covered = np.zeros((_GRID, _GRID), np.bool_)
    for x1, y1, x2, y2 in near:
        covered |= ((y >= y1) & (y < y2))[:, None] & ((x >= x1) & (x < x2))[None]
    return float(covered.mean())


def cut_objects(
    image: Image, scene: Scene, positions: IntArray, *, segmentations: Mapping[int, Any], rules: CutRules
) -> list[Cutout]:
    """Cut objects out of an image.

    Args:
        image: (H, W, 3) uint8 of the scene's size.
        scene: The objects.
        positions: Which of them, as `sort_objects` returns.
        segmentations: Outlines by annotation id; without one the whole box is opaque, and what else it shows
            comes along.
        rules: How large a cut-out may be.
    """
    if not len(positions):
        return []
    rings = Rings.of(image).features(scene.boxes_xyxy[positions])
    cutouts = []
    for k, ring in zip(positions.tolist(), rings, strict=True):
        box = scene.boxes_xyxy[k]
        crop = crop_around(box, scene.size_wh)
        outline = _outline(segmentations.get(int(scene.annotation_ids[k])), scene.size_wh, box)
        x1, y1, x2, y2 = crop
        shift = np.array([x1, y1, x1, y1], np.float64)
        along = _labelled_along(scene, k) if outline is None else np.zeros(0, np.int64)
        alpha = box_opacity(box, crop) if outline is None else outline[y1:y2, x1:x2] * np.uint8(255)
        cutout = Cutout(
            image=np.ascontiguousarray(image[y1:y2, x1:x2]),
            alpha=alpha,
            box_xyxy=box - shift,
            category_id=int(scene.category_ids[k]),
            score=1.0,
            source_size_wh=scene.size_wh,
            has_mask=outline is not None,
            ring=ring,
            others_xyxy=intersection_boxes(scene.boxes_xyxy[along], box) - shift,
            other_ids=scene.category_ids[along],
        )
        cutouts.append(reduced(cutout, max_side=rules.max_side))
    return cutouts


def cut_dataset(
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    *,
    rules: CutRules,
    add: Callable[[Cutout], None],
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Counter[Leftover]:
    """Cut all the objects of a dataset that are worth it, one image after the other.

    Args:
        dataset: Images and objects.
        read_image: Returns a scene's image; one that raises `DatasetError` is left out.
        rules: Which objects are cut, and how.
        add: Receives each cut-out, such as `BankWriter.add`.
        progress: Called with how many images are done, and of how many.

    Returns:
        How many objects weren't cut, by reason.
    """
    segmentations = segmentations_of(dataset)
    left: Counter[Leftover] = Counter()
    for done, scene in enumerate(dataset.scenes):
        progress(done, len(dataset.scenes))
        positions, others = sort_objects(scene, rules, segmentations=segmentations)
        left += others
        if not len(positions):
            continue
        try:
            image = read_image(scene)
        except DatasetError:
            left[Leftover.UNREADABLE] += len(positions)
            continue
        for cutout in cut_objects(image, scene, positions, segmentations=segmentations, rules=rules):
            add(cutout)
    return left


def crop_around(box_xyxy: FloatArray, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the whole-pixel part of an image that holds a box and a margin around it."""
    longest = float((box_xyxy[2:] - box_xyxy[:2]).max())
    margin = min(max(_MARGIN * longest, _MIN_MARGIN), _MAX_MARGIN)
    low = np.clip(np.floor(box_xyxy[:2] - margin), 0, None).astype(int)
    high = np.minimum(np.ceil(box_xyxy[2:] + margin).astype(int), size_wh)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def box_opacity(
    box_xyxy: FloatArray, crop_xyxy: tuple[int, int, int, int], *, feather: float = 0.0
) -> NDArray[np.uint8]:
    """Return the (h, w) opacity of a crop in which a whole box is opaque.

    Args:
        box_xyxy: (4,) box in pixels of the image.
        crop_xyxy: The crop.
        feather: Pixels around the box over which the opacity falls to 0.
    """
    x1, y1, x2, y2 = crop_xyxy
    x, y = np.arange(x1, x2) + 0.5, np.arange(y1, y2) + 0.5
    beyond_x = np.maximum(box_xyxy[0] - 0.5 - x, x - box_xyxy[2] - 0.5)  # a pixel that the box touches counts
    beyond_y = np.maximum(box_xyxy[1] - 0.5 - y, y - box_xyxy[3] - 0.5)
    beyond = np.maximum(beyond_x[None], beyond_y[:, None])
    share = np.clip(1 - beyond / feather, 0, 1) if feather else (beyond < 0).astype(np.float64)
    return np.asarray(np.round(share * 255), np.uint8)


def reduced(cutout: Cutout, *, max_side: int) -> Cutout:
    """Return the cut-out with a longer side of at most `max_side`, as if its picture had been smaller."""
    height, width = cutout.alpha.shape
    factor = max_side / max(height, width)
    if factor >= 1:
        return cutout
    size = max(1, round(width * factor)), max(1, round(height * factor))
    scale = np.array([size[0] / width, size[1] / height] * 2)
    source = tuple(max(1, round(side * factor)) for side in cutout.source_size_wh)
    return Cutout(
        image=_resized(cutout.image, size),
        alpha=_resized(cutout.alpha, size),
        box_xyxy=np.minimum(cutout.box_xyxy * scale, [*size, *size]),
        category_id=cutout.category_id,
        score=cutout.score,
        source_size_wh=(source[0], source[1]),
        has_mask=cutout.has_mask,
        ring=cutout.ring,
        others_xyxy=np.minimum(cutout.others_xyxy * scale, [*size, *size]),
        other_ids=cutout.other_ids,
    )


def _resized(pixels: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    picture = PilImage.fromarray(pixels).resize(size_wh, PilImage.Resampling.BOX, reducing_gap=None)
    return np.array(picture)


def _outline(segmentation: Any, size_wh: tuple[int, int], box_xyxy: FloatArray) -> NDArray[np.uint8] | None:
    """Return the (H, W) mask of 0 and 1, or None where it says no more than the box, or contradicts it."""
    from pycocotools import mask as coco_mask

    rle = None if segmentation is None else as_rle(segmentation, size_wh)
    if rle is None:
        return None
    x, y, w, h = coco_mask.toBbox(rle).tolist()
    area = float(coco_mask.area(rle))
    box_area = float((box_xyxy[2:] - box_xyxy[:2]).prod())
    fits = w > 0 and h > 0 and ious(np.array([[x, y, x + w, y + h]]), box_xyxy[None])[0, 0] >= _LEAST_FIT
    if not fits or not _LEAST_SHARE * box_area <= area <= _FULL_SHARE * w * h:
        return None
    return np.asarray(coco_mask.decode(rle))
