"""The data sets of the gain benchmark at their working size, and the shares of them that arms may see."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from benchmarks.gain.cells import write_whole

SEEN_AT_LEAST = 2  # objects of every category in a share
RARE_BELOW = 0.1  # share of all objects under which a category counts as rare


@dataclass(frozen=True)
class Source:
    """A data set as the arms use it.

    Attributes:
        size_wh: Width and height that detectors train at; pictures fit into it, with their own aspect.
        train, test: COCO files; `file_name` is relative to `images`.
        masks: Whether the annotations have outlines.
        from_above: Whether an object may lie any way round: a microscope's or a drone's pictures.
    """

    name: str
    size_wh: tuple[int, int]
    train: Path
    test: Path
    images: Path
    masks: bool
    from_above: bool

    def digest(self) -> str:
        """Return a short digest of both annotation files: other scenes make other cells."""
        both = self.train.read_bytes() + self.test.read_bytes()
        return hashlib.sha256(both).hexdigest()[:10]


@dataclass(frozen=True)
class Files:
    """Where a photographed data set lies below the data folder: (annotations, images) of each split.

    `size_wh`, `masks` and `from_above` are as in `Source`.
    """

    size_wh: tuple[int, int]
    train: tuple[str, str]
    tests: tuple[tuple[str, str], ...]
    masks: bool = False
    from_above: bool = False


PHOTOGRAPHS = {
    "blood_cells": Files(
        (320, 240),
        ("instances_train.json", "images"),
        (("instances_val.json", "images"), ("instances_test.json", "images")),
        from_above=True,
    ),
    "aerial_maritime": Files(
        (400, 300),
        ("instances_train.json", "train"),
        (("instances_valid.json", "valid"), ("instances_test.json", "test")),
        from_above=True,
    ),
    "aquarium": Files(
        (384, 384),
        ("instances_train.json", "train"),
        (("instances_valid.json", "valid"), ("instances_test.json", "test")),
    ),
    "face_mask": Files((384, 384), ("instances_train.json", "train"), (("instances_valid.json", "valid"),)),
    "car_damage": Files(
        (320, 320),
        ("instances_train.json", "train"),
        (("instances_valid.json", "valid"), ("instances_test.json", "test")),
        masks=True,
    ),
}
NAMES = ("sample", *PHOTOGRAPHS)
NUM_SAMPLE_IMAGES = 1000
SAMPLE_SEEDS = (101, 202)  # training and test scenes; the embedded models were trained on those of seed 7


def prepare(name: str, *, data: Path, work: Path) -> Source:
    """Return a data set at its working size, drawing or resizing it unless that is done."""
    root = work / "data" / name
    if name == "sample":
        for part, seed in zip(("train", "test"), SAMPLE_SEEDS, strict=True):
            draw_scenes(root, part, num_images=NUM_SAMPLE_IMAGES, seed=seed)
        return Source(
            name, (320, 240), root / "train.json", root / "test.json", root, masks=True, from_above=False
        )
    files = PHOTOGRAPHS[name]
    for part, splits in (("train", (files.train,)), ("test", files.tests)):
        if not (root / f"{part}.json").is_file():
            write(root / f"{part}.json", _resized(data / name, splits, root / "images", files))
    return Source(
        name,
        files.size_wh,
        root / "train.json",
        root / "test.json",
        root / "images",
        masks=files.masks,
        from_above=files.from_above,
    )


def draw_scenes(root: Path, part: str, *, num_images: int, seed: int) -> Path:
    """Draw scenes into a folder below `root` unless they are there; return a COCO file with paths from `root`."""
    from augsynth.sample import write_sample

    path = root / f"{part}.json"
    write_sample(root / part, num_images=num_images, seed=seed)
    if not path.is_file():
        document = json.loads((root / part / "annotations" / "instances.json").read_text("utf-8"))
        for image in document["images"]:
            image["file_name"] = f"{part}/images/{image['file_name']}"
        write(path, document)
    return path


def take_share(source: Source, share: float, seed: int, *, work: Path) -> Path:
    """Return the COCO file of a random share of the training images in which every category appears.

    Raises:
        SystemExit: No draw of that size holds every category.
    """
    if share >= 1:
        return source.train
    path = work / "data" / source.name / f"train_{share:g}_{seed}.json"
    if path.is_file():
        return path
    document = json.loads(source.train.read_text("utf-8"))
    count = max(1, round(share * len(document["images"])))
    rng = np.random.default_rng([seed, count])
    for _ in range(1000):
        kept = {document["images"][i]["id"] for i in rng.permutation(len(document["images"]))[:count]}
        annotations = [a for a in document["annotations"] if a["image_id"] in kept]
        objects = Counter(a["category_id"] for a in annotations)
        if all(objects[c["id"]] >= SEEN_AT_LEAST for c in document["categories"]):
            images = [i for i in document["images"] if i["id"] in kept]
            write(path, {**document, "images": images, "annotations": annotations})
            return path
    raise SystemExit(f"{source.name}: no {count} images in which every category has {SEEN_AT_LEAST} objects")


def rare_categories(source: Source) -> list[str]:
    """Return the names of the categories with few of the whole training split's objects."""
    document = json.loads(source.train.read_text("utf-8"))
    counts = Counter(a["category_id"] for a in document["annotations"])
    total = sum(counts.values())
    return [c["name"] for c in document["categories"] if counts[c["id"]] < RARE_BELOW * total]


