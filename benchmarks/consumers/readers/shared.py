"""What readers share: plain values of what a library holds, with numpy alone."""

import json
from pathlib import Path

import numpy as np


def found_object(box_xyxy, category, *, annotation_id=None, crowd=None, mask=None):
    """Return an object as it goes back: a box, a category's name, and what else the library keeps.

    Args:
        mask: (H, W) pixels, or polygons or an RLE as COCO writes them; None where the library has none.
    """
    if mask is not None and not isinstance(mask, list | dict):
        mask = run_lengths(np.asarray(mask))
    return {
        "box_xyxy": [float(v) for v in box_xyxy],
        "category": str(category),
        "id": None if annotation_id is None else int(annotation_id),
        "crowd": None if crowd is None else bool(crowd),
        "mask": mask,
    }


def run_lengths(mask):
    """Return an (H, W) mask as COCO's uncompressed RLE."""
    pixels = np.concatenate([[False], mask.astype(bool).ravel(order="F")])
    ends = np.flatnonzero(pixels[1:] != pixels[:-1])
    counts = np.diff(np.concatenate([[0], ends, [mask.size]]))
    return {"size": [int(side) for side in mask.shape], "counts": [int(count) for count in counts]}


def xyxy_of(bbox):
    """Return the corners of a COCO box."""
    x, y, width, height = (float(v) for v in bbox)
    return [x, y, x + width, y + height]


def load_json(annotations):
    """Return a COCO document as a dict."""
    return json.loads(Path(annotations).read_text(encoding="utf-8"))


def by_image(document):
    """Return image id -> annotations, for readers of libraries that take a picture's annotations as a list."""
    found = {image["id"]: [] for image in document["images"]}
    for annotation in document["annotations"]:
        found[annotation["image_id"]].append(annotation)
    return found


def read_and_evaluate(coco_class, evaluator_class, annotations, *, masks):
    """Read with a library of pycocotools' interface, and evaluate the file's own objects as detections.

    Returns:
        The images, and the AP by kind: 1 where each object of the file is found as itself.
    """
    coco = coco_class(str(annotations))
    names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
    images = [
        {
            "file_name": image["file_name"],
            "objects": [
                found_object(
                    xyxy_of(a["bbox"]),
                    names[a["category_id"]],
                    annotation_id=a["id"],
                    crowd=a["iscrowd"],
                    mask=coco.annToMask(a) if masks else None,
                )
                for a in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
            ],
        }
        for image in coco.loadImgs(coco.getImgIds())
    ]
    figures = {}
    for kind in ("bbox", "segm") if masks else ("bbox",):
        results = [
            {
                "image_id": a["image_id"],
                "category_id": a["category_id"],
                "score": 1.0,
                **({"bbox": a["bbox"]} if kind == "bbox" else {"segmentation": coco.annToRLE(a)}),
            }
            for a in coco.dataset["annotations"]
            if not a["iscrowd"]
        ]
        evaluator = evaluator_class(coco, coco.loadRes(results), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        figures[f"AP {kind}"] = round(float(evaluator.stats[0]), 4)
    return images, figures
