"""Writing a COCO folder to be published: Croissant 1.1 metadata that says where each new object is from, and a card."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from augsynth.coco.faults import Record, fault, shown
from augsynth.coco.formats.parts import (
    Originals,
    Part,
    Written,
    class_names,
    class_numbers,
    info_of,
    licences_of,
)
from augsynth.coco.formats.write_coco import OWN_COCO, write_coco

MAIN, CARD, PROVENANCE = "croissant.json", "README.md", "provenance.jsonl"
OWN = frozenset({*OWN_COCO, MAIN, CARD, PROVENANCE})
_INTEGER, _FLOAT, _TEXT = "sc:Integer", "sc:Float", "sc:Text"
_TERMS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format "
    "includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{term: f"cr:{term}" for term in _TERMS.split()},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
# Columns of provenance.jsonl that say where an object is from: type, and the PROV term where there is one.
_ORIGINS = {
    "annotation_id": (_INTEGER, ""),
    "image_id": (_INTEGER, ""),
    "source_image_id": (_INTEGER, "prov:wasDerivedFrom"),
    "category_id": (_INTEGER, ""),
    "model": (_TEXT, "prov:wasAttributedTo"),
    "model_licence": (_TEXT, ""),
    "prompt": (_TEXT, "prov:used"),
    "seed": (_INTEGER, ""),
    "score": (_FLOAT, ""),
}
_COLUMNS = {
    "images": {"id": _INTEGER, "file_name": _TEXT, "width": _INTEGER, "height": _INTEGER},
    "annotations": {
        "id": _INTEGER,
        "image_id": _INTEGER,
        "category_id": _INTEGER,
        "area": _FLOAT,
        "iscrowd": _INTEGER,
        "bbox": "cr:BoundingBox",
    },
    "categories": {"id": _INTEGER, "name": _TEXT},
}


def write_croissant(
    parts: Sequence[Part], draft: Path, *, masks: bool | None, originals: Originals
) -> Written:
    """Write what `write_coco` writes, croissant.json, a card, and for a run of `generate` where its objects are from.

    The provenance of a run is found beside its annotations: accepted attempts become records with model, licence,
    prompt and seed in terms of PROV.

    Args:
        parts: The splits.
        draft: Folder to fill.
        masks: False leaves masks out.
        originals: Link or copy images.

    Raises:
        DatasetError: A run's provenance is damaged.
    """
    written = write_coco(parts, draft, masks=masks, originals=originals)
    written.main = Path(MAIN)
    runs = ((part, part.source.absolute().parent.parent / PROVENANCE) for part in parts)
    painted = next(((part, run) for part, run in runs if run.is_file()), None)
    lines = _accepted(*painted) if painted is not None else []
    if lines:
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        (draft / PROVENANCE).write_bytes(text)
    files = sorted((draft / "annotations").iterdir())
    document = _document(parts, draft, files, lines)
    (draft / MAIN).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    (draft / CARD).write_text(_card(parts, document, lines), encoding="utf-8")
    return written


def _accepted(part: Part, path: Path) -> list[Record]:
    """Return the lines of provenance whose objects are in the dataset, with the category ids that it has now."""
    try:
        lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    except (OSError, msgspec.DecodeError, ValueError):
        lines = [None]
    if not all(isinstance(line, dict) for line in lines):
        raise fault(path, "", "provenance", "is damaged", "restore it, or move the annotations elsewhere")
    accepted = [(k, line) for k, line in enumerate(lines, start=1) if "annotation_id" in line]
    for k, line in accepted:
        for field, kind in (("annotation_id", int), ("category_id", int), ("model", str)):
            if type(line.get(field)) is not kind:
                problem = f"is {shown(line.get(field))}"
                raise fault(
                    path, f"line {k}", field, problem, "restore it, or move the annotations elsewhere"
                )
    now = {record["id"]: record["category_id"] for record in part.document["annotations"]}
    return [
        {**line, "category_id": now.get(line["annotation_id"], line["category_id"])} for _, line in accepted
    ]


def _document(parts: Sequence[Part], draft: Path, files: Sequence[Path], lines: Sequence[Record]) -> Record:
    """Return the Croissant metadata."""
    licences = [str(r[key]) for key in ("url", "name") for p in parts for r in licences_of(p) if r.get(key)]
    count = sum(len(part.document["images"]) for part in parts)
    painted = f", {len(lines)} of their objects painted" if lines else ""
    document: Record = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": _name(parts),
        "description": f"{count} images for object detection{painted}.",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "license": next(iter(licences), "unknown"),
        "version": "1.0.0",
        "distribution": [
            *(_file_object(file, _block_id(file, block)) for file in files for block in _COLUMNS),
            *([_file_object(draft / PROVENANCE, PROVENANCE)] if lines else []),
            _IMAGES,
        ],
        "recordSet": [each for file in files for each in _record_sets(file)],
    }
    if lines:
        document["recordSet"].append(_origins())
        document |= _generated_by(lines)
    return document


_IMAGES = {
    "@type": "cr:FileSet",
    "@id": "images",
    "name": "images",
    "description": "The pictures; file_name is relative to this folder.",
    "encodingFormat": ["image/jpeg", "image/png"],
    "includes": "images/**/*",
}


def _name(parts: Sequence[Part]) -> str:
    """Return a name without characters that file names and URLs don't take."""
    said = next((str(info_of(part).get("description") or "") for part in parts), "")
    words = "".join(c if c.isalnum() or c in "-_." else " " for c in said).split()
    return "-".join(words)[:80] or "augsynth-dataset"


