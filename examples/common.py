"""What the examples share: the rendered sample in three parts, a bank and an affinity of the training images, AP."""

import argparse
import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SEED = 42
JUDGED = {"val": 40, "test": 100}  # images: the checkpoint is chosen on the former
PASTE = dict(prob=1.0, max_objects=10, gamma=1.5)  # for few training images, docs/trainers.md


@dataclass(frozen=True)
class Scores:
    """AP and AP50 over all categories, and AP of each category by name; in [0, 1]."""

    ap: float
    ap50: float
    by_category: dict


def options(text, **defaults):
    """Return what the command line says: the output folder, the number of training images, and `defaults` as flags."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / Path(sys.argv[0]).stem)
    parser.add_argument("--train-images", type=int, default=50)
    for name, value in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    return parser.parse_args()


def augsynth(*words):
    """Run a command of augsynth."""
    subprocess.run([sys.executable, "-m", "augsynth", *map(str, words)], check=True)


def prepare(out, num_train):
    """Draw the sample and split it; cut a bank of the training images alone, and learn their affinity."""
    sizes = {"train": num_train, **JUDGED}
    if not (out / "sample").exists():
        augsynth("sample", "--out", out / "sample", "--num-images", sum(sizes.values()))
    document = json.loads((out / "sample" / "annotations" / "instances.json").read_text())
    rest = document["images"]
    for name, size in sizes.items():
        part, rest = rest[:size], rest[size:]
        ids = {image["id"] for image in part}
        found = [a for a in document["annotations"] if a["image_id"] in ids]
        (out / f"{name}.json").write_text(json.dumps(document | {"images": part, "annotations": found}))
    train = ("--annotations", out / "train.json")
    if not (out / "bank").exists():
        augsynth("bank", *train, "--images", images(out), "--out", out / "bank")
        augsynth("build-affinity", *train, "--out", out / "affinity.json")


def images(out):
    """Return the folder of all images."""
    return out / "sample" / "images"


def read(out, name):
    """Return the COCO document of a part: `train`, `val` or `test`."""
    return json.loads((out / f"{name}.json").read_text())


def repeat_factors(document):
    """Return how often each image should be seen: more where its rarest category is rare (as for LVIS)."""
    kinds = [
        {a["category_id"] for a in document["annotations"] if a["image_id"] == image["id"]}
        for image in document["images"]
    ]
    share = {c["id"]: np.mean([c["id"] in k for k in kinds]) for c in document["categories"]}
    return [max([1.0, *(np.sqrt(0.3 / share[c]) for c in k)]) for k in kinds]


def judge(out, name, rows):
    """Return the scores of COCO results on a part of the sample."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(out / f"{name}.json")
        if not rows:
            return Scores(0.0, 0.0, {})
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_category = {
        truth.cats[c]["name"]: float(precision[:, :, k].mean())
        for k, c in enumerate(evaluation.params.catIds)
        if (precision[:, :, k] >= 0).all()
    }
    return Scores(float(evaluation.stats[0]), float(evaluation.stats[1]), by_category)


def show(plain, pasted):
    """Print the scores without and with augsynth beside each other, in percent."""
    print(f"\n{'test images':16} {'without':>8} {'with':>8}")
    for name, key in (("AP", "ap"), ("AP50", "ap50")):
        print(f"{name:16} {100 * getattr(plain, key):8.1f} {100 * getattr(pasted, key):8.1f}")
    for name in {**plain.by_category, **pasted.by_category}:
        both = (100 * scores.by_category.get(name, 0.0) for scores in (plain, pasted))
        print(f"AP of {name:10} {next(both):8.1f} {next(both):8.1f}")
