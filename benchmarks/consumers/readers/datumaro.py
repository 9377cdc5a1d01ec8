"""datumaro: its importer of a whole COCO folder, which finds the annotation files itself."""

from pathlib import Path

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

from benchmarks.consumers.readers.shared import found_object


def read(annotations, images, *, masks):
    root = Path(annotations).parent.parent
    dataset = Dataset.import_from(str(root), "coco_instances")
    names = dataset.categories()[AnnotationType.label]
    found = []
    for item in dataset:
        boxes, outlines = {}, {}
        for annotation in item.annotations:
            if annotation.type == AnnotationType.bbox:
                boxes[annotation.id] = annotation
            elif annotation.type == AnnotationType.polygon:
                outlines.setdefault(annotation.id, []).append([float(v) for v in annotation.points])
            else:
                outlines[annotation.id] = np.asarray(annotation.image, bool)
        objects = [
            found_object(
                (box.x, box.y, box.x + box.w, box.y + box.h),
                names[box.label].name,
                annotation_id=number,
                crowd=box.attributes["is_crowd"],
                mask=outlines.get(number) if masks else None,
            )
            for number, box in boxes.items()
        ]
        height, width = item.media.size
        assert item.media.data.shape[:2] == (height, width)
        name = Path(item.media.path).relative_to(images).as_posix()
        found.append({"file_name": name, "objects": objects})
    return found, {}