def category_names(annotations: Path) -> tuple[str, ...]:
    """Return the category names in the order of the file."""
    return tuple(c["name"] for c in json.loads(annotations.read_text("utf-8"))["categories"])


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(document))


def _resized(root: Path, splits: tuple[tuple[str, str], ...], images: Path, files: Files) -> dict[str, Any]:
    """Fit the pictures of splits into the working size and return their annotations as one COCO document."""
    out: dict[str, Any] = {"images": [], "annotations": []}
    images.mkdir(parents=True, exist_ok=True)
    for file, folder in splits:
        document = json.loads((root / file).read_text("utf-8"))
        out["categories"] = document["categories"]
        new_ids, scales = {}, {}
        for record in document["images"]:
            size_wh = _fitted((record["width"], record["height"]), files.size_wh)
            with PilImage.open(root / folder / record["file_name"]) as picture:
                picture.convert("RGB").resize(size_wh, PilImage.Resampling.LANCZOS).save(
                    images / record["file_name"], quality=95, subsampling=0
                )
            new_ids[record["id"]] = len(out["images"]) + 1
            scales[record["id"]] = (size_wh[0] / record["width"], size_wh[1] / record["height"])
            out["images"].append(
                {
                    "id": new_ids[record["id"]],
                    "file_name": record["file_name"],
                    "width": size_wh[0],
                    "height": size_wh[1],
                }
            )
        for annotation in document["annotations"]:
            new = _scaled(annotation, scales[annotation["image_id"]], masks=files.masks)
            if min(new["bbox"][2:]) >= 1:
                number = len(out["annotations"]) + 1
                out["annotations"].append({"id": number, "image_id": new_ids[annotation["image_id"]], **new})
    return out


def _fitted(size_wh: tuple[int, int], into_wh: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size of a picture's aspect that fits."""
    scale = min(into_wh[0] / size_wh[0], into_wh[1] / size_wh[1])
    return max(1, round(scale * size_wh[0])), max(1, round(scale * size_wh[1]))


def _scaled(annotation: Mapping[str, Any], scale_xy: tuple[float, float], *, masks: bool) -> dict[str, Any]:
    """Return category, box, area and, with masks, the polygons of an object in a resized picture."""
    across, down = scale_xy
    x, y, w, h = annotation["bbox"]
    box = [x * across, y * down, w * across, h * down]
    new = {
        "category_id": annotation["category_id"],
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": annotation.get("iscrowd", 0),
    }
    if masks:
        new["area"] = annotation["area"] * across * down
        new["segmentation"] = [
            [v * (down if k % 2 else across) for k, v in enumerate(polygon)]
            for polygon in annotation["segmentation"]
        ]
    return new
