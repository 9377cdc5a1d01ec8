"""Grades of boxes by a detector that serves as the judge, and what they say of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import ious, view_around
from augsynth.core.scene import Category, Detections, FloatArray, Image, IntArray
from augsynth.detectors.port import Detector

SAME_PLACE_IOU = 0.7
RIGHT_IOU = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Grades:
    """What the judge said about some boxes.

    Attributes:
        category_ids: (N,) int64 what each box is meant to show.
        iou: (N,) of the answer that overlaps it most, 0 where there is none.
        right_class: (N,) bool, whether that answer has the box's class.
        image_ids: (N,) int64 of the source image that each box lies in.
    """

    category_ids: IntArray
    iou: FloatArray
    right_class: NDArray[np.bool_]
    image_ids: IntArray

    def __len__(self) -> int:
        return len(self.iou)

    def right(self, min_iou: float = RIGHT_IOU) -> NDArray[np.bool_]:
        """Return (N,) which boxes are found with the right class at an IoU."""
        return np.asarray(self.right_class & (self.iou >= min_iou))

    def only(self, chosen: NDArray[np.bool_]) -> Grades:
        """Return those of some boxes."""
        return Grades(
            self.category_ids[chosen], self.iou[chosen], self.right_class[chosen], self.image_ids[chosen]
        )

    @classmethod
    def joined(cls, parts: Sequence[Grades]) -> Grades:
        """Return the grades of several images as one."""
        if not parts:
            return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.int64))
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def one_answer_a_place(found: Detections, *, min_score: float) -> Detections:
    """Return detections of at least a score, without those that a better one of any class overlaps."""
    kept: list[int] = []
    overlap = ious(found.boxes_xyxy, found.boxes_xyxy)
    for i in np.argsort(-found.scores, kind="stable"):
        if found.scores[i] >= min_score and not (overlap[i, kept] > SAME_PLACE_IOU).any():
            kept.append(int(i))
    return Detections(found.boxes_xyxy[kept], found.scores[kept], found.category_ids[kept])


def grade(
    judge: Detector,
    image: Image,
    boxes_xyxy: FloatArray,
    category_ids: IntArray,
    *,
    image_id: int,
    min_score: float,
) -> Grades:
    """Let the judge look at an image around each box and compare its answers with the labels."""
    size_wh = (image.shape[1], image.shape[0])
    views = [_view(box, size_wh, judge.view_px) for box in boxes_xyxy]
    distinct = sorted(set(views))
    crops = [np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in distinct]
    seen = dict(zip(distinct, judge.detect(crops) if crops else [], strict=True))
    iou, right = np.zeros(len(boxes_xyxy)), np.zeros(len(boxes_xyxy), np.bool_)
    for i, (box, view) in enumerate(zip(boxes_xyxy, views, strict=True)):
        answers = one_answer_a_place(seen[view], min_score=min_score)
        if len(answers):
            overlap = ious(answers.boxes_xyxy + np.tile(view[:2], 2), box[None])[:, 0]
            best = int(np.argmax(overlap))
            iou[i] = overlap[best]
            right[i] = overlap[best] > 0 and answers.category_ids[best] == category_ids[i]
    return Grades(np.asarray(category_ids, np.int64), iou, right, np.full(len(iou), image_id, np.int64))


def _view(box_xyxy: FloatArray, size_wh: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    around = np.concatenate([np.floor(box_xyxy[:2]), np.ceil(box_xyxy[2:])]).astype(np.int64)
    x1, y1, x2, y2 = (int(v) for v in view_around(around, size_wh, side=side))
    return x1, y1, x2, y2


def wilson(right: int, num: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    if not num:
        return float("nan"), float("nan")
    z = 1.96
    share, factor = right / num, 1 + z * z / num
    centre = (share + z * z / (2 * num)) / factor
    half = z * np.sqrt(share * (1 - share) / num + z * z / (4 * num * num)) / factor
    return float(centre - half), float(centre + half)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How often the judge agrees with some boxes over how often it agrees with others; NaN where neither is known.

    Attributes:
        value: Of the two shares.
        low, high: 95 % interval, from images drawn anew with replacement.
    """

    value: float
    low: float
    high: float


