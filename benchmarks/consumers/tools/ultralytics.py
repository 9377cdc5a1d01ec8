"""Ultralytics: what its dataset holds of a data.yaml, and label files of its converter."""

from pathlib import Path

import numpy as np
from ultralytics.data.converter import convert_coco
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from benchmarks.consumers.readers.shared import found_object, load_json


def read(folder, split, *, masks):
    data = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    task = "segment" if masks else "detect"
    dataset = YOLODataset(img_path=data[split], data=data, task=task, augment=False, imgsz=64)
    found = []
    for label in dataset.labels:
        height, width = label["shape"]
        scale = np.array([width, height], np.float64)
        middle, half = label["bboxes"][:, :2] * scale, label["bboxes"][:, 2:] * scale / 2
        outlines = label["segments"] if masks else [None] * len(middle)
        objects = [
            found_object(
                (*(m - h), *(m + h)),
                data["names"][int(kind[0])],
                mask=None if outline is None else [(outline.astype(np.float64) * scale).ravel().tolist()],
            )
            for m, h, kind, outline in zip(middle, half, label["cls"], outlines, strict=True)
        ]
        found.append({"file_name": Path(label["im_file"]).name, "objects": objects})
    return found


def write(annotations, images, folder, *, masks):
    """Convert, link the images, and write data.yaml as Ultralytics' guide says."""
    convert_coco(str(annotations.parent), str(folder), use_segments=masks, cls91to80=False)
    part = annotations.stem.replace("instances_", "")
    (folder / "images" / part).rmdir() if (folder / "images" / part).is_dir() else None
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / part).symlink_to(images)
    listed = [f"./images/{part}/{image['file_name']}\n" for image in load_json(annotations)["images"]]
    (folder / "list.txt").write_text("".join(listed))
    names = {c["id"] - 1: c["name"] for c in load_json(annotations)["categories"]}
    lines = [f"  {k}: {names.get(k, f'class_{k}')}" for k in range(max(names) + 1)]
    head = f"path: {folder}\ntrain: list.txt\nval: list.txt\nnames:\n"
    (folder / "data.yaml").write_text(head + "\n".join(lines) + "\n")
    return folder / "data.yaml"
