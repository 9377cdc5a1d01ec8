"""`AffinityPaste` as an Albumentations transform, for `Compose` with `bbox_params` (the MIT-licensed 1.4.24 to 2.x)."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
from numpy.typing import NDArray

from augsynth.core.errors import ConfigError
from augsynth.core.scene import FloatArray, IntArray
from augsynth.pasting import affinity_paste
from augsynth.pasting.affinity_paste import PastedImage, check_uint8
from augsynth.pasting.options import Classes
from augsynth.placement.scene_model import SceneModel

if hasattr(albumentations.BasicTransform, "sample_parameters"):
    raise ConfigError(
        "AffinityPaste is for albumentations up to 2.0.8; this is its fork albumentationsx, whose transforms are made "
        "otherwise. Use augsynth.AffinityPaste before the transforms, or install albumentations"
    )

_CROWD = "iscrowd"


class AffinityPaste(albumentations.DualTransform):
    """Paste objects of a bank into an image: new boxes and labels, and masks where there are `masks=`.

    It stands in `Compose(…, bbox_params=BboxParams(…, label_fields=[…]))`. Labels are numbers (see `classes`) or
    category names. `masks` are one for each box. Key points stay as they are. Images without boxes pass unchanged. A
    label field `iscrowd` says what is never pasted onto and never dropped; new objects have 0 in it.

    Args:
        bank: Folder of the object bank.
        affinity: File made by `augsynth build-affinity`.
        classes: What numbers mean; without it they are the category ids of the annotation file.
        label_field: The label field that has the category; the first one where it isn't given.
        fill: Value of a new object in each further label field, as in `{"difficult": 0}`.
        seed: The same results in any number of loader workers; call `set_epoch` before each epoch. Without it chance
            comes from the generator of the `Compose`.
        p: Chance that an image is pasted into; `prob` of the others. With a seed that decides this, too.
        options: Further ones of `augsynth.pasting.options.PasteOptions`; not `into_empty`.

    Raises:
        ConfigError: An option is wrong, or there is no class.
    """

    def __init__(
        self,
        bank: str | Path,
        affinity: str | Path | SceneModel,
        *,
        classes: Classes = None,
        label_field: str | None = None,
        fill: Mapping[str, Any] | None = None,
        seed: int | None = None,
        p: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(p=p)
        if "prob" in options:
            raise ConfigError("AffinityPaste: in Albumentations the chance is p=, not prob=")
        if options.get("into_empty"):
            raise ConfigError(
                "AffinityPaste: Albumentations doesn't say what the labels of an image without boxes would be; leave "
                "into_empty out, or paste into arrays"
            )
        self._forced = False
        self._given = {
            "bank": os.fspath(bank),
            "affinity": affinity if isinstance(affinity, SceneModel) else os.fspath(affinity),
            "classes": classes,
            "label_field": label_field,
            "fill": fill,
            "seed": seed,
            **options,
        }
        self._label_field, self._fill = label_field, {_CROWD: 0} | dict(fill or {})
        self.core = affinity_paste.AffinityPaste(bank, affinity, classes=classes, seed=seed, **options)
        self._label_of = {name: label for label, name in self.core.names.items()}

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: with a seed, an image gets other objects in another epoch.

        Loader workers that are there already have a copy that this doesn't reach.
        """
        self.core.set_epoch(epoch)

    @property
    def counters(self) -> Counter[str]:
        """See `augsynth.AffinityPaste`."""
        return self.core.counters

    def __call__(self, *args: Any, force_apply: bool = False, **kwargs: Any) -> Any:
        """Paste by chance: with a seed the chance is drawn as all else is, not by the generator of the `Compose`."""
        self._forced = force_apply
        return super().__call__(*args, force_apply=force_apply or self.core.seed is not None, **kwargs)

    def get_transform_init_args(self) -> dict[str, Any]:
        """Return the arguments, for `albumentations.to_dict` and for people."""
        return dict(self._given)

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        """Return the names of the arguments."""
        return tuple(self._given)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Paste: all that is applied is made here.

        Raises:
            ConfigError: There are no boxes to keep up, a mask that can't be, or a label that is no class.
        """
        if "bboxes" not in data or self.get_processor("bboxes") is None:
            raise ConfigError("AffinityPaste needs bboxes=, and bbox_params= of the Compose it stands in")
        if data.get("mask") is not None:
            raise ConfigError("AffinityPaste can't add objects to mask=; give masks=, one for each box")
        image, rows, masks = data["image"], data["bboxes"], data.get("masks")
        check_uint8(image)
        if not len(rows) or (masks is not None and not len(masks)):
            return {"pasted": None, "rows": rows}
        if masks is not None:
            masks = np.asarray(masks)
        height, width = image.shape[:2]
        boxes = rows[:, :4].astype(np.float64) * [width, height, width, height]
        labels = self._labels(rows)
        rng = self.core.generator(image, boxes, labels, self._draw())
        if self.core.seed is not None and rng.random() >= self.p and not self._forced:
            return {"pasted": None, "rows": rows}
        pasted = self.core.paste(image, boxes, labels, masks, rng=rng, ignored=self._crowds(rows))
        if not pasted.num_pasted:
            return {"pasted": None, "rows": rows}
        return {"pasted": pasted, "rows": self._rows(rows, boxes, pasted)}

    def apply(self, img: NDArray[Any], pasted: PastedImage | None = None, **params: Any) -> NDArray[Any]:
        """Return the image."""
        return img if pasted is None else pasted.image

    def apply_to_bboxes(self, bboxes: NDArray[Any], rows: Any = None, **params: Any) -> NDArray[Any]:
        """Return the boxes with their labels."""
        return np.asarray(rows)

    def apply_to_masks(self, masks: Any, pasted: PastedImage | None = None, **params: Any) -> Any:
        """Return the masks."""
        if pasted is None:
            return masks
        return list(pasted.masks or ()) if isinstance(masks, list) else pasted.masks

    def apply_to_keypoints(self, keypoints: Any, **params: Any) -> Any:
        """Return the key points as they are."""
        return keypoints

    def _draw(self) -> Any:
        """Return a seed of the generator of the `Compose`, and of the loader worker, in which that one is a copy."""
        if self.core.seed is not None:
            return None
        drawn, loading = int(self.random_generator.integers(2**31)), sys.modules.get("torch.utils.data")
        worker = loading.get_worker_info() if loading else None
        return np.random.default_rng([drawn, *([worker.seed] if worker else [])])

    def _fields(self) -> tuple[list[str], int]:
        """Return the label fields, and the column of the category after the four of the box."""
        fields = list(self.get_processor("bboxes").params.label_fields or [])
        name = self._label_field or (fields[0] if fields else None)
        if name is not None and name not in fields:
            raise ConfigError(f"AffinityPaste: label_field {name!r} is none of label_fields={fields}")
        return fields, fields.index(name) if name is not None else 0

    def _encoder(self, field: str) -> Any:
        """Return what turns a field's texts into numbers; None where it has numbers."""
        processor = self.get_processor("bboxes")
        if hasattr(processor, "label_manager"):  # 2.x
            known = processor.label_manager.metadata["bboxes"][field]
            return None if known.is_numerical else known.encoder
        numerical = processor.is_numerical_label["bboxes"][field]
        return None if numerical else processor.label_encoders["bboxes"][field]

    def _crowds(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Return which boxes are crowds, by the label field that says so."""
        fields, _ = self._fields()
        if _CROWD not in fields:
            return np.zeros(len(rows), bool)
        return np.array([bool(value) for value in self._values(rows, fields, fields.index(_CROWD))], bool)

    def _values(self, rows: FloatArray, fields: list[str], column: int) -> list[Any]:
        """Return the values of a label field, numbers or texts, as they were given."""
        codes: list[Any] = rows[:, 4 + column].tolist()
        encoder = self._encoder(fields[column]) if fields else None
        if encoder is None or encoder.is_numerical:
            return codes
        return [encoder.inverse_classes_[int(code)] for code in codes]

    def _labels(self, rows: FloatArray) -> IntArray:
        """Return the labels of boxes with label columns."""
        fields, column = self._fields()
        if rows.shape[1] <= 4 + column:
            raise ConfigError("AffinityPaste: the boxes have no labels; give label_fields= in bbox_params")
        names = self._values(rows, fields, column)
        if not any(isinstance(name, str) for name in names):
            return np.array(names).astype(np.int64)
        strange = [name for name in names if name not in self._label_of]
        if strange:
            raise ConfigError(f"AffinityPaste: label {strange[0]!r} is none of its classes; mend `classes`")
        return np.array([self._label_of[name] for name in names], np.int64)

    def _rows(self, rows: FloatArray, boxes: FloatArray, pasted: PastedImage) -> NDArray[Any]:
        """Return boxes with label columns after pasting; a row of what wasn't covered is the one that was there."""
        height, width = pasted.image.shape[:2]
        fields, column = self._fields()
        found = np.zeros((len(pasted.before), rows.shape[1]), rows.dtype)
        kept = pasted.before >= 0
        found[kept] = rows[pasted.before[kept]]
        changed = ~kept
        changed[kept] = (boxes[pasted.before[kept]] != pasted.boxes_xyxy[kept]).any(axis=1)
        found[changed, :4] = pasted.boxes_xyxy[changed] / [width, height, width, height]
        labels = pasted.labels[~kept].tolist()
        found[~kept, 4 + column] = self._codes(fields, column, labels)
        for k, field in enumerate(fields):
            if k != column:
                if field not in self._fill:
                    raise ConfigError(
                        f"AffinityPaste: what is {field!r} of a new object? Give fill={{{field!r}: …}}; where it "
                        "counts objects for your trainer, paste before that"
                    )
                found[~kept, 4 + k] = self._coded(field, self._fill[field])
        return found

    def _codes(self, fields: list[str], column: int, labels: list[int]) -> list[float]:
        if not fields or self._encoder(fields[column]) is None:
            return [float(label) for label in labels]
        return [self._coded(fields[column], self.core.names[label]) for label in labels]

    def _coded(self, field: str, value: Any) -> float:
        """Return a value of a field as a number, made known to the encoder where it is a text."""
        encoder = self._encoder(field)
        if encoder is None or encoder.is_numerical:
            return float(value)
        if value not in encoder.classes_:
            code = len(encoder.classes_)
            encoder.classes_[value], encoder.inverse_classes_[code] = code, value
            encoder.num_classes = code + 1
        return float(encoder.classes_[value])
