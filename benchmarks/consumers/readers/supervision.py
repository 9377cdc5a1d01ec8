"""supervision: DetectionDataset.from_coco."""

from pathlib import Path

from supervision import DetectionDataset

from benchmarks.consumers.readers.shared import found_object


def read(annotations, images, *, masks):
    dataset = DetectionDataset.from_coco(str(images), str(annotations), force_masks=masks)
    found = []
    for path, picture, detections in dataset:
        number = len(detections)
        pixels = detections.mask if masks and number else [None] * number
        assert not masks or all(mask.shape == picture.shape[:2] for mask in pixels)
        crowds = detections.data.get("iscrowd", [None] * number)
        objects = [
            found_object(box, dataset.classes[int(label)], crowd=crowd, mask=mask)
            for box, label, crowd, mask in zip(
                detections.xyxy, detections.class_id if number else [], crowds, pixels, strict=True
            )
        ]
        name = Path(path).relative_to(Path(images).resolve()).as_posix()
        found.append({"file_name": name, "objects": objects})
    return found, {}
