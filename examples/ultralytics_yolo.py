"""Train a YOLO11n of Ultralytics from its yaml on the rendered sample, without and with AffinityPaste.

    python examples/ultralytics_yolo.py

Ultralytics is AGPL-3.0 and no dependency of augsynth: install both into an environment of their own. Nothing is
downloaded. It prints the AP of both on unseen images: of the checkpoint that was best on the validation images, with
the same seed and number of epochs for both. That takes about six minutes of processor time.
"""

import os

os.environ.setdefault("YOLO_OFFLINE", "true")

import common
import yaml
from ultralytics import YOLO

from augsynth.pasting.ultralytics import AffinityPaste


def export(out):
    """Write the parts as a YOLO dataset whose list of training images has those with rare categories more often."""
    if not (out / "yolo").exists():
        words = []
        for prefix, name in (("", "train"), ("val-", "val"), ("test-", "test")):
            words += [f"--{prefix}annotations", out / f"{name}.json", f"--{prefix}images", common.images(out)]
        common.augsynth("export", *words, "--format", "yolo", "--masks", "--out", out / "yolo")
    document = common.read(out, "train")
    lines, owed = [], 0.0
    for image, factor in zip(document["images"], common.repeat_factors(document), strict=True):
        owed += factor
        lines += [f"./images/train/{image['file_name']}"] * int(owed)
        owed -= int(owed)
    (out / "yolo" / "train.txt").write_text("\n".join(lines) + "\n")
    data = yaml.safe_load((out / "yolo" / "data.yaml").read_text())
    balanced = data | {"path": str((out / "yolo").resolve()), "train": "train.txt"}
    (out / "yolo" / "balanced.yaml").write_text(yaml.safe_dump(balanced))
    return out / "yolo" / "balanced.yaml"


def train(args, data, callback, title):
    """Train, and return the scores of the checkpoint that is best on the validation images."""
    model = YOLO(args.model)
    if callback is not None:
        model.add_callback("on_pretrain_routine_end", callback)
    model.train(
        data=str(data),
        epochs=args.epochs,
        imgsz=args.image_size,
        batch=args.batch_size,
        nbs=args.batch_size,  # a step for each batch; it's one for 64 images otherwise
        optimizer="AdamW",
        lr0=args.lr,
        warmup_epochs=2,
        mosaic=0.0,  # it loads four images for one, and there are few steps
        seed=common.SEED,
        device="cpu",
        workers=0,
        amp=False,
        plots=False,
        verbose=False,
        project=str(args.out.resolve()),
        name=title.replace(" ", "_"),
        exist_ok=True,
    )
    return judged(args, YOLO(args.out / title.replace(" ", "_") / "weights" / "best.pt"))


def judged(args, model):
    """Return the scores of a model on the test images."""
    document, rows = common.read(args.out, "test"), []
    id_of = {category["name"]: category["id"] for category in document["categories"]}
    for image in document["images"]:
        picture = str(common.images(args.out) / image["file_name"])
        (found,) = model.predict(picture, imgsz=args.image_size, conf=0.001, device="cpu", verbose=False)
        for x1, y1, x2, y2, score, kind in found.boxes.data.tolist():
            box = [x1, y1, x2 - x1, y2 - y1]
            rows.append(
                dict(image_id=image["id"], category_id=id_of[model.names[int(kind)]], bbox=box, score=score)
            )
    return common.judge(args.out, "test", rows)


def main():
    """Train twice and print the table."""
    args = common.options(__doc__, model="yolo11n.yaml", epochs=40, image_size=192, batch_size=8, lr=2e-3)
    common.prepare(args.out, args.train_images)
    data = export(args.out)
    paste = AffinityPaste(args.out / "bank", args.out / "affinity.json", seed=common.SEED, **common.PASTE)
    plain = train(args, data, None, title="without augsynth")
    pasted = train(args, data, paste, title="with augsynth")
    common.show(plain, pasted)


if __name__ == "__main__":
    main()
