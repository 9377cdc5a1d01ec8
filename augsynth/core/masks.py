"""Outlines: binary masks, and the polygons and RLEs that COCO writes them as.

pycocotools counts a pixel as inside a polygon by its centre, with pixel (0, 0) between 0 and 1. The outlines
written here run half-way between the centres of inner and outer pixels, so that they are read back as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import ious
from augsynth.core.scene import FloatArray, IntArray

Mask = NDArray[np.bool_]
FlatPolygons = list[NDArray[np.float32]]
MIN_FIT = 0.7  # IoU of an outline's bounds and the box it belongs to
_MIN_PIXELS = 9
_SPECK_SHARE = 0.05
_TOLERANCES_PX = (0.4, 0.2, 0.0)
_MIN_FAITHFULNESS = 0.97
_SUPERSAMPLE = 2


def bounds_of(mask: Mask) -> FloatArray | None:
    """Return the (4,) xyxy bounds of a mask in whole pixels, None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def fitted(mask: Mask, box_xyxy: FloatArray, *, min_fit: float = MIN_FIT) -> Mask | None:
    """Return an object's mask cut to its box and without specks, or None where it doesn't fit the box.

    Args:
        mask: (H, W) as a model found it.
        box_xyxy: (4,) accepted box.
        min_fit: Least IoU of the mask's bounds and the box, before and after it is cut.
    """
    mask = _without_specks(mask)
    if not _fits(mask, box_xyxy, min_fit):
        return None
    x1, y1 = np.floor(box_xyxy[:2]).astype(int)
    x2, y2 = np.ceil(box_xyxy[2:]).astype(int)
    cut = np.zeros_like(mask)
    inside = slice(max(y1, 0), y2), slice(max(x1, 0), x2)
    cut[inside] = mask[inside]
    return cut if cut.sum() >= _MIN_PIXELS and _fits(cut, box_xyxy, min_fit) else None


def _fits(mask: Mask, box_xyxy: FloatArray, min_fit: float) -> bool:
    bounds = bounds_of(mask)
    return bounds is not None and bool(ious(bounds[None], box_xyxy[None])[0, 0] >= min_fit)


def _without_specks(mask: Mask) -> Mask:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= _SPECK_SHARE * sizes.max())[labels], np.bool_)


def to_rle(mask: Mask) -> dict[str, Any]:
    """Return the compressed RLE of an (H, W) mask, its counts as text."""
    from pycocotools import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def as_rle(segmentation: Any, size_wh: tuple[int, int]) -> Any | None:
    """Return polygons or an RLE as pycocotools takes it, None where they can't be read or are of another size."""
    from pycocotools import mask as coco_mask

    width, height = size_wh
    rle = segmentation
    if isinstance(rle, list | tuple) or isinstance(rle["counts"], list):
        try:
            rle = coco_mask.frPyObjects(rle, height, width)
        except (TypeError, ValueError, IndexError):
            return None
    rle = coco_mask.merge(rle) if isinstance(rle, list) else rle
    return rle if list(rle["size"]) == [height, width] else None


def decoded(rle: Any) -> Mask:
    """Return the (H, W) mask of a compressed RLE."""
    from pycocotools import mask as coco_mask

    return np.asarray(coco_mask.decode(rle), np.bool_)


def to_segmentation(mask: Mask, *, form: str) -> list[list[float]] | dict[str, Any] | None:
    """Return a mask as COCO's `segmentation`, None where it is too small for one.

    Args:
        mask: (H, W).
        form: `polygon` or `rle`.
    """
    if not mask.any():
        return None
    return to_rle(mask) if form == "rle" else to_polygons(mask)


def to_polygons(mask: Mask) -> list[list[float]] | None:
    """Return the outlines of a mask as COCO polygons, None where they would cover no pixel.

    Polygons know no holes: a part with a hole becomes two that meet in it. Corners that stand out by less than
    0.4 px are left out as long as hardly a pixel changes.
    """
    from pycocotools import mask as coco_mask

    height, width = mask.shape
    rings, wanted = list(_rings(mask)), to_rle(mask)
    for tolerance in _TOLERANCES_PX:
        polygons = [np.round(_simplified(ring, tolerance), 2).ravel().tolist() for ring in rings]
        polygons = [polygon for polygon in polygons if len(polygon) >= 6]
        if not polygons:
            continue
        found = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        if coco_mask.iou([found], [wanted], [0])[0, 0] >= _MIN_FAITHFULNESS:
            return polygons
    return polygons if polygons and coco_mask.area(found) else None


def _rings(mask: Mask) -> Iterable[FloatArray]:
    """Yield the (N, 2) closed outlines of a mask's parts, cut where they have holes."""
    from contourpy import contour_generator
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        low_xy = np.array([columns.start - 0.5, rows.start - 0.5])
        for part in _without_holes(labels[rows, columns] == number):
            for line in contour_generator(z=np.pad(part, 1).astype(np.float64)).lines(0.5):
                ring = np.asarray(line, np.float64)[:-1] + low_xy
                if len(ring) >= 3 and _signed_area(ring) > 0:
                    yield ring


