"""From committed shards to a self-contained COCO dataset with provenance and pictures to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from augsynth.coco.writer import (
    augmented_document,
    copied_annotation,
    next_ids,
    synthetic_annotation,
    synthetic_document,
    synthetic_image_record,
    write_json,
)
from augsynth.core.figures import contact_sheet
from augsynth.core.images import place_original, write_atomically
from augsynth.core.masks import decoded, recut, to_polygons
from augsynth.core.scene import Dataset, Reason
from augsynth.generation.config import GenerateConfig, plain_config
from augsynth.masking.sources import source_of

AUGMENTED = "annotations/instances_augmented.json"
SYNTHETIC = "annotations/instances_synthetic.json"
PROVENANCE = "provenance.jsonl"
DECOYS = "decoys.jsonl"
SUMMARY = "summary.json"
SHEET_TILES = 48
REPLACED = ("replaced_annotation_id", "replaced_category_id")  # of attempts that replace an object


def publish_dataset(
    out: Path,
    dataset: Dataset,
    shards: Sequence[Mapping[str, Any]],
    *,
    config: GenerateConfig,
    models: Mapping[str, Any],
) -> None:
    """Write annotations, provenance and the effective configuration, and put the originals in place.

    Decoys have a file of their own, written when there are any: who counts attempts needn't know of them.

    Args:
        out: The run's directory, whose `images/` holds the new images.
        dataset: The source.
        shards: Committed records in order: `attempts`, `decoys` and `images`.
        config: Written as `config.yaml`, without the output path.
        models: Names, revisions and digests, for provenance.
    """
    image_id, annotation_id = next_ids(dataset.document)
    sources = {record["id"]: record for record in dataset.document["images"]}
    annotations_of: dict[int, list[Mapping[str, Any]]] = {}
    for raw in dataset.document["annotations"]:
        annotations_of.setdefault(raw["image_id"], []).append(raw)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    decoys: list[dict[str, Any]] = []
    for shard in shards:
        records = [dict(attempt) for attempt in shard["attempts"]]
        where: dict[int, dict[str, Any]] = {}
        for new in shard["images"]:
            where[new["job"]] = {"image_id": image_id, "file_name": new["file_name"]}
            size = (int(new["size_wh"][0]), int(new["size_wh"][1]))
            source = sources[new["source_image_id"]]
            images.append(
                synthetic_image_record(source, image_id=image_id, file_name=new["file_name"], size_wh=size)
            )
            replaced = {records[number].get("replaced_annotation_id") for number in new["attempts"]}
            covers = _covers([records[number] for number in new["attempts"]])
            for raw in annotations_of.get(source["id"], []):
                if raw["id"] in replaced:
                    continue
                copy = copied_annotation(raw, annotation_id=annotation_id, image_id=image_id, size_wh=size)
                if copy is not None:
                    annotations.append(recut(copy, covers, size) if covers else copy)
                    annotation_id += 1
            for number in new["attempts"]:
                attempt = records[number]
                attempt.update(where[new["job"]], annotation_id=annotation_id)
                outline = _outline(attempt, form=config.output.mask_format)
                annotations.append(
                    synthetic_annotation(
                        annotation_id=annotation_id,
                        image_id=image_id,
                        category_id=attempt["category_id"],
                        box_xyxy=attempt["box_xyxy"],
                        size_wh=size,
                        score=attempt["score"],
                        attributes={
                            "seed": attempt["seed"],
                            "iou": attempt["iou"],
                            "source_image_id": attempt["source_image_id"],
                            **{key: attempt[key] for key in REPLACED if key in attempt},
                            **({} if outline is None else {"mask": attempt["mask"]["by"]}),
                        },
                        segmentation=outline,
                    )
                )
                annotation_id += 1
                for extra in _numbered_extras(attempt, annotation_id):
                    annotations.append(
                        synthetic_annotation(
                            annotation_id=extra["annotation_id"],
                            image_id=image_id,
                            category_id=extra["category_id"],
                            box_xyxy=extra["box_xyxy"],
                            size_wh=size,
                            score=extra["score"],
                            attributes={
                                "seed": attempt["seed"],
                                "source_image_id": attempt["source_image_id"],
                                "extra": True,
                            },
                        )
                    )
                    annotation_id += 1
            image_id += 1
        attempts.extend(records)
        decoys.extend({**decoy, **where[decoy["job"]]} for decoy in shard["decoys"])
    _place_originals(out, dataset, config.output.originals)
    write_json(out / SYNTHETIC, synthetic_document(dataset.document, images, annotations))
    write_json(out / AUGMENTED, augmented_document(dataset.document, images, annotations))
    _write_lines(out / PROVENANCE, attempts, models, counted="attempt")
    if decoys:
        _write_lines(out / DECOYS, decoys, models, counted="decoy")
    values = {k: v for k, v in plain_config(config).items() if k != "out"}
    text = yaml.safe_dump({**values, "models": dict(models)}, sort_keys=True).encode()
    write_atomically(out / "config.yaml", lambda file: file.write(text))


def _numbered_extras(attempt: dict[str, Any], first_id: int) -> list[dict[str, Any]]:
    """Return the second objects of an attempt, whose record gets their annotation ids."""
    extras = [{**e, "annotation_id": first_id + k} for k, e in enumerate(attempt.get("extras", ()))]
    if extras:
        attempt["extras"] = extras
    return extras


def _place_originals(out: Path, dataset: Dataset, mode: Literal["hardlink", "copy", "omit"]) -> None:
    if dataset.image_root is None:
        return
    for record in dataset.document["images"]:
        source = dataset.image_root / record["file_name"]
        if source.is_file():
            place_original(
                source,
                out / "images" / record["file_name"],
                mode=mode,
                size_wh=(int(record["width"]), int(record["height"])),
                root=dataset.image_root,
            )


def _write_lines(
    path: Path, records: Sequence[Mapping[str, Any]], models: Mapping[str, Any], *, counted: str
) -> None:
    lines = [json.dumps({counted: i, **_shown(r), **models}, sort_keys=True) for i, r in enumerate(records)]
    text = "".join(line + "\n" for line in lines).encode()
    write_atomically(path, lambda file: file.write(text))


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as a line of provenance: without pictures, with the name of who found the mask."""
    values = {k: v for k, v in record.items() if k != "tile"}
    return {**values, "mask": source_of(record)} if "mask" in record else values


