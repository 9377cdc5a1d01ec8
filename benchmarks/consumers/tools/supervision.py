"""supervision: DetectionDataset of YOLO and VOC folders."""

from pathlib import Path

from supervision import DetectionDataset

from benchmarks.consumers.readers.shared import found_object


def read(folder, split, *, masks, form="yolo"):
    if form == "yolo":
        places = folder / "images" / split, folder / "labels" / split, folder / "data.yaml"
        dataset = DetectionDataset.from_yolo(*map(str, places), force_masks=masks)
    else:
        places = folder / "JPEGImages", folder / "Annotations"
        dataset = DetectionDataset.from_pascal_voc(*map(str, places), force_masks=masks)
        listed = set(
            (folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        )  # it reads no lists
    found = []
    for path, _, detections in dataset:
        if form == "voc" and Path(path).stem not in listed:
            continue
        number = len(detections)
        outlines = detections.mask if masks and number else [None] * number
        kinds = detections.class_id if number else []
        objects = [
            found_object(box, dataset.classes[int(kind)], mask=outline)
            for box, kind, outline in zip(detections.xyxy, kinds, outlines, strict=True)
        ]
        found.append({"file_name": Path(path).name, "objects": objects})
    return found


def write(annotations, images, folder, *, masks, form="yolo"):
    dataset = DetectionDataset.from_coco(str(images), str(annotations), force_masks=masks)
    if form == "yolo":
        dataset.as_yolo(str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"))
    else:
        dataset.as_pascal_voc(str(folder / "JPEGImages"), str(folder / "Annotations"))
    return folder
