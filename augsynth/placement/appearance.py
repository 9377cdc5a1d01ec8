"""What the surroundings of a category look like: the term of docs/method.md §3 as a log ratio.

Rings around real objects are compared with rings around random boxes of the same size in the same image, so
that a score says how much more a place looks like a place of the category than the rest of that image does.
Instead of the cosine to a category's prototype there are trees on the ring's features, the category's rank
and the likeness to the rings of the objects that the scene already has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.arrays import unique_ids, wholes
from augsynth.core.errors import DatasetError
from augsynth.core.scene import Dataset, FloatArray, Image, IntArray, Scene
from augsynth.core.seeding import derive_rng
from augsynth.placement.boosting import BoostedTrees, fit_trees
from augsynth.placement.negatives import COMPARED, random_places, without_object
from augsynth.placement.ring_features import Rings

_NUM_RANDOM = 12  # random places of each real one; twice as many teach nothing that a judge could measure
_MAX_OBJECTS = 2000
_MAX_RANKS = 16
# Share of the objects learned from as if the scene held nothing else, so that empty scenes are known too.
_ALONE_SHARE = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """The surroundings of each category.

    Attributes:
        category_ids: COCO ids in dataset order.
        ranks: (C,) rank of each category by its number of objects, 0 the commonest.
        trees: Combine ring features into a log ratio; knows nothing when no image could be used.
    """

    category_ids: tuple[int, ...]
    ranks: IntArray
    trees: BoostedTrees

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        read_image: Callable[[Scene], Image],
        *,
        max_images: int = 400,
        seed: int = 42,
    ) -> Appearance:
        """Learn what surrounds the objects of a dataset.

        Args:
            dataset: Scenes without objects are not read.
            read_image: Returns a scene's image, (H, W, 3) uint8; one that raises DatasetError is left out.
            max_images: At most this many images are read, drawn by the seed.
            seed: Draws images and random boxes.
        """
        ids = tuple(c.id for c in dataset.categories)
        rng = derive_rng(seed, "appearance")
        present = np.concatenate([np.zeros(0, np.int64), *(s.category_ids for s in dataset.scenes)])
        found, times = np.unique(present, return_counts=True)
        number = dict(zip(found.tolist(), times.tolist(), strict=True))
        counts = np.array([number.get(c, 0) for c in ids], np.int64)
        ranks = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
        model = cls(ids, ranks, BoostedTrees.empty())
        scenes, chosen = _with_objects(dataset), _chosen(dataset, rng, max_images)
        total = sum(int((~scenes[i].is_crowd).sum()) for i in chosen)
        share = min(1.0, _MAX_OBJECTS / max(total, 1))
        parts: list[FloatArray] = []
        images: list[int] = []
        for i in chosen:
            picked = np.flatnonzero(~scenes[i].is_crowd & (rng.random(len(scenes[i])) < share))
            if len(picked):
                try:
                    image = read_image(scenes[i])
                except DatasetError:
                    continue
                parts += model._comparisons(scenes[i], image, picked, rng)
                images += [int(i)] * (len(parts) - len(images))
        if not parts:
            return model
        sizes = np.array([len(part) for part in parts])
        trees = fit_trees(
            np.concatenate(parts),
            sizes,
            rng=derive_rng(seed, "rings"),
            clusters=np.array(images),
        )
        return cls.from_dict(cls(ids, ranks, trees).to_dict())

    @staticmethod
    def scenes_read(dataset: Dataset, *, max_images: int = 400, seed: int = 42) -> list[Scene]:
        """Return the scenes whose images `fit` reads with the same arguments."""
        scenes = _with_objects(dataset)
        return [scenes[i] for i in _chosen(dataset, derive_rng(seed, "appearance"), max_images)]

    def _comparisons(
        self, scene: Scene, image: Image, picked: IntArray, rng: np.random.Generator
    ) -> list[FloatArray]:
        """Return features of each picked object's place (first row) and of random places of its size."""
        rings = Rings.of(image)
        compared, places = list[tuple[int, NDArray[np.bool_]]](), list[FloatArray]()
        for k in picked.tolist():
            box, others = scene.boxes_xyxy[k], ~scene.is_crowd
            others[k] = False
            random = random_places(
                without_object(scene, k),
                box[2:] - box[:2],
                num=_NUM_RANDOM,
                rng=rng,
                avoid_xyxy=box,
                **COMPARED,
            )
            if len(random) and scene.category_ids[k] in self.category_ids:
                if rng.random() < _ALONE_SHARE:
                    others[:] = False
                compared.append((k, others))
                places.append(np.concatenate([box[None], random]))
        if not places:
            return []
        boxes, known = np.concatenate(places), rings.signatures(scene.boxes_xyxy)
        columns = np.concatenate([rings.signatures(boxes), rings.features(boxes)], axis=1)
        rows = np.split(columns, np.cumsum([len(each) for each in places])[:-1])
        return [
            self._joined(scene, int(scene.category_ids[k]), own, known, others)
            for (k, others), own in zip(compared, rows, strict=True)
        ]

    def log_odds(self, scene: Scene, rings: Rings, boxes_xyxy: FloatArray, category_id: int) -> FloatArray:
        """Return (N,) log odds that boxes are surrounded as the category is, up to a constant an image.

        Args:
            scene: The objects that are there, for likeness with their surroundings.
            rings: `Rings.of` the scene's image.
            boxes_xyxy: (N, 4) places in pixels of the image.
            category_id: What would stand there.
        """
        return self.trees.scores(self.features(scene, rings, boxes_xyxy, category_id))

    def features(self, scene: Scene, rings: Rings, boxes_xyxy: FloatArray, category_id: int) -> FloatArray:
        """Return the (N, F) columns that `trees` combine.

        Raises:
            ValueError: The model knows no such category.
        """
        if category_id not in self.category_ids:
            raise ValueError(f"category_id {category_id} is not one of the appearance's {self.category_ids}")
        own = np.concatenate([rings.signatures(boxes_xyxy), rings.features(boxes_xyxy)], axis=1)
        return self._joined(scene, category_id, own, rings.signatures(scene.boxes_xyxy), ~scene.is_crowd)

    def _joined(
        self, scene: Scene, category_id: int, own: FloatArray, known: FloatArray, others: NDArray[np.bool_]
    ) -> FloatArray:
        """Return the columns of `features`.

        Args:
            scene: The objects that are there.
            category_id: What would stand at the places.
            own: (N, S + F) signatures and ring features of the places.
            known: (K, S) signatures of the scene's objects.
            others: (K,) those that count.
        """
        rank = float(min(self.ranks[self.category_ids.index(category_id)], _MAX_RANKS))
        here, rings = own[:, : known.shape[1]], own[:, known.shape[1] :]
        likeness = [
            _likeness(here, known[chosen])
            for chosen in (others, others & (scene.category_ids == category_id))
        ]
        return np.concatenate([np.full((len(own), 1), rank), rings, *likeness], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {
            "category_ids": list(self.category_ids),
            "ranks": self.ranks.tolist(),
            "evidence": self.trees.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Appearance:
        """Return the model of `to_dict`.

        Raises:
            ValueError: A key is missing or holds something else.
        """
        try:
            category_ids = tuple(unique_ids(data["category_ids"], "category_ids").tolist())
            ranks = wholes(data["ranks"], "ranks", (len(category_ids),))
            return cls(category_ids, ranks, BoostedTrees.from_dict(data["evidence"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an appearance model: {error!r}") from error


def _with_objects(dataset: Dataset) -> list[Scene]:
    return [scene for scene in dataset.scenes if (~scene.is_crowd).any()]


def _chosen(dataset: Dataset, rng: np.random.Generator, max_images: int) -> IntArray:
    """Draw the scenes that are learnt from: sorted places in `_with_objects`."""
    return np.sort(rng.permutation(len(_with_objects(dataset)))[:max_images])


# Typical spread of the signature's columns within an image: brightness, colours, grain, bands, directions.
_LIKENESS_SCALE = np.array([0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.2, 0.2])


def _likeness(here: FloatArray, others: FloatArray) -> FloatArray:
    """Return (N, 2) least and mean distance of signatures to those of other objects of the scene."""
    if not len(others):
        return np.zeros((len(here), 2))
    distance = np.linalg.norm((here[:, None] - others[None]) / _LIKENESS_SCALE, axis=2)
    return np.stack([distance.min(axis=1), distance.mean(axis=1)], axis=1)
