"""What every detector can do, whatever library runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from augsynth.core.errors import AugsynthError, BackendError, ConfigError
from augsynth.core.hub import first_line, plain_name
from augsynth.core.scene import Category, Detections, FloatArray, Image, IntArray

OFFLINE = (
    "for an offline run pass a local folder to --detector (one written by `augsynth train-detector`, or a "
    "downloaded transformers model), or `embedded`, which knows the rendered sample alone"
)


BoxMasks = Callable[[Image, FloatArray], NDArray[np.bool_]]  # (N, H, W) masks of (N, 4) boxes
Choice = Callable[[Detections], IntArray]  # positions of those detections whose masks are wanted


class Detector(Protocol):
    """Finds objects of the dataset's categories in images.

    Attributes:
        name: What was loaded, for provenance.
        view_px: Side in source pixels of the images it works best on.
    """

    name: str
    view_px: int

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the detections of each HWC uint8 RGB image, in that image's pixels, best score first."""
        ...


class MaskDetector(Detector, Protocol):
    """A detector that may have a mask head; whether it does is known once it is loaded."""

    has_masks: bool

    def detect_masks(self, images: Sequence[Image], *, of: Choice | None = None) -> list[Detections]:
        """Return what `detect` does, with the `masks` of the detections; those of `of` alone, where it is given.

        What isn't asked for isn't drawn where a mask head draws box by box.
        """
        ...


def detect_all(detector: Detector, images: Sequence[Image]) -> list[Detections]:
    """Return the detections of each image, as `Detector.detect`.

    Raises:
        BackendError: The detector fails, or returns scores or boxes that are no numbers.
    """
    try:
        found = detector.detect(images)
    except AugsynthError:
        raise
    except Exception as error:  # whatever the library of a detector raises
        raise BackendError(
            f"{detector.name}: failed on an image ({first_line(error) or type(error).__name__}); with less than enough "
            "memory take another --device or a smaller model, else another detector"
        ) from error
    for each in found:
        if not (np.isfinite(each.scores).all() and np.isfinite(each.boxes_xyxy).all()):
            raise BackendError(
                f"{detector.name}: returned scores or boxes that are no numbers; its weights are damaged, or were "
                "trained to such: take another detector"
            )
    return found


def has_masks(detector: Detector) -> bool:
    """Tell whether a detector has a mask head."""
    return bool(getattr(detector, "has_masks", False))


def detect_with_masks(detector: Detector, image: Image, *, of: Choice) -> Detections:
    """Return the chosen detections of one image with their masks, by a detector that has a mask head."""
    return cast(MaskDetector, detector).detect_masks([image], of=of)[0]


def box_masks(detector: Detector) -> BoxMasks | None:
    """Return what draws masks from an image and its boxes alone, None where a detector has no such head."""
    found: BoxMasks | None = getattr(detector, "box_masks", None)
    return found


def chosen(found: Sequence[Detections], of: Choice | None) -> list[Detections]:
    """Return the chosen detections of each image, all of them without a choice."""
    return list(found) if of is None else [seen.take(of(seen)) for seen in found]


def without_doubles(found: Detections, *, max_iou: float) -> Detections:
    """Return detections, best first, without those that overlap a better one of their category by more."""
    import torch
    from torchvision.ops import batched_nms

    if not len(found):
        return found
    kept = batched_nms(
        torch.from_numpy(np.ascontiguousarray(found.boxes_xyxy)),
        torch.from_numpy(np.ascontiguousarray(found.scores)),
        torch.from_numpy(np.ascontiguousarray(found.category_ids)),
        max_iou,
    ).numpy()
    return found.take(kept)


def match_categories(names: Sequence[str], categories: Sequence[Category], *, source: str) -> dict[int, int]:
    """Return label index -> COCO id for the detector's label names, matched by name.

    Raises:
        ConfigError: Some of the dataset's categories are unknown to the detector.
    """
    index = {plain_name(name): label for label, name in reversed(list(enumerate(names)))}
    missing = [category.name for category in categories if plain_name(category.name) not in index]
    if missing:
        known = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise ConfigError(
            f"the detector {source} doesn't know {len(missing)} of the dataset's categories: "
            f"{', '.join(missing)} (it knows {known}); train one with `augsynth train-detector`, or pass a "
            "zero-shot detector to --detector"
        )
    return {index[plain_name(category.name)]: category.id for category in reversed(categories)}
