"""`AffinityPaste`: paste objects where they belong, as an MMDetection transform."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import TRANSFORMS, BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.logging import print_log
from numpy.typing import NDArray

from augsynth.bank.reader import Bank
from augsynth.core.errors import ConfigError
from augsynth.core.masks import fill_polygons
from augsynth.core.scene import FloatArray, IntArray, Scene
from augsynth.pasting.options import (
    blend_weights,
    category_weights,
    check,
    class_names,
    learn,
    read_rules,
)
from augsynth.pasting.paster import Paster
from augsynth.pasting.placer import Placer
from augsynth.pasting.source_objects import SourceImage, SourceObjects, bank_ids, bank_objects, image_objects
from augsynth.pasting.target import Labels, Masks, PasteTarget

_REASONS = {
    "not_colour": "an image without three channels passes unchanged",
    "no_annotations": "an image without objects passes unchanged",
    "only_crowds": "an image with nothing but crowds or ignore regions passes unchanged",
    "nothing_to_paste": "no cut-out fits the image, it passes unchanged",
    "no_place": "no place fulfils the rules, the image passes unchanged",
    "damaged_cutout": "left out",
}


@TRANSFORMS.register_module()
class AffinityPaste(BaseTransform):  # type: ignore[misc]
    """Paste objects into an image: which by affinity to what is there, where and how large by the layout.

    Objects come from an object bank (``bank``), in any pipeline, or from other images of the training set: then
    the transform stands in the pipeline of ``MultiImageMixDataset``, where it takes the place of ``CopyPaste``.

    An image that nothing can be pasted into passes unchanged; ``counters`` says how often and why, and the
    log mentions each reason at its 1st, 10th, 100th, … time, for each worker.

    Required Keys:

    - img (BGR, uint8)
    - gt_bboxes (HorizontalBoxes[torch.float32])
    - gt_bboxes_labels (np.int64)
    - gt_ignore_flags (bool) (optional)
    - gt_masks (BitmapMasks | PolygonMasks) (optional)
    - mix_results (List[dict]) (without ``bank``)

    Modified Keys:

    - img
    - gt_bboxes
    - gt_bboxes_labels
    - gt_ignore_flags (optional)
    - gt_masks (optional)

    Added Keys:

    - num_pasted (int): objects that were pasted, only where any was.

    Args:
        bank (str, optional): Folder of the object bank. Without it, objects come from the training set.
        affinity (str, optional): File made by ``augsynth build-affinity``. Give this or ``annotations``.
        annotations (str, optional): COCO file of the training set, from which affinity and layout are learnt
            when the config loads; takes seconds to minutes.
        classes (Sequence[str], optional): Names of labels 0, 1, …; ``metainfo=dict(classes=…)`` does as well.
            Defaults to the categories of the affinity in the order of its file, as ``CocoDataset`` has them.
        metainfo (dict, optional): See ``classes``.
        prob (float): Chance that an image is pasted into. Defaults to 0.5.
        min_objects (int): Least number of objects to paste, where there is room. Defaults to 1.
        max_objects (int): Largest number. Defaults to 3.
        tau (float, optional): Temperature of the choice of category; lower follows the affinity more strictly.
            None takes the affinity's own. Defaults to None.
        gamma (float): Exponent of rarity; above 0 favours rare categories, in the choice of source images too.
            Defaults to 1.
        saturation (float, optional): Number of objects in the training set from which on a category isn't rare,
            however many others have; None compares numbers as they are. Defaults to 100.
        quotas (dict, optional): Category name -> factor on its chance, 0 leaves it out; 1 where not named.
        blends (Sequence[str] | dict): Among ``hard``, ``feather``, ``poisson``, or name -> weight. One is drawn
            for every object, so that an edge tells nothing. Cut-outs without an outline are never pasted hard.
        flip_prob (float): Chance that an object is mirrored left to right. Defaults to 0.5.
        turn_prob (float): Chance that an object is turned by one to three quarters of a circle, for pictures taken
            from above. Defaults to 0.
        num_donors (int): Source images for each image, without ``bank``. Defaults to 1.
        min_score (float): Least filter score of a bank's cut-out. Defaults to 0.
        min_visible (float): An object of which less than this share stays visible loses its label. Defaults to
            0.3.
        into_empty (bool): Paste into images without objects too, by the categories' frequency. Defaults to False.
        rules (dict, optional): Fields of ``augsynth.pasting.placer.PasteRules``.
    """

    def __init__(
        self,
        bank: str | None = None,
        affinity: str | None = None,
        annotations: str | None = None,
        classes: Sequence[str] | None = None,
        metainfo: Mapping[str, Any] | None = None,
        prob: float = 0.5,
        min_objects: int = 1,
        max_objects: int = 3,
        tau: float | None = None,
        gamma: float = 1.0,
        saturation: float | None = 100.0,
        quotas: Mapping[str, float] | None = None,
        blends: Sequence[str] | Mapping[str, float] = ("hard", "feather", "poisson"),
        flip_prob: float = 0.5,
        turn_prob: float = 0.0,
        num_donors: int = 1,
        min_score: float = 0.0,
        min_visible: float = 0.3,
        into_empty: bool = False,
        rules: Mapping[str, Any] | None = None,
    ) -> None:
        self._arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        for name in ("prob", "flip_prob", "turn_prob", "min_visible"):
            check(0 <= self._arguments[name] <= 1, name, self._arguments[name], "a number from 0 to 1")
        check(1 <= min_objects <= max_objects, "min_objects", min_objects, f"from 1 to {max_objects=}")
        check(num_donors >= 1, "num_donors", num_donors, "1 or more")
        self.prob, self.min_visible = prob, min_visible
        self.num_donors, self.into_empty = num_donors, into_empty
        self.counters: Counter[str] = Counter()
        modes, chances = blend_weights(blends)
        self._affinity, layout = learn(affinity, annotations)
        self.classes = class_names(classes, metainfo, self._affinity, str(affinity or annotations))
        by_name = dict(zip(self._affinity.names, self._affinity.category_ids.tolist(), strict=True))
        self._ids = np.array([by_name[name] for name in self.classes], np.int64)
        self._labels = {category_id: label for label, category_id in enumerate(self._ids.tolist())}
        self._affinity.probabilities([], tau=tau, gamma=gamma, saturation=saturation)
        self._paster = Paster(
            self._affinity,
            Placer(layout, read_rules(rules)),
            modes,
            chances,
            category_weights(quotas, self.classes, self._ids),
            min_objects=min_objects,
            max_objects=max_objects,
            tau=tau,
            gamma=gamma,
            saturation=saturation,
            flip_prob=flip_prob,
            turn_prob=turn_prob,
            report=self._count,
        )
        self._bank_objects = None if bank is None else _open_bank(bank, by_name, self.classes, min_score)
        self._image_chances: tuple[int, FloatArray | None] | None = None

    @cache_randomness  # type: ignore[untyped-decorator]
    def _draw_chance(self) -> float:
        return float(np.random.rand())

    @cache_randomness  # type: ignore[untyped-decorator]
    def _draw_seed(self) -> int:
        return int(np.random.randint(2**31))

    @cache_randomness  # type: ignore[untyped-decorator]
    def _draw_images(self, num_images: int, chances: FloatArray | None) -> list[int]:
        return [int(i) for i in np.random.choice(num_images, self.num_donors, p=chances)]

    def get_indexes(self, dataset: Any) -> list[int]:
        """Draw the source images for ``MultiImageMixDataset``; none where there is a bank.

        Args:
            dataset (BaseDataset): The dataset that is mixed.
        """
        if self._bank_objects is not None:
            return []
        return list(self._draw_images(len(dataset), self._chances_of(dataset)))

    @autocast_box_type()  # type: ignore[untyped-decorator]
    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Paste objects into an image.

        Args:
            results (dict): Result dict.

        Returns:
            dict: Result dict; arrays and boxes of the argument aren't changed.
        """
        if self._bank_objects is None and "mix_results" not in results:
            raise ConfigError(
                "AffinityPaste has neither a bank nor source images: give bank=…, or put it into the pipeline of "
                "MultiImageMixDataset"
            )
        if self._draw_chance() >= self.prob:
            return results
        self.counters["images"] += 1
        rng = np.random.default_rng(self._draw_seed())
        return self._paste_into(results, rng)

    def _paste_into(self, results: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        if results["img"].ndim != 3 or results["img"].shape[2] != 3:
            return self._unchanged(results, "not_colour")
        scene, labels = self._scene(results)
        if not len(scene) or bool(scene.is_crowd.all()):
            reason = "only_crowds" if len(scene) else "no_annotations"
            if len(scene) or not self.into_empty:
                return self._unchanged(results, reason)
        sources = self._sources(results)
        if not self._paster.offered(sources):
            return self._unchanged(results, "nothing_to_paste")
        target = PasteTarget(results["img"], scene, labels)
        self._paster.paste(target, sources, reference_area=_reference_area(results), bgr=True, rng=rng)
        if not target.num_pasted:
            return self._unchanged(results, "no_place")
        self.counters["pasted"] += target.num_pasted
        return self._updated(results, target)

    def _scene(self, results: Mapping[str, Any]) -> tuple[Scene, Labels]:
        """Return the image's objects as a scene of the affinity's categories, and as labels to be kept up."""
        height, width = results["img"].shape[:2]
        boxes = results["gt_bboxes"].tensor.numpy().astype(np.float64).reshape(-1, 4)
        kinds = np.asarray(results["gt_bboxes_labels"], np.int64)
        ignored = np.asarray(results.get("gt_ignore_flags", np.zeros(len(boxes), bool)), bool)
        if len(kinds) and not (kinds.min() >= 0 and kinds.max() < len(self._ids)):
            raise ConfigError(
                f"label {kinds.max()} doesn't fit {len(self._ids)} classes; give AffinityPaste the classes of "
                "the dataset"
            )
        inside = np.clip(boxes, 0, [width, height] * 2)
        valid = (inside[:, 2:] > inside[:, :2]).all(axis=1)
        ids = self._ids[kinds]
        scene = Scene(
            0, "", (width, height), inside[valid], ids[valid], np.zeros(valid.sum(), np.int64), ignored[valid]
        )
        return scene, Labels(boxes, ids, ignored, _plain_masks(results.get("gt_masks")))

    def _sources(self, results: Mapping[str, Any]) -> SourceObjects:
        need_mask = results.get("gt_masks") is not None
        if self._bank_objects is not None:
            return self._bank_objects[need_mask]
        images = [self._source_image(r) for r in results["mix_results"]]
        usable = [i for i in images if i.mask_of is not None or not need_mask]
        return image_objects(usable, min_size=self._paster.placer.rules.min_size, bgr=True)

    def _source_image(self, results: Mapping[str, Any]) -> SourceImage:
        _, labels = self._scene(results)
        masks = labels.masks

        def mask_of(k: int, region_xyxy: IntArray) -> NDArray[np.bool_]:
            if isinstance(masks, list):
                return fill_polygons(masks[k], region_xyxy)
            x1, y1, x2, y2 = region_xyxy.tolist()
            return np.asarray(masks[k, y1:y2, x1:x2] > 0)  # type: ignore[index]

        return SourceImage(
            results["img"],
            labels.boxes_xyxy,
            labels.category_ids,
            ~labels.is_crowd,
            None if masks is None else mask_of,
        )

    def _updated(self, results: dict[str, Any], target: PasteTarget) -> dict[str, Any]:
        """Return the results with what was pasted; nothing of the argument's arrays is written to."""
        labels, before = target.settle(min_visible=self.min_visible)
        self.counters["dropped"] += target.num_pasted + len(results["gt_bboxes_labels"]) - len(before)
        height, width = target.image.shape[:2]
        fresh = before < 0
        old = np.asarray(results["gt_bboxes_labels"])
        pasted = [self._labels[c] for c in labels.category_ids[fresh].tolist()]
        updated = dict(results)
        updated["img"] = target.image
        updated["gt_bboxes"] = HorizontalBoxes(labels.boxes_xyxy.astype(np.float32))
        updated["gt_bboxes_labels"] = np.append(old[before[~fresh]], pasted).astype(np.int64)
        if "gt_ignore_flags" in results:
            updated["gt_ignore_flags"] = labels.is_crowd
        if isinstance(labels.masks, list):
            updated["gt_masks"] = PolygonMasks(labels.masks, height, width)
        elif labels.masks is not None:
            updated["gt_masks"] = BitmapMasks(labels.masks, height, width)
        updated["num_pasted"] = int(fresh.sum())
        return updated

    def _unchanged(self, results: dict[str, Any], reason: str) -> dict[str, Any]:
        self._count(reason)
        return results

    def _count(self, reason: str, details: str = "") -> None:
        """Count a reason, and log it at its 1st, 10th, 100th, … time."""
        self.counters[reason] += 1
        times = self.counters[reason]
        if reason in _REASONS and times == 10 ** (len(str(times)) - 1):
            what = _REASONS[reason]
            seen = f"{times} of {self.counters['images']} images"
            print_log(f"AffinityPaste: {what}{details} ({seen})", logger="current", level=logging.WARNING)

    def _chances_of(self, dataset: Any) -> FloatArray | None:
        """Return (N,) chances of source images by the rarity of what they show; None where all are alike."""
        gamma, saturation = self._paster.gamma, self._paster.saturation
        if not gamma or not hasattr(dataset, "get_cat_ids"):
            return None
        if self._image_chances is None or self._image_chances[0] != len(dataset):
            known = self._affinity.category_ids.tolist()
            columns = [known.index(category_id) for category_id in self._ids]
            rarity = np.exp(gamma * self._affinity.log_rarity(saturation=saturation)[columns])
            found = (dataset.get_cat_ids(i) for i in range(len(dataset)))
            weights = np.array([max((rarity[k] for k in kinds), default=0.0) for kinds in found])
            total = weights.sum()
            self._image_chances = len(dataset), weights / total if total > 0 else None
        return self._image_chances[1]

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({inner})"


def _plain_masks(masks: Any) -> Masks:
    """Return bitmaps as an array and polygons as lists."""
    return None if masks is None else masks.masks


def _open_bank(
    path: str, ids_by_name: Mapping[str, int], classes: Sequence[str], min_score: float
) -> tuple[SourceObjects, SourceObjects]:
    """Return a bank's cut-outs, and those of them that have an outline."""
    bank = Bank.open(path)
    ids = bank_ids(bank, {name: ids_by_name[name] for name in classes})
    strange = [c.name for c in bank.categories if c.id not in ids and len(bank.of_category(c.id))]
    if strange:
        print_log(
            f"AffinityPaste: {path}: cut-outs of {', '.join(strange)} aren't used, they are no class",
            logger="current",
            level=logging.WARNING,
        )
    found = [bank_objects(bank, ids, bgr=True, min_score=min_score, need_mask=m) for m in (False, True)]
    return found[0], found[1]


def _reference_area(results: Mapping[str, Any]) -> float:
    """Return the area of the whole image at its present scale, even where only a part of it is left."""
    height, width = results.get("ori_shape", results["img"].shape)[:2]
    scale_w, scale_h = results.get("scale_factor", (1.0, 1.0))
    return float(max(height * scale_h * width * scale_w, 1.0))
