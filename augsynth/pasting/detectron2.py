"""`AffinityPaste` for Detectron2: objects are pasted into an image and its dataset dict, before the augmentations."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.core.errors import ConfigError
from augsynth.core.masks import as_rle, decoded, to_rle
from augsynth.core.scene import FloatArray, Image
from augsynth.pasting import affinity_paste
from augsynth.pasting.affinity_paste import PastedImage, check_uint8
from augsynth.pasting.options import Classes, model_of
from augsynth.placement.scene_model import SceneModel

_XYXY, _XYWH = 0, 1  # detectron2.structures.BoxMode


class AffinityPasteMapper:
    """A mapper for `build_detection_train_loader`, around the `DatasetMapper` of a configuration.

    Reads the image, pastes, and has the mapper's augmentations applied to all objects alike. Polygons and RLEs are kept
    in step where the mapper uses them. Key points of new objects are all unlabelled.

    Args:
        mapper: `detectron2.data.DatasetMapper(cfg, is_train=True)`.
        bank: Folder of the object bank.
        affinity: File made by `augsynth build-affinity`.
        classes: Names of labels 0, 1, …; without it the categories by their id, as `register_coco_instances` has them.
        seed: See `augsynth.AffinityPaste`; without it chance comes from numpy's global generator. Detectron2 counts no
            epochs, so with a seed an image gets the same objects each time it is loaded.
        options: See `augsynth.pasting.options.PasteOptions`.
    """

    def __init__(
        self,
        mapper: Any,
        bank: str | Path,
        affinity: str | Path | SceneModel,
        *,
        classes: Classes = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        self.mapper = mapper
        model = model_of(affinity)
        if classes is None:
            order = np.argsort(model.affinity.category_ids, kind="stable")
            classes = [model.names[k] for k in order.tolist()]
        bgr = getattr(mapper, "image_format", "BGR") == "BGR"
        self.core = affinity_paste.AffinityPaste(bank, model, classes=classes, seed=seed, bgr=bgr, **options)

    @property
    def counters(self) -> Counter[str]:
        """See `augsynth.AffinityPaste`."""
        return self.core.counters

    def __call__(self, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the mapper makes of an image with more objects."""
        import torch
        from detectron2.data import detection_utils
        from detectron2.data.transforms import AugInput

        mapper = self.mapper
        image = detection_utils.read_image(dataset_dict["file_name"], format=mapper.image_format)
        given_dict = dict(dataset_dict)
        detection_utils.check_image_size(given_dict, image)  # adds the size where it is missing
        image, found = self.paste(image, given_dict)
        given = AugInput(image)
        transforms = mapper.augmentations(given)
        pixels = np.ascontiguousarray(given.image.transpose(2, 0, 1))
        found["image"] = torch.as_tensor(pixels)
        if "annotations" in found:
            mapper._transform_annotations(found, transforms, given.image.shape[:2])
        return found

    def paste(self, image: Image, dataset_dict: Mapping[str, Any]) -> tuple[Image, dict[str, Any]]:
        """Return an image and its dataset dict with what was pasted; neither argument is written to.

        Args:
            image: (H, W, 3) uint8 in the mapper's channel order.
            dataset_dict: In Detectron2's standard format; new annotations have boxes in XYXY_ABS.

        Raises:
            ConfigError: There are stuff labels, a box in another mode, or a category that is no class.
        """
        check_uint8(image)
        found = copy.deepcopy(dict(dataset_dict))
        strange = {"sem_seg_file_name", "pan_seg_file_name", "proposal_boxes"} & found.keys()
        if strange:
            raise ConfigError(
                f"AffinityPaste can't keep {min(strange)} up; leave it out of the dataset dicts"
            )
        annotations = found.get("annotations")
        if annotations is None:
            return image, found
        boxes = np.array([_xyxy(a) for a in annotations], np.float64).reshape(-1, 4)
        labels = np.array([a["category_id"] for a in annotations], np.int64)
        crowd = np.array([a.get("iscrowd", 0) != 0 for a in annotations], bool)
        used = getattr(self.mapper, "use_instance_mask", True) and (
            not annotations or any("segmentation" in a for a in annotations)
        )
        masks = _masks(annotations, crowd.tolist(), image.shape[:2]) if used else None
        pasted = self.core(image, boxes, labels, masks, ignored=crowd)
        if not pasted.num_pasted:
            return image, found
        found["annotations"] = [
            _annotation(pasted, k, boxes, masks, annotations) for k in range(len(pasted.before))
        ]
        return pasted.image, found


def _xyxy(annotation: Mapping[str, Any]) -> FloatArray:
    box, mode = np.array(annotation["bbox"], np.float64), int(annotation["bbox_mode"])
    if mode not in (_XYXY, _XYWH) or box.shape != (4,):
        raise ConfigError(f"AffinityPaste: bbox_mode {mode} isn't XYXY_ABS or XYWH_ABS; convert the boxes")
    return box if mode == _XYXY else np.concatenate([box[:2], box[:2] + box[2:]])


def _masks(annotations: list[dict[str, Any]], crowd: list[bool], size_hw: tuple[int, ...]) -> Any:
    """Return polygons where no object but a crowd has an RLE, which is then left empty, else bitmaps."""
    shapes = [a.get("segmentation") for a in annotations]
    missing = [k for k, shape in enumerate(shapes) if shape is None and not crowd[k]]
    if missing:
        raise ConfigError(
            f"AffinityPaste: annotation {missing[0]} of an image has no segmentation and others have; train without "
            "masks"
        )
    if all(isinstance(shape, list) or crowd[k] for k, shape in enumerate(shapes)):
        return [
            [np.array(part, np.float32).ravel() for part in shape] if isinstance(shape, list) else []
            for shape in shapes
        ]
    bitmaps = np.zeros((len(shapes), *size_hw), np.uint8)
    for bitmap, shape in zip(bitmaps, shapes, strict=True):
        rle = None if shape is None else as_rle(shape, (size_hw[1], size_hw[0]))
        if rle is not None:
            bitmap[:] = decoded(rle)
    return bitmaps


def _annotation(
    pasted: PastedImage, k: int, boxes: FloatArray, masks: Any, annotations: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the annotation of an object after pasting: as it was, cut anew, or made."""
    old, mask = int(pasted.before[k]), None if pasted.masks is None else pasted.masks[k]
    if old >= 0:
        whole = mask is None or mask is masks[old] or np.array_equal(mask, masks[old])
        if whole and np.array_equal(boxes[old], pasted.boxes_xyxy[k]):
            return annotations[old]
    fresh: dict[str, Any] = {"iscrowd": 0} if old < 0 else dict(annotations[old])
    fresh |= {
        "bbox": pasted.boxes_xyxy[k].tolist(),
        "bbox_mode": _XYXY,
        "category_id": int(pasted.labels[k]),
    }
    if isinstance(mask, list):
        fresh["segmentation"] = [part.tolist() for part in mask]
    elif mask is not None:
        fresh["segmentation"] = to_rle(mask > 0)
    with_points = next((a for a in annotations if "keypoints" in a), None)
    if old < 0 and with_points is not None:
        fresh["keypoints"] = [0.0] * len(with_points["keypoints"])
    return fresh
