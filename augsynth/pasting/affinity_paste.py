"""`AffinityPaste` for any trainer: paste objects where they belong into an image given as arrays."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augsynth.bank.reader import Bank
from augsynth.core.errors import ConfigError
from augsynth.core.scene import FloatArray, Image, IntArray, Scene
from augsynth.core.seeding import derive_seed
from augsynth.pasting.options import (
    Classes,
    PasteOptions,
    blend_weights,
    category_weights,
    label_names,
    model_of,
    read_rules,
)
from augsynth.pasting.paster import Paster
from augsynth.pasting.placer import Placer
from augsynth.pasting.source_objects import SourceObjects, bank_ids, bank_objects
from augsynth.pasting.target import Labels, Masks, PasteTarget
from augsynth.placement.scene_model import SceneModel

_REASONS = {
    "not_colour": "an image without three channels passes unchanged",
    "no_annotations": "an image without objects passes unchanged",
    "only_crowds": "an image with nothing but crowds or ignore regions passes unchanged",
    "nothing_to_paste": "no cut-out fits the image, it passes unchanged",
    "no_place": "no place fulfils the rules, the image passes unchanged",
    "damaged_cutout": "left out",
}
_KEY_SIDE = 48


@dataclass(frozen=True, slots=True, eq=False)
class PastedImage:
    """An image with more objects, or as it came where nothing could be pasted.

    Attributes:
        image: (H, W, 3), a new array where anything was pasted.
        boxes_xyxy: (M, 4) float64 pixels: first what was there and can still be seen, then what was pasted.
        labels: (M,) int64.
        masks: (M, H, W) or M lists of polygons, in the form they came in; None where there were none.
        before: (M,) int64 index that each object had before, -1 for a pasted one.
    """

    image: NDArray[Any]
    boxes_xyxy: FloatArray
    labels: IntArray
    masks: Masks
    before: IntArray

    @property
    def num_pasted(self) -> int:
        """How many of the objects are new."""
        return int(np.count_nonzero(self.before < 0))


class AffinityPaste:
    """Paste objects into an image: which by affinity to what is there, where and how large by the layout.

    An image that nothing can be pasted into passes unchanged; `counters` says how often and why, and the log
    mentions each reason at its 1st, 10th, 100th, … time, for each worker. It can be pickled, and then opens its bank
    again: a memory map, of which a worker holds next to nothing.

    Args:
        bank: Folder of the object bank; None where each call brings the objects to paste.
        affinity: File made by `augsynth build-affinity`, or what `fit_affinity` returned.
        classes: What labels mean: label -> name, or names of labels 0, 1, …, in which `__background__` stands for
            none. Without it labels are the category ids of the annotation file.
        seed: With a seed, what is drawn depends on it, on the image with its labels, and on the epoch (`set_epoch`)
            alone: the same in any number of loader workers. Without, it is drawn from the generator of the call.
        bgr: Images have their channels in this order.
        log: Is told what goes wrong; warnings of the logger `augsynth` where it isn't given.
        options: See `PasteOptions`.

    Attributes:
        options: Those that were given, with the defaults of the others.
        counters: How many images chance chose (`images`), how many objects were `pasted` and `dropped`, and how often
            each reason passed an image unchanged. A loader's worker counts in a copy of its own.
        seed, bgr: As given.
        epoch: See `set_epoch`.
        affinity: Chooses categories.
        names: Label -> category name.
        paster: Chooses and pastes.

    Raises:
        ConfigError: An option is wrong, or there is no class.
        BankError: The bank can't be used.
        DatasetError: The affinity file can't be read.
    """

    def __init__(
        self,
        bank: str | Path | None,
        affinity: str | Path | SceneModel,
        *,
        classes: Classes = None,
        seed: int | None = None,
        bgr: bool = False,
        log: Callable[[str], None] | None = None,
        **options: Any,
    ) -> None:
        self.options = chosen = PasteOptions.of(options)
        self.counters: Counter[str] = Counter()
        self.seed, self.bgr, self.epoch = seed, bgr, 0
        self._log = log or _warn
        is_model = isinstance(affinity, SceneModel)
        model = model_of(affinity)
        self.affinity = model.affinity
        self.names = label_names(classes, self.affinity, "the affinity" if is_model else str(affinity))
        by_name = dict(zip(self.affinity.names, self.affinity.category_ids.tolist(), strict=True))
        self._labels = np.array(sorted(self.names), np.int64)
        self._ids = np.array([by_name[self.names[label]] for label in self._labels.tolist()], np.int64)
        names = [self.names[label] for label in self._labels.tolist()]
        self._label_of = dict(zip(self._ids.tolist(), self._labels.tolist(), strict=True))
        self.affinity.probabilities([], tau=chosen.tau, gamma=chosen.gamma, saturation=chosen.saturation)
        modes, chances = blend_weights(chosen.blends)
        self.paster = Paster(
            self.affinity,
            Placer(model.layout, read_rules(chosen.rules)),
            modes,
            chances,
            category_weights(chosen.quotas, names, self._ids),
            min_objects=chosen.min_objects,
            max_objects=chosen.max_objects,
            tau=chosen.tau,
            gamma=chosen.gamma,
            saturation=chosen.saturation,
            flip_prob=chosen.flip_prob,
            turn_prob=chosen.turn_prob,
            report=self._count,
        )
        self._sources = None if bank is None else self._open(bank, {name: by_name[name] for name in names})

    def __call__(
        self,
        image: Image,
        boxes_xyxy: ArrayLike,
        labels: ArrayLike,
        masks: Any = None,
        *,
        ignored: ArrayLike | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> PastedImage:
        """Paste objects into an image, or not, by `prob`.

        Args:
            image: (H, W, 3) uint8; neither it nor the other arrays are written to.
            boxes_xyxy: (N, 4) pixels.
            labels: (N,) integers.
            masks: (N, H, W) bitmaps, or N lists of polygons, which then stay in step; None for boxes only.
            ignored: (N,) bool, crowds and ignore regions: never pasted onto, never dropped.
            rng: Where chance comes from; numpy's global generator where there is neither this nor a seed, since
                that is what loaders seed anew in each worker.

        Raises:
            ConfigError: The arrays don't go together, or a label is no class.
        """
        check_uint8(image)
        boxes, kinds = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4), np.asarray(labels, np.int64).ravel()
        drawn = self.generator(image, boxes, kinds, rng)
        if drawn.random() >= self.options.prob:
            return PastedImage(image, boxes, kinds, masks, np.arange(len(boxes)))
        return self.paste(image, boxes, kinds, masks, ignored=ignored, rng=drawn)

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: with a seed, an image gets other objects in another epoch.

        Loader workers that are there already have a copy that this doesn't reach.
        """
        self.epoch = epoch

    @property
    def category_ids(self) -> dict[int, int]:
        """Label -> category id of the affinity."""
        return dict(zip(self._labels.tolist(), self._ids.tolist(), strict=True))

    def generator(
        self,
        image: NDArray[Any],
        boxes_xyxy: FloatArray,
        labels: IntArray,
        rng: np.random.Generator | int | None = None,
    ) -> np.random.Generator:
        """Return where chance comes from for an image: the seed, what is given, or numpy's global generator.

        Args:
            image: (H, W, …); with a seed, every so many of its pixels count.
            boxes_xyxy: (N, 4) float64 pixels.
            labels: (N,) int64.
            rng: What is given; unused where there is a seed.
        """
        if self.seed is not None:
            step = max(1, max(image.shape[:2]) // _KEY_SIDE)
            parts = image[::step, ::step], boxes_xyxy, labels
            digest = hashlib.blake2b(digest_size=8)
            for part in parts:
                digest.update(np.ascontiguousarray(part).tobytes())
            return np.random.default_rng(derive_seed(self.seed, self.epoch, digest.hexdigest()))
        return np.random.default_rng(np.random.randint(2**31) if rng is None else rng)

    def paste(
        self,
        image: NDArray[Any],
        boxes_xyxy: FloatArray,
        labels: IntArray,
        masks: Any = None,
        *,
        rng: np.random.Generator,
        ignored: ArrayLike | None = None,
        sources: Callable[[], SourceObjects] | None = None,
        reference_area: float | None = None,
    ) -> PastedImage:
        """Paste objects into an image whatever `prob` says.

        Args:
            image: (H, W, 3) with values in 0 to 255.
            boxes_xyxy: (N, 4) float64 pixels.
            labels: (N,) int64.
            masks: See `__call__`.
            rng: All chance comes from here.
            ignored: See `__call__`.
            sources: Returns what there is to paste, where it isn't the bank.
            reference_area: Area in pixels that sizes are relative to; that of the image where it wasn't cropped.

        Raises:
            ConfigError: The arrays don't go together, a label is no class, or there is nothing to paste from.
        """
        self.counters["images"] += 1
        same = PastedImage(image, boxes_xyxy, labels, masks, np.arange(len(boxes_xyxy)))
        if image.ndim != 3 or image.shape[2] != 3:
            return self._unchanged(same, "not_colour")
        crowd = np.zeros(len(labels), bool) if ignored is None else np.asarray(ignored, bool).ravel()
        scene, known = self.describe(same, crowd)
        if not len(scene) or bool(scene.is_crowd.all()):
            reason = "only_crowds" if len(scene) else "no_annotations"
            if len(scene) or not self.options.into_empty:
                return self._unchanged(same, reason)
        offered = self._from_bank(masks is not None) if sources is None else sources()
        if not self.paster.offered(offered):
            return self._unchanged(same, "nothing_to_paste")
        target = PasteTarget(image, scene, known)
        area = float(image.shape[0] * image.shape[1]) if reference_area is None else reference_area
        self.paster.paste(target, offered, reference_area=area, bgr=self.bgr, rng=rng)
        if not target.num_pasted:
            return self._unchanged(same, "no_place")
        return self._settled(target, same)

    def describe(self, given: PastedImage, ignored: NDArray[np.bool_]) -> tuple[Scene, Labels]:
        """Return an image's objects as a scene of the affinity's categories, and as labels to be kept up.

        Raises:
            ConfigError: The arrays don't go together, or a label is no class.
        """
        height, width = given.image.shape[:2]
        boxes, kinds, masks = given.boxes_xyxy, given.labels, given.masks
        if isinstance(masks, np.ndarray):
            fits = masks.shape == (len(boxes), height, width)
            _check(fits, f"masks have shape {masks.shape}", f"have shape {(len(boxes), height, width)}")
            masks = masks.view(np.uint8) if masks.dtype == bool else masks
        elif masks is not None:
            _check(len(masks) == len(boxes), f"there are {len(masks)} masks", f"be {len(boxes)}, as boxes")
        _check(len(kinds) == len(boxes), f"there are {len(kinds)} labels", f"be {len(boxes)}, as boxes")
        _check(len(ignored) == len(boxes), f"there are {len(ignored)} flags", f"be {len(boxes)}, as boxes")
        ids = self._ids_of(kinds)
        inside = np.clip(boxes, 0, [width, height] * 2)
        valid = (inside[:, 2:] > inside[:, :2]).all(axis=1)
        numbers = np.zeros(np.count_nonzero(valid), np.int64)
        scene = Scene(0, "", (width, height), inside[valid], ids[valid], numbers, ignored[valid])
        return scene, Labels(boxes, ids, ignored, masks)

    def _ids_of(self, labels: IntArray) -> IntArray:
        """Return the category ids of labels."""
        at = np.minimum(np.searchsorted(self._labels, labels), len(self._labels) - 1)
        strange = labels[self._labels[at] != labels]
        if len(strange):
            raise ConfigError(
                f"label {strange[0]} is none of the {len(self._labels)} classes; give AffinityPaste the classes of the "
                "dataset"
            )
        return np.asarray(self._ids[at])

    def _settled(self, target: PasteTarget, given: PastedImage) -> PastedImage:
        """Return what can be seen after pasting."""
        settled, before = target.settle(min_visible=self.options.min_visible)
        self.counters["pasted"] += target.num_pasted
        self.counters["dropped"] += target.num_pasted + len(given.labels) - len(before)
        masks = settled.masks
        if isinstance(masks, np.ndarray) and given.masks.dtype == bool:  # type: ignore[union-attr]
            masks = masks.view(bool)
        labels = np.array([self._label_of[c] for c in settled.category_ids.tolist()], np.int64)
        return PastedImage(target.image, settled.boxes_xyxy, labels, masks, before)

    def _from_bank(self, need_mask: bool) -> SourceObjects:
        if self._sources is None:
            raise ConfigError(
                "AffinityPaste has no bank; give bank=, a folder that `augsynth bank` has written"
            )
        return self._sources[need_mask]

    def _open(self, path: str | Path, ids_by_name: dict[str, int]) -> tuple[SourceObjects, SourceObjects]:
        """Return a bank's cut-outs, and those of them that have an outline."""
        bank = Bank.open(path)
        ids = bank_ids(bank, ids_by_name)
        strange = [c.name for c in bank.categories if c.id not in ids and len(bank.of_category(c.id))]
        if strange:
            self._log(
                f"AffinityPaste: {path}: cut-outs of {', '.join(strange)} aren't used, they are no class"
            )
        score = self.options.min_score
        found = [bank_objects(bank, ids, bgr=self.bgr, min_score=score, need_mask=m) for m in (False, True)]
        return found[0], found[1]

    def _unchanged(self, given: PastedImage, reason: str) -> PastedImage:
        self._count(reason)
        return given

    def _count(self, reason: str, details: str = "") -> None:
        """Count a reason, and log it at its 1st, 10th, 100th, … time."""
        self.counters[reason] += 1
        times = self.counters[reason]
        if reason in _REASONS and times == 10 ** (len(str(times)) - 1):
            seen = f"{times} of {self.counters['images']} images"
            self._log(f"AffinityPaste: {_REASONS[reason]}{details} ({seen})")


def check_uint8(image: NDArray[Any]) -> None:
    """Raise ConfigError unless an image has bytes."""
    if image.dtype != np.uint8:
        raise ConfigError(
            f"AffinityPaste: the image is {image.dtype}; put it before what makes it other than uint8"
        )


def _check(fine: bool, found: str, wanted: str) -> None:
    if not fine:
        raise ConfigError(f"AffinityPaste: {found}; they must {wanted}")


def _warn(text: str) -> None:
    logging.getLogger("augsynth").warning(text)
