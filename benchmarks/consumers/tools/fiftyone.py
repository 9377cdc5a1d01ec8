"""FiftyOne: its importer of COCO folders, and its exporters of samples, YOLO and VOC, without its database."""

import shutil
from pathlib import Path

import fiftyone as fo
from bson import json_util
from fiftyone.utils.coco import COCODetectionDatasetImporter
from fiftyone.utils.voc import VOCDetectionDatasetExporter
from fiftyone.utils.yolo import YOLOv5DatasetExporter

from benchmarks.consumers.readers.fiftyone import read as read_coco


def read(folder, split, *, masks):
    return read_coco(folder / split / "labels.json", folder / split / "data", masks=masks)[0]


def write(annotations, images, folder, *, masks, form="fiftyone"):
    kind = "segmentations" if masks else "detections"
    importer = COCODetectionDatasetImporter(
        data_path=str(images), labels_path=str(annotations), label_types=[kind], include_annotation_id=True
    )
    with importer:
        held = [(path, metadata, labels or fo.Detections()) for path, metadata, labels in importer]
    if form == "fiftyone":
        return _write_samples(held, folder)
    classes = sorted({one.label for _, _, labels in held for one in labels.detections})
    exporter = (
        YOLOv5DatasetExporter(export_dir=str(folder), export_media=True, classes=classes)
        if form == "yolo"
        else VOCDetectionDatasetExporter(export_dir=str(folder), export_media=True)
    )
    with exporter:
        for path, metadata, labels in held:
            exporter.export_sample(path, labels, metadata=metadata)
    return folder


def _write_samples(held, folder):
    """Write samples as `FiftyOneDatasetExporter` does, which needs a database for everything else."""
    (folder / "data").mkdir(parents=True)
    samples = []
    for path, metadata, labels in held:
        name = f"data/{Path(path).name}"
        sample = fo.Sample(filepath=name, metadata=metadata, ground_truth=labels, tags=["train"])
        samples.append({**sample.to_mongo_dict(), "filepath": name})
        shutil.copy(path, folder / name)
    (folder / "samples.json").write_text(json_util.dumps({"samples": samples}))
    (folder / "metadata.json").write_text("{}")
    return folder
