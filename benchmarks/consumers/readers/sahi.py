"""sahi: Coco.from_coco_dict_or_path. It takes an object's box from its polygons, and no RLE."""

from sahi.utils.coco import Coco

from benchmarks.consumers.readers.shared import found_object, xyxy_of


def read(annotations, images, *, masks):
    coco = Coco.from_coco_dict_or_path(str(annotations), image_dir=str(images))
    found = []
    for image in coco.images:
        objects = [
            found_object(xyxy_of(a.bbox), a.category_name, mask=(a.segmentation or None) if masks else None)
            for a in image.annotations
        ]
        found.append({"file_name": image.file_name, "objects": objects})
    return found, {}
