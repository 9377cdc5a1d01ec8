"""Adapter for MMDetection models: a config and a checkpoint, read without pickled code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.core.errors import BackendError
from augsynth.core.hub import first_line
from augsynth.core.scene import Category, Detections, Image
from augsynth.detectors.mmdet_files import (
    MmdetFiles,
    class_names,
    innermost,
    read_checkpoint,
)
from augsynth.detectors.port import Choice, chosen, match_categories

DEFAULT_VIEW_PX, WHOLE_IMAGE_PX = 640, 1 << 20
INSTALL = "pip install 'augsynth[mmdet]'"
BUILD_OPS = "uv pip install -e '.[mmdet]' in a checkout of augsynth"


class MmdetDetector:
    """An MMDetection network and its test pipeline behind the `Detector` port."""

    def __init__(
        self,
        network: Any,
        pipeline: Any,
        *,
        name: str,
        view_px: int,
        category_of_label: Mapping[int, int],
        num_labels: int,
        device: str = "cpu",
        batch_size: int = 8,
        min_score: float = 0.05,
    ) -> None:
        self.name = name
        self.view_px = view_px
        self._network = network.to(device).eval()
        self._pipeline = pipeline
        self._batch_size = batch_size
        self._min_score = min_score
        head = type(getattr(network, "bbox_head", None)).__name__
        self.has_masks = bool(getattr(network, "with_mask", False)) or "Ins" in head  # as RTMDetInsSepBNHead
        self._lookup = np.full(num_labels, -1, np.int64)
        for label, category_id in category_of_label.items():
            self._lookup[label] = category_id

    @classmethod
    def load(
        cls,
        files: MmdetFiles,
        categories: Sequence[Category],
        *,
        device: str,
        batch_size: int,
        min_score: float,
    ) -> MmdetDetector:
        """Load a config and a checkpoint.

        A config is a Python program and runs; a checkpoint is data only: safetensors, or a torch file from
        which nothing but tensors, numbers and texts is read.

        Raises:
            BackendError: MMDetection or its compiled operators are missing, or a file is damaged or doesn't fit.
            ConfigError: The model doesn't know all of the dataset's categories.
        """
        _import_mmdet(files)
        config = _read_config(files.config)
        state, meta = read_checkpoint(files.weights)
        names = class_names(config, meta, files)
        labels = match_categories(names, categories, source=files.name)
        pipeline = _test_pipeline(config, files)
        return cls(
            _build_network(config, state, files),
            _compose(pipeline, files),
            name=files.name,
            view_px=_view_px(pipeline),
            category_of_label=labels,
            num_labels=len(names),
            device=device,
            batch_size=batch_size,
            min_score=min_score,
        )

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the detections of each image, in its pixels, best score first.

        Images of one size go through the network together, so nothing is padded to fit its neighbours. Boxes
        are rounded to 0.01 px and scores to 0.0001, so that they don't depend on what else was in the batch.
        """
        return self._detect(images, with_masks=False)

    def detect_masks(self, images: Sequence[Image], *, of: Choice | None = None) -> list[Detections]:
        """Return what `detect` does, or the chosen ones, with masks where the network has a mask head."""
        return chosen(self._detect(images, with_masks=self.has_masks), of)

    def _detect(self, images: Sequence[Image], *, with_masks: bool) -> list[Detections]:
        found: dict[int, Detections] = {}
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_shape.setdefault(image.shape, []).append(index)
        for indices in by_shape.values():
            for start in range(0, len(indices), self._batch_size):
                chunk = indices[start : start + self._batch_size]
                results = self._detect_batch([images[i] for i in chunk], with_masks=with_masks)
                found.update(zip(chunk, results, strict=True))
        return [found[index] for index in range(len(images))]

    def _detect_batch(self, images: Sequence[Image], *, with_masks: bool) -> list[Detections]:
        import torch

        samples = [
            self._pipeline({"img": np.ascontiguousarray(image[..., ::-1]), "img_id": 0}) for image in images
        ]
        batch = {key: [sample[key] for sample in samples] for key in ("inputs", "data_samples")}
        with torch.no_grad():
            outputs = self._network.test_step(batch)
        return [
            self._read_output(output.pred_instances, (image.shape[1], image.shape[0]), with_masks=with_masks)
            for output, image in zip(outputs, images, strict=True)
        ]

    def _read_output(self, instances: Any, size_wh: tuple[int, int], *, with_masks: bool) -> Detections:
        boxes = instances.bboxes
        boxes = (boxes.tensor if hasattr(boxes, "tensor") else boxes).float().cpu().numpy()
        boxes = np.clip(np.round(boxes.astype(np.float64).reshape(-1, 4), 2), 0, np.array([*size_wh] * 2))
        scores = np.clip(np.round(instances.scores.float().cpu().numpy().astype(np.float64), 4), 0, 1)
        ids = self._lookup[instances.labels.cpu().numpy()]
        keep = (ids >= 0) & (scores >= self._min_score) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        order = np.flatnonzero(keep)[np.argsort(-scores[keep], kind="stable")]
        masks = instances.masks.cpu().numpy()[order].astype(np.bool_) if with_masks else None
        return Detections(boxes[order], scores[order], ids[order], masks)


