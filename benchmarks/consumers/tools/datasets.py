"""Hugging Face datasets: an image folder with the class names of its card."""

from datasets import load_dataset
from datasets.info import DatasetInfosDict

from benchmarks.consumers.readers.shared import found_object, xyxy_of


def read(folder, split, *, masks):
    features = DatasetInfosDict.from_directory(str(folder))["default"].features
    names = features["objects"]["categories"].feature.names
    dataset = load_dataset(str(folder), features=features, split={"val": "validation"}.get(split, split))
    found = []
    for row in dataset:
        assert row["image"].size == (row["width"], row["height"])
        held = row["objects"]
        outlines = held["segmentation"] if masks else [None] * len(held["id"])
        objects = [
            found_object(xyxy_of(box), names[kind], annotation_id=number, crowd=crowd, mask=outline or None)
            for box, kind, number, crowd, outline in zip(
                held["bbox"], held["categories"], held["id"], held["iscrowd"], outlines, strict=True
            )
        ]
        found.append({"file_name": row["image"].filename.rpartition("/")[2], "objects": objects})
    return found
