"""The three runs whose output is read: the sample, COCO photographs with polygons and crowds, blood cells with boxes.

Nothing is trained to paint well, as only the files matter: an untrained model paints COCO's categories and the sample's
model blood cells, both unfiltered.
"""

from __future__ import annotations

from pathlib import Path

from augsynth.generation.export import AUGMENTED
from benchmarks.command import run_augsynth

UNTRAINED = (
    *("--image-scale", 0.25, "--preset", "tiny-32", "--autoencoder-steps", 2, "--decoder-steps", 0),
    *("--denoiser-steps", 2, "--num-windows", 64, "--autoencoder-batch-size", 2, "--denoiser-batch-size", 2),
)
UNFILTERED = ("--filter", "off", "--steps", 2)
NAMES = ("sample", "coco_mini", "blood_cells")


def make_run(name: str, *, data: Path | None, out: Path, n: int) -> Path:
    """Return a run's directory, after `generate` unless it is finished.

    Args:
        name: One of `NAMES`.
        data: Folder with `coco_mini/` and `blood_cells/`; the sample needs none.
        out: Where runs are kept.
        n: Objects to paint.

    Raises:
        FileNotFoundError: The data isn't there.
    """
    folder = out / name
    if (folder / AUGMENTED).is_file():
        return folder
    words: tuple[object, ...] = ()
    if name != "sample":
        root = (data or Path()) / name
        annotations = root / ("instances.json" if name == "coco_mini" else "instances_train.json")
        if not annotations.is_file():
            raise FileNotFoundError(f"{annotations} isn't there; pass its data folder with --data")
        words = ("--annotations", annotations, "--images", root / "images", *UNFILTERED)
    if name == "blood_cells":
        words = (*words, "--model", "embedded")
    if name == "coco_mini":
        painter = out / "untrained"
        if not (painter / "model").is_dir():
            run_augsynth("train-inpainter", *words[:4], *UNTRAINED, "--out", painter)
        words = (*words, "--model", painter / "model")
    run_augsynth("generate", *words, "--n", n, "--out", folder)
    return folder
