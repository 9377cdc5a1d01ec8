"""A COCO dataset of a few pictures, written anew for each test, and what a dataset shows."""

import json

from tests.coco.tiny_sets import H, W, picture, text

CATEGORIES = [{"id": 7, "name": "cup"}, {"id": 90, "name": "Müll beutel"}]


def annotation(number, image_id, category_id, bbox, **more):
    record = {"id": number, "image_id": image_id, "category_id": category_id, "bbox": bbox}
    return {**record, "area": bbox[2] * bbox[3], "iscrowd": 0, **more}


def corners(box):
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x + w / 2, y + h - 1, x, y + h]


def coco(root, names=("a.jpg", "sub dir/ü b.png"), *, masks=False, categories=CATEGORIES):
    """Write a COCO dataset of pictures of 200 × 100: in each two objects and a crowd."""
    images, annotations = [], []
    for k, name in enumerate(names, start=1):
        picture(root / "images" / name)
        images.append({"id": 10 * k, "file_name": name, "width": W, "height": H})
        boxes = [[10.5, 10.25, 50.25, 30.25], [100, 20, 99.5, 79.5]]
        for box, category in zip(boxes, categories, strict=True):
            outline = {"segmentation": [corners(box)]} if masks else {}
            annotations.append(annotation(len(annotations) + 1, 10 * k, category["id"], box, **outline))
        annotations.append(
            annotation(len(annotations) + 1, 10 * k, categories[0]["id"], [0, 0, 9, 9], iscrowd=1)
        )
    document = {"images": images, "annotations": annotations, "categories": list(categories)}
    return text(root / "train.json", json.dumps(document))


def objects_of(dataset):
    """Stem without folders -> names and boxes of objects that are no crowds."""
    names = {c["id"]: c["name"] for c in dataset.document["categories"]}
    return {
        scene.file_name.rpartition("/")[2].rpartition(".")[0].rpartition("_dir_")[2].replace("_", " "): [
            (names[int(c)], box)
            for c, box, crowd in zip(scene.category_ids, scene.boxes_xyxy, scene.is_crowd, strict=True)
            if not crowd
        ]
        for scene in dataset.scenes
    }
