"""Train a small torchvision detector on fifty images of the rendered sample, without and with AffinityPaste.

    python examples/torchvision_detector.py

It needs no download. On two busy cores 18 minutes weren't enough. It prints the AP of both on unseen images:
the checkpoint that was best on the validation images, the same seed and number of steps for both.
"""

import argparse
import contextlib
import copy
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from augsynth.detectors.architectures import build_model
from augsynth.pasting.torchvision import AffinityPaste

SEED = 42
JUDGED = {"val": 40, "test": 100}  # images: the checkpoint is chosen on the former


def options():
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/torchvision"))
    parser.add_argument("--train-images", type=int, default=50)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--workers", type=int, default=0)
    return parser.parse_args()


def prepare(out, num_train):
    """Draw the sample and split it; cut a bank of the training images alone, and learn their affinity."""

    def augsynth(*words):
        subprocess.run([sys.executable, "-m", "augsynth", *map(str, words)], check=True)

    sizes = {"train": num_train, **JUDGED}
    if not (out / "sample").exists():
        augsynth("sample", "--out", out / "sample", "--num-images", sum(sizes.values()))
    document = json.loads((out / "sample" / "annotations" / "instances.json").read_text())
    images = document["images"]
    for name, size in sizes.items():
        part, images = images[:size], images[size:]
        ids = {image["id"] for image in part}
        found = [a for a in document["annotations"] if a["image_id"] in ids]
        (out / f"{name}.json").write_text(json.dumps(document | {"images": part, "annotations": found}))
    if not (out / "bank").exists():
        augsynth(
            "bank",
            "--annotations",
            out / "train.json",
            "--images",
            out / "sample/images",
            "--out",
            out / "bank",
        )
        augsynth("build-affinity", "--annotations", out / "train.json", "--out", out / "affinity.json")


def dataset_of(out, name, *transforms):
    """Return a part of the sample; its labels are category ids, which begin with 1 as the detector's do."""
    last = [v2.ToDtype(torch.float32, scale=True), v2.SanitizeBoundingBoxes()]
    composed = v2.Compose([v2.ToImage(), *transforms, *last])
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = CocoDetection(out / "sample" / "images", out / f"{name}.json", transforms=composed)
    return wrap_dataset_for_transforms_v2(dataset, target_keys=["image_id", "boxes", "labels"])


def balanced(out):
    """Return a chance for each training image: more where its rarest category is rare (repeat factors, LVIS)."""
    document = json.loads((out / "train.json").read_text())
    kinds = [
        {a["category_id"] for a in document["annotations"] if a["image_id"] == i["id"]}
        for i in document["images"]
    ]
    share = {c["id"]: np.mean([c["id"] in k for k in kinds]) for c in document["categories"]}
    return [max([1.0, *(np.sqrt(0.3 / share[c]) for c in k)]) for k in kinds]


def average_precision(model, out, name):
    """Return AP, AP50 and the AP of each category by name."""
    dataset, rows = dataset_of(out, name), []
    model.eval()
    with torch.inference_mode():
        for image, target in dataset:
            found = model([image])[0]
            boxes = torch.cat([found["boxes"][:, :2], found["boxes"][:, 2:] - found["boxes"][:, :2]], dim=1)
            for box, label, score in zip(boxes, found["labels"], found["scores"], strict=True):
                row = dict(category_id=int(label), bbox=box.tolist(), score=float(score))
                rows.append(dict(image_id=int(target["image_id"]), **row))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(out / f"{name}.json")
        if not rows:
            return 0.0, 0.0, {}
        judge = COCOeval(truth, truth.loadRes(rows), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][:, :, :, 0, -1]
    by_class = {
        truth.cats[c]["name"]: float(precision[:, :, k].mean())
        for k, c in enumerate(judge.params.catIds)
        if (precision[:, :, k] >= 0).all()
    }
    return float(judge.stats[0]), float(judge.stats[1]), by_class


def train(args, *transforms, title):
    """Train, and return the figures of the checkpoint that is best on the validation images."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    flip = v2.RandomHorizontalFlip(0.5)
    dataset = dataset_of(args.out, "train", *transforms, flip)
    num = args.steps * args.batch_size
    sampler = torch.utils.data.WeightedRandomSampler(balanced(args.out), num)
    loader = torch.utils.data.DataLoader(
        dataset,
        args.batch_size,
        sampler=sampler,
        num_workers=args.workers,
        collate_fn=lambda b: tuple(zip(*b, strict=True)),
    )
    model = build_model("fcos_small", num_categories=13)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps, pct_start=0.1)
    best, kept = -1.0, None
    for step, (images, targets) in enumerate(loader, start=1):
        model.train()
        loss = sum(model(list(images), list(targets)).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        pace.step()
        if (2 * step > args.steps and step % (1 + args.steps // 5) == 0) or step == args.steps:
            ap = average_precision(model, args.out, "val")[0]
            print(
                f"{title}: step {step}, loss {float(loss.detach()):.2f}, validation AP {100 * ap:.1f}",
                flush=True,
            )
            if ap > best:
                best, kept = ap, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return average_precision(model, args.out, "test")


def main():
    """Train twice and print the table."""
    args = options()
    prepare(args.out, args.train_images)
    paste = AffinityPaste(args.out / "bank", args.out / "affinity.json", prob=1.0, max_objects=10, gamma=1.5)
    plain = train(args, title="without augsynth")
    pasted = train(args, paste, title="with augsynth")
    print(f"\n{'test images':16} {'without':>8} {'with':>8}")
    for name, k in (("AP", 0), ("AP50", 1)):
        print(f"{name:16} {100 * plain[k]:8.1f} {100 * pasted[k]:8.1f}")
    for name, ap in plain[2].items():
        print(f"AP of {name:10} {100 * ap:8.1f} {100 * pasted[2].get(name, 0.0):8.1f}")


if __name__ == "__main__":
    main()
