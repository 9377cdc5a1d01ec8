"""Whether every adapter of AffinityPaste keeps boxes, labels and masks in step, on real photographs and the sample.

    python -m benchmarks.judges.adapters --annotations data/train.json --images data/images [--count 1000]

Each adapter pastes into every image, again and again until `--count`. Of each result is checked: as many boxes as
labels and masks; labels are categories; boxes lie in the image; a new or covered object's mask reaches its box's sides
within a pixel; what nothing was pasted near is there with its box, label and mask as before, once; an object whose
pixels didn't change is one that was there, or what is left of one, with its label; pixels changed around new objects
only. The labels of new objects are left to the tests. Adapters whose library is missing are named and left out. The
time is the adapter's alone, in one thread.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from augsynth.bank.cutting import CutRules, segmentations_of
from augsynth.coco.reader import read_dataset
from augsynth.core.images import read_image
from augsynth.core.masks import as_rle, bounds_of, decoded
from augsynth.pasting.affinity_paste import AffinityPaste, PastedImage

OPTIONS = dict(prob=1.0, max_objects=5)


@dataclass(frozen=True)
class Picture:
    """An image with its objects; masks are (N, H, W) uint8 or None."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    masks: np.ndarray | None


def load(dataset, *, with_masks):
    """Return the images that have objects besides crowds."""
    found, shape_of = [], segmentations_of(dataset)
    for scene in dataset.scenes:
        image = read_image(dataset, scene)
        masks = None
        if with_masks:
            shapes = [shape_of.get(int(a)) for a in scene.annotation_ids]
            if any(shape is None for shape in shapes):
                continue
            masks = np.array([decoded(as_rle(s, scene.size_wh)) for s in shapes], np.uint8)
        if (~scene.is_crowd).any():
            found.append(Picture(image, scene.boxes_xyxy, scene.category_ids, scene.is_crowd, masks))
    return found


def plain(bank, affinity):
    paste = AffinityPaste(bank, affinity, **OPTIONS)

    def call(p):
        return p, lambda: paste(p.image, p.boxes, p.labels, p.masks, ignored=p.crowd)

    return call, lambda found: found


def torchvision(bank, affinity):
    import torch
    from torchvision import tv_tensors

    from augsynth.pasting.torchvision import AffinityPaste as Transform

    paste = Transform(bank, affinity, **OPTIONS)

    def call(p):
        size = p.image.shape[:2]
        target = {
            "boxes": tv_tensors.BoundingBoxes(torch.from_numpy(p.boxes), format="XYXY", canvas_size=size),
            "labels": torch.from_numpy(p.labels),
            "iscrowd": torch.from_numpy(p.crowd.astype(np.int64)),
        }
        if p.masks is not None:
            target["masks"] = tv_tensors.Mask(torch.from_numpy(p.masks))
        image = tv_tensors.Image(torch.from_numpy(p.image).permute(2, 0, 1))
        return p, lambda: paste(image, target)

    def read(found):
        image, target = found
        masks = target["masks"].numpy() if "masks" in target else None
        return arrays(
            image.permute(1, 2, 0).numpy(), target["boxes"].numpy(), target["labels"].numpy(), masks
        )

    return call, read


def albumentations(bank, affinity):
    import albumentations as A

    from augsynth.pasting.albumentations import AffinityPaste as Transform

    options = {k: v for k, v in OPTIONS.items() if k != "prob"}
    pipeline = A.Compose(
        [Transform(bank, affinity, p=1.0, **options)],
        bbox_params=A.BboxParams(format="pascal_voc", label_fields=["labels", "iscrowd"], clip=True),
    )

    def call(p):
        """Albumentations drops boxes outside: it gets what is left without them."""
        inside = (p.boxes[:, 2:] - p.boxes[:, :2] > 1).all(axis=1)
        masks = None if p.masks is None else p.masks[inside]
        p = Picture(p.image, p.boxes[inside].astype(np.float32), p.labels[inside], p.crowd[inside], masks)
        given = dict(image=p.image, bboxes=p.boxes, labels=p.labels, iscrowd=p.crowd.astype(np.int64))
        return p, lambda: pipeline(**given, **({} if p.masks is None else {"masks": p.masks}))

    def read(found):
        return arrays(
            found["image"], np.array(found["bboxes"]), np.array(found["labels"]), found.get("masks")
        )

    return call, read


