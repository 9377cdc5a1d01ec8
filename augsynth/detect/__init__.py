"""The detector port, and the choice of the adapter behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from augsynth.detect.folder import CONFIG_FILE, FORMAT, read_document
from augsynth.errors import BackendError, ConfigError
from augsynth.scene import Category, Detections, Image

OFFLINE = (
    "for an offline run pass a local folder to --detector (one written by `augsynth train-detector`, or a "
    "downloaded transformers model), or leave --detector out to use the detector embedded for the sample"
)


class Detector(Protocol):
    """Finds objects of the dataset's categories in images.

    Attributes:
        name: What was loaded, for provenance.
        view_px: Side in source pixels of the images it works best on.
    """

    name: str
    view_px: int

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the detections of each HWC uint8 RGB image, in that image's pixels, best score first."""
        ...


def load_detector(
    model: str | Path,
    categories: Sequence[Category],
    *,
    device: str = "cpu",
    batch_size: int = 8,
    revision: str | None = None,
    min_score: float = 0.05,
) -> Detector:
    """Load a detector and fit its labels to the dataset's categories.

    Args:
        model: A folder written by `train_detector`, a local transformers folder, or a hub id of a
            transformers detector (zero-shot: the category names are the prompt; closed set: matched by name).
        categories: The dataset's categories; detections carry their ids.
        device: A torch device.
        batch_size: Images that go through the network together.
        revision: Revision of a hub id.
        min_score: Detections below are dropped.

    Raises:
        BackendError: The model can't be loaded; the message says what runs offline.
        ConfigError: The detector doesn't know all categories.
    """
    if not categories:
        raise ConfigError("the dataset has no categories to detect: check its annotation file")
    folder = Path(model)
    if (folder / CONFIG_FILE).is_file() and _is_ours(folder):
        from augsynth.detect.torchvision import TorchvisionDetector

        return TorchvisionDetector.load(
            folder, categories, device=device, batch_size=batch_size, min_score=min_score
        )
    if _looks_like_a_path(str(model)) and not (folder / CONFIG_FILE).is_file():
        raise BackendError(f"no detector in {folder}: {CONFIG_FILE} is missing; {OFFLINE}")
    from augsynth.detect.transformers import load_transformers_detector

    return load_transformers_detector(
        str(model),
        categories,
        device=device,
        batch_size=batch_size,
        revision=revision,
        min_score=min_score,
    )


def match_categories(names: Sequence[str], categories: Sequence[Category], *, source: str) -> dict[int, int]:
    """Return label index -> COCO id for the detector's label names, matched by name.

    Raises:
        ConfigError: Some of the dataset's categories are unknown to the detector.
    """
    index = {_plain(name): label for label, name in reversed(list(enumerate(names)))}
    missing = [category.name for category in categories if _plain(category.name) not in index]
    if missing:
        known = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise ConfigError(
            f"the detector {source} doesn't know {len(missing)} of the dataset's categories: "
            f"{', '.join(missing)} (it knows {known}); train one with `augsynth train-detector`, or pass a "
            "zero-shot detector to --detector"
        )
    return {index[_plain(category.name)]: category.id for category in reversed(categories)}


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _looks_like_a_path(model: str) -> bool:
    is_hub_id = model.count("/") <= 1 and not model.startswith((".", "/", "~", "\\"))
    return Path(model).exists() or not is_hub_id


def _is_ours(folder: Path) -> bool:
    return str(read_document(folder).get("format", "")).startswith(FORMAT.rsplit("-", 1)[0])
