"""Writing COCO folders: `augsynth import`'s own layout, and the one that FiftyOne reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from augsynth.coco.formats.parts import Originals, Part, Written
from augsynth.coco.json_lines import write_json

OWN_COCO = frozenset({"annotations", "images"})
OWN_FIFTYONE = frozenset({"train", "val", "test"})


def write_coco(parts: Sequence[Part], draft: Path, *, masks: bool | None, originals: Originals) -> Written:
    """Write annotations/instances_SPLIT.json, and the images to images/SPLIT (without splits instances.json, images/).

    Args:
        parts: The splits.
        draft: Folder to fill.
        masks: False leaves masks out.
        originals: Link or copy images.
    """
    written = Written(Path("annotations"))
    for part in parts:
        names = {
            record["id"]: PurePosixPath(part.name, record["file_name"]).as_posix()
            for record in part.document["images"]
        }
        title = f"instances_{part.name}.json" if part.name else "instances.json"
        _write(
            part.renamed(names), draft / "annotations" / title, draft / "images", masks, originals, written
        )
    return written


def write_fiftyone(
    parts: Sequence[Part], draft: Path, *, masks: bool | None, originals: Originals
) -> Written:
    """Write a folder for each split with labels.json and data/: FiftyOne's COCODetectionDataset.

    Args:
        parts: The splits.
        draft: Folder to fill.
        masks: False leaves masks out.
        originals: Link or copy images.
    """
    written = Written(Path())
    for part in parts:
        folder = draft / (part.name or "train")
        _write(part, folder / "labels.json", folder / "data", masks, originals, written)
    return written


def _write(
    part: Part, file: Path, images: Path, masks: bool | None, originals: Originals, written: Written
) -> None:
    for image in part.document["images"]:
        part.place(image, images / image["file_name"], originals)
    document = part.document
    if masks is False:
        records = [{k: v for k, v in r.items() if k != "segmentation"} for r in document["annotations"]]
        document = {**document, "annotations": records}
    write_json(file, document)
    written.images += len(document["images"])
    written.objects += len(document["annotations"])
