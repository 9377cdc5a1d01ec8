"""Real objects to start painting from: a cut-out is put where the new object is planned, then painted over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageFilter

from augsynth.bank.reader import Bank
from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category, FloatArray, Image, IntArray

NUM_ALIKE = 12
MAX_STRETCH = 1.25
SOFT_SHARE = 0.06


@dataclass(frozen=True, slots=True, eq=False)
class InitImages:
    """The cut-outs of a bank by the dataset's categories.

    Attributes:
        bank: Opened bank.
        positions: COCO id of the dataset -> positions in the bank; categories without a cut-out are absent.
    """

    bank: Bank
    positions: Mapping[int, IntArray]

    @classmethod
    def open(cls, path: Path | str, categories: Sequence[Category]) -> InitImages:
        """Open a bank; its categories are matched by name.

        Raises:
            BankError: The folder is no bank, or it is damaged.
            ConfigError: It has no cut-out of any of the categories.
        """
        bank = Bank.open(path)
        theirs = {category.name: bank.of_category(category.id) for category in bank.categories}
        positions = {c.id: theirs[c.name] for c in categories if len(theirs.get(c.name, ()))}
        if not positions:
            names = ", ".join(list(theirs)[:6])
            raise ConfigError(
                f"{path}: the bank is of other categories ({names}) than the dataset; make one with `augsynth bank`"
            )
        return cls(bank, positions)

    def choose(self, category_id: int, box_xyxy: FloatArray, rng: np.random.Generator) -> int | None:
        """Return the position of one of the dozen cut-outs most like a box in size and aspect; None without any."""
        positions = self.positions.get(category_id)
        if positions is None:
            return None
        theirs = np.log(np.maximum(self.bank.box_sizes_wh[positions], 1))
        ours = np.log(np.maximum(box_xyxy[2:] - box_xyxy[:2], 1))
        difference = theirs - ours
        unlike = np.abs(difference[:, 0] - difference[:, 1]) + 0.5 * np.abs(difference.mean(axis=1))
        return int(rng.choice(positions[np.argsort(unlike, kind="stable")[:NUM_ALIKE]]))

    def put(self, image: Image, position: int, box_xyxy: FloatArray, rng: np.random.Generator) -> Image:
        """Return the image with a cut-out in a box, mirrored or not, stretched by a quarter at most.

        Args:
            image: (H, W, 3) uint8.
            position: Of `choose`.
            box_xyxy: (4,) where its box goes; the centres agree, the sides as far as the stretch allows.
            rng: Decides whether it is mirrored.
        """
        cutout = self.bank[position]
        width, height = cutout.image.shape[1], cutout.image.shape[0]
        scale = (box_xyxy[2:] - box_xyxy[:2]) / np.maximum(cutout.box_xyxy[2:] - cutout.box_xyxy[:2], 1)
        mean = float(np.sqrt(scale.prod()))
        stretch = float(np.clip(np.sqrt(scale[0] / scale[1]), MAX_STRETCH**-0.5, MAX_STRETCH**0.5))
        scale = np.array([mean * stretch, mean / stretch])
        size = max(1, round(width * scale[0])), max(1, round(height * scale[1]))
        patch = PilImage.fromarray(cutout.image).resize(size, PilImage.Resampling.LANCZOS)
        opacity = PilImage.fromarray(cutout.alpha).resize(size, PilImage.Resampling.LANCZOS)
        if not cutout.has_mask:  # the box's edge is no edge of the object
            opacity = opacity.filter(ImageFilter.GaussianBlur(SOFT_SHARE * min(size)))
        centre = (cutout.box_xyxy[:2] + cutout.box_xyxy[2:]) / 2 * np.array(size) / (width, height)
        if rng.random() < 0.5:
            patch, opacity = (p.transpose(PilImage.Transpose.FLIP_LEFT_RIGHT) for p in (patch, opacity))
            centre[0] = size[0] - centre[0]
        low = np.round((box_xyxy[:2] + box_xyxy[2:]) / 2 - centre).astype(int)
        canvas = PilImage.fromarray(image)
        canvas.paste(patch, (int(low[0]), int(low[1])), opacity)
        return np.asarray(canvas)
