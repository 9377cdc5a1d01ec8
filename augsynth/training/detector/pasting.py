"""Objects of other training images pasted into those that a detector learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augsynth.affinity.model import Affinity
from augsynth.bank.cutting import CutRules, cut_dataset
from augsynth.bank.reader import Bank
from augsynth.bank.writer import BankWriter
from augsynth.core.scene import Dataset, Image, IntArray, Scene
from augsynth.pasting.paster import Paster
from augsynth.pasting.patch import Blend
from augsynth.pasting.placer import PasteRules, Placer
from augsynth.pasting.source_objects import SourceObjects, bank_objects
from augsynth.pasting.target import Labels, PasteTarget
from augsynth.placement.layout import Layout
from augsynth.training.detector.augment import Example

MAX_OBJECTS = 6
GAMMA = 1.5
MIN_VISIBLE = 0.3
MIN_SIZE = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Pasting:
    """Pastes cut-outs of a training set into its images, each category about alike where affinity lets it.

    Attributes:
        prob: Chance that an image is pasted into.
        paster: What is pasted and where.
        sources: The cut-outs.
        category_ids: (C,) COCO id of labels 1, 2, …, in the file's order.
    """

    prob: float
    paster: Paster
    sources: SourceObjects
    category_ids: IntArray

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        read_image: Callable[[Scene], Image],
        *,
        folder: Path,
        prob: float,
        turned: bool,
    ) -> Pasting | None:
        """Cut the objects of a training set out; None where there is none to cut.

        Args:
            dataset: The images to learn from, and no others: what is pasted must not be what is judged on.
            read_image: Returns a scene's image.
            folder: Where the object bank is kept; one that is there from an interrupted training is made anew.
            prob: Chance that an image is pasted into.
            turned: Whether objects may be turned by quarters of a circle.
        """
        rules = CutRules(min_size=MIN_SIZE)
        with BankWriter(folder, categories=dataset.categories, replace=True) as writer:
            cut_dataset(dataset, read_image, rules=rules, add=writer.add)
        if not len(writer):
            return None
        ids = [c.id for c in dataset.categories]
        blends = list(Blend)
        paster = Paster(
            Affinity.fit(dataset),
            Placer(Layout.fit(dataset), PasteRules()),
            blends,
            np.full(len(blends), 1 / len(blends)),
            dict.fromkeys(ids, 1.0),
            max_objects=MAX_OBJECTS,
            gamma=GAMMA,
            saturation=None,
            turn_prob=0.75 if turned else 0.0,
        )
        sources = bank_objects(Bank.open(folder), {c: c for c in ids}, bgr=False)
        return cls(prob, paster, sources, np.array(ids, np.int64))

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the example with objects pasted into it, or as it is where chance or lack of room will so."""
        if rng.random() >= self.prob or not (example.labels > 0).any():
            return example
        crowd = example.labels < 0
        ids = self.category_ids[np.where(crowd, 0, example.labels - 1)]
        height, width = example.image.shape[:2]
        boxes = np.clip(example.boxes_xyxy, 0, [width, height] * 2)
        scene = Scene(0, "", (width, height), boxes, ids, np.zeros(len(ids), np.int64), crowd)
        target = PasteTarget(example.image, scene, Labels(boxes, ids, crowd, None))
        self.paster.paste(target, self.sources, reference_area=float(width * height), bgr=False, rng=rng)
        labels, _ = target.settle(min_visible=MIN_VISIBLE)
        numbers = (labels.category_ids[:, None] == self.category_ids[None]).argmax(axis=1) + 1
        return Example(target.image, labels.boxes_xyxy, np.where(labels.is_crowd, -1, numbers))
