"""`augsynth import` and `augsynth export`: datasets of other formats to COCO, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from augsynth.coco.faults import repair_lines
from augsynth.coco.formats.convert import read_parts, write_parts
from augsynth.coco.formats.known import ANNOTATIONS, IMAGES, NEAR, input_paths
from augsynth.coco.formats.parts import Originals, Part, Written
from augsynth.commands.flags import Command
from augsynth.commands.terminal import Report, Terminal
from augsynth.core.errors import ConfigError
from augsynth.core.files import is_unfinished
from augsynth.core.options import REQUIRED, check_options, option
from augsynth.core.outputs import check_output_folder
from augsynth.core.scene import Dataset

_ORIGINALS = "Link images into the output, or copy them; links need the same file system."
_MASKS = "Write masks; where a YOLO object has none, its box is the outline."


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What becomes a COCO dataset.

    Raises:
        ConfigError: Images are given for several datasets.
    """

    annotations: tuple[str, ...] = option(
        REQUIRED, "Dataset of any format, all of its splits or the one after #; several are put together."
    )
    out: Path = option(REQUIRED, "Folder of the COCO dataset.")
    images: Path | None = option(None, IMAGES, unset=NEAR)
    originals: Literal["hardlink", "copy"] = option("hardlink", _ORIGINALS)

    def __post_init__(self) -> None:
        check_options(self)
        if self.images is not None and len(self.annotations) > 1:
            raise ConfigError("images is given for several datasets; leave it out, or import them one by one")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is written, and how.

    Raises:
        ConfigError: A value is none of the choices, or images are given without annotations.
    """

    annotations: Path = option(REQUIRED, ANNOTATIONS + " Without one, all splits are written.")
    out: Path = option(REQUIRED, "Folder of the new dataset.")
    format: Literal["yolo", "voc", "imagefolder", "fiftyone", "croissant"] = option(
        REQUIRED,
        "YOLO, Pascal VOC, Hugging Face image folder, COCO as FiftyOne reads it or with Croissant metadata.",
    )
    images: Path | None = option(None, IMAGES, unset=NEAR)
    val_annotations: Path | None = option(None, "Dataset that becomes the split val, as for annotations.")
    val_images: Path | None = option(None, "Its image directory.", unset=NEAR)
    test_annotations: Path | None = option(None, "Dataset that becomes the split test.")
    test_images: Path | None = option(None, "Its image directory.", unset=NEAR)
    masks: bool | None = option(
        None, _MASKS, unset="where the format has a place for them, YOLO if all have one"
    )
    originals: Literal["hardlink", "copy"] = option("hardlink", _ORIGINALS)

    def __post_init__(self) -> None:
        check_options(self)
        for split in ("val", "test"):
            if getattr(self, f"{split}_images") and not getattr(self, f"{split}_annotations"):
                raise ConfigError(
                    f"{split}_images is given without {split}_annotations; give both or neither"
                )


def run_import(options: ImportOptions, terminal: Terminal) -> Report:
    """Write a COCO dataset.

    Raises:
        ConfigError: The output isn't an empty folder.
        DatasetError: A dataset can't be used.
    """
    given = [("", Path(path), options.images) for path in options.annotations]
    return _convert(given, options.out, "coco", None, options.originals, terminal)


def run_export(options: ExportOptions, terminal: Terminal) -> Report:
    """Write a dataset in another format.

    Raises:
        ConfigError: The output isn't an empty folder.
        DatasetError: A dataset can't be used.
    """
    others = [
        (split, annotations, images)
        for split, annotations, images in (
            ("val", options.val_annotations, options.val_images),
            ("test", options.test_annotations, options.test_images),
        )
        if annotations is not None
    ]
    title = "train" if others else ""
    given = [(title, options.annotations, options.images), *others]
    return _convert(given, options.out, options.format, options.masks, options.originals, terminal)


def _convert(
    given: list[tuple[str, Path, Path | None]],
    out: Path,
    form: str,
    masks: bool | None,
    originals: Originals,
    terminal: Terminal,
) -> Report:
    inputs = input_paths(*(path for _, annotations, images in given for path in (annotations, images)))
    check_output_folder(out, inputs=inputs, is_own=is_unfinished)

    def tell(dataset: Dataset) -> None:
        for line in repair_lines(dataset):
            terminal.notice(line)

    parts = read_parts(given, tell=tell)
    return _report(write_parts(parts, out, form, masks=masks, originals=originals), parts)


def _report(written: Written, parts: list[Part]) -> Report:
    counts = {part.name or "all": len(part.document["images"]) for part in parts}
    splits = ", ".join(f"{name} {count}" for name, count in counts.items())
    lines = [f"{written.images} images ({splits}), {written.objects} objects", *written.notices]
    lines += [f"the format has no place for {what}: {n}" for what, n in written.left_out.items()]
    document = {
        "out": str(written.main),
        "images": counts,
        "objects": written.objects,
        "left_out": dict(written.left_out),
        "notices": written.notices,
    }
    return Report([*lines, f"written: {written.main}"], document)


IMPORT = Command(
    "import",
    ImportOptions,
    run_import,
    help="Make a COCO dataset of one or several in other formats: YOLO, VOC, Hugging Face, FiftyOne, LVIS, CVAT, "
    "Label Studio.",
    example="augsynth import --annotations data.yaml --out coco",
)
EXPORT = Command(
    "export",
    ExportOptions,
    run_export,
    help="Write a dataset as YOLO, Pascal VOC, Hugging Face image folder, for FiftyOne or to be published.",
    example="augsynth export --annotations runs/first/annotations/instances_augmented.json \\\n"
    "    --format yolo --out yolo",
)
