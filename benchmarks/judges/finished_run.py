"""A finished output directory of `augsynth generate`, read back for the judges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.coco.reader import read_dataset, read_with_images
from augsynth.core.boxes import box_areas, intersections
from augsynth.core.errors import DatasetError
from augsynth.core.scene import Dataset, Scene
from augsynth.generation.config import GenerateConfig, config_from
from augsynth.generation.export import AUGMENTED, DECOYS, PROVENANCE, SYNTHETIC


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRun:
    """What a run left behind.

    Attributes:
        folder: Its output directory.
        config: Its options.
        source: The original images with their real objects.
        edited: The new images; their scenes hold copies of the real objects and the synthetic ones.
        synthetic: Annotation id -> attributes of the synthetic objects in `edited`.
        attempts: The lines of the provenance file.
        decoys: The lines of the decoys' file; none where the run painted none.
        detector_sha256: Digest of its detector's weights, or None.
    """

    folder: Path
    config: GenerateConfig
    source: Dataset
    edited: Dataset
    synthetic: Mapping[int, Mapping[str, Any]]
    attempts: tuple[Mapping[str, Any], ...]
    decoys: tuple[Mapping[str, Any], ...]
    detector_sha256: str | None

    @property
    def names(self) -> dict[int, str]:
        """Category names by COCO id."""
        return {category.id: category.name for category in self.source.categories}

    def is_synthetic(self, scene: Scene) -> NDArray[np.bool_]:
        """Return (N,) which objects of a new image are synthetic."""
        return np.array([int(i) in self.synthetic for i in scene.annotation_ids], np.bool_)


def read_run(folder: Path) -> FinishedRun:
    """Read an output directory.

    Raises:
        DatasetError: It holds no finished run, or its source images are neither in it nor where they were.
    """
    import yaml

    for name in (SYNTHETIC, AUGMENTED, PROVENANCE, "config.yaml"):
        if not (folder / name).is_file():
            raise DatasetError(
                f"{folder}: {name} is missing; pass the output of a finished `augsynth generate`"
            )
    edited = read_dataset(folder / SYNTHETIC, images=folder / "images")
    values = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    values.pop("models", None)
    config = config_from(values, source=str(folder / "config.yaml"), out=str(folder))
    state = folder / "run.json"
    fingerprint = json.loads(state.read_text(encoding="utf-8"))["fingerprint"] if state.is_file() else {}
    return FinishedRun(
        folder,
        config,
        _read_source(folder, config, {scene.image_id for scene in edited.scenes}),
        edited,
        {
            int(raw["id"]): raw["attributes"]
            for raw in edited.document["annotations"]
            if raw.get("attributes", {}).get("synthetic") is True
        },
        _read_lines(folder / PROVENANCE),
        _read_lines(folder / DECOYS) if (folder / DECOYS).is_file() else (),
        fingerprint.get("detector_sha256"),
    )


def _read_lines(path: Path) -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def _read_source(folder: Path, config: GenerateConfig, new_ids: set[int]) -> Dataset:
    if config.output.originals != "omit":
        both = read_dataset(folder / AUGMENTED, images=folder / "images")
        return replace(both, scenes=tuple(s for s in both.scenes if s.image_id not in new_ids))
    data = config.data
    if data.annotations is not None:
        return read_with_images(data.annotations, data.images)
    return read_dataset(
        folder / "sample" / "annotations" / "instances.json", images=folder / "sample" / "images"
    )


def admissible(
    scene: Scene, *, max_overlap: float, min_size: float, margin: float = 1.0
) -> NDArray[np.bool_]:
    """Return (N,) which objects lie where a run could have placed one: what a fair comparison needs.

    An object counts when it is no crowd, keeps `margin` pixels from the image's border (isn't cut by it), has
    no side below `min_size`, and neither covers more than `max_overlap` of another box nor is covered more
    than that by one.
    """
    boxes = scene.boxes_xyxy
    if not len(boxes):
        return np.zeros(0, np.bool_)
    inside = (boxes[:, :2] >= margin).all(1) & (boxes[:, 2:] <= np.array(scene.size_wh) - margin).all(1)
    large = (boxes[:, 2:] - boxes[:, :2]).min(1) >= min_size
    shared = intersections(boxes, boxes)
    np.fill_diagonal(shared, 0.0)
    areas = box_areas(boxes)
    overlap = np.maximum(shared / areas[None], shared / areas[:, None]).max(1)
    return np.asarray(inside & large & (overlap <= max_overlap) & ~scene.is_crowd)