def detectron2(bank, affinity):
    from augsynth.core.masks import to_rle
    from augsynth.pasting.detectron2 import AffinityPasteMapper

    mapper = SimpleNamespace(image_format="RGB", use_instance_mask=True)
    paste = AffinityPasteMapper(mapper, bank, affinity, **OPTIONS)
    id_of = paste.core.category_ids
    label_of = {category: label for label, category in id_of.items()}

    def call(p):
        annotations = [
            dict(bbox=b.tolist(), bbox_mode=0, category_id=label_of[int(c)], iscrowd=int(i))
            for b, c, i in zip(p.boxes, p.labels, p.crowd, strict=True)
        ]
        if p.masks is not None:
            for annotation, mask in zip(annotations, p.masks, strict=True):
                annotation["segmentation"] = to_rle(mask)
        height, width = p.image.shape[:2]
        given = dict(file_name="", height=height, width=width, image_id=1, annotations=annotations)
        return p, lambda: paste.paste(p.image, given)

    def read(found):
        image, annotations = found[0], found[1]["annotations"]
        masks = None
        if annotations and "segmentation" in annotations[0]:
            masks = np.array([decoded(a["segmentation"]) for a in annotations], np.uint8)
        boxes = np.array([a["bbox"] for a in annotations])
        return arrays(image, boxes, np.array([id_of[a["category_id"]] for a in annotations]), masks)

    return call, read


def ultralytics(bank, affinity):
    from ultralytics.utils.instance import Instances

    from augsynth.pasting.ultralytics import paste_into

    core = AffinityPaste(bank, affinity, bgr=True, **OPTIONS)

    def call(p):
        """Ultralytics knows no crowds; boxes alone, since it keeps one outline of an object where ours may be many."""
        p = Picture(
            p.image, p.boxes[~p.crowd].astype(np.float32), p.labels[~p.crowd], p.crowd[~p.crowd], None
        )
        given = dict(img=p.image[..., ::-1], cls=p.labels[:, None].astype(np.float32))
        given["instances"] = Instances(p.boxes.copy(), None, None, bbox_format="xyxy", normalized=False)
        return p, lambda: paste_into(given, core)

    def read(found):
        instances = found["instances"]
        return arrays(found["img"][..., ::-1], instances.bboxes, found["cls"].ravel().astype(np.int64), None)

    return call, read


def mmdet(bank, affinity):
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    from augsynth.pasting.transform import AffinityPaste as Transform

    paste = Transform(bank=str(bank), affinity=str(affinity), **OPTIONS)
    ids = np.array(list(paste.core.category_ids.values()))

    def call(p):
        height, width = p.image.shape[:2]
        p = Picture(p.image, p.boxes.astype(np.float32), p.labels, p.crowd, p.masks)
        given = dict(img=p.image[..., ::-1], gt_bboxes=HorizontalBoxes(p.boxes), gt_ignore_flags=p.crowd)
        given["gt_bboxes_labels"] = (ids[None] == p.labels[:, None]).argmax(axis=1)
        if p.masks is not None:
            given["gt_masks"] = BitmapMasks(p.masks, height, width)
        return p, lambda: paste.transform(given)

    def read(found):
        masks = found["gt_masks"].masks if "gt_masks" in found else None
        labels = ids[found["gt_bboxes_labels"]]
        return arrays(found["img"][..., ::-1], found["gt_bboxes"].tensor.numpy(), labels, masks)

    return call, read


ADAPTERS = {
    "arrays": plain, "torchvision": torchvision, "albumentations": albumentations,
    "detectron2 (dicts)": detectron2, "ultralytics": ultralytics, "mmdetection": mmdet,
}  # fmt: skip


def arrays(image, boxes, labels, masks):
    return PastedImage(
        image, np.asarray(boxes, np.float64).reshape(-1, 4), labels, masks, np.zeros(0, np.int64)
    )


def faults(before: Picture, after: PastedImage, ids) -> list[str]:
    """Return what is out of step between an image and the same after pasting."""
    num = len(after.boxes_xyxy)
    if len(after.labels) != num or (after.masks is not None and len(after.masks) != num):
        return ["numbers of boxes, labels and masks differ"]
    same, changed = same_as_before(before, after), (before.image != after.image).any(axis=2)
    fresh = ~same.any(axis=1)
    boxes, found = after.boxes_xyxy[fresh], box_faults(before, after, fresh)
    if not np.isin(after.labels, ids).all():
        found.append("a label is no category")
    if missing(before, same, changed):
        found.append("an object that nothing was pasted near is lost, or has another box, label or mask")
    if (same.sum(axis=0) > twins(before)).any():
        found.append("an object is there twice")
    if any(is_strange(before, after, k, changed) for k in np.flatnonzero(fresh)):
        found.append("an object that nothing was pasted onto is none that was there")
    near = np.zeros(changed.shape, bool)
    for box in boxes:
        near[window(box, 0.25 * (box[2:] - box[:2]).max() + 5)] = True
    if (changed & ~near).any():
        found.append("pixels changed away from new objects")
    return found


