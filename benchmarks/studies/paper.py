"""The paper's way on the rendered sample: affinity of names, replacing, inversion, and a classifier that filters.

    python -m benchmarks.studies.paper --out RUNS [--n 100] [--judge DETECTOR]

1. A small ResNet learns the sample's categories from crops of objects in scenes drawn for it.
2. `build-affinity --source clip` compares the category names by the embedded model's text encoder.
3. `generate --config paper` runs with the embedded model in place of Stable Diffusion.
4. `benchmarks/judges/labels.py` grades what it wrote. The judge filtered nothing here: the embedded detector will do.

Source of the method: Nie, Wang, Wang, He (arXiv 2408.02891). What is there already isn't made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from augsynth.coco.reader import read_dataset
from augsynth.core.images import read_image
from augsynth.core.seeding import derive_rng
from augsynth.filtering.classifiers import crop_object
from augsynth.generation.config import find_preset
from benchmarks.command import run_augsynth

ROOT = Path(__file__).resolve().parents[2]
CROP_PX = 64
SCENES_SEED, TEST_SEED = 313, 42
HELD_OUT = 0.15  # of the scenes, for the classifier's own figure
JITTER = 0.08  # of a box's sides: detectors and plans are never exact


def draw(folder: Path, *, num_images: int, seed: int) -> Path:
    """Draw scenes of the sample and return their annotation file."""
    from augsynth.sample import write_sample

    return write_sample(folder, num_images=num_images, seed=seed, workers=1)


def read_crops(
    annotations: Path, *, repeats: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return crops (N, 64, 64, 3) uint8 of all objects, cut a little off each time, their labels and scenes (N,)."""
    import PIL.Image

    dataset = read_dataset(annotations, images=annotations.parents[1] / "images")
    places = {c.id: k for k, c in enumerate(dataset.categories)}
    rng = derive_rng(seed, "crops")
    crops, labels, scenes = [], [], []
    for number, scene in enumerate(dataset.scenes):
        picture = read_image(dataset, scene)
        for box, category in zip(scene.boxes_xyxy, scene.category_ids, strict=True):
            for _ in range(repeats):
                sides = np.tile(box[2:] - box[:2], 2)
                crop = crop_object(picture, box + rng.uniform(-JITTER, JITTER, 4) * sides)
                small = PIL.Image.fromarray(crop).resize((CROP_PX, CROP_PX), PIL.Image.Resampling.BILINEAR)
                crops.append(np.asarray(small))
                labels.append(places[int(category)])
                scenes.append(number)
    return np.stack(crops), np.array(labels), np.array(scenes)


def train_classifier(annotations: Path, folder: Path, *, steps: int, batch: int = 64) -> None:
    """Train a ResNet of the transformers library on crops, all categories drawn alike, and save it."""
    import torch
    import transformers

    crops, labels, scenes = read_crops(annotations, repeats=2, seed=SCENES_SEED)
    document = json.loads(annotations.read_text("utf-8"))
    names = dict(enumerate(c["name"] for c in document["categories"]))
    held_out = scenes < HELD_OUT * (scenes.max() + 1)
    torch.manual_seed(SCENES_SEED)
    config = transformers.ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 128, 192], depths=[1, 1, 1, 1], layer_type="basic",
        id2label=names, label2id={v: k for k, v in names.items()},
    )  # fmt: skip
    network = transformers.ResNetForImageClassification(config)
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2)
    pools = [np.flatnonzero(~held_out & (labels == k)) for k in names]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    curve = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    rng = derive_rng(SCENES_SEED, "batches")
    for step in range(steps):
        said = rng.integers(len(pools), size=batch)
        rows = np.array([rng.choice(pools[k]) for k in said])
        inputs = scaled(pixels[rows])
        inputs = inputs.flip(3) if step % 2 else inputs
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(said))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.step()
        if step % 100 == 99:
            print(f"classifier: step {step + 1} of {steps}, loss {loss.item():.3f}", flush=True)
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(scaled(part)).logits for part in pixels[held_out].split(256)]).numpy()
    ranks = (logits > logits[np.arange(len(logits)), labels[held_out]][:, None]).sum(1)
    print(
        f"classifier: top 1 {(ranks < 1).mean():.1%}, top 3 {(ranks < 3).mean():.1%} of {len(ranks)} held-out crops"
    )
    network.save_pretrained(folder)
    transformers.ViTImageProcessor(
        size={"height": CROP_PX, "width": CROP_PX}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder)


def scaled(pixels: Any) -> Any:
    """Return uint8 pixels as the processor gives them: in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def augsynth(*words: object, done: Path) -> None:
    """Run a command of the tool unless its result is there."""
    if not done.exists():
        print("$ augsynth", *words, flush=True)
        run_augsynth(*words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=100, help="accepted objects")
    parser.add_argument("--scenes", type=int, default=800, help="scenes that the classifier learns from")
    parser.add_argument("--steps", type=int, default=600, help="of the classifier")
    parser.add_argument("--judge", default="embedded", help="a detector that grades the labels")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="change an option of the run"
    )
    given = parser.parse_args()
    classifier = given.out / "classifier"
    if not (classifier / "preprocessor_config.json").exists():
        train_classifier(
            draw(given.out / "scenes", num_images=given.scenes, seed=SCENES_SEED),
            classifier,
            steps=given.steps,
        )
    annotations = draw(given.out / "sample", num_images=200, seed=TEST_SEED)
    affinity = given.out / "clip.json"
    augsynth("build-affinity", "--annotations", annotations, "--out", affinity, "--source", "clip",
             "--clip-model", "embedded", done=affinity)  # fmt: skip
    options = yaml.safe_load(find_preset("paper").read_text("utf-8"))
    options |= {
        "model": "embedded", "classifier": str(classifier), "affinity": str(affinity), "device": "cpu",
        "precision": "float32", "steps": 25, "guidance": None, "context": None, "n": given.n,
        "annotations": str(annotations), "images": str(annotations.parents[1] / "images"), "originals": "omit",
    }  # fmt: skip
    options |= {key: yaml.safe_load(value) for key, _, value in (s.partition("=") for s in given.set)}
    run = given.out / "-".join(["run", *given.set])
    config = given.out / f"{run.name}.yaml"
    config.write_text(yaml.safe_dump(options), "utf-8")
    augsynth("generate", "--config", config, "--out", run, done=run / "summary.json")
    subprocess.run(
        [sys.executable, "-m", "benchmarks.judges.labels", run, "--judge", given.judge, "--repaint", "0"],
        check=True,
    )


if __name__ == "__main__":
    main()
