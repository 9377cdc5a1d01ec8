"""Round trips through other formats: what tools read of our exports, and what we read of theirs, against the COCO file.

    python -m benchmarks.consumers.formats --data SHARED_DATA --work WORK [--tool datumaro]

Environments are kept in WORK. Prints a table in Markdown; the exit code is 1 where a tool could not run, or an object,
a class or an image isn't there, or a box is farther off than the format makes it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.coco.reader import read_with_images
from augsynth.core.masks import as_rle, decoded
from augsynth.core.scene import Dataset
from benchmarks.command import run_augsynth
from benchmarks.consumers.environments import NotRunError, python_of, use_tool, version_in
from benchmarks.consumers.libraries import LIBRARIES, Library
from benchmarks.consumers.readers.own import read as read_own

DATASETS = "datasets"
TOOLS: dict[str, Library] = {one.reader: one for one in LIBRARIES} | {
    DATASETS: Library("datasets", DATASETS, DATASETS, ("datasets>=4,<6", "pillow>=11,<14", "numpy>=2"))
}
SETS = {"coco_mini": ("instances.json",), "blood_cells": ("instances_train.json", "instances_val.json")}
EXACT_PX, WHOLE_PX, ANY_PX = 0.01, 0.501, 1e9
EXTENSIONS = {"crowds": "no crowds", "masks": "no masks"}


@dataclass(frozen=True)
class Trip:
    """One way through a format.

    Attributes:
        tool: Its module in `tools/`.
        form: Format as `augsynth export` names it, or as the tool does.
        reads: Whether the tool reads what we wrote, else it writes what we read.
        worst_px: How far a box may be off.
        lacks: What the tool or the format has no place for: crowds, masks.
        more: Further arguments of the tool.
        note: What it does otherwise.
    """

    tool: str
    form: str
    reads: bool
    worst_px: float = EXACT_PX
    lacks: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


_BOXES = ("crowds", "masks")
_SPLIT_MASKS = "it writes an object for each part of a mask, and empty boxes as one pixel"
TRIPS = (
    Trip("ultralytics", "yolo", True, lacks=("crowds",)),
    Trip("supervision", "yolo", True, WHOLE_PX, ("crowds",), {"form": "yolo"}, "masks in whole pixels"),
    Trip("torchvision", "voc", True, WHOLE_PX),
    Trip("supervision", "voc", True, WHOLE_PX, ("crowds",), {"form": "voc"}, "masks in whole pixels"),
    Trip("datumaro", "voc", True, WHOLE_PX, _BOXES),
    Trip("datasets", "imagefolder", True),
    Trip("fiftyone", "fiftyone", True, note="masks cut to the box in whole pixels"),
    Trip("ultralytics", "yolo", False, lacks=("crowds",)),
    Trip("supervision", "yolo", False, ANY_PX, _BOXES, {"form": "yolo"}, _SPLIT_MASKS),
    Trip("supervision", "voc", False, ANY_PX, _BOXES, {"form": "voc"}, _SPLIT_MASKS),
    Trip("datumaro", "yolo", False, lacks=("crowds", "masks"), more={"form": "yolo"}),
    Trip("datumaro", "voc", False, lacks=("crowds", "masks"), more={"form": "voc_detection"}),
    Trip("datumaro", "cvat", False, lacks=("crowds",), more={"form": "cvat"}),
    Trip("fiftyone", "yolo", False, lacks=("crowds", "masks"), more={"form": "yolo"}),
    Trip("fiftyone", "voc", False, 1.001, _BOXES, {"form": "voc"}, "it cuts off what is behind the point"),
    Trip("fiftyone", "fiftyone", False),
)


@dataclass
class Result:
    """How far two datasets agree.

    Attributes:
        expected: Objects of the COCO file, without crowds where there is no place for them.
        objects: How many of them were found, in their image and class.
        more: Objects that the file doesn't have.
        worst_px: Largest shift of a box's side.
        ious: Of the masks of both.
        faults: What isn't as it should be.
    """

    expected: int = 0
    objects: int = 0
    more: int = 0
    worst_px: float = 0.0
    ious: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def compare(source: Dataset, held: list[dict[str, Any]], trip: Trip, *, masks: bool) -> Result:
    """Compare image by image (by name without suffix); each object with the nearest of its class."""
    result, crowded = Result(), "crowds" in trip.lacks
    names = {category.id: category.name for category in source.categories}
    records = {record["id"]: record for record in source.document["annotations"]}
    images = {Path(image["file_name"]).stem: image["objects"] for image in held}
    if images.keys() != {Path(scene.file_name).stem for scene in source.scenes}:
        result.faults.append(f"{len(images)} images of {len(source.scenes)}")
    for scene in source.scenes:
        left = list(images.get(Path(scene.file_name).stem, []))
        for box, kind, number, crowd in zip(
            scene.boxes_xyxy, scene.category_ids, scene.annotation_ids, scene.is_crowd, strict=True
        ):
            if crowd and crowded:
                continue
            result.expected += 1
            same = [one for one in left if one["category"] == names[int(kind)]]
            if not same:
                continue
            best = min(same, key=lambda one, box=box: float(np.abs(one["box_xyxy"] - box).max()))
            left = [one for one in left if one is not best]
            result.objects += 1
            result.worst_px = max(result.worst_px, float(np.abs(best["box_xyxy"] - box).max()))
            outline = records[int(number)].get("segmentation")
            if masks and outline and best["mask"] and not crowd:
                one, other = (decoded(as_rle(m, scene.size_wh)) for m in (outline, best["mask"]))
                result.ious.append(float((one & other).sum() / max((one | other).sum(), 1)))
        result.more += len(left) - int(crowded) * min(len(left), int(scene.is_crowd.sum()))
    if result.objects < result.expected or (trip.reads and result.more):
        result.faults.append(f"{result.objects} objects of {result.expected}, {result.more} others")
    if result.worst_px > trip.worst_px:
        result.faults.append(f"a box is off by {result.worst_px:.3f} px")
    return result


def row(trip: Trip, name: str, version: str, result: Result, *, masks: bool) -> str:
    """Return a line of the table."""
    drawn = "–"
    if masks and "masks" not in trip.lacks:
        equal = sum(iou == 1 for iou in result.ious)
        drawn = f"{equal} of {len(result.ious)} equal, mean IoU {np.mean(result.ious or [0]):.4f}"
    way = f"augsynth → {trip.tool}" if trip.reads else f"{trip.tool} → augsynth"
    more = f"{result.more} others" if result.more else ""
    notes = [more, *(EXTENSIONS[each] for each in trip.lacks if masks or each == "crowds"), trip.note]
    told = f"**{'; '.join(result.faults)}**" if result.faults else "; ".join(filter(None, notes))
    counts = f"{result.objects} of {result.expected} | {result.worst_px:.4f} | {drawn}"
    return f"| {trip.form} | {way} | {version} | {name} | {counts} | {told} |"


def go(trip: Trip, name: str, files: list[Path], images: Path, work: Path, python: Path) -> list[Result]:
    """Make the trip with each split of a data set; what was written before is removed."""
    masks = name == "coco_mini"
    folder = work / f"{'to' if trip.reads else 'from'}-{trip.tool}-{trip.form}-{name}"
    if folder.exists():
        shutil.rmtree(folder)
    asked = {"tool": trip.tool, "masks": masks and "masks" not in trip.lacks, "more": dict(trip.more)}
    results = []
    if trip.reads:
        second = ["--val-annotations", files[1], "--val-images", images] if len(files) > 1 else []
        words = ["--annotations", files[0], "--images", images, *second, "--format", trip.form]
        run_augsynth("export", *words, "--out", folder)
    for split, file in zip(("train", "val"), files, strict=False):
        source = read_with_images(file, images)
        if trip.reads:
            held = use_tool(python, {**asked, "verb": "read", "paths": [str(folder)], "split": split})
        else:
            place = folder / split
            place.parent.mkdir(exist_ok=True)
            one = (
                work / "one-file" / name / split / "instances_train.json"
            )  # some convert a folder's every file
            one.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, one)
            paths = [str(one), str(images), str(place)]
            main = use_tool(python, {**asked, "verb": "write", "paths": paths})
            held, _ = read_own(main, None, masks=asked["masks"])
        results.append(compare(source, held, trip, masks=asked["masks"]))
    return results


def together(results: list[Result]) -> Result:
    """Return the sum of what the splits gave."""
    sums: dict[str, int] = defaultdict(int)
    for one in results:
        for key in ("expected", "objects", "more"):
            sums[key] += getattr(one, key)
    worst = max(one.worst_px for one in results)
    faults = [fault for one in results for fault in one.faults]
    return Result(**sums, worst_px=worst, ious=[v for one in results for v in one.ious], faults=faults)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with coco_mini/ and blood_cells/")
    parser.add_argument("--work", type=Path, required=True, help="datasets and environments are kept here")
    parser.add_argument("--tool", choices=sorted({trip.tool for trip in TRIPS}), action="append")
    args = parser.parse_args()
    work, failed = args.work.resolve(), False
    print(
        "| format | way | version | data | objects | worst box, px | masks | |\n|---|---|---|---|---:|---:|---|---|"
    )
    for trip in TRIPS:
        if args.tool and trip.tool not in args.tool:
            continue
        for name, titles in SETS.items():
            root = (args.data / name).resolve()
            try:
                python = python_of(TOOLS[trip.tool], work / "environments")
                results = go(trip, name, [root / title for title in titles], root / "images", work, python)
            except NotRunError as error:
                print(f"| {trip.form} | {trip.tool} | | {name} | | | | **not run: {error}** |", flush=True)
                failed = True
                continue
            result = together(results)
            version = version_in(python, TOOLS[trip.tool].distribution)
            print(row(trip, name, version, result, masks=name == "coco_mini"), flush=True)
            failed |= bool(result.faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
