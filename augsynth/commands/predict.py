"""`augsynth predict`: what a detector, or several that are fused, finds in the images of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from augsynth.coco.faults import repair_lines
from augsynth.coco.formats.known import ANNOTATIONS, IMAGES, NEAR, input_paths
from augsynth.coco.reader import read_with_images
from augsynth.commands.flags import Command
from augsynth.commands.progress import counting
from augsynth.commands.terminal import Report, Terminal
from augsynth.core.devices import check_device
from augsynth.core.files import is_unfinished
from augsynth.core.options import REQUIRED, check_options, option
from augsynth.core.outputs import check_output_folder
from augsynth.core.text import number_of


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """What looks at which images.

    Raises:
        ConfigError: A value is out of range.
    """

    annotations: Path = option(REQUIRED, ANNOTATIONS)
    out: Path = option(REQUIRED, "Folder of the COCO results and of the evaluation.")
    detector: str = option(
        REQUIRED,
        "Detector: a folder of `train-detector`, an MMDetection CONFIG.py:WEIGHTS, a transformers folder or hub id, or "
        "`embedded`; several with commas between them are fused.",
    )
    images: Path | None = option(None, IMAGES, unset=NEAR)
    detector_revision: str | None = option(None, "Commit or tag of that hub id.")
    device: str = option("cpu", "Torch device.")

    def __post_init__(self) -> None:
        check_options(self)


def run_predict(options: PredictOptions, terminal: Terminal) -> Report:
    """Write what is found, and say how good it is where objects are annotated.

    Raises:
        AugsynthError: As `augsynth.predict`, or the output isn't an empty folder.
    """
    inputs = input_paths(options.annotations, options.images)
    check_output_folder(options.out, inputs=inputs, is_own=is_unfinished)
    check_device(options.device)
    from augsynth.training.detector.prediction import predict_dataset

    dataset = read_with_images(options.annotations, options.images)
    for line in repair_lines(dataset):
        terminal.notice(line)
    with counting(terminal.notices) as progress:
        found = predict_dataset(
            dataset,
            detector=options.detector,
            detector_revision=options.detector_revision,
            device=options.device,
            progress=progress,
        )
    paths = found.write(options.out)
    number = sum(map(len, found.found))
    lines: list[str | Table] = [
        f"{number_of(number, 'detection')} in {number_of(len(found.found), 'image')} by {found.detector}"
    ]
    judged = found.evaluation
    if judged is None:
        lines.append("no object is annotated, so nothing is judged")
    else:
        objects = number_of(judged.num_objects, "annotated object")
        lines.append(f"AP {judged.ap:.4f}, AP50 {judged.ap50:.4f} on {objects}; by category:")
        lines.append(_table(judged.category_ap, judged.category_ap50))
    lines.append(f"written: {', '.join(map(str, paths))}")
    document = {
        "detector": found.detector,
        "images": len(found.found),
        "detections": number,
        "evaluation": None if judged is None else judged.as_dict(),
        "files": [str(path) for path in paths],
    }
    return Report(lines, document)


def _table(ap: dict[str, float], ap50: dict[str, float]) -> Table:
    table = Table("category", box=None, pad_edge=False)
    for title in ("AP", "AP50"):
        table.add_column(title, justify="right")
    for name, value in ap.items():
        table.add_row(Text(name), f"{value:.4f}", f"{ap50[name]:.4f}")
    return table


PREDICT = Command(
    "predict",
    PredictOptions,
    run_predict,
    help="Find objects in a dataset's images with one detector or several fused ones: COCO results, and their AP.",
    example="augsynth predict --annotations test.json --images images --detector models/one,models/two --out found",
)
