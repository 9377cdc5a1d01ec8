"""A dataset of four images with two objects each, to be spoilt by a test; how it is read, and what a run adds."""

import json

from augsynth.coco.reader import read_dataset
from augsynth.coco.writer import (
    augmented_document,
    new_file_name,
    next_ids,
    synthetic_annotation,
    synthetic_image_record,
)

WIDTH, HEIGHT = 64, 48
NUM_IMAGES = 4


def small_dataset():
    """Four images with two objects each, all with a polygon."""
    boxes = [[4, 6, 20, 10], [30, 20, 16, 24]]
    return {
        "info": {},
        "licenses": [],
        "images": [
            {"id": k, "file_name": f"{k}.png", "width": WIDTH, "height": HEIGHT} for k in range(NUM_IMAGES)
        ],
        "annotations": [
            {
                "id": 1 + 2 * k + n,
                "image_id": k,
                "category_id": 1 + n,
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
            for k in range(NUM_IMAGES)
            for n, (x, y, w, h) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "can"}, {"id": 2, "name": "cup"}],
    }


def read(root, document, *, with_images=True):
    path = root.parent / "a.json"
    path.write_text(json.dumps(document), "utf-8")
    return read_dataset(path, images=root if with_images else None)


def counts(dataset):
    return {kind: repair.count for kind, repair in dataset.repairs.items()}


def painted(dataset, boxes=((30, 3, 40, 12),)):
    image_id, number = next_ids(dataset.document)
    name = new_file_name(
        dataset.scenes[0].file_name, job=0, suffix="png", taken={s.file_name for s in dataset.scenes}
    )
    image = synthetic_image_record(
        dataset.document["images"][0], image_id=image_id, file_name=name, size_wh=(WIDTH, HEIGHT)
    )
    made = [
        synthetic_annotation(
            annotation_id=number + k,
            image_id=image_id,
            category_id=1,
            box_xyxy=box,
            size_wh=(WIDTH, HEIGHT),
            score=0.9,
        )
        for k, box in enumerate(boxes)
    ]
    return augmented_document(dataset.document, [image], made)
