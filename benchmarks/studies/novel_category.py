"""Can a LoRA teach a checkpoint a category that it has never seen? Shown on the rendered sample.

    python -m benchmarks.studies.novel_category --out RUNS [--category glove] [--shots 12] [--attempts 100] \
        [--base MODEL]

1. A base: a small inpainting model trained from scratch on scenes without the category, or `--base`.
2. A LoRA of it, trained on a few images with the category; the other objects in them keep the base to what it was.
3. `generate` paints the category into other scenes, with the LoRA and without: same scenes, same seed, same filter (the
   sample's detector). And the other categories (`--others`: those that the base knows) likewise, which the LoRA should
   leave as they were.

Every stage is a command of the tool, is printed, and is skipped when its result is there; trainings go on where
they stopped. The base takes hours on two processor cores; `--steps 20 --shots 4 --attempts 4` tries the road out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from augsynth.filtering.grading import wilson
from benchmarks.command import run_augsynth

SCENES_SEED, SHOTS_SEED, TEST_SEED = 7, 2024, 42


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    category: str
    scenes: int
    shots: int
    steps: int
    lora_steps: int
    lora_lr: float
    lora_rank: int
    lora_windows: int
    lora_prior_share: float
    others: Sequence[str]
    attempts: int
    test_scenes: int
    device: str
    threads: int

    @property
    def decoder_steps(self) -> int:
        return self.steps // 10

    @property
    def autoencoder_steps(self) -> int:
        return max(2, self.steps // 5)


def without_category(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a COCO document without a category and without every image that shows it."""
    gone = {c["id"] for c in document["categories"] if c["name"] == name}
    if not gone:
        sys.exit(f"error: the sample has no category {name!r}")
    showing = {a["image_id"] for a in document["annotations"] if a["category_id"] in gone}
    return {
        **document,
        "categories": [c for c in document["categories"] if c["id"] not in gone],
        "images": [i for i in document["images"] if i["id"] not in showing],
        "annotations": [a for a in document["annotations"] if a["image_id"] not in showing],
    }


def few_images(document: dict[str, Any], name: str, count: int) -> dict[str, Any]:
    """Return a COCO document with the first images that show a category, and all that is in them."""
    ids = {c["id"] for c in document["categories"] if c["name"] == name}
    showing = {a["image_id"] for a in document["annotations"] if a["category_id"] in ids}
    images = [i for i in document["images"] if i["id"] in showing][:count]
    if len(images) < count:
        sys.exit(f"error: only {len(images)} of the scenes show a {name}; ask for fewer --shots")
    kept = {i["id"] for i in images}
    annotations = [a for a in document["annotations"] if a["image_id"] in kept]
    return {**document, "images": images, "annotations": annotations}


def call(*arguments: object, done: Path) -> None:
    """Run a command of the tool unless its result is there."""
    words = [str(a) for a in arguments]
    print("$ augsynth", *words, flush=True)
    if done.exists():
        print(f"  {done} is there", flush=True)
        return
    run_augsynth(*words)


def draw(folder: Path, *, num_images: int, seed: int) -> Path:
    """Draw scenes and return their annotation file."""
    path = folder / "annotations" / "instances.json"
    call("sample", "--out", folder, "--num-images", num_images, "--seed", seed, "--workers", 1, done=path)
    return path


def train_base(plan: Plan, out: Path) -> Path:
    """Train a small model on scenes without the category; return its folder."""
    scenes = draw(out / "scenes", num_images=plan.scenes, seed=SCENES_SEED)
    annotations = out / "without.json"
    annotations.write_text(json.dumps(without_category(json.loads(scenes.read_text()), plan.category)))
    batch = 32 if plan.steps >= 1000 else 4
    call(
        "train-inpainter", "--annotations", annotations, "--images", out / "scenes" / "images", "--out", out / "base",
        "--preset", "small-64", "--autoencoder-steps", plan.autoencoder_steps, "--decoder-steps", plan.decoder_steps,
        "--denoiser-steps", plan.steps, "--num-windows", max(64, min(32_000, 2 * plan.steps)),
        "--autoencoder-batch-size", min(16, batch), "--denoiser-batch-size", batch, "--symmetry", "none",
        "--device", plan.device, "--threads", plan.threads, done=out / "base" / "finished",
    )  # fmt: skip
    (out / "base" / "finished").touch()
    return out / "base" / "model"


