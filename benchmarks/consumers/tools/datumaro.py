"""datumaro: its exporters of YOLO, VOC and CVAT, and its importer of VOC."""

from pathlib import Path
from tempfile import TemporaryDirectory

from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

from benchmarks.consumers.readers.shared import found_object


def read(folder, split, *, masks):
    dataset = Dataset.import_from(str(folder), "voc_detection", coordinate_mode="voc-one-based")
    names = dataset.categories()[AnnotationType.label]
    found = []
    for item in dataset:
        if item.subset != split:
            continue
        objects = [
            found_object((a.x, a.y, a.x + a.w, a.y + a.h), names[a.label].name)
            for a in item.annotations
            if a.type == AnnotationType.bbox
        ]
        found.append({"file_name": f"{item.id}.jpg", "objects": objects})
    return found


def write(annotations, images, folder, *, masks, form):
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "annotations").mkdir()
        (root / "images").mkdir()
        (root / "annotations" / "instances_train.json").symlink_to(annotations)
        (root / "images" / "train").symlink_to(images)
        Dataset.import_from(str(root), "coco_instances").export(str(folder), form, save_media=True)
    return folder / "train.xml" if form == "cvat" else folder
