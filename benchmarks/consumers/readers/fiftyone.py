"""FiftyOne: its importer of COCO, read without its database.

It keeps a mask as the pixels inside the box rounded to whole ones; they are put back into the picture here.
"""

from pathlib import Path

import numpy as np
from fiftyone.utils.coco import COCODetectionDatasetImporter

from benchmarks.consumers.readers.shared import found_object


def read(annotations, images, *, masks):
    kind = "segmentations" if masks else "detections"
    importer = COCODetectionDatasetImporter(
        data_path=str(images),
        labels_path=str(annotations),
        label_types=[kind],
        include_annotation_id=True,
    )
    found = []
    with importer:
        for path, metadata, labels in importer:
            size = metadata.width, metadata.height
            objects = []
            for detection in labels.detections if labels else ():
                x, y, width, height = np.array(detection.bounding_box) * (*size, *size)
                pixels = None
                if masks:
                    pixels = np.zeros((size[1], size[0]), bool)
                    top, left = round(y), round(x)
                    rows, columns = detection.mask.shape
                    pixels[top : top + rows, left : left + columns] = detection.mask
                objects.append(
                    found_object(
                        (x, y, x + width, y + height),
                        detection.label,
                        annotation_id=detection["coco_id"],
                        crowd=detection["iscrowd"],
                        mask=pixels,
                    )
                )
            name = Path(path).relative_to(images).as_posix()
            found.append({"file_name": name, "objects": objects})
    return found, {}
