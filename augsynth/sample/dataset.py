"""The sample as a COCO dataset on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image as PilImage
from pycocotools import mask as coco_mask

from augsynth.core.errors import DatasetError
from augsynth.core.files import make_folder, write_atomically, writing
from augsynth.core.masks import as_rle, to_polygons
from augsynth.core.outputs import check_output_folder
from augsynth.core.processes import can_fork, forked
from augsynth.sample import world
from augsynth.sample.render import RenderedScene, render_scene

_TRUTH, _ANNOTATIONS = "ground_truth.json", "annotations/instances.json"
_FEW = 16  # scenes that are drawn here


def write_sample(
    out: Path, *, num_images: int = 200, seed: int = 42, first_index: int = 0, variety: float = 1.0,
    workers: int = 2,
) -> Path:  # fmt: skip
    """Write rendered scenes as a COCO dataset: `images/`, `annotations/instances.json`, `ground_truth.json`.

    The annotation file is written last, so that its presence means done; a directory that holds the finished
    output of the same call is left as it is.

    Args:
        out: Directory, empty or not there yet.
        num_images: Number of scenes, at least 1.
        seed: The run's seed; same seed and indices give the same bytes, however many workers draw.
        first_index: Index of the first scene, for sets that share a seed but no scene.
        variety: How much the camera varies, see `render_scene`.
        workers: Number of processes.

    Returns:
        Path of the annotation file.

    Raises:
        ConfigError: The output is a file, or can't be written.
        OutputError: The disk is full.
        DatasetError: The directory holds something else, or a count is out of range.
    """
    if num_images < 1 or workers < 1:
        raise DatasetError(f"num_images and workers must be at least 1, got {num_images} and {workers}")
    request = {"num_images": num_images, "seed": seed, "first_index": first_index, "variety": variety}
    out = Path(out)
    annotations = out / _ANNOTATIONS
    check_output_folder(out, is_own=lambda folder: True)  # what a full one holds is looked at next
    if _is_finished(out, request):
        return annotations
    with writing(out):
        make_folder(out / "images")
    _write_json(out / _TRUTH, {"request": request, **world.ground_truth(), "scenes": []})
    draw = partial(_draw_and_save, out=out, seed=seed, variety=variety)
    indices = range(first_index, first_index + num_images)
    records = list(_map(draw, indices, workers))
    scenes = [scene for _, scene in records]
    _write_json(out / _TRUTH, {"request": request, **world.ground_truth(), "scenes": scenes})
    _write_json(annotations, _coco([rows for rows, _ in records], indices, seed))
    return annotations


def _is_finished(out: Path, request: dict[str, Any]) -> bool:
    """Tell whether `out` holds this request's finished output; refuse anything foreign."""
    if not out.exists() or not any(out.iterdir()):
        return False
    try:
        truth = json.loads((out / _TRUTH).read_text("utf-8"))
        own = truth["generator"] == "augsynth sample" and truth["renderer_version"] == world.RENDERER_VERSION
        same = own and truth["request"] == request
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        own = same = False
    if not own:
        raise DatasetError(
            f"{out}: not empty and not written by this version of the sample; choose an empty --out"
        )
    if not same:
        raise DatasetError(f"{out}: holds a sample with other settings ({_TRUTH}); choose an empty --out")
    return (out / _ANNOTATIONS).exists()


def _map(draw: Any, indices: range, workers: int) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
    if workers == 1 or len(indices) <= _FEW or not can_fork():
        yield from map(draw, indices)
        return
    with forked(workers, draw, task="drawing", remedy="the same command starts again") as draw_all:
        yield from draw_all(indices)


def _draw_and_save(
    index: int, *, out: Path, seed: int, variety: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Draw one scene and write its image; return annotation rows without ids, and the scene's truth."""
    scene = render_scene(seed, index, variety=variety)
    path = out / "images" / _name(index)
    with writing(path):
        PilImage.fromarray(scene.image).save(path, quality=95, subsampling=0)
    return _rows(scene), _truth(scene, index)


def _name(index: int) -> str:
    return f"scene_{index:06d}.jpg"


def _rows(scene: RenderedScene) -> list[dict[str, Any]]:
    rows = []
    for box, category, mask in zip(
        scene.boxes_xyxy.tolist(), scene.category_ids.tolist(), scene.masks, strict=True
    ):
        polygons = to_polygons(mask)
        drawn = as_rle(polygons, (mask.shape[1], mask.shape[0]))
        rows.append(
            {
                "category_id": category,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": float(coco_mask.area(drawn)),
                "iscrowd": 0,
                "segmentation": polygons,
            }
        )
    return rows


def _truth(scene: RenderedScene, index: int) -> dict[str, Any]:
    return {
        "file_name": _name(index),
        "background": scene.background,
        "group": scene.group,
        "free_share": round(float(1 - scene.forbidden.mean()), 4),
        "parents": [i.parent for i in scene.items],
        "relations": [i.relation for i in scene.items],
        "sizes": [round(i.size, 3) for i in scene.items],
        "angles_deg": [round(i.angle_deg, 2) for i in scene.items],
    }


def _coco(records: list[list[dict[str, Any]]], indices: range, seed: int) -> dict[str, Any]:
    width, height = world.SIZE_WH
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for image_id, (index, record) in enumerate(zip(indices, records, strict=True), start=1):
        images.append(
            {"id": image_id, "file_name": _name(index), "width": width, "height": height, "license": 1}
        )
        for row in record:
            rows.append({"id": len(rows) + 1, "image_id": image_id, **row})
    return {
        "info": {
            "description": "augsynth rendered sample",
            "version": str(world.RENDERER_VERSION),
            "seed": seed,
        },
        "licenses": [
            {"id": 1, "name": "CC0-1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}
        ],
        "categories": [
            {"id": c.id, "name": c.name, "supercategory": c.supercategory} for c in world.CATEGORIES
        ],
        "images": images,
        "annotations": rows,
    }


def _write_json(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, separators=(",", ":")).encode()
    write_atomically(path, lambda file: file.write(text))
