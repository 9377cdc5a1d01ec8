"""Train a small torchvision detector on fifty images of the rendered sample, without and with AffinityPaste.

    python examples/torchvision_detector.py

It needs no download. It prints the AP of both on unseen images: of the checkpoint that was best on the validation
images, with the same seed and number of steps for both. That takes about five minutes of processor time.
"""

import contextlib
import copy
import io

import common
import numpy as np
import torch
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from augsynth.detectors.architectures import build_model
from augsynth.pasting.torchvision import AffinityPaste

SAMPLE_HEIGHT, HEIGHT = 240, 144  # pixels; a step at the latter takes a third of the time


def dataset_of(out, name, *transforms):
    """Return a part of the sample; its labels are category ids, which begin with 1 as the detector's do."""
    last = [v2.Resize(HEIGHT), v2.ToDtype(torch.float32, scale=True), v2.SanitizeBoundingBoxes()]
    composed = v2.Compose([v2.ToImage(), *transforms, *last])
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = CocoDetection(common.images(out), out / f"{name}.json", transforms=composed)
    return wrap_dataset_for_transforms_v2(dataset, target_keys=["image_id", "boxes", "labels"])


def judged(model, out, name):
    """Return the scores of a model on a part of the sample."""
    rows = []
    model.eval()
    with torch.inference_mode():
        for image, target in dataset_of(out, name):
            found = model([image])[0]
            found["boxes"] *= SAMPLE_HEIGHT / HEIGHT
            found["boxes"][:, 2:] -= found["boxes"][:, :2]
            for box, label, score in zip(
                *(found[key].tolist() for key in ("boxes", "labels", "scores")), strict=True
            ):
                row = dict(category_id=label, bbox=box, score=score)
                rows.append(dict(image_id=int(target["image_id"]), **row))
    return common.judge(out, name, rows)


def train(args, *transforms, title):
    """Train, and return the scores of the checkpoint that is best on the validation images."""
    torch.manual_seed(common.SEED)
    np.random.seed(common.SEED)
    dataset = dataset_of(args.out, "train", *transforms, v2.RandomHorizontalFlip(0.5))
    weights = common.repeat_factors(common.read(args.out, "train"))
    loader = torch.utils.data.DataLoader(
        dataset,
        args.batch_size,
        sampler=torch.utils.data.WeightedRandomSampler(weights, args.steps * args.batch_size),
        num_workers=args.workers,
        collate_fn=lambda b: tuple(zip(*b, strict=True)),
    )
    model = build_model("fcos_small", num_categories=13).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps, pct_start=0.1)
    best, kept = -1.0, None
    for step, (pictures, targets) in enumerate(loader, start=1):
        model.train()
        loss = sum(model(list(pictures), list(targets)).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        pace.step()
        if step in (args.steps * 3 // 4, args.steps):
            ap = judged(model, args.out, "val").ap
            print(f"{title}: step {step}, loss {loss.item():.2f}, validation AP {100 * ap:.1f}", flush=True)
            if ap > best:
                best, kept = ap, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return judged(model, args.out, "test")


def main():
    """Train twice and print the table."""
    args = common.options(__doc__, steps=300, batch_size=8, lr=2e-3, workers=0)
    common.prepare(args.out, args.train_images)
    paste = AffinityPaste(args.out / "bank", args.out / "affinity.json", **common.PASTE)
    plain = train(args, title="without augsynth")
    pasted = train(args, paste, title="with augsynth")
    common.show(plain, pasted)


if __name__ == "__main__":
    main()
