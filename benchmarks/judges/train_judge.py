"""Train a judge for labels.py, or a detector for the filter of photographs: YOLOX-Nano from its COCO weights.

    python -m benchmarks.judges.train_judge --data SHARED_DATA --work WORK --out FOLDER [--source sample] \
        [--learn-from train]

It learns in MMDetection, with AffinityPaste from real cut-outs: a judge from images that neither painter nor filter has
seen (`held-out`), which are the validation and test splits of photographs and other scenes of the rendered sample; a
filter from the training split (`train`). Its figures are those on the other part.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from augsynth.core.errors import AugsynthError
from benchmarks.gain import sources, training
from benchmarks.gain.arms import ARMS, Recipe
from benchmarks.gain.figures import judge
from benchmarks.gain.sources import Source
from benchmarks.gain.synthesis import Workshop

NUM_SCENES, SCENES_SEED = 2600, 1009
ARM = ARMS["paste_real"]
RECIPE = replace(Recipe(), paste_objects=5, paste_until=0.75)


def held_out(name: str, *, data: Path, work: Path) -> Source:
    """Return a data set whose training images are those that painter and filter never see."""
    source = sources.prepare(name, data=data, work=work)
    if name != "sample":
        return replace(source, train=source.test, test=source.train)
    scenes = sources.draw_scenes(source.images, "judge", num_images=NUM_SCENES, seed=SCENES_SEED)
    return replace(source, train=scenes)


def train_judge(source: Source, *, start: Path, schedule: training.Schedule, work: Path, out: Path) -> str:
    """Train a judge, write config and weights to `out`, and return its figures as a line."""
    shop = Workshop(source, source.train, work / "made" / f"judge_{source.name}_{source.train.stem}")
    shop.folder.mkdir(parents=True, exist_ok=True)
    material = training.Material(source.train, banks=(shop.bank(),), affinity=shop.affinity())
    config = training.runner_config(
        source,
        ARM,
        RECIPE,
        material,
        detector="yolox_nano",
        schedule=schedule,
        seed=SCENES_SEED,
        folder=out,
    )
    runner = training.train(config, start=start)
    training.keep(runner, out)
    figures = judge(source.test, training.detect(runner), rare=sources.rare_categories(source))
    lowest = min(figures["category_ap50"].items(), key=lambda item: item[1])
    return (
        f"{source.name}: {training.count_images(source.train)} images learnt from, AP {figures['ap']:.3f}, "
        f"AP50 {figures['ap50']:.3f} on {training.count_images(source.test)} others, lowest AP50 "
        f"{lowest[1]:.3f} ({lowest[0]})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with blood_cells/, yolox_nano/, …")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--out", type=Path, required=True, help="folder of the judge")
    parser.add_argument("--source", choices=sources.NAMES, default="sample")
    parser.add_argument("--learn-from", choices=("held-out", "train"), default="held-out")
    parser.add_argument("--iterations", type=int, default=4000, help="optimizer steps")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    work, out = args.work.resolve(), args.out.resolve()
    started = time.monotonic()
    choose = held_out if args.learn_from == "held-out" else sources.prepare
    try:
        line = train_judge(
            choose(args.source, data=args.data, work=work),
            start=args.data / "yolox_nano" / "yolox_nano.pth",
            schedule=training.Schedule(args.iterations),
            work=work,
            out=out,
        )
    except AugsynthError as error:
        sys.exit(f"judge: {error}")
    print(f"{line}; {(time.monotonic() - started) / 60:.0f} min")


if __name__ == "__main__":
    main()
