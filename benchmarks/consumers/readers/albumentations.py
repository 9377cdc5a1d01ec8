"""Albumentations: boxes in COCO's format and masks go through two flips, which end where they began.

It reads no files and has no crowds; masks are drawn by pycocotools, as its users do.
"""

from pathlib import Path

import albumentations as A
import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from benchmarks.consumers.readers.shared import found_object, xyxy_of


def read(annotations, images, *, masks):
    coco = COCO(str(annotations))
    flips = A.Compose(
        [A.HorizontalFlip(p=1), A.HorizontalFlip(p=1)],
        bbox_params=A.BboxParams(format="coco", label_fields=["labels", "numbers"]),
    )
    found = []
    for record in coco.dataset["images"]:
        given = coco.imgToAnns[record["id"]]
        with Image.open(Path(images) / record["file_name"]) as opened:
            picture = np.asarray(opened.convert("RGB"))
        drawn = {"masks": np.stack([coco.annToMask(a) for a in given])} if masks and given else {}
        result = flips(
            image=picture,
            bboxes=[a["bbox"] for a in given],
            labels=[coco.cats[a["category_id"]]["name"] for a in given],
            numbers=[str(a["id"]) for a in given],  # numbers would become 32-bit ones
            **drawn,
        )
        assert (result["image"] == picture).all()
        pixels = result.get("masks", [None] * len(given))
        objects = [
            found_object(xyxy_of(box), label, annotation_id=number, mask=mask)
            for box, label, number, mask in zip(
                result["bboxes"], result["labels"], result["numbers"], pixels, strict=True
            )
        ]
        found.append({"file_name": record["file_name"], "objects": objects})
    return found, {}
