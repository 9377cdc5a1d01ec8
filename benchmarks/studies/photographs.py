"""The whole road on real photographs: detector, inpainter, affinity, 200 accepted objects.

    python -m benchmarks.studies.photographs --data SHARED_DATA --out RUNS [--domain blood_cells] [--n 200] \
        [--start MODEL]
        [--detectors FOLDER]

The inpainter goes on from `--start`, by default the embedded one, in windows of the domain's `window_size`; where its
`preset` is of twice the windows, it grows first (`augsynth train-inpainter --preset`). `--detectors` holds a detector
of each domain, in a folder of its name, to filter with instead of one trained from nothing. Every stage is a
command of the tool, is printed, and is skipped when its result is there; trainings go on where they stopped.
RUNS/<domain>/generated holds the contact sheets to look at. Photographs and pictures made from them stay in RUNS: they
are not ours to publish.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PilImage

from benchmarks.command import run_augsynth


@dataclass(frozen=True)
class Domain:
    """A data set and how long it is trained for."""

    annotations: str
    images: str
    scale: float
    preset: str
    window_size: int
    decoder_steps: int
    denoiser_steps: int
    denoiser_batch_size: int
    detector_steps: int
    num_windows: int


DOMAINS = {
    "blood_cells": Domain(
        annotations="blood_cells/instances_train.json",
        images="blood_cells/images",
        scale=0.5,
        preset="small-64",
        window_size=80,
        decoder_steps=500,
        denoiser_steps=2600,
        denoiser_batch_size=32,
        detector_steps=600,
        num_windows=8000,
    ),
    "aerial_maritime": Domain(
        annotations="aerial_maritime/instances_train.json",
        images="aerial_maritime/train",
        scale=0.5,
        preset="small-128",
        window_size=128,
        decoder_steps=500,
        denoiser_steps=3000,
        denoiser_batch_size=16,
        detector_steps=900,
        num_windows=12_000,
    ),
}


def halve(domain: Domain, data: Path, out: Path) -> tuple[Path, Path]:
    """Write a resized copy of a data set and return its annotation file and image directory."""
    annotations, images = data / domain.annotations, data / domain.images
    if domain.scale == 1:
        return annotations, images
    target = out / "source"
    if (target / "instances.json").is_file():
        return target / "instances.json", target / "images"
    document = json.loads(annotations.read_text())
    (target / "images").mkdir(parents=True, exist_ok=True)
    for record in document["images"]:
        picture = PilImage.open(images / record["file_name"]).convert("RGB")
        size = tuple(round(side * domain.scale) for side in picture.size)
        picture.resize(size, PilImage.Resampling.LANCZOS).save(
            target / "images" / record["file_name"], quality=95, subsampling=0
        )
        record["width"], record["height"] = size
    for annotation in document["annotations"]:
        annotation["bbox"] = [v * domain.scale for v in annotation["bbox"]]
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
        annotation.pop("segmentation", None)
    (target / "instances.json").write_text(json.dumps(document))
    return target / "instances.json", target / "images"


def call(*arguments: object, done: Path) -> float:
    """Run a command of the tool unless its result is there; return the minutes it took."""
    words = [str(a) for a in arguments]
    print("$ augsynth", *words, flush=True)
    if done.exists():
        print(f"  {done} is there", flush=True)
        return 0.0
    started = time.monotonic()
    run_augsynth(*words)
    return (time.monotonic() - started) / 60


def travel(
    name: str, data: Path, out: Path, *, n: int, threads: int, start: str, detectors: Path | None
) -> dict[str, float]:
    """Run the road for one domain and return the minutes of each stage."""
    domain = DOMAINS[name]
    out.mkdir(parents=True, exist_ok=True)
    annotations, images = halve(domain, data, out)
    source = ["--annotations", annotations, "--images", images]
    detector, painter = detectors / name if detectors else out / "detector", out / "painter"
    minutes = {
        "train-detector": 0.0 if detectors else call(
            "train-detector", *source, "--out", detector, "--steps", domain.detector_steps,
            "--vertical-flip", "--threads", threads, done=detector / "config.json",
        ),
        "train-inpainter": call(
            "train-inpainter", *source, "--out", painter, "--start", start, "--preset", domain.preset,
            "--window-size", domain.window_size, "--autoencoder-batch-size", 16,
            "--denoiser-batch-size", domain.denoiser_batch_size,
            "--decoder-steps", domain.decoder_steps, "--denoiser-steps", domain.denoiser_steps,
            "--num-windows", domain.num_windows, "--symmetry", "dihedral", "--threads", threads,
            done=painter / "finished",
        ),
    }  # fmt: skip
    (painter / "finished").touch()
    minutes["build-affinity"] = call(
        "build-affinity",
        "--annotations",
        annotations,
        "--out",
        out / "affinity.json",
        done=out / "affinity.json",
    )
    minutes["generate"] = call(
        "generate", *source, "--affinity", out / "affinity.json", "--model", painter / "model",
        "--detector", detector, "--n", n, "--originals", "omit", "--out", out / "generated",
        done=out / "generated" / "config.yaml",
    )  # fmt: skip
    return minutes


def report(name: str, out: Path, minutes: dict[str, float]) -> None:
    """Print yield, reasons and minutes of one domain."""
    document = json.loads((out / "generated" / "synthetic" / "instances.json").read_text())
    names = {c["id"]: c["name"] for c in document["categories"]}
    attempts = [
        json.loads(line) for line in (out / "generated" / "provenance.jsonl").read_text().splitlines()
    ]
    reasons = Counter(a["reason"] for a in attempts)
    accepted = Counter(names[a["category_id"]] for a in attempts if a["reason"] == "accepted")
    print(f"\n## {name}\n")
    if (out / "detector" / "config.json").is_file():
        training = json.loads((out / "detector" / "config.json").read_text()).get("training", {})
        print(f"detector, held-out images: {training.get('evaluation')}")
    print(f"attempts {len(attempts)}, yield {reasons['accepted'] / max(1, len(attempts)):.0%}")
    print("verdicts:", ", ".join(f"{k} {v}" for k, v in reasons.most_common()))
    print("accepted:", ", ".join(f"{k} {v}" for k, v in accepted.most_common()))
    print("minutes:", ", ".join(f"{k} {v:.1f}" for k, v in minutes.items()))
    print("look at:", *sorted(str(p) for p in (out / "generated").glob("contact_sheet_*.png")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with blood_cells/ and aerial_maritime/"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--domain", choices=sorted(DOMAINS), action="append")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", default="embedded", help="inpainter to go on from")
    parser.add_argument("--detectors", type=Path, help="folder of folders, a detector of each domain")
    arguments = parser.parse_args()
    for name in arguments.domain or DOMAINS:
        minutes = travel(
            name,
            arguments.data,
            arguments.out / name,
            n=arguments.n,
            threads=arguments.threads,
            start=arguments.start,
            detectors=arguments.detectors,
        )
        report(name, arguments.out / name, minutes)


if __name__ == "__main__":
    main()
