"""What AffinityPaste costs against MMDetection's CopyPaste: milliseconds of processor time an image, in one thread.

    python -m benchmarks.cost.affinity_paste --data coco_mini [--images images --annotations instances.json]

Both paste the same number of objects into images of the same size, with boxes only and with masks. The same
results go into both; loading is measured for neither. Prints the ratio, which must be at most 1. What CopyPaste takes
grows with the image, what AffinityPaste takes with the objects: far below 640 x 480 the former is quicker.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="COCO data with masks")
    parser.add_argument("--images", default="images")
    parser.add_argument("--annotations", default="instances.json")
    parser.add_argument("--sizes", nargs="+", default=["640x480", "800x600", "1333x800"])
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 3, 5])
    parser.add_argument("--repeats", type=int, default=40)
    return parser.parse_args()


def prepare(args, work):
    """Write a bank and an affinity file of the data; return their paths and the class names."""
    from augsynth.affinity.model import Affinity, save_affinity_file
    from augsynth.bank.cutting import CutRules
    from augsynth.coco.reader import read_dataset
    from augsynth.commands.bank import build_bank
    from augsynth.placement.layout import Layout

    annotations = args.data / args.annotations
    for line in build_bank(annotations, args.data / args.images, work / "bank", rules=CutRules()).lines:
        print(line)
    dataset = read_dataset(annotations)
    save_affinity_file(work / "affinity.json", Affinity.fit(dataset), Layout.fit(dataset).to_dict())
    return [category.name for category in dataset.categories]


def loaded(args, size_wh, *, with_mask, classes):
    """Return results of images with objects, all of one size."""
    from mmdet.datasets import CocoDataset

    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=with_mask),
        dict(type="mmdet.Resize", scale=size_wh, keep_ratio=False),
    ]
    dataset = CocoDataset(
        ann_file=str(args.data / args.annotations),
        data_prefix=dict(img=str(args.data / args.images)),
        metainfo=dict(classes=classes),
        pipeline=pipeline,
    )
    found = [dataset[i] for i in range(len(dataset))]
    return [r for r in found if 2 <= len(r["gt_bboxes_labels"]) <= 20 and not r["gt_ignore_flags"].all()]


def donor_of(results, num):
    """Return a donor with exactly `num` objects, repeated where it has fewer."""
    donor = copy.deepcopy(results)
    chosen = np.arange(num) % len(donor["gt_bboxes_labels"])
    for key in ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags", "gt_masks"):
        if key in donor:
            donor[key] = donor[key][chosen]
    return donor


def race(args, images, num, *, with_mask, work, classes):
    """Return medians of milliseconds per image, and objects pasted per image, of both; turns alternate."""
    from mmdet.datasets.transforms import CopyPaste

    from augsynth.pasting.transform import AffinityPaste

    copy_paste = CopyPaste(selected=False, paste_by_box=not with_mask)
    ours = AffinityPaste(
        bank=str(work / "bank"),
        affinity=str(work / "affinity.json"),
        classes=classes,
        prob=1.0,
        min_objects=num,
        max_objects=num,
    )
    times, pasted = {"CopyPaste": [], "AffinityPaste": []}, []
    for k in range(args.repeats):
        image, donor = images[k % len(images)], images[(k + 1) % len(images)]
        theirs = copy.deepcopy(image)
        donor = donor_of(donor, num)
        if not with_mask:  # CopyPaste leaves the making of masks to `selected`; it belongs to its cost
            donor["gt_masks"] = donor["gt_bboxes"].create_masks(donor["img"].shape[:2])
        theirs["mix_results"] = [donor]
        start = time.process_time()
        copy_paste.transform(theirs)
        middle = time.process_time()
        fresh = copy.deepcopy(image)
        begin = time.process_time()
        result = ours.transform(fresh)
        end = time.process_time()
        times["CopyPaste"].append(middle - start)
        times["AffinityPaste"].append(end - begin)
        pasted.append(result.get("num_pasted", 0))
    warm = slice(3, None)
    return {name: 1000 * float(np.median(seconds[warm])) for name, seconds in times.items()}, np.mean(pasted)


def main():
    args = options()
    import cv2
    import torch
    from mmengine.registry import init_default_scope

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    init_default_scope("mmdet")
    np.random.seed(42)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        classes = prepare(args, work)
        print("size       objects  labels  CopyPaste ms  AffinityPaste ms  ratio  pasted")
        for size in args.sizes:
            size_wh = tuple(int(side) for side in size.split("x"))
            for with_mask in (False, True):
                images = loaded(args, size_wh, with_mask=with_mask, classes=classes)
                for num in args.objects:
                    times, pasted = race(args, images, num, with_mask=with_mask, work=work, classes=classes)
                    ratio = times["AffinityPaste"] / times["CopyPaste"]
                    worst = max(worst, ratio)
                    print(
                        f"{size:10} {num:7}  {'masks' if with_mask else 'boxes':6}  {times['CopyPaste']:12.2f}"
                        f"  {times['AffinityPaste']:16.2f}  {ratio:5.2f}  {pasted:6.1f}",
                        flush=True,
                    )
    print(f"largest ratio {worst:.2f}, which must be at most 1")
    sys.exit(worst > 1)


if __name__ == "__main__":
    main()