def relative_agreement(
    some: Grades, others: Grades, *, min_iou: float = RIGHT_IOU, draws: int = 10_000, seed: int = 0
) -> Ratio:
    """Return the share of right boxes among some over that among others of the same images.

    Objects of one image share its light, its crowd and the judge's mistakes, so images are drawn, not objects.
    Draws in which the judge agrees with none of the others, or in which there are none of either, are left out.
    """
    images = np.union1d(some.image_ids, others.image_ids)
    if not len(images):
        return Ratio(float("nan"), float("nan"), float("nan"))
    counts = np.stack([*_by_image(some, images, min_iou), *_by_image(others, images, min_iou)])
    weights = np.random.default_rng(seed).multinomial(
        len(images), np.full(len(images), 1 / len(images)), draws
    )
    values = _ratio(weights @ counts.T)
    if np.isnan(values).all():
        return Ratio(float("nan"), float("nan"), float("nan"))
    low, high = np.nanquantile(values, (0.025, 0.975))
    return Ratio(float(_ratio(counts.sum(1)[None])[0]), float(low), float(high))


def _by_image(grades: Grades, images: IntArray, min_iou: float) -> tuple[IntArray, IntArray]:
    """Return the numbers of right boxes and of all boxes of each image."""
    place = np.searchsorted(images, grades.image_ids)
    right = np.bincount(place[grades.right(min_iou)], minlength=len(images))
    return right, np.bincount(place, minlength=len(images))


def _ratio(counts: IntArray) -> FloatArray:
    """Return (N,) ratios of (N, 4) right and all of the ones, right and all of the others."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (counts[:, 0] / counts[:, 1]) / (counts[:, 2] / counts[:, 3])
    return np.asarray(np.where(np.isfinite(values), values, np.nan))


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How many labels the judge finds: with their category, at an IoU of at least 0.7.

    Attributes:
        objects, right: Labels, and those of them that it finds.
        low, high: 95 % interval of the share (Wilson 1927); None without labels.
    """

    objects: int
    right: int
    low: float | None = None
    high: float | None = None

    @property
    def share(self) -> float:
        """Of labels that it finds, 0 without any."""
        return self.right / self.objects if self.objects else 0.0

    @classmethod
    def of(cls, grades: Grades) -> Agreement:
        """Return what grades say."""
        right = int(grades.right().sum())
        if not len(grades):
            return cls(objects=0, right=0)
        low, high = wilson(right, len(grades))
        return cls(objects=len(grades), right=right, low=round(low, 4), high=round(high, 4))


class CategoryTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge makes of a category's labels."""

    category_id: int
    category: str
    accepted: Agreement
    real: Agreement


class LabelTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge makes of a run's labels.

    Attributes:
        judge: Its name.
        accepted: Of painted objects in new images.
        real: Of the real objects in the same images: what the judge can reach.
        ratio, low, high: Share of the accepted ones over that of the real ones, with its 95 % interval from images
            drawn anew; None where there is nothing to compare.
        categories: Those with a painted object.
    """

    judge: str
    accepted: Agreement
    real: Agreement
    ratio: float | None
    low: float | None
    high: float | None
    categories: tuple[CategoryTruth, ...] = ()

    @classmethod
    def of(cls, judge: str, accepted: Grades, real: Grades, categories: tuple[Category, ...]) -> LabelTruth:
        """Return what grades of painted and of real objects say."""
        ratio = relative_agreement(accepted, real)
        value, low, high = (
            round(each, 4) if np.isfinite(each) else None for each in (ratio.value, ratio.low, ratio.high)
        )
        lines = (
            CategoryTruth(
                category_id=category.id,
                category=category.name,
                accepted=Agreement.of(accepted.only(accepted.category_ids == category.id)),
                real=Agreement.of(real.only(real.category_ids == category.id)),
            )
            for category in categories
        )
        return cls(
            judge=judge,
            accepted=Agreement.of(accepted),
            real=Agreement.of(real),
            ratio=value,
            low=low,
            high=high,
            categories=tuple(line for line in lines if line.accepted.objects),
        )

    def document(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {"min_iou": RIGHT_IOU, **values}
