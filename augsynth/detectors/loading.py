"""The detector port, and the choice of the adapters behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.hub import find_model, is_hub_id
from augsynth.core.scene import Category
from augsynth.detectors.folder import CONFIG_FILE, FORMAT, read_document
from augsynth.detectors.port import OFFLINE, Detector

EMBEDDED_DETECTOR = str(Path(__file__).parents[1] / "sample" / "models" / "detector")


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
        model: `embedded`; a folder written by `train_detector`; an MMDetection config with its checkpoint (a
            folder with both, or `CONFIG.py:WEIGHTS`); a local transformers folder, or a hub id of a transformers
            detector (zero-shot: the category names are the prompt; closed set: matched by name). Several with
            commas between them vote.
        categories: The dataset's categories; detections carry their ids.
        device: A torch device.
        batch_size: Images that go through the network together.
        revision: Revision of a hub id; with several detectors, of the only one that is a hub id.
        min_score: Detections below are dropped.

    Raises:
        BackendError: The model can't be loaded; the message says what runs offline.
        ConfigError: The detector doesn't know all categories.
    """
    if not categories:
        raise ConfigError("the dataset has no categories to detect: check its annotation file")
    members = [EMBEDDED_DETECTOR if name == "embedded" else name for name in split_detectors(str(model))]
    hub_ids = [member for member in members if is_hub_id(member)]
    if revision is not None and len(members) > 1 and len(hub_ids) != 1:
        raise ConfigError(
            f"detector_revision is {revision}, but {len(hub_ids)} of the detectors {model} are hub ids; download "
            "them and pass their folders"
        )
    found = [
        _load_one(
            member,
            categories,
            device=device,
            batch_size=batch_size,
            revision=revision if len(members) == 1 or member in hub_ids else None,
            min_score=min_score,
        )
        for member in members
    ]
    if len(found) == 1:
        return found[0]
    from augsynth.detectors.ensemble import EnsembleDetector

    return EnsembleDetector(found, min_score=min_score)


def split_detectors(model: str) -> list[str]:
    """Return the detectors that a `--detector` names: several have commas between them.

    Raises:
        ConfigError: There is nothing before or after a comma, or one is named twice.
    """
    if model and Path(model).exists():
        return [model]
    members = [member.strip() for member in model.split(",")]
    if not all(members):
        raise ConfigError(f"detector is {model!r}; write one detector, or several with a comma between them")
    if len(set(members)) < len(members):
        raise ConfigError(f"detector is {model!r}; name each detector once, or it votes twice")
    return members


def detector_files(model: str) -> list[Path]:
    """Return the local files that a `--detector` depends on, for a digest; a hub id has none."""
    from augsynth.detectors.mmdet_files import find_mmdet_files

    paths: list[Path] = []
    for member in split_detectors(model):
        files = find_mmdet_files(member)
        if files is not None:
            paths += [files.config, files.weights]
        elif Path(member).is_dir():
            paths += sorted(Path(member).rglob("*.safetensors"))
    return paths


def _load_one(
    model: str,
    categories: Sequence[Category],
    *,
    device: str,
    batch_size: int,
    revision: str | None,
    min_score: float,
) -> Detector:
    folder = Path(model)
    if (folder / CONFIG_FILE).is_file() and _is_ours(folder):
        from augsynth.detectors.torchvision import TorchvisionDetector

        return TorchvisionDetector.load(
            folder, categories, device=device, batch_size=batch_size, min_score=min_score
        )
    from augsynth.detectors.mmdet_files import find_mmdet_files

    files = find_mmdet_files(model)
    if files is not None:
        from augsynth.detectors.mmdet import MmdetDetector

        return MmdetDetector.load(
            files, categories, device=device, batch_size=batch_size, min_score=min_score
        )
    source = find_model(model, revision=revision, advice=OFFLINE)
    if source.path is not None and not (folder / CONFIG_FILE).is_file():
        raise BackendError(f"no detector in {folder}: {CONFIG_FILE} is missing; {OFFLINE}")
    from augsynth.detectors.transformers import load_transformers_detector

    return load_transformers_detector(
        source, categories, device=device, batch_size=batch_size, min_score=min_score
    )


def _is_ours(folder: Path) -> bool:
    return str(read_document(folder).get("format", "")).startswith(FORMAT.rsplit("-", 1)[0])
