"""The values that travel through every stage: frozen, validated, without I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Image = NDArray[np.uint8]


class Reason(StrEnum):
    """Why an attempt ended as it did; the value is the key in provenance, stats and report."""

    ACCEPTED = "accepted"
    NO_CATEGORY = "no_category"
    NO_REGION = "no_region"
    NO_OBJECT = "no_object"
    BAD_IMAGE = "bad_image"
    BLANK = "blank"
    NOT_FOUND = "not_found"
    WRONG_CLASS = "wrong_class"
    LOW_SCORE = "low_score"
    LOW_IOU = "low_iou"
    AMBIGUOUS = "ambiguous"
    BAD_SIZE = "bad_size"
    LOST_NEIGHBOUR = "lost_neighbour"
    EXTRA_OBJECT = "extra_object"
    NOT_IN_TOP_K = "not_in_top_k"
    STILL_THERE = "still_there"
    NO_MASK = "no_mask"


@dataclass(frozen=True, slots=True)
class Category:
    """A COCO category: its id as in the source file, and its name."""

    id: int
    name: str
    supercategory: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One image and its objects as a struct of arrays.

    Attributes:
        image_id: COCO image id.
        file_name: POSIX path relative to the image root.
        size_wh: Width and height in pixels, after EXIF orientation.
        boxes_xyxy: (N, 4) float64, pixels, inside the image, x1 < x2 and y1 < y2.
        category_ids: (N,) int64 COCO category ids.
        annotation_ids: (N,) int64 COCO annotation ids.
        is_crowd: (N,) bool; crowd and ignore regions count as presence and as obstacles, never as anchors.

    Raises:
        ValueError: The arrays disagree in length or a box is empty.
    """

    image_id: int
    file_name: str
    size_wh: tuple[int, int]
    boxes_xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    category_ids: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    annotation_ids: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    is_crowd: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        n = len(self.boxes_xyxy)
        if self.boxes_xyxy.shape != (n, 4):
            raise ValueError(f"boxes_xyxy must be (N, 4), got {self.boxes_xyxy.shape}")
        if not n == len(self.category_ids) == len(self.annotation_ids) == len(self.is_crowd):
            raise ValueError("boxes, category ids, annotation ids and crowd flags differ in length")
        if n and not (self.boxes_xyxy[:, 2:] > self.boxes_xyxy[:, :2]).all():
            raise ValueError("an empty box")

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def keeping(self, keep: NDArray[np.bool_]) -> Scene:
        """Return the scene with some of its objects, given as (N,) bool."""
        return Scene(
            self.image_id,
            self.file_name,
            self.size_wh,
            self.boxes_xyxy[keep],
            self.category_ids[keep],
            self.annotation_ids[keep],
            self.is_crowd[keep],
        )

    def adding(self, box_xyxy: FloatArray, *, category_id: int, annotation_id: int) -> Scene:
        """Return the scene with one more object at the end."""
        return Scene(
            self.image_id,
            self.file_name,
            self.size_wh,
            np.concatenate([self.boxes_xyxy, np.asarray(box_xyxy, np.float64)[None]]),
            np.concatenate([self.category_ids, [category_id]]),
            np.concatenate([self.annotation_ids, [annotation_id]]),
            np.concatenate([self.is_crowd, [False]]),
        )


@dataclass(frozen=True, slots=True)
class Repair:
    """How often one kind of fault was recovered while reading, and where.

    Attributes:
        count: How often.
        examples: Ids or names of the first few.
    """

    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A COCO dataset in memory.

    Attributes:
        categories: In file order.
        scenes: In file order; images without annotations included.
        document: The source document as decoded, with exactly the repairs counted in `repairs`; never modified after.
        source: Path of the annotation file.
        image_root: Directory that `file_name` is relative to, or None when only annotations were read.
        repairs: What was recovered while reading, by kind, to be shown to the user.
    """

    categories: tuple[Category, ...]
    scenes: tuple[Scene, ...]
    document: Mapping[str, Any]
    source: Path
    image_root: Path | None = None
    repairs: Mapping[str, Repair] = field(default_factory=dict)

    def categories_in_use(self, asked: Collection[str] = ()) -> tuple[Category, ...]:
        """Return the categories that annotate an object, and those asked for by name, in file order."""
        found = [np.unique(scene.category_ids) for scene in self.scenes]
        used = set(np.unique(np.concatenate(found)).tolist()) if found else set()
        return tuple(c for c in self.categories if c.id in used or c.name in asked)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where one new object should go.

    Attributes:
        category_id: COCO id of the category to paint.
        box_xyxy: (4,) float64, pixels, inside the image.
        anchor_annotation_id: The annotation whose layout statistics proposed the box, or None.
        score: Score of the region (docs/method.md §3), a log density up to a constant; 0 where the
            place was drawn without one.
    """

    category_id: int
    box_xyxy: FloatArray
    anchor_annotation_id: int | None
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A placement with everything that is needed to paint it.

    Attributes:
        placement: Category and box.
        window_xyxy: (4,) int64 square window inside the image, in source pixels.
        mask_xyxy: (4,) float64 region to repaint, the box grown a little, inside the window.
        prompt: Text condition.
        seed: Seed of this object's generator.
        negative_prompt: Text of the unconditional branch, None for the run's own.
    """

    placement: Placement
    window_xyxy: IntArray
    mask_xyxy: FloatArray
    prompt: str
    seed: int
    negative_prompt: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a detector found in one image.

    Attributes:
        boxes_xyxy: (N, 4) float64, pixels of the image given.
        scores: (N,) float64 in [0, 1], descending.
        category_ids: (N,) int64 COCO ids of the dataset at hand.
        masks: (N, h, w) bool masks of the image's size, None where they weren't asked for or there is no mask head.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    category_ids: IntArray
    masks: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, positions: IntArray) -> Detections:
        """Return the detections at (K,) positions, in their order."""
        masks = None if self.masks is None else self.masks[positions]
        return Detections(
            self.boxes_xyxy[positions], self.scores[positions], self.category_ids[positions], masks
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a category stands among the labels of a classifier that looked at one crop.

    Attributes:
        rank: 1 for the best; labels that fit as well count as better.
        probability: In [0, 1], as the classifier gives it.
        best: The label that fits best, in the classifier's words; for CLIP and SigLIP the category's name.
    """

    rank: int
    probability: float
    best: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The judgement on one attempt.

    Attributes:
        reason: `Reason.ACCEPTED` or what spoke against it.
        box_xyxy: (4,) re-fitted box in image pixels when accepted; the best candidate or None otherwise.
        score: Detector score of the target category's best match, 0 when none; without a detector the classifier's
            probability, 1 where nothing was filtered.
        iou: IoU of that match and the planned box; 1 without a detector.
        extras: Second objects that are labelled, too, their boxes as labels; None where there are none.
        found_category_id: COCO id of another class that was found at the place of a rejected object, None for none.
        found_score: Its detector score.
        standing: Where the target is among what a classifier sees there; None where none looked.
    """

    reason: Reason
    box_xyxy: FloatArray | None
    score: float
    iou: float
    extras: Detections | None = None
    standing: Standing | None = None
    found_category_id: int | None = None
    found_score: float | None = None

    @property
    def accepted(self) -> bool:
        """Whether the object stays."""
        return self.reason is Reason.ACCEPTED
