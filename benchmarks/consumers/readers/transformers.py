"""transformers: the image processor of DETR, from a picture and its annotations to what the model learns from.

It drops crowds itself, but after it has drawn their masks, and then masks and boxes differ in number: crowds are left
out before, as DETR's own loader of COCO does.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from transformers import DetrImageProcessor

from benchmarks.consumers.readers.shared import by_image, found_object, load_json


def read(annotations, images, *, masks):
    document = load_json(annotations)
    annotations_of = by_image(document)
    names = {c["id"]: c["name"] for c in document["categories"]}
    processor = DetrImageProcessor(do_resize=False, do_pad=False, do_normalize=False)
    found = []
    for record in document["images"]:
        given = [a for a in annotations_of[record["id"]] if not a["iscrowd"]]
        with Image.open(Path(images) / record["file_name"]) as opened:
            picture = opened.convert("RGB")
        batch = processor(
            picture,
            annotations={"image_id": record["id"], "annotations": given},
            return_segmentation_masks=masks,
            do_convert_annotations=False,
            return_tensors="pt",
        )
        labels = batch["labels"][0]
        assert labels["orig_size"].tolist() == [record["height"], record["width"]]
        boxes, classes = np.asarray(labels["boxes"]), np.asarray(labels["class_labels"])
        pixels = np.asarray(labels["masks"]) if masks else [None] * len(boxes)
        objects = [
            found_object(box, names[int(label)], mask=mask)
            for box, label, mask in zip(boxes, classes, pixels, strict=True)
        ]
        found.append({"file_name": record["file_name"], "objects": objects})
    return found, {}
