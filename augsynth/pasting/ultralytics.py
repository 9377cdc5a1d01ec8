"""`AffinityPaste` for Ultralytics: a callback by which the training set shows its images with more objects."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.core.errors import ConfigError
from augsynth.core.scene import FloatArray
from augsynth.pasting import affinity_paste
from augsynth.pasting.affinity_paste import PastedImage
from augsynth.pasting.options import model_of
from augsynth.placement.scene_model import SceneModel


class AffinityPaste:
    """A callback for the event `on_pretrain_routine_end`, for models that find boxes or segments.

    Objects are pasted as an image is loaded, before mosaic and the other augmentations. Class names are those of the
    data's YAML file. Validation isn't touched. Training on several GPUs starts processes without callbacks, and so
    without this.

    Args:
        bank: Folder of the object bank.
        affinity: File made by `augsynth build-affinity`.
        seed: See `augsynth.AffinityPaste`; it is told of the epochs, and then the loader's workers begin anew, since
            they are ahead of the epoch otherwise. Without it chance comes from numpy's global generator, which
            Ultralytics seeds in each worker.
        options: See `augsynth.pasting.options.PasteOptions`.
    """

    def __init__(
        self,
        bank: str | Path,
        affinity: str | Path | SceneModel,
        *,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        self._bank, self._seed, self._options = bank, seed, options
        self._model = model_of(affinity)
        self.counters: Counter[str] = Counter()

    def __call__(self, trainer: Any) -> None:
        """Have the trainer's training set paste, from its first image on.

        Raises:
            ConfigError: The model finds key points or oriented boxes, or a class isn't in the affinity.
        """
        core = self.attach(trainer.train_loader.dataset)
        trainer.train_loader.reset()  # workers that are there have a copy of the dataset as it was

        def begin_epoch(trainer: Any) -> None:
            if core.epoch != trainer.epoch:
                core.set_epoch(trainer.epoch)
                trainer.train_loader.reset()

        if self._seed is not None:
            trainer.add_callback("on_train_epoch_start", begin_epoch)

    def attach(self, dataset: Any) -> affinity_paste.AffinityPaste:
        """Have a dataset of Ultralytics paste into the images that it loads; return what pastes.

        Raises:
            ConfigError: See `__call__`.
        """
        if getattr(dataset, "use_keypoints", False) or getattr(dataset, "use_obb", False):
            raise ConfigError(
                "AffinityPaste can't add key points or oriented boxes; train a box or segment model"
            )
        names = {int(label): str(name) for label, name in dict(dataset.data["names"]).items()}
        core = affinity_paste.AffinityPaste(
            self._bank, self._model, classes=names, seed=self._seed, bgr=True, **self._options
        )
        core.counters = self.counters
        segments = bool(getattr(dataset, "use_segments", False)) or any(
            len(label["segments"]) for label in getattr(dataset, "labels", ())
        )
        dataset.get_image_and_label = _Loading(dataset, core, segments)
        return core


class _Loading:
    """What a dataset gives for an image and its labels, with more objects; goes to workers with the dataset."""

    def __init__(self, dataset: Any, core: affinity_paste.AffinityPaste, segments: bool) -> None:
        self.dataset, self.core, self.segments = dataset, core, segments

    def __call__(self, index: int) -> dict[str, Any]:
        loaded: dict[str, Any] = type(self.dataset).get_image_and_label(self.dataset, index)
        return paste_into(loaded, self.core, segments=self.segments)


def paste_into(
    labels: dict[str, Any], core: affinity_paste.AffinityPaste, *, segments: bool = False
) -> dict[str, Any]:
    """Return an image and its labels, as a dataset of Ultralytics loads them, with more objects.

    Args:
        labels: With `img` (H, W, 3) uint8 BGR, `cls` (N, 1) and `instances`; its arrays aren't written to.
        core: Pastes; its images are BGR.
        segments: Whether the dataset has segments, so that new objects of an image without any get some.
    """
    height, width = labels["img"].shape[:2]
    instances = labels["instances"]
    instances.convert_bbox("xyxy")
    instances.denormalize(width, height)
    boxes, points = instances.bboxes.astype(np.float64), instances.segments
    outlined = len(points) == len(boxes) if len(boxes) else segments
    masks = [[part.astype(np.float32).ravel()] for part in points] if outlined else None
    pasted = core(labels["img"], boxes, labels["cls"], masks)
    if not pasted.num_pasted:
        return labels
    found, outlines = pasted.boxes_xyxy, points[:0]
    if pasted.masks is not None:
        found, outlines = _segments(pasted, points)
    kind = labels["cls"].dtype
    return labels | {
        "img": pasted.image,
        "cls": pasted.labels[:, None].astype(kind),
        "instances": type(instances)(
            found.astype(np.float32), outlines, None, bbox_format="xyxy", normalized=False
        ),
    }


def _segments(pasted: PastedImage, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return boxes and (M, P, 2) outlines; of an object in several parts the largest, since there is room for one."""
    boxes, found = pasted.boxes_xyxy.copy(), []
    for k, old in enumerate(pasted.before.tolist()):
        parts = [np.asarray(part, np.float64).reshape(-1, 2) for part in pasted.masks[k]]  # type: ignore[index]
        if old >= 0 and len(parts) == 1 and np.array_equal(parts[0], points[old].astype(np.float32)):
            found.append(points[old])
            continue
        largest = max(parts, key=_area)
        if len(parts) > 1:
            boxes[k] = [*largest.min(axis=0), *largest.max(axis=0)]
        found.append(_resampled(largest, points.shape[1]))
    return boxes, np.stack(found).astype(np.float32)


def _area(polygon: FloatArray) -> float:
    x, y = polygon.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)))


def _resampled(polygon: FloatArray, num: int) -> FloatArray:
    """Return a closed polygon as `num` points, its corners among them where there are enough."""
    closed = np.concatenate([polygon, polygon[:1]])
    at = np.linspace(0, len(closed) - 1, num)
    return np.stack([np.interp(at, np.arange(len(closed)), closed[:, axis]) for axis in (0, 1)], axis=1)
