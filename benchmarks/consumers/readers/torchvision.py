"""torchvision: CocoDetection behind the wrapper for its second transforms."""

from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

from benchmarks.consumers.readers.shared import found_object


def read(annotations, images, *, masks):
    dataset = CocoDetection(str(images), str(annotations))
    keys = {"image_id", "boxes", "labels", "iscrowd", *(["masks"] if masks else [])}
    wrapped = wrap_dataset_for_transforms_v2(dataset, target_keys=keys)
    names = {c["id"]: c["name"] for c in dataset.coco.dataset["categories"]}
    found = []
    for picture, target in (wrapped[index] for index in range(len(wrapped))):
        record = dataset.coco.imgs[target["image_id"]]
        assert picture.size == (record["width"], record["height"])
        number = len(target.get("labels", ()))
        pixels = target["masks"].numpy() if masks and number else [None] * number
        objects = (
            [
                found_object(box, names[int(label)], crowd=crowd, mask=mask)
                for box, label, crowd, mask in zip(
                    target["boxes"].tolist(), target["labels"], target["iscrowd"], pixels, strict=True
                )
            ]
            if number
            else []
        )
        found.append({"file_name": record["file_name"], "objects": objects})
    return found, {}