def _import_mmdet(files: MmdetFiles) -> None:
    """Import MMDetection's models, or say with which command they get there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mmdet.models
            import mmdet.utils
    except ImportError as error:
        if "mmcv._ext" in str(error):
            raise BackendError(
                f"{files.config}: mmcv is installed without its compiled operators, which MMDetection's models "
                f"need; build them with {BUILD_OPS}"
            ) from None
        raise BackendError(
            f"{files.config}: an MMDetection model, but MMDetection can't be imported ({first_line(error)}); "
            f"install it with {INSTALL}, and its operators with {BUILD_OPS}"
        ) from None
    mmdet.utils.register_all_modules(init_default_scope=True)


def _read_config(path: Path) -> Any:
    from mmengine.config import Config

    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program: anything can come out of it
        raise BackendError(
            f"{path}: can't be loaded as an MMDetection config ({first_line(error)})"
        ) from None


def _build_network(config: Any, state: Mapping[str, Any], files: MmdetFiles) -> Any:
    from mmdet.registry import MODELS
    from mmengine.model import revert_sync_batchnorm

    model = config.model.copy()
    model.pop("pretrained", None)
    try:
        network = revert_sync_batchnorm(MODELS.build(model))
        keys = network.load_state_dict(dict(state), strict=False)
    except Exception as error:  # registry, network and torch raise many kinds
        raise BackendError(
            f"{files.config}: {files.weights.name} can't be loaded into its model "
            f"({str(error).splitlines()[-1].strip()[:200]}); pass the config it was trained with"
        ) from None
    missing = [key for key in keys.missing_keys if not key.endswith("num_batches_tracked")]
    if missing:
        raise BackendError(
            f"{files.weights}: {len(missing)} weights of {files.config.name} are missing ({missing[0]}, …); "
            "pass the config it was trained with"
        )
    return network


def _test_pipeline(config: Any, files: MmdetFiles) -> list[dict[str, Any]]:
    """Return the steps of the test pipeline that follow loading."""
    steps = innermost(config.get("test_dataloader", {}).get("dataset", {})).get("pipeline")
    steps = steps or config.get("test_pipeline")
    if not steps:
        raise BackendError(f"{files.config}: has no test pipeline; add test_pipeline and test_dataloader")
    return [
        dict(step)
        for step in steps
        if not str(step["type"]).split(".")[-1].startswith(("LoadImage", "LoadAnnotations", "LoadProposals"))
    ]


def _compose(steps: Sequence[Mapping[str, Any]], files: MmdetFiles) -> Any:
    from mmcv.transforms import Compose

    try:
        return Compose([{"type": "mmdet.LoadImageFromNDArray"}, *(dict(step) for step in steps)])
    except Exception as error:  # whatever a transform's constructor raises
        raise BackendError(
            f"{files.config}: its test pipeline can't be built ({first_line(error)})"
        ) from None


def _view_px(steps: Sequence[Mapping[str, Any]]) -> int:
    """Return the side of what the network looks at: the whole image where its pipeline resizes.

    It was trained on whole images of that size: a part of one would be enlarged, and its objects with it.
    """
    return WHOLE_IMAGE_PX if any("Resize" in str(step["type"]) for step in steps) else DEFAULT_VIEW_PX