def train_lora(plan: Plan, base: str, out: Path) -> Path:
    """Train a LoRA of the base on a few images with the category; return its folder."""
    drawn = draw(out / "shots", num_images=max(60, 40 * plan.shots), seed=SHOTS_SEED)
    annotations = out / f"shots-{plan.shots}.json"
    annotations.write_text(json.dumps(few_images(json.loads(drawn.read_text()), plan.category, plan.shots)))
    folder, batch = out / f"lora-{plan.shots}", 16 if plan.lora_steps >= 100 else 4
    call(
        "train-lora", "--model", base, "--annotations", annotations, "--images", out / "shots" / "images",
        "--out", folder, "--categories", plan.category, "--lora-rank", plan.lora_rank,
        "--lora-steps", plan.lora_steps, "--lora-lr", plan.lora_lr, "--lora-batch-size", batch,
        "--num-windows", plan.lora_windows, "--symmetry", "none", "--held-out-share", 0,
        "--prior-share", plan.lora_prior_share,
        "--samples", 8, "--device", plan.device, "--threads", plan.threads, done=folder / "finished",
    )  # fmt: skip
    (folder / "finished").touch()
    return folder / "last"


def paint(plan: Plan, base: str, lora: Path | None, out: Path, *, what: str) -> Counter[str]:
    """Paint the category (or the others) into the test scenes and return counts of verdicts, and summed scores."""
    annotations = out / "test" / "annotations" / "instances.json"
    names = [c["name"] for c in json.loads(annotations.read_text())["categories"]]
    others = list(plan.others) or [name for name in names if name != plan.category]
    chosen = [plan.category] if what == "novel" else others
    folder = out / f"{what}-{'lora' if lora else 'bare'}"
    config = out / f"{folder.name}.yaml"
    config.write_text(
        yaml.safe_dump({"categories": chosen, "retries": 1, "lora": str(lora) if lora else None})
    )
    call(
        "generate", "--config", config, "--annotations", annotations, "--images", out / "test" / "images",
        "--model", base, "--detector", "embedded", "--n", plan.attempts, "--max-attempts", plan.attempts,
        "--originals", "omit", "--device", plan.device, "--out", folder,
        done=folder / "annotations" / "instances_augmented.json",
    )  # fmt: skip
    lines = (folder / "provenance.jsonl").read_text().splitlines()
    judged = [attempt for attempt in map(json.loads, lines) if "score" in attempt]
    counts = Counter(str(attempt["reason"]) for attempt in judged)
    counts["judged"] = len(judged)
    counts["percent"] = round(100 * sum(attempt["score"] for attempt in judged))
    return counts


def print_table(plan: Plan, rows: dict[tuple[str, str], Counter[str]]) -> None:
    """Print yield and mean score of each arm."""
    print(
        f"\n| painted, {plan.shots} images for the LoRA | judged | yield (95 %) | mean score | turned down |"
    )
    print("|---|---:|---:|---:|---|")
    for (what, arm), counts in rows.items():
        judged = max(1, counts["judged"])
        low, high = wilson(counts["accepted"], judged)
        title = plan.category if what == "novel" else "the other categories"
        reasons = {k: v for k, v in counts.most_common() if k not in ("accepted", "judged", "percent")}
        print(
            f"| {title}, {arm} | {counts['judged']} | {counts['accepted'] / judged:.0%} ({low:.0%}–{high:.0%}) "
            f"| {counts['percent'] / 100 / judged:.2f} | {', '.join(f'{k} {v}' for k, v in reasons.items()) or '–'} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", help="a model without the category, instead of training one")
    parser.add_argument("--category", default="glove")
    parser.add_argument("--scenes", type=int, default=4000, help="scenes for the base")
    parser.add_argument("--shots", type=int, default=12, help="images with the category for the LoRA")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of the base's denoiser")
    parser.add_argument("--lora-steps", type=int, default=1600)
    parser.add_argument("--lora-lr", type=float, default=1e-3)
    parser.add_argument("--lora-rank", type=int, default=16)
    parser.add_argument("--lora-windows", type=int, default=1000)
    parser.add_argument("--lora-prior-share", type=float, default=0.5, help="of a batch, see train-lora")
    parser.add_argument(
        "--others", nargs="+", default=(), help="what else the base knows (default: all other categories)"
    )
    parser.add_argument("--attempts", type=int, default=100, help="attempts in each arm")
    parser.add_argument("--test-scenes", type=int, default=120)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    values = {k: v for k, v in vars(given).items() if k not in ("out", "base")}
    plan = Plan(**values)
    given.out.mkdir(parents=True, exist_ok=True)
    base = given.base or str(train_base(plan, given.out))
    lora = train_lora(plan, base, given.out)
    draw(given.out / "test", num_images=plan.test_scenes, seed=TEST_SEED)
    rows = {
        (what, arm): paint(plan, base, adapter, given.out, what=what)
        for what in ("novel", "others")
        for arm, adapter in (("without the LoRA", None), ("with it", lora))
    }
    print_table(plan, rows)


if __name__ == "__main__":
    main()
