"""The detector folder: config.json and model.safetensors, written as one, read without pickles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from augsynth.core.errors import BackendError
from augsynth.core.scene import Category

FORMAT = "augsynth-detector-1"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_LONGEST_NAME = 200  # characters


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Everything but the weights.

    Attributes:
        preset: Architecture, see `architectures.build_model`.
        categories: In label order (label 0 is background).
        image_scale: Images are resized by this before the network sees them.
        view_px: Longer side of the training images in source pixels.
        training: How it was trained, and its figures.
    """

    preset: str
    categories: tuple[Category, ...]
    image_scale: float = 1.0
    view_px: int = 640
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.categories:
            raise ValueError("a detector needs at least one category")
        if not 0 < self.image_scale <= 4:
            raise ValueError(f"image_scale must be in (0, 4], got {self.image_scale}")
        if self.view_px < 1:
            raise ValueError(f"view_px must be at least 1, got {self.view_px}")


def read_document(folder: Path) -> dict[str, Any]:
    """Return a folder's config.json, ours or of another library.

    Raises:
        BackendError: It isn't a JSON object.
    """
    path = folder / CONFIG_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackendError(f"{path}: can't be read as JSON ({error}); write the folder again") from None
    if not isinstance(document, dict):
        raise BackendError(f"{path}: is not a JSON object; write the folder again")
    return document


def read_config(folder: Path) -> DetectorConfig:
    """Return the configuration of a folder that `train_detector` wrote.

    Raises:
        BackendError: The file is damaged or of another version.
    """
    document = read_document(folder)
    path = folder / CONFIG_FILE
    if document.get("format") != FORMAT:
        raise BackendError(
            f"{path}: format {document.get('format')!r} instead of {FORMAT!r}; train it again with "
            "`augsynth train-detector`"
        )
    try:
        return DetectorConfig(
            preset=_name(document["preset"]),
            categories=tuple(
                Category(int(c["id"]), str(c["name"]), str(c.get("supercategory", "")))
                for c in document["categories"]
            ),
            image_scale=float(document["image_scale"]),
            view_px=int(document["view_px"]),
            training=document.get("training", {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BackendError(f"{path}: {error!r}; train it again with `augsynth train-detector`") from None


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_NAME:
        raise ValueError("preset is no name")
    return value


def write_config(folder: Path, config: DetectorConfig) -> None:
    """Write config.json; the same configuration gives the same bytes."""
    document = {"format": FORMAT, **asdict(config)}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


def write_weights(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the weights as float16; buffers such as batch norm statistics stay as they are."""
    import torch
    from safetensors.torch import save

    def compact(name: str, tensor: Any) -> Any:
        halve = tensor.dtype == torch.float32 and "running_" not in name
        return tensor.detach().cpu().to(torch.float16 if halve else tensor.dtype).contiguous()

    document = save({name: compact(name, tensor) for name, tensor in state.items()})
    (folder / WEIGHTS_FILE).write_bytes(document)


def read_weights(folder: Path) -> dict[str, Any]:
    """Return the tensors of model.safetensors.

    Raises:
        BackendError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise BackendError(f"{path}: can't be read ({error}); train or copy the detector again") from None


def publish(work: Path, out: Path) -> None:
    """Rename the finished folder into place; an empty folder of that name is replaced, a full one never."""
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    work.rename(out)
