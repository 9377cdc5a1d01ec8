"""Real objects to start painting from: chosen first, then placed in their own shape, then put into the picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from augsynth.bank.reader import Bank
from augsynth.core.boxes import clip_boxes
from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category, Detections, FloatArray, Image, IntArray, Scene
from augsynth.pasting.patch import Blend, Patch, paste
from augsynth.pasting.segmented_outline import best_outline
from augsynth.pasting.source_objects import bank_ids, bank_objects
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import BoxShape

MAX_USES = 20
MIN_SCALE, MAX_SCALE = 0.5, 1.5
_NUM_DRAWN, _NUM_OUTLINED = 8, 3
_SCALE_PRICE = 4.0
_GREY = 128


@dataclass(frozen=True, slots=True, eq=False)
class StartObject:
    """A cut-out that an object is painted from.

    Attributes:
        position: In its bank.
        patch: In its own size, mirrored as it will be put.
    """

    position: int
    patch: Patch

    @property
    def shape(self) -> BoxShape:
        """What boxes it can have: of its own shape, half to one and a half times as large."""
        wh = self.patch.box_xyxy[2:] - self.patch.box_xyxy[:2]
        side = float(wh.max())
        return BoxShape(float(np.log(wh[0] / wh[1])), MIN_SCALE * side, MAX_SCALE * side)


@dataclass(frozen=True, slots=True, eq=False)
class InitImages:
    """The cut-outs of a bank by the dataset's categories.

    Attributes:
        bank: Opened bank.
        members: COCO id of the dataset -> positions in the bank; categories without a usable cut-out are absent.
        patches: Position -> the cut-out in its own size, as the bank has it.
    """

    bank: Bank
    members: Mapping[int, IntArray]
    patches: Mapping[int, Patch]
    _outlined: dict[int, Patch] = field(init=False, default_factory=dict)

    @classmethod
    def open(cls, path: str, categories: Sequence[Category], *, alone: bool = False) -> InitImages:
        """Open a bank; its categories are matched by name.

        Cut-outs that the border of their picture cuts off are left out. One that shows other objects brings them along,
        in its whole box.

        Args:
            path: Folder of the bank.
            categories: Of the dataset.
            alone: Leave out cut-outs that show other objects.

        Raises:
            BankError: The folder is no bank, or it is damaged.
            ConfigError: It has no whole object of any of the categories.
        """
        bank = Bank.open(path)
        ids = {category.name: category.id for category in categories}
        theirs = [category.name for category in bank.categories if len(bank.of_category(category.id))]
        if not ids.keys() & set(theirs):
            names = ", ".join(theirs[:6])
            raise ConfigError(
                f"{path}: the bank is of other categories ({names}) than the dataset; make one with `augsynth bank`"
            )
        objects = bank_objects(bank, bank_ids(bank, ids), bgr=False)
        patches: dict[int, Patch] = {}
        members = {}
        for category_id, positions in objects.members.items():
            usable = {}
            for position in positions.tolist():
                patch = objects.cut(position)
                mixed = len(patch.other_ids) > 0
                if patch.is_cut_off() or (alone and mixed):
                    continue
                usable[position] = patch
            if usable:
                members[category_id] = np.array(sorted(usable), np.int64)
                patches.update(usable)
        if not members:
            raise ConfigError(
                f"{path}: the bank has no whole object of any category; make one of more images with `augsynth bank`"
            )
        return cls(bank, members, patches)

    def outlined(self, position: int) -> Patch:
        """Return the cut-out with an outline where one is known or found; it is looked for once, when it is needed.

        One that shows other objects stays whole.
        """
        if position not in self._outlined:
            patch = self.patches[position]
            self._outlined[position] = patch if len(patch.other_ids) else best_outline(patch)
        return self._outlined[position]

    @property
    def quotas(self) -> dict[int, int]:
        """Most objects of each category, by COCO id: each cut-out is used `MAX_USES` times."""
        return {category_id: MAX_USES * len(positions) for category_id, positions in self.members.items()}

    def uses_left(self, uses: Counter[int]) -> dict[int, int]:
        """Return how often each position may still be used."""
        positions = (int(position) for each in self.members.values() for position in each)
        return {position: max(0, MAX_USES - uses[position]) for position in positions}

    def choose(
        self, category_id: int, scene: Scene, layout: Layout, *, uses: Counter[int], rng: np.random.Generator
    ) -> StartObject | None:
        """Choose a cut-out for a scene: one of those used least, rather of the size that the scene asks for.

        Of a few that are drawn it is the first with an outline, known or found: others bring a rectangle of their
        background.

        Args:
            category_id: What is to be put in.
            scene: What is there.
            layout: Knows sizes.
            uses: How often each position has been used.
            rng: All chance comes from here.

        Returns:
            The cut-out, or None where there is none of the category or each has been used `MAX_USES` times.
        """
        positions = self.members.get(category_id)
        if positions is None:
            return None
        used = np.array([uses[position] for position in positions.tolist()])
        left = np.flatnonzero(used < MAX_USES)
        if not len(left):
            return None
        left = rng.permutation(left)
        left = left[np.argsort(used[left], kind="stable")[:_NUM_DRAWN]]
        sizes = self.bank.box_sizes_wh[positions[left]].max(axis=1)
        wanted = layout.usual_side(scene, category_id)
        change = np.log(wanted / sizes)
        change = np.abs(change - np.clip(change, np.log(MIN_SCALE), np.log(MAX_SCALE))) + 0.25 * np.abs(
            change
        )
        chances = np.exp(-_SCALE_PRICE * (change - change.min()))
        order = rng.choice(left, min(_NUM_OUTLINED, len(left)), replace=False, p=chances / chances.sum())
        drawn = positions[order].tolist()
        position = next((each for each in drawn if self.outlined(each).has_mask), drawn[0])
        patch = self.outlined(position)
        if rng.random() < 0.5:
            patch = patch.flipped()
        return StartObject(position, patch)


@dataclass(frozen=True, slots=True, eq=False)
class PutObject:
    """An image with an object in it.

    Attributes:
        pixels: (H, W, 3) uint8.
        shown: (H, W) bool pixels of the object.
        box_xyxy: (4,) its box.
        others: What came along with it, with scores of 1.
    """

    pixels: Image
    shown: NDArray[np.bool_]
    box_xyxy: FloatArray
    others: Detections


def put(image: Image, patch: Patch, box_xyxy: FloatArray) -> PutObject:
    """Put a cut-out into an image where a box is planned for it.

    Args:
        image: (H, W, 3) uint8; left as it is.
        patch: In its own size.
        box_xyxy: (4,) where its box goes; scale and centre follow from it.
    """
    own = patch.box_xyxy
    scaled = patch.scaled(float((box_xyxy[2:] - box_xyxy[:2]).max() / (own[2:] - own[:2]).max()))
    middle = (box_xyxy[:2] + box_xyxy[2:]) / 2
    low = np.round(middle - (scaled.box_xyxy[:2] + scaled.box_xyxy[2:]) / 2).astype(np.int64)
    pixels = image.copy()
    region, opaque = paste(pixels, scaled, low, blend=Blend.POISSON)
    shown = np.zeros(image.shape[:2], bool)
    x1, y1, x2, y2 = region.tolist()
    shown[y1:y2, x1:x2] = opaque
    limit = np.tile(np.array(image.shape[1::-1], np.float64), 2)
    box = np.clip(scaled.fitted_box() + np.tile(low, 2), 0, limit)
    along = clip_boxes(scaled.others_xyxy + np.tile(low, 2), (image.shape[1], image.shape[0]))
    inside = np.flatnonzero((along[:, 2:] > along[:, :2]).all(axis=1))
    others = Detections(along, np.ones(len(along)), scaled.other_ids).take(inside)
    return PutObject(pixels, shown, np.asarray(box, np.float64), others)


def reference_picture(patch: Patch, *, size: int) -> Image:
    """Return a (size, size, 3) uint8 picture of an object alone on grey, as large as fits."""
    height, width = patch.alpha.shape
    scaled = patch.scaled(size / max(height, width))
    height, width = scaled.alpha.shape
    top, left = (size - height) // 2, (size - width) // 2
    picture = np.full((size, size, 3), _GREY, np.uint8)
    part = picture[top : top + height, left : left + width]
    share = scaled.alpha[: part.shape[0], : part.shape[1], None] / 255
    shown = scaled.image[: part.shape[0], : part.shape[1]]
    part[:] = np.round(part + share * (shown - np.float64(part)))
    return picture
