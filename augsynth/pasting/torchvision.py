"""`AffinityPaste` as a torchvision transform (v2): an image and a target dict in, the same with more objects out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image as pil
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from augsynth.core.errors import ConfigError
from augsynth.core.scene import Image
from augsynth.pasting import affinity_paste
from augsynth.pasting.affinity_paste import PastedImage, check_uint8
from augsynth.pasting.options import Classes
from augsynth.placement.scene_model import SceneModel

_OF_THE_IMAGE = {"image_id", "size", "orig_size"}


class AffinityPaste(v2.Transform):
    """Paste objects of a bank into an image, and add them to its target.

    It takes what `torchvision.datasets.wrap_dataset_for_transforms_v2` gives, or plain tensors: a uint8 image
    (tv_tensor, tensor or PIL) and a target dict with `boxes` (tv_tensor of any format, or xyxy), `labels`, and `masks`
    and `iscrowd` where there are any. `area` is kept up. Another entry with a row for each object keeps the rows of
    what is left, and gets zeros for what is new (None, where it is a list of other things than numbers). An image
    whose target has no `boxes` passes unchanged: torchvision's wrapper gives those without annotations so.

    Args:
        bank: Folder of the object bank.
        affinity: File made by `augsynth build-affinity`.
        classes: What labels mean; without it they are the category ids of the annotation file, as `CocoDetection` has
            them. `["__background__", "ball", …]` are names of labels from 0.
        seed: The same results in any number of loader workers; call `set_epoch` before each epoch. Without it chance
            comes from torch's generator.
        options: See `augsynth.pasting.options.PasteOptions`.
    """

    def __init__(
        self,
        bank: str | Path,
        affinity: str | Path | SceneModel,
        *,
        classes: Classes = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.core = affinity_paste.AffinityPaste(bank, affinity, classes=classes, seed=seed, **options)
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # reaches workers that stay

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: with a seed, an image gets other objects in another epoch."""
        self._epoch.fill_(epoch)

    @property
    def counters(self) -> Counter[str]:
        """See `augsynth.AffinityPaste`."""
        return self.core.counters

    def forward(self, image: Any, target: dict[str, Any]) -> tuple[Any, dict[str, Any]]:  # type: ignore[override]
        """Return image and target with what was pasted, or as they are; nothing of theirs is written to.

        Raises:
            ConfigError: The image isn't uint8 or a picture of another mode than RGB or L, or a label is no class.
        """
        if target.get("boxes") is None:
            return image, target
        boxes, masks = target["boxes"], target.get("masks")
        crowd = target.get("iscrowd")
        self.core.set_epoch(int(self._epoch))
        pasted = self.core(
            _array_of(image),
            _xyxy(boxes).numpy(),
            target["labels"].numpy(),
            None if masks is None else masks.numpy(),
            ignored=None if crowd is None else np.asarray(crowd) != 0,
            rng=None if self.core.seed is not None else int(torch.randint(2**31, ())),
        )
        if not pasted.num_pasted:
            return image, target
        return _image_like(pasted.image, image), _updated(target, pasted)

    def extra_repr(self) -> str:
        """Return the options."""
        return f"{self.core.options}"


def _array_of(image: Any) -> Image:
    """Return an image as (H, W, 3) uint8."""
    if isinstance(image, pil.Image):
        if image.mode not in ("RGB", "L"):
            raise ConfigError(f"AffinityPaste: the picture has mode {image.mode}; convert it to RGB before")
        return np.asarray(image.convert("RGB"))
    array = image.numpy()
    check_uint8(array)
    if array.ndim != 3:
        raise ConfigError(f"AffinityPaste: the image has shape {array.shape}; it must be one (3, H, W) image")
    return np.ascontiguousarray(array.transpose(1, 2, 0))


def _image_like(array: Image, image: Any) -> Any:
    if isinstance(image, pil.Image):
        return pil.fromarray(array).convert(image.mode)
    return _like(torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))), image)


def _like(tensor: Tensor, given: Tensor) -> Tensor:
    """Return a tensor of the type and kind of a given one."""
    tensor = tensor.to(given.dtype)
    if isinstance(given, tv_tensors.TVTensor):
        return cast(Tensor, tv_tensors.wrap(tensor, like=given))
    return tensor


def _xyxy(boxes: Tensor) -> Tensor:
    if not isinstance(boxes, tv_tensors.BoundingBoxes):
        return boxes
    corners = functional.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY)
    return cast(Tensor, corners.as_subclass(Tensor))


def _updated(target: dict[str, Any], pasted: PastedImage) -> dict[str, Any]:
    """Return a target with what was pasted."""
    boxes, before = target["boxes"], torch.from_numpy(pasted.before)
    kept, num_new = before[before >= 0], pasted.num_pasted
    found = torch.from_numpy(pasted.boxes_xyxy)
    updated = dict(target)
    if isinstance(boxes, tv_tensors.BoundingBoxes):
        corners = tv_tensors.wrap(found.to(boxes.dtype), like=boxes, format=tv_tensors.BoundingBoxFormat.XYXY)
        updated["boxes"] = functional.convert_bounding_box_format(corners, new_format=boxes.format)
    else:
        updated["boxes"] = found.to(boxes.dtype)
    updated["labels"] = _like(torch.from_numpy(pasted.labels), target["labels"])
    if pasted.masks is not None:
        updated["masks"] = _like(torch.from_numpy(np.asarray(pasted.masks)), target["masks"])
    for name, value in target.items():
        if name in ("boxes", "labels", "masks", *_OF_THE_IMAGE):
            continue
        if isinstance(value, Tensor) and value.ndim and len(value) == len(boxes):
            fresh = value.new_zeros((num_new, *value.shape[1:]))
            updated[name] = _like(torch.cat([value[kept], fresh]), value)
        elif isinstance(value, list | tuple) and len(value) == len(boxes):
            fill = 0 if all(isinstance(each, int | float) for each in value) else None
            updated[name] = [*(value[k] for k in kept.tolist()), *[fill] * num_new]
    if "area" in target:
        updated["area"] = _areas(target, updated, found, before)
    return updated


def _areas(target: dict[str, Any], updated: dict[str, Any], boxes: Tensor, before: Tensor) -> Any:
    """Return areas in pixels: of masks, else of boxes; what nothing was pasted onto keeps its own."""
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    area = sides if "masks" not in updated else updated["masks"].flatten(1).count_nonzero(dim=1)
    given, there = torch.as_tensor(target["area"]), before >= 0
    old, dtype = before[there], target["boxes"].dtype
    same = (_xyxy(target["boxes"])[old] == boxes[there].to(dtype)).all(dim=1)
    if "masks" in updated:
        same &= (target["masks"][old] == updated["masks"][there]).flatten(1).all(dim=1)
    found = area.to(given.dtype)
    found[there] = torch.where(same, given[old], found[there])
    return found if isinstance(target["area"], Tensor) else found.tolist()
