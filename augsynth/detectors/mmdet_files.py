"""The two files of an MMDetection model: which they are, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augsynth.core.errors import BackendError
from augsynth.core.hub import first_line
from augsynth.detectors.folder import CONFIG_FILE
from augsynth.detectors.torch_files import read_torch_file

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True, slots=True)
class MmdetFiles:
    """The two files of an MMDetection model."""

    config: Path
    weights: Path

    @property
    def name(self) -> str:
        """What provenance calls the model."""
        return f"{self.config.parent.name}/{self.config.stem}:{self.weights.name}"


def find_mmdet_files(model: str) -> MmdetFiles | None:
    """Return the files of an MMDetection model, or None when `model` isn't the place of one.

    Args:
        model: `CONFIG.py:WEIGHTS`, a config with its weights beside it, or a folder with both, such as a
            work directory (then `best_…` counts before the other checkpoints).

    Raises:
        BackendError: It is one, but a file is missing or it isn't clear which is meant.
    """
    left, colon, right = model.rpartition(":")
    if colon and left.endswith(".py"):
        files = MmdetFiles(Path(left), Path(right))
        for path in (files.config, files.weights):
            if not path.is_file():
                raise BackendError(f"{path}: no such file; write the detector as CONFIG.py:WEIGHTS")
        return files
    path = Path(model)
    if path.suffix == ".py" and path.is_file():
        return MmdetFiles(path, _only_weights(path.parent))
    if not path.is_dir() or (path / CONFIG_FILE).exists():
        return None
    configs = sorted(path.glob("*.py"))
    if not configs:
        return None
    if len(configs) > 1:
        names = ", ".join(config.name for config in configs)
        raise BackendError(f"{path}: several configs ({names}); write the detector as CONFIG.py:WEIGHTS")
    return MmdetFiles(configs[0], _only_weights(path))


def _only_weights(folder: Path) -> Path:
    there = sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS_SUFFIXES)
    best = [path for path in there if path.name.startswith("best_")]
    candidates = best or there
    if not candidates:
        raise BackendError(
            f"{folder}: no checkpoint beside the config; put one there, or write the detector as "
            "CONFIG.py:WEIGHTS"
        )
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates[:6])
        raise BackendError(
            f"{folder}: several checkpoints ({names}); write the detector as CONFIG.py:WEIGHTS"
        )
    return candidates[0]


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the weights of a checkpoint and what it says about itself; no pickled code runs.

    Raises:
        BackendError: The file is damaged or holds no weights.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path)), {}
        except (OSError, SafetensorError) as error:
            raise BackendError(f"{path}: can't be read ({first_line(error)}); copy it again") from None
    from torch import Tensor

    document = read_torch_file(path)
    state = document.get("state_dict", document) if isinstance(document, dict) else None
    if not isinstance(state, dict):
        raise BackendError(f"{path}: no dictionary of weights; save the model's state_dict")
    meta = document.get("meta", {})
    weights = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    return weights, meta if isinstance(meta, dict) else {}


def class_names(config: Any, meta: Mapping[str, Any], files: MmdetFiles) -> list[str]:
    """Return the names of the labels: those the checkpoint was trained with, else the config's."""
    from mmdet.registry import DATASETS

    dataset = innermost(config.get("test_dataloader", {}).get("dataset", {}))
    registered = DATASETS.get(dataset.get("type", "")) if dataset.get("type") else None
    sources = (
        meta.get("dataset_meta"),
        meta,
        dataset.get("metainfo"),
        config.get("metainfo"),
        getattr(registered, "METAINFO", None),
    )
    for source in sources:
        found = _classes_of(source)
        if found:
            break
    else:
        raise BackendError(
            f"{files.config}: doesn't name its classes; add test_dataloader.dataset.metainfo=dict(classes=(…))"
        )
    wanted = _num_classes(config.model)
    if wanted is not None and wanted != len(found):
        raise BackendError(
            f"{files.config}: names {len(found)} classes, but its model has {wanted}; set "
            "test_dataloader.dataset.metainfo=dict(classes=(…)) to the classes it was trained on"
        )
    return found


def _classes_of(source: Any) -> list[str]:
    if not isinstance(source, Mapping):
        return []
    found = source.get("classes") or source.get("CLASSES") or []
    return [str(name) for name in ([found] if isinstance(found, str) else found)]


def _num_classes(model: Any) -> int | None:
    """Return the classes of a model's box head, None when it doesn't say."""
    head = model.get("roi_head", model)
    head = head.get("bbox_head", {})
    head = head[-1] if isinstance(head, Sequence) else head
    found = head.get("num_classes")
    return found if isinstance(found, int) else None


def innermost(dataset: Any) -> Any:
    """Return the configuration of the dataset inside any wrappers."""
    while isinstance(dataset.get("dataset"), Mapping):
        dataset = dataset["dataset"]
    return dataset