def _covers(attempts: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the RLEs of the objects of a new image that have a mask."""
    return [attempt["mask"]["rle"] for attempt in attempts if source_of(attempt) is not None]


def _outline(attempt: Mapping[str, Any], *, form: str) -> Any:
    """Return the `segmentation` of a new object, None where there is none."""
    if source_of(attempt) is None:
        return None
    rle = attempt["mask"]["rle"]
    return rle if form == "rle" else to_polygons(decoded(rle))


def write_contact_sheets(
    out: Path,
    shards: Sequence[tuple[Sequence[Mapping[str, Any]], Sequence[NDArray[np.uint8]]]],
    *,
    names: Mapping[int, str],
) -> None:
    """Write `contact_sheet_accepted.png` and `contact_sheet_rejected.png`: windows before and after.

    Args:
        out: The run's directory.
        shards: Attempts and tiles of each shard; a tile holds the window before and after, side by side.
        names: Category names by COCO id.
    """
    for accepted in (True, False):
        chosen = [
            (attempt, tiles[attempt["tile"]])
            for attempts, tiles in shards
            for attempt in attempts
            if "tile" in attempt and (attempt["reason"] == Reason.ACCEPTED) == accepted
        ][:SHEET_TILES]
        if not chosen:
            continue
        word = "accepted" if accepted else "rejected"
        contact_sheet(
            [np.split(tile, 2, axis=1) for _, tile in chosen],
            path=out / f"contact_sheet_{word}.png",
            captions=[_caption(attempt, names) for attempt, _ in chosen],
            boxes_xyxy=[_box_in_window(attempt) for attempt, _ in chosen],
            accepted=[accepted] * len(chosen),
            title=f"{word}: window before and after, with the {'label' if accepted else 'planned box'}",
        )


def _caption(attempt: Mapping[str, Any], names: Mapping[int, str]) -> str:
    name = names[int(attempt["category_id"])]
    rank = f", rank {attempt['class_rank']}" if "class_rank" in attempt else ""
    if "replaced_category_id" in attempt:
        name = f"{names[int(attempt['replaced_category_id'])]} → {name}"
    if attempt["reason"] == Reason.ACCEPTED:
        return f"{name} {attempt['score']:.2f}{rank}"
    return f"{name}: {attempt['reason']}{rank}"


def _box_in_window(attempt: Mapping[str, Any]) -> NDArray[np.float64]:
    accepted = attempt["reason"] == Reason.ACCEPTED
    box = np.array(attempt["box_xyxy"] if accepted else attempt["planned_xyxy"], np.float64)
    return np.asarray(box - np.tile(np.array(attempt["window_xyxy"][:2], np.float64), 2))