def _block_id(file: Path, block: str) -> str:
    """Return the id of a COCO file as the source of one block: mlcroissant reads one record set of a JSON file."""
    return f"{file.name}#{block}"


def _file_object(path: Path, title: str) -> Record:
    lines = path.suffix == ".jsonl"
    return {
        "@type": "cr:FileObject",
        "@id": title,
        "name": title,
        "contentUrl": path.name if lines else f"annotations/{path.name}",
        "encodingFormat": "application/jsonlines" if lines else "application/json",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _record_sets(file: Path) -> list[Record]:
    """Return the record sets of a COCO file: images, annotations and categories."""
    found = []
    for block, columns in _COLUMNS.items():
        title, object_id = f"{file.stem}-{block}", {"@id": _block_id(file, block)}
        fields = []
        for name, kind in columns.items():
            source = {"fileObject": object_id, "extract": {"jsonPath": f"$.{block}[*].{name}"}}
            fields.append(_field(title, name, kind, source))
        found.append({"@type": "cr:RecordSet", "@id": title, "name": title, "field": fields})
    return found


def _origins() -> Record:
    title = "synthetic-objects"
    fields = []
    for name, (kind, term) in _ORIGINS.items():
        field = _field(title, name, kind, {"fileObject": {"@id": PROVENANCE}, "extract": {"column": name}})
        fields.append({**field, **({"equivalentProperty": term} if term else {})})
    description = "Where each painted object is from: source image, model and its licence, prompt and seed."
    return {"@type": "cr:RecordSet", "@id": title, "name": title, "description": description, "field": fields}


def _field(record_set: str, name: str, kind: str, source: Record) -> Record:
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "dataType": kind,
        "source": source,
    }


def _generated_by(lines: Sequence[Record]) -> Record:
    """Return who painted, in PROV's terms: the tool as agent, models as what it used."""
    fields = ("model", "model_revision", "model_sha256", "model_licence")
    used = dict.fromkeys(tuple(str(line.get(field) or "") for field in fields) for line in lines)
    models = [
        {
            "@type": "prov:Entity",
            "name": model,
            **({"license": licence} if licence else {}),
            **({"version": revision} if revision else {}),
            **({"sha256": digest} if digest else {}),
        }
        for model, revision, digest, licence in used
    ]
    agent = {"@type": "prov:SoftwareAgent", "name": "augsynth", "version": str(lines[0].get("augsynth"))}
    activity = {"@type": "prov:Activity", "name": "augsynth generate", "prov:wasAssociatedWith": agent}
    return {"prov:wasGeneratedBy": {**activity, "prov:used": models}}


def _card(parts: Sequence[Part], document: Record, lines: Sequence[Record]) -> str:
    """Return the dataset card: counts by split and category, licences, and what is painted."""
    names = class_names(parts)
    head: dict[str, Any] = {"license": "other", "task_categories": ["object-detection"]}
    if lines:
        head["tags"] = ["synthetic"]
    text = [f"# {document['name']}", "", str(document["description"]), ""]
    text += ["| split | images | objects |", "|---|---:|---:|"]
    for part in parts:
        counts = len(part.document["images"]), len(part.document["annotations"])
        text.append(f"| {part.name or 'all'} | {counts[0]} | {counts[1]} |")
    held: Counter[int] = Counter()
    numbers: dict[int, int] = {}  # the same id has one name in all parts
    for part in parts:
        numbers |= class_numbers(part, names)
        held.update(numbers[record["category_id"]] for record in part.document["annotations"])
    painted = Counter(numbers.get(line["category_id"]) for line in lines)
    text += ["", "| category | objects | painted |", "|---|---:|---:|"]
    text += [f"| {name} | {held[k]} | {painted[k]} |" for k, name in enumerate(names)]
    licences = dict.fromkeys(str(r.get("name") or r.get("url")) for p in parts for r in licences_of(p))
    text += ["", "Licences of the images: " + (", ".join(licences) or "not stated by the source") + "."]
    for line in {str(one.get("model")): one for one in lines}.values():
        text.append(f"Painted by {line['model']} ({line.get('model_licence') or 'licence not stated'}).")
    if lines:
        text.append(f"`{PROVENANCE}` has source image, model, prompt and seed of every painted object.")
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n" + "\n".join(text) + "\n"
