"""A small clean dataset on disk, and copies of it with something wrong."""

import copy
import json

import cv2
import numpy as np
from PIL import Image

from augsynth.core.scene import Detections

WH = (160, 120)


def texture(seed):
    """A picture with details of several sizes, (120, 160, 3) uint8."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(size=(s, s, 3)).astype(np.float32), WH, interpolation=cv2.INTER_CUBIC)
        for s in (4, 12, 40)
    ]
    return np.clip(128 + 40 * sum(layers), 0, 255).astype(np.uint8)


def document(num=12, first=1):
    """Twelve images with a can and a cup each, all of ordinary sizes."""
    rng = np.random.default_rng(first)
    images = [
        {"id": i, "file_name": f"{i:03d}.png", "width": WH[0], "height": WH[1]}
        for i in range(first, first + num)
    ]
    annotations = []
    for image in images:
        for k, category_id in enumerate((3, 5)):
            w, h = (float(v) for v in rng.integers(20, 50, 2))
            x, y = 5.0 + 80 * k, float(rng.integers(5, 60))
            record = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": category_id}
            annotations.append({**record, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0})
    return {
        "info": {"description": "tiny"},
        "licenses": [{"id": 1, "name": "none"}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "can"}, {"id": 5, "name": "cup"}],
    }


def write_set(root, change=None, *, first=1, name="a.json"):
    """Write annotations and pictures; return both paths."""
    folder = root / "images"
    folder.mkdir(parents=True, exist_ok=True)
    made = document(first=first)
    for image in made["images"]:
        Image.fromarray(texture(image["id"])).save(folder / image["file_name"])
    made = copy.deepcopy(made)
    if change:
        change(made)
    path = root / name
    path.write_text(json.dumps(made))
    return path, folder


def kinds(check, *levels):
    """Kind -> count of the findings, of some levels or of all but notes."""
    wanted = levels or ("error", "warning")
    return {f.kind: f.count for f in check.findings if f.level in wanted}


class Seeing:
    """A detector that sees what it is told for each picture, whatever is in it."""

    name, view_px = "seeing", 320

    def __init__(self, told):
        self.told = list(told)

    def detect(self, images):
        found = []
        for _ in images:
            rows = sorted(self.told.pop(0), key=lambda row: -row[1])
            found.append(
                Detections(
                    np.array([r[0] for r in rows], np.float64).reshape(-1, 4),
                    np.array([r[1] for r in rows], np.float64),
                    np.array([r[2] for r in rows], np.int64),
                )
            )
        return found
