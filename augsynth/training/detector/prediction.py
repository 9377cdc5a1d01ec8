"""What a detector, or several that are fused, finds in a dataset's images: COCO results, and how good they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augsynth.coco.formats.known import input_paths
from augsynth.coco.reader import read_with_images
from augsynth.core.files import fill_folder, is_unfinished
from augsynth.core.images import read_image
from augsynth.core.outputs import check_output_folder
from augsynth.core.scene import Dataset, Detections
from augsynth.detectors.loading import load_detector, split_detectors
from augsynth.training.detector.evaluation import CHUNK, Evaluation, evaluate_detections, result_rows

RESULTS_FILE = "predictions.json"
EVALUATION_FILE = "evaluation.json"
MIN_SCORE = 0.01  # average precision is the area under a curve that weak detections complete


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What was found in each image of a dataset.

    Attributes:
        dataset: The images, and what is annotated in them.
        detector: The detector as it was given, or all that were fused with commas between them.
        found: Detections of each of the dataset's scenes, best score first.
        evaluation: COCO figures; None where no object is annotated.
    """

    dataset: Dataset
    detector: str
    found: tuple[Detections, ...]
    evaluation: Evaluation | None

    def rows(self) -> list[dict[str, Any]]:
        """Return COCO results: `image_id`, `category_id`, `bbox` (xywh, pixels) and `score` of each detection."""
        return result_rows(self.found, [scene.image_id for scene in self.dataset.scenes])

    def write(self, folder: str | Path) -> list[Path]:
        """Write `predictions.json` and, where objects are annotated, `evaluation.json` into an empty folder.

        Raises:
            ConfigError: The folder holds something.
            OutputError: It can't be written.
        """
        out = Path(folder)
        check_output_folder(out, inputs=input_paths(self.dataset.source), is_own=is_unfinished)
        documents: dict[str, Any] = {RESULTS_FILE: self.rows()}
        if self.evaluation is not None:
            about = {"detector": self.detector, "annotations": self.dataset.source.name}
            documents[EVALUATION_FILE] = about | self.evaluation.as_dict()
        with fill_folder(out, is_own=lambda name: False, last=RESULTS_FILE) as draft:
            for name, document in documents.items():
                indent = None if name == RESULTS_FILE else 1
                text = json.dumps(document, indent=indent, ensure_ascii=False) + "\n"
                (draft / name).write_text(text, encoding="utf-8")
        return [out / name for name in documents]


def predict(
    annotations: str | Path,
    images: str | Path | None = None,
    *,
    detector: str | Path,
    detector_revision: str | None = None,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Predictions:
    """Find objects in all images of a dataset, with one detector or with several whose boxes are fused.

    Args:
        annotations: A COCO file or a dataset of another format. Its objects, if any, are what the detections are
            judged by; its categories are found in the detector by name.
        images: Its image directory; that of a COCO file is looked for near it.
        detector: As for `load_detector`; several with commas between them are fused by weighted boxes fusion.
        detector_revision: Commit or tag of a hub id.
        device: A torch device.
        progress: Called with what is looked at, how much is done, and of how much.

    Raises:
        BackendError: A detector can't be loaded.
        ConfigError: A detector doesn't know all categories.
        DatasetError: The annotations or an image can't be used.
    """
    return predict_dataset(
        read_with_images(annotations, images),
        detector=str(detector),
        detector_revision=detector_revision,
        device=device,
        progress=progress,
    )


def predict_dataset(
    dataset: Dataset,
    *,
    detector: str,
    detector_revision: str | None = None,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Predictions:
    """Do what `predict` does with a dataset that was read with its images."""
    model = load_detector(
        detector, dataset.categories, device=device, revision=detector_revision, min_score=MIN_SCORE
    )
    found: list[Detections] = []
    scenes = dataset.scenes
    for start in range(0, len(scenes), CHUNK):
        found += model.detect([read_image(dataset, scene) for scene in scenes[start : start + CHUNK]])
        progress("images", len(found), len(scenes))
    evaluation = None
    if any((~scene.is_crowd).any() for scene in scenes):
        # Detections of one score are ranked by their images' ids, as whoever evaluates the file will rank them.
        order = sorted(range(len(scenes)), key=lambda k: scenes[k].image_id)
        evaluation = evaluate_detections(
            [found[k] for k in order], [scenes[k] for k in order], dataset.categories
        )
    return Predictions(dataset, ", ".join(split_detectors(detector)), tuple(found), evaluation)