def _without_holes(part: Mask) -> Iterable[Mask]:
    """Yield pieces of a connected part that have no holes: it is cut along columns through them."""
    from scipy import ndimage

    holes = ndimage.binary_fill_holes(part) & ~part
    if not holes.any():
        yield part
        return
    columns = np.flatnonzero(ndimage.label(holes)[0].max(axis=0))
    cut = int(columns[len(columns) // 2])
    left = np.arange(part.shape[1]) <= cut
    for side in (part & left, part & ~left):
        labels, count = ndimage.label(side)
        for number in range(1, count + 1):
            yield from _without_holes(labels == number)


def _signed_area(ring: FloatArray) -> float:
    after = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * after[:, 1] - after[:, 0] * ring[:, 1]).sum() / 2)


def _simplified(ring: FloatArray, tolerance: float) -> FloatArray:
    """Return a closed outline without corners that stand out by `tolerance` or less (Douglas, Peucker 1973)."""
    import cv2

    if not tolerance:
        return ring
    return np.asarray(cv2.approxPolyDP(ring.astype(np.float32)[:, None], tolerance, True)[:, 0], np.float64)


def trace_outer(mask: Mask, *, low_xy: IntArray | None = None) -> FlatPolygons:
    """Return the outer outlines of an (h, w) mask as polygons of float32 x, y, x, y, …, fast enough for a data loader.

    Holes are filled. Traced at twice the resolution, so that a polygon encloses its pixels to within a quarter of one.

    Args:
        mask: What to trace.
        low_xy: (2,) added to every corner.
    """
    import cv2

    fine = np.repeat(np.repeat(mask.astype(np.uint8), _SUPERSAMPLE, 0), _SUPERSAMPLE, 1)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
    shift = np.zeros(2) if low_xy is None else np.asarray(low_xy, np.float64)
    outlines = []
    for contour in contours:
        corners = (contour.reshape(-1, 2) + 0.5) / _SUPERSAMPLE + shift
        if len(corners) >= 3:
            outlines.append(corners.astype(np.float32).ravel())
    return outlines


def fill_polygons(polygons: FlatPolygons, region_xyxy: IntArray) -> Mask:
    """Return the (h, w) pixels of a region that lie in any of the polygons."""
    import cv2

    x1, y1, x2, y2 = (int(v) for v in region_xyxy)
    inside = np.zeros((y2 - y1, x2 - x1), np.uint8)
    for polygon in polygons:
        corners = np.asarray(polygon, np.float64).reshape(-1, 2) - (x1 + 0.5, y1 + 0.5)
        cv2.fillPoly(inside, [np.rint(corners * 256).astype(np.int32)], 1, shift=8)
    return inside > 0


def visible(masks: Sequence[Mask | None]) -> list[Mask | None]:
    """Return what is seen of objects painted one after another: a later one covers the earlier ones.

    A mask of which nothing is left becomes None.
    """
    seen: list[Mask | None] = []
    covered: Mask | None = None
    for mask in reversed(masks):
        left = mask if mask is None or covered is None else mask & ~covered
        seen.append(left if left is not None and left.any() else None)
        if mask is not None:
            covered = mask if covered is None else covered | mask
    return seen[::-1]


def recut(record: Mapping[str, Any], covers: Sequence[Any], size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return an annotation whose outline leaves out what new objects cover, in the form it had.

    The annotation comes back as it is where it has no outline, is a crowd, or nothing of its outline is covered. Its
    box stays. An outline that is covered whole is dropped.

    Args:
        record: COCO annotation.
        covers: RLEs of the new objects in its image.
        size_wh: Size of the image.
    """
    from pycocotools import mask as coco_mask

    old = record.get("segmentation")
    rle = None if not old or record.get("iscrowd") or not covers else as_rle(old, size_wh)
    cover = coco_mask.merge(list(covers))
    if rle is None or not coco_mask.area(coco_mask.merge([rle, cover], intersect=True)):
        return dict(record)
    left = decoded(rle) & ~decoded(cover)
    form = "polygon" if isinstance(old, list) else "rle"
    new: Any = to_segmentation(left, form=form)
    if new is None:
        plain = {k: v for k, v in record.items() if k != "segmentation"}
        return {**plain, "area": record["bbox"][2] * record["bbox"][3]}
    area = float(coco_mask.area(as_rle(new, size_wh)))
    if isinstance(old, Mapping) and isinstance(old["counts"], list):
        new = {**old, "counts": _run_lengths(left)}
    return {**record, "segmentation": new, "area": area}


def _run_lengths(mask: Mask) -> list[int]:
    """Return the uncompressed counts of a mask: runs down the columns, the first of them outside."""
    pixels = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    runs = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return [int(run) for run in runs]
