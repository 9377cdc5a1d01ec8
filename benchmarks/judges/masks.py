"""How far the masks that `generate` writes can be trusted, by who finds them.

    python -m benchmarks.judges.masks --data DATA                                # matting
    python -m benchmarks.judges.masks --data DATA --detector MODEL --segmenter SAM

DATA holds images/ and instances.json (or annotations/instances.json) with segmentations. As for the object bank
(`bank.py --matting`), objects with a known outline are put into other images, the window goes through the embedded
autoencoder and is stitched as `generate` does it, and the box is moved as a detector moves it: then the mask is known.
Printed are the share of objects that get a mask, and the IoU of what is written (polygons, read back) with the truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from augsynth.bank.cutting import CutRules
from augsynth.coco.reader import read_dataset
from augsynth.core.images import read_image
from augsynth.core.masks import as_rle, decoded, to_segmentation
from augsynth.core.scene import Dataset
from augsynth.detectors.loading import load_detector
from augsynth.masking.segmenter import Segmenter
from augsynth.masking.sources import (
    DetectorOutlines,
    MattingOutlines,
    Outliner,
    PaintedObject,
    SegmenterOutlines,
)
from benchmarks.cost.bank import autoencoder, box_mask, cut_all, iou, paint_known


def painted_objects(dataset: Dataset, *, num: int, seed: int) -> list[tuple[PaintedObject, np.ndarray]]:
    """Return objects as if painted, with their true masks."""
    rebuild, rng = autoencoder(), np.random.default_rng(seed)
    known = [cutout for cutout in cut_all(dataset, CutRules()) if cutout.has_mask]
    found = []
    for _ in range(20 * num):
        if len(found) == num:
            break
        cutout = known[int(rng.integers(len(known)))]
        scene = dataset.scenes[int(rng.integers(len(dataset.scenes)))]
        painted = paint_known(read_image(dataset, scene), scene.boxes_xyxy, cutout, rebuild, rng)
        if painted is not None:
            found.append((painted[0], painted[1] >= 0.5))
    return found


def report(outliner: Outliner, objects: list[tuple[PaintedObject, np.ndarray]]) -> None:
    """Print how many objects get a mask, how good it is, and what polygons cost."""
    masks = outliner.outline([edit for edit, _ in objects])
    rows = []
    for (edit, truth), mask in zip(objects, masks, strict=True):
        polygons = None if mask is None else to_segmentation(mask, form="polygon")
        if mask is None or polygons is None:
            continue
        written = decoded(as_rle(polygons, edit.size_wh))
        points = sum(len(polygon) // 2 for polygon in polygons)
        rows.append([iou(written, truth), iou(box_mask(edit), truth), iou(written, mask), points])
    print(f"{outliner.name}: a mask for {len(rows)} of {len(objects)} objects")
    if rows:
        table = np.array(rows)
        for name, values in (("mask", table[:, 0]), ("box instead", table[:, 1])):
            print(
                f"  {name}: IoU with the truth mean {values.mean():.3f}, median {np.median(values):.3f}, "
                f"below 0.7: {(values < 0.7).mean():.0%}"
            )
        print(
            f"  polygons: IoU with the mask they are of {table[:, 2].mean():.3f}, {table[:, 3].mean():.0f} points"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", help="one with a mask head")
    parser.add_argument("--segmenter")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    files = [options.data / "annotations" / "instances.json", options.data / "instances.json"]
    dataset = read_dataset(next((f for f in files if f.is_file()), files[1]), images=options.data / "images")
    objects = painted_objects(dataset, num=options.num, seed=options.seed)
    outliners: list[Outliner] = [MattingOutlines()]
    if options.detector:
        detector = load_detector(options.detector, dataset.categories, device=options.device)
        outliners.append(DetectorOutlines(detector))
    if options.segmenter:
        outliners.append(SegmenterOutlines(Segmenter.load(options.segmenter, device=options.device)))
    for outliner in outliners:
        report(outliner, objects)


if __name__ == "__main__":
    main()
