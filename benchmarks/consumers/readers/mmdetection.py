"""MMDetection: CocoDataset with LoadAnnotations, with masks where the file has them."""

from pathlib import Path

import numpy as np
from mmdet.datasets import CocoDataset

from benchmarks.consumers.readers.shared import found_object, load_json


def read(annotations, images, *, masks):
    classes = tuple(c["name"] for c in load_json(annotations)["categories"])
    dataset = CocoDataset(
        ann_file=str(annotations),
        data_prefix={"img": str(images)},
        metainfo={"classes": classes},
        filter_cfg=None,
        test_mode=True,  # else pictures without objects are replaced by others
        pipeline=[
            {"type": "LoadImageFromFile"},
            {"type": "mmdet.LoadAnnotations", "with_bbox": True, "with_mask": masks},
        ],
    )
    found = []
    for index in range(len(dataset)):
        results = dataset[index]
        assert results["img"].shape[:2] == (results["height"], results["width"])
        boxes = results["gt_bboxes"].tensor.numpy()
        pixels = np.asarray(results["gt_masks"].masks) if masks else [None] * len(boxes)
        objects = [
            found_object(box, classes[int(label)], crowd=ignored, mask=mask)
            for box, label, ignored, mask in zip(
                boxes, results["gt_bboxes_labels"], results["gt_ignore_flags"], pixels, strict=True
            )
        ]
        name = Path(results["img_path"]).relative_to(images).as_posix()
        found.append({"file_name": name, "objects": objects})
    return found, {}