def box_faults(before: Picture, after: PastedImage, fresh) -> list[str]:
    """Return what is wrong with the boxes of new or covered objects."""
    height, width = before.image.shape[:2]
    boxes, found = after.boxes_xyxy[fresh], []
    if len(boxes) and (boxes.min() < -0.01 or (boxes[:, 2:] > [width + 0.01, height + 0.01]).any()):
        found.append("a box leaves the image")
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        found.append("a box is empty")
    if after.masks is not None:
        bounds = [bounds_of(mask > 0) for mask in np.asarray(after.masks)[fresh]]
        if any(b is None or np.abs(b - box).max() > 1 for b, box in zip(bounds, boxes, strict=True)):
            found.append("a mask doesn't fit its box")
    return found


def same_as_before(before: Picture, after: PastedImage) -> np.ndarray:
    """Return (M, N) bool, whether an object has the box, label and mask of one that was there."""
    close = np.abs(after.boxes_xyxy[:, None] - before.boxes[None]).max(axis=2) < 0.01
    close &= after.labels[:, None] == before.labels[None]
    if after.masks is not None and before.masks is not None:
        for k, j in np.argwhere(close):
            close[k, j] = np.array_equal(after.masks[k] > 0, before.masks[j] > 0)
    return close


def twins(before: Picture) -> np.ndarray:
    """Return (N,) how many objects there were like each, itself among them."""
    return same_as_before(before, arrays(before.image, before.boxes, before.labels, before.masks)).sum(axis=0)


def missing(before: Picture, same, changed) -> bool:
    """Return whether an object is gone in whose box and 3 pixels around it nothing was pasted."""
    lost = np.flatnonzero(~same.any(axis=0))
    return any(not changed[window(before.boxes[j], 3)].any() for j in lost)


def is_strange(before: Picture, after: PastedImage, k, changed) -> bool:
    """Return whether an object shows pixels as they were, and isn't what is left of one with its label."""
    box = after.boxes_xyxy[k]
    if after.masks is not None:
        mask = after.masks[k] > 0
        inside = [not (mask & ~(old > 0)).any() for old in before.masks]
        pasted = changed[mask].any()
    else:
        inside = ((box[:2] >= before.boxes[:, :2] - 0.01) & (box[2:] <= before.boxes[:, 2:] + 0.01)).all(
            axis=1
        )
        pasted = changed[window(box, 0)].any()
    return not pasted and not (np.array(inside, bool) & (before.labels == after.labels[k])).any()


def window(box, room) -> tuple[slice, slice]:
    """Return the pixels of a box and of some room around it."""
    x1, y1, x2, y2 = box
    rows = slice(max(int(np.floor(y1 - room)), 0), max(int(np.ceil(y2 + room)), 0))
    return rows, slice(max(int(np.floor(x1 - room)), 0), max(int(np.ceil(x2 + room)), 0))


def judge(name, make, pictures, count, bank, affinity, ids):
    """Print a line about an adapter; return whether nothing was out of step."""
    try:
        call, read = make(bank, affinity)
    except ImportError as error:
        print(f"{name:20} left out: {error}", flush=True)
        return True
    seconds, new, kinds = [], 0, Counter()
    np.random.seed(42)
    for k in range(count):
        before, paste = call(pictures[k % len(pictures)])
        start = time.process_time()
        found = paste()
        seconds.append(time.process_time() - start)
        after = read(found)
        new += max(0, len(after.labels) - len(before.labels))
        kinds.update(faults(before, after, ids))
    listed = ", ".join(f"{kind}: {times}" for kind, times in kinds.items()) or "none"
    print(f"{name:20} {count:6} {new:6} {1000 * np.median(seconds):8.1f}  {listed}", flush=True)
    return not kinds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--adapters", nargs="+", default=list(ADAPTERS), choices=list(ADAPTERS))
    args = parser.parse_args()
    import cv2

    from augsynth.commands.bank import build_bank
    from augsynth.placement.scene_model import fit_affinity

    cv2.setNumThreads(1)
    dataset = read_dataset(args.annotations, images=args.images)
    with tempfile.TemporaryDirectory() as folder:
        bank, affinity = Path(folder) / "bank", Path(folder) / "affinity.json"
        build_bank(args.annotations, args.images, bank, rules=CutRules())
        fit_affinity(dataset).save(affinity)
        pictures = load(dataset, with_masks=bool(segmentations_of(dataset)))
        ids = [category.id for category in dataset.categories]
        print(
            f"{len(pictures)} images\n{'adapter':20} {'images':>6} {'added':>6} {'ms/image':>8}  out of step",
            flush=True,
        )
        fine = [judge(n, ADAPTERS[n], pictures, args.count, bank, affinity, ids) for n in args.adapters]
    sys.exit(not all(fine))


if __name__ == "__main__":
    main()
