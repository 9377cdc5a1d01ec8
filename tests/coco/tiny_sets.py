"""Tiny datasets of other formats, written as their tools document them."""

import json

import numpy as np
from PIL import Image

W, H = 200, 100


def picture(path, size_wh=(W, H), *, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(42).integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8))
    if orientation is None:
        image.save(path)
        return path
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def text(path, content, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))
    return path


def yolo(root, rows, *, names=("cup", "lid"), head="train: images/train\nval: images/val\n"):
    """Write a YOLO dataset: image path below images/ -> rows of its label file, None for none."""
    for name, content in rows.items():
        picture(root / "images" / name)
        if content is not None:
            text((root / "labels" / name).with_suffix(".txt"), content)
    return text(root / "data.yaml", head + f"names: {json.dumps(list(names))}\n")


def voc_object(name, box, **more):
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    rest = "".join(f"<{key}>{value}</{key}>" for key, value in more.items())
    return f"<object><name>{name}</name>{rest}<bndbox>{corners}</bndbox></object>"


def voc(root, objects, *, lists=None, size_wh=(W, H)):
    """Write a VOC dataset: stem -> XML of its objects."""
    for stem, each in objects.items():
        picture(root / "JPEGImages" / f"{stem}.jpg")
        size = f"<size><width>{size_wh[0]}</width><height>{size_wh[1]}</height><depth>3</depth></size>"
        xml = f"<annotation><filename>{stem}.jpg</filename>{size}{''.join(each)}</annotation>"
        text(root / "Annotations" / f"{stem}.xml", xml)
    for split, stems in (lists or {}).items():
        text(root / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{stem}\n" for stem in stems))
    return root


def boxes_of(dataset):
    """File name -> (category name, rounded box) of each object."""
    names = {category["id"]: category["name"] for category in dataset.document["categories"]}
    return {
        scene.file_name: [
            (names[int(kind)], *np.round(box, 3).tolist())
            for kind, box in zip(scene.category_ids, scene.boxes_xyxy, strict=True)
        ]
        for scene in dataset.scenes
    }
