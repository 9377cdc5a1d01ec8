"""augsynth's own reader: an output can be augmented again."""

from augsynth.coco.reader import read_with_images
from augsynth.core.images import read_image
from benchmarks.consumers.readers.shared import found_object


def read(annotations, images, *, masks):
    dataset = read_with_images(annotations, images)
    names = {category.id: category.name for category in dataset.categories}
    records = {a["id"]: a for a in dataset.document["annotations"]}
    found = []
    for scene in dataset.scenes:
        height, width, _ = read_image(dataset, scene).shape
        assert (width, height) == scene.size_wh
        objects = [
            found_object(
                box,
                names[int(category_id)],
                annotation_id=annotation_id,
                crowd=crowd,
                mask=records[int(annotation_id)].get("segmentation") if masks else None,
            )
            for box, category_id, annotation_id, crowd in zip(
                scene.boxes_xyxy, scene.category_ids, scene.annotation_ids, scene.is_crowd, strict=True
            )
        ]
        found.append({"file_name": scene.file_name, "objects": objects})
    return found, {"repairs": sum(repair.count for repair in dataset.repairs.values())}
