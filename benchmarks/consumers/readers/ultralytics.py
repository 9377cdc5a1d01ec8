"""Ultralytics: its converter to label files of YOLO, read back; classes are category ids less one.

Boxes and outlines are two conversions, as a user makes one of them. Label files have no suffix of a picture.
"""

import tempfile
from pathlib import Path

import numpy as np
from ultralytics.data.converter import convert_coco

from benchmarks.consumers.readers.shared import found_object, load_json


def read(annotations, images, *, masks):
    document = load_json(annotations)
    names = {c["id"]: c["name"] for c in document["categories"]}
    with tempfile.TemporaryDirectory() as folder:
        boxes = _convert(annotations, Path(folder) / "boxes", use_segments=False)
        outlines = _convert(annotations, Path(folder) / "outlines", use_segments=True) if masks else {}
    found = []
    for record in document["images"]:
        stem = Path(record["file_name"]).with_suffix("").as_posix()
        scale = np.array([record["width"], record["height"]], np.float64)
        rows = boxes.get(stem, [])
        drawn = outlines.get(stem, [[0]] * len(rows))
        objects = []
        for row, outline in zip(rows, drawn, strict=True):
            middle, half = np.array(row[1:3]) * scale, np.array(row[3:5]) * scale / 2
            polygon = (np.array(outline[1:]).reshape(-1, 2) * scale).ravel().tolist()
            objects.append(
                found_object(
                    (*(middle - half), *(middle + half)),
                    names[int(row[0]) + 1],
                    mask=[polygon] if masks else None,
                )
            )
        found.append({"file_name": record["file_name"], "objects": objects})
    return found, {}


def _convert(annotations, folder, *, use_segments):
    convert_coco(str(Path(annotations).parent), str(folder), use_segments=use_segments, cls91to80=False)
    root = folder / "labels" / Path(annotations).stem.replace("instances_", "")
    return {
        path.relative_to(root).with_suffix("").as_posix(): [
            [float(word) for word in line.split()] for line in path.read_text().splitlines()
        ]
        for path in root.rglob("*.txt")
    }
