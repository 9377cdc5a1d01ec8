"""A cleaned copy of annotation files: what can be mended without a decision, and a list of what was changed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.checking.boxes import Masks, same_places
from augsynth.checking.findings import FIXED
from augsynth.coco.faults import REPAIRS, Fault, Record
from augsynth.coco.formats.known import is_foreign, locate
from augsynth.coco.json_lines import write_json
from augsynth.coco.reader import Reading
from augsynth.coco.writer import copied_annotation
from augsynth.core.scene import Dataset

CHANGES = "changes.json"
_DROPPED = {"bad_box"}  # faults whose records say nothing; the others are for a person to decide


def copy_names(sources: Sequence[Path]) -> list[str]:
    """Return the names of the copies: those of the files, with as many folders as it takes to tell them apart.

    A dataset of another format is copied as a COCO file, whose name has the split.
    """
    places = [_copy_place(source) for source in sources]
    root = Path(os.path.commonpath([place.parent for place in places]))
    return [place.relative_to(root).as_posix() for place in places]


def _copy_place(source: Path) -> Path:
    path, split = locate(source)
    path = path.resolve()
    if not is_foreign(source):
        return path
    name = path.name if path.is_dir() else path.stem  # of a folder what follows a dot is no suffix
    return path.with_name("-".join(filter(None, [name or "dataset", split])) + ".json")


def in_the_way(reading: Reading) -> list[Fault]:
    """Return the faults that only a person can mend: while they are there no copy is made."""
    return [fault for fault in reading.faults if fault.kind not in _DROPPED]


def cleaned(reading: Reading, dataset: Dataset) -> tuple[Record, list[dict[str, Any]]]:
    """Return the document of a cleaned copy and the changes, kind by kind.

    The copy has the reader's repairs; boxes are cut to their image, and what has no usable box is left out; of objects
    boxed twice the first with a mask, or else the first, stays; categories that nothing uses and whose name another
    one has are left out. All other records are as they were.
    """
    changes = [
        {"kind": kind, "count": repair.count, "what": REPAIRS[kind][1], "which": list(repair.examples)}
        for kind, repair in dataset.repairs.items()
        if kind in FIXED
    ]
    sizes = {scene.image_id: scene.size_wh for scene in dataset.scenes}
    repeats = _repeats(dataset)
    annotations = []
    for record in dataset.document["annotations"]:
        size_wh = sizes[record["image_id"]]
        if record["id"] in repeats:
            continue
        if _is_inside(record, size_wh):
            annotations.append(record)
            continue
        cut = copied_annotation(record, annotation_id=record["id"], image_id=1, size_wh=size_wh)
        if cut is not None:
            annotations.append({**cut, "image_id": record["image_id"]})
    if repeats:
        kept = [f"{gone} (kept {stays})" for gone, stays in repeats.items()]
        changes.append(_change("repeated_boxes", "objects boxed twice, one of the two left out", kept))
    by_kind: dict[str, list[object]] = defaultdict(list)
    for fault in reading.faults:
        by_kind[fault.kind].append(fault.record.get("id"))
    changes += [
        _change(kind, "annotations without a usable box, left out", ids) for kind, ids in by_kind.items()
    ]
    document = {**dataset.document, "annotations": annotations}
    hidden = {r["id"] for r in document["categories"]} - {category.id for category in dataset.categories}
    document["categories"] = [r for r in document["categories"] if r["id"] not in hidden]
    return document, changes


def write_cleaned(
    folder: Path,
    documents: Sequence[tuple[str, Record, list[dict[str, Any]]]],
    left: Sequence[dict[str, Any]],
) -> list[Path]:
    """Write the copies and the list of changes into a folder.

    Args:
        folder: Made where it isn't there.
        documents: Name in the folder, document and changes of each copy.
        left: What no copy mends, as plain values.

    Raises:
        OutputError: A file can't be written.
    """
    paths = []
    for name, document, _ in documents:
        write_json(folder / name, document)
        paths.append(folder / name)
    changes = [{"file": name, "changes": changes} for name, _, changes in documents]
    write_json(folder / CHANGES, {"augsynth_changes": 1, "files": changes, "left_to_you": list(left)})
    return [*paths, folder / CHANGES]


def _change(kind: str, what: str, which: Sequence[object]) -> dict[str, Any]:
    return {"kind": kind, "count": len(which), "what": what, "which": [str(name) for name in which]}


def _is_inside(record: Record, size_wh: tuple[int, int]) -> bool:
    x, y, w, h = record["bbox"]
    return bool(w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= size_wh[0] and y + h <= size_wh[1])


def _repeats(dataset: Dataset) -> dict[int, int]:
    """Return annotation id -> the one that stays, for objects boxed twice."""
    masks, gone = Masks(dataset), dict[int, int]()
    for scene, i, j, _ in same_places(dataset):
        if scene.category_ids[i] != scene.category_ids[j] or not masks.agree(scene, i, j):
            continue
        ids = [int(scene.annotation_ids[k]) for k in (i, j)]
        if gone.keys() & set(ids):
            continue
        order = np.argsort([not masks.has(number) for number in ids], kind="stable")
        gone[ids[int(order[1])]] = ids[int(order[0])]
    return gone
