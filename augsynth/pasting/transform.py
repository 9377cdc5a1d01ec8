"""`AffinityPaste`: paste objects where they belong, as an MMDetection transform."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import TRANSFORMS, BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.logging import print_log
from numpy.typing import NDArray

from augsynth.core.errors import ConfigError
from augsynth.core.masks import fill_polygons
from augsynth.core.scene import FloatArray, IntArray
from augsynth.pasting import affinity_paste
from augsynth.pasting.affinity_paste import PastedImage
from augsynth.pasting.options import PasteOptions, check, class_names, learn
from augsynth.pasting.source_objects import SourceImage, SourceObjects, image_objects


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
        check(num_donors >= 1, "num_donors", num_donors, "1 or more")
        self.prob, self.num_donors = prob, num_donors
        chosen = {name: self._arguments[name] for name in PasteOptions.__slots__}
        PasteOptions.of(chosen)  # said before what takes longer
        model = learn(affinity, annotations)
        self.classes = class_names(classes, metainfo, model.affinity, str(affinity or annotations))
        self.core = affinity_paste.AffinityPaste(
            bank, model, classes=self.classes, bgr=True, log=_log, **chosen
        )
        self.counters = self.core.counters
        self._has_bank = bank is not None
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
        if self._has_bank:
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
        if not self._has_bank and "mix_results" not in results:
            raise ConfigError(
                "AffinityPaste has neither a bank nor source images: give bank=…, or put it into the pipeline of "
                "MultiImageMixDataset"
            )
        if self._draw_chance() >= self.prob:
            return results
        given, ignored = _given(results)
        pasted = self.core.paste(
            given.image,
            given.boxes_xyxy,
            given.labels,
            given.masks,
            rng=np.random.default_rng(self._draw_seed()),
            ignored=ignored,
            sources=None if self._has_bank else lambda: self._sources(results),
            reference_area=_reference_area(results),
        )
        return _updated(results, pasted, ignored) if pasted.num_pasted else results

    def _sources(self, results: Mapping[str, Any]) -> SourceObjects:
        need_mask = results.get("gt_masks") is not None
        images = [self._source_image(r) for r in results["mix_results"]]
        usable = [i for i in images if i.mask_of is not None or not need_mask]
        return image_objects(usable, min_size=self.core.paster.placer.rules.min_size, bgr=True)

    def _source_image(self, results: Mapping[str, Any]) -> SourceImage:
        _, labels = self.core.describe(*_given(results))
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

    def _chances_of(self, dataset: Any) -> FloatArray | None:
        """Return (N,) chances of source images by the rarity of what they show; None where all are alike."""
        gamma, saturation = self.core.options.gamma, self.core.options.saturation
        if not gamma or not hasattr(dataset, "get_cat_ids"):
            return None
        if self._image_chances is None or self._image_chances[0] != len(dataset):
            affinity = self.core.affinity
            columns = [affinity.names.index(name) for name in self.classes]
            rarity = np.exp(gamma * affinity.log_rarity(saturation=saturation)[columns])
            found = (dataset.get_cat_ids(i) for i in range(len(dataset)))
            weights = np.array([max((rarity[k] for k in kinds), default=0.0) for kinds in found])
            total = weights.sum()
            self._image_chances = len(dataset), weights / total if total > 0 else None
        return self._image_chances[1]

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({inner})"


def _given(results: Mapping[str, Any]) -> tuple[PastedImage, NDArray[np.bool_]]:
    """Return an image with its objects as arrays, and which of these are to be ignored."""
    boxes = results["gt_bboxes"].tensor.numpy().astype(np.float64).reshape(-1, 4)
    labels = np.asarray(results["gt_bboxes_labels"], np.int64)
    masks = results.get("gt_masks")
    ignored = np.asarray(results.get("gt_ignore_flags", np.zeros(len(boxes), bool)), bool)
    plain = None if masks is None else masks.masks
    return PastedImage(results["img"], boxes, labels, plain, np.arange(len(boxes))), ignored


def _updated(results: dict[str, Any], pasted: PastedImage, ignored: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the results with what was pasted; nothing of the argument's arrays is written to."""
    height, width = pasted.image.shape[:2]
    fresh = pasted.before < 0
    updated = dict(results)
    updated["img"] = pasted.image
    updated["gt_bboxes"] = HorizontalBoxes(pasted.boxes_xyxy.astype(np.float32))
    updated["gt_bboxes_labels"] = pasted.labels
    if "gt_ignore_flags" in results:
        updated["gt_ignore_flags"] = np.append(ignored[pasted.before[~fresh]], np.zeros(fresh.sum(), bool))
    if isinstance(pasted.masks, list):
        updated["gt_masks"] = PolygonMasks(pasted.masks, height, width)
    elif pasted.masks is not None:
        updated["gt_masks"] = BitmapMasks(pasted.masks, height, width)
    updated["num_pasted"] = pasted.num_pasted
    return updated


def _log(text: str) -> None:
    print_log(text, logger="current", level=logging.WARNING)


def _reference_area(results: Mapping[str, Any]) -> float:
    """Return the area of the whole image at its present scale, even where only a part of it is left."""
    height, width = results.get("ori_shape", results["img"].shape)[:2]
    scale_w, scale_h = results.get("scale_factor", (1.0, 1.0))
    return float(max(height * scale_h * width * scale_w, 1.0))
