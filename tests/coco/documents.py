"""A small COCO document without faults, and ways to spoil it."""

import json


def counts(dataset):
    return {kind: repair.count for kind, repair in dataset.repairs.items()}


def clean():
    return {
        "info": {},
        "licenses": [],
        "images": [
            {"id": 1, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 2, "file_name": "sub/b.png", "width": 40, "height": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0},
            {"id": 2, "image_id": 2, "category_id": 5, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0},
        ],
        "categories": [{"id": 3, "name": "can"}, {"id": 5, "name": "cup"}],
    }


def write(tmp_path, document):
    path = tmp_path / "instances.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return path


def edited(block, index, **changes):
    document = clean()
    document[block][index].update(changes)
    return document


def without(block, index, *keys):
    document = clean()
    for key in keys:
        del document[block][index][key]
    return document


def with_more(block, *records):
    document = clean()
    document[block] += records
    return document
