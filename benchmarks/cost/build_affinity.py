"""What `build-affinity` costs on a file of COCO's size, beside reading the same file with other tools.

    python -m benchmarks.cost.build_affinity [--folder DIR] [--repeats 3] [--rows coco,lvis,growth]
    python -m benchmarks.cost.build_affinity --write FILE [--images 118000] [--objects 861000] [--categories 80]

The file is made up: images have a topic, a topic has its categories, categories are as unequal as COCO's, and
polygons, crowds and image records are as long as COCO's (about 450 MB at 118,000 images and 861,000 objects).
Every contender runs in a process of its own, one after the other, as often as `--repeats` says: a bare parse by
the fastest general JSON library that is installed (orjson or msgspec, bytes to Python objects), pycocotools'
`COCO(file)`, and `augsynth build-affinity`. Printed are the medians of wall time and the peak of resident memory,
and their ratios. `lvis` has 30,000 images and 1,200 categories. `growth` goes from a tenth to the whole in images
and objects, and in categories.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_TOPICS = 24
_SHAPES = 4000
_CROWD_SHARE = 0.012
_PARSE = """
import gc, sys
try:
    from orjson import loads
except ImportError:
    from msgspec.json import decode as loads
gc.disable()
loads(open(sys.argv[1], "rb").read())
"""
_PYCOCOTOOLS = """
import sys
from pycocotools.coco import COCO
COCO(sys.argv[1])
"""
CONTENDERS = ("bare parse", "pycocotools", "build-affinity")


def write_file(path: Path, *, images: int, objects: int, categories: int, seed: int = 0) -> None:
    """Write a made-up annotation file, image by image."""
    rng = np.random.default_rng(seed)
    popularity = 1 / (np.arange(categories) + 4.0)
    topics = popularity * rng.gamma(0.15, size=(_TOPICS, categories))
    topics /= topics.sum(axis=1, keepdims=True)
    counts = 1 + rng.negative_binomial(1.2, 1.2 / (1.2 + objects / images - 1), size=images)
    counts[rng.random(images) < 0.008] = 0
    counts = _summing_to(counts, objects, rng)
    shapes = [_polygon(rng) for _ in range(_SHAPES)]
    crowds = [_crowd(rng) for _ in range(100)]
    number = 0
    with path.open("w", encoding="utf-8") as file:
        head = {"info": {"description": "made up"}, "licenses": [{"id": 1, "name": "none", "url": ""}]}
        file.write(json.dumps(head)[:-1] + ', "images": [')
        for image in range(images):
            file.write((", " if image else "") + json.dumps(_image(image)))
        file.write('], "annotations": [')
        for image, count in enumerate(counts.tolist()):
            kinds = rng.choice(categories, size=count, p=topics[rng.integers(_TOPICS)])
            sides = np.exp(rng.normal(4.0, 0.9, (count, 2))).clip(2, (600, 440))
            corners = rng.random((count, 2)) * ((640, 480) - sides)
            boxes = np.round(np.hstack([corners, sides]), 2).tolist()
            crowd = (rng.random(count) < _CROWD_SHARE).tolist()
            for kind, box, is_crowd in zip(kinds.tolist(), boxes, crowd, strict=True):
                shape = crowds[number % len(crowds)] if is_crowd else shapes[number % _SHAPES]
                number += 1
                file.write(
                    f'{", " if number > 1 else ""}{{"segmentation": {shape}, "area": {box[2] * box[3] * 0.6:.4f}, '
                    f'"iscrowd": {int(is_crowd)}, "image_id": {_image_id(image)}, "bbox": {json.dumps(box)}, '
                    f'"category_id": {kind + 1}, "id": {number}}}'
                )
        names = [
            {"supercategory": f"group {k % 12}", "id": k + 1, "name": f"thing {k}"} for k in range(categories)
        ]
        file.write('], "categories": ' + json.dumps(names) + "}")


def _summing_to(counts: Any, total: int, rng: np.random.Generator) -> Any:
    """Return counts scaled to a sum; images without objects stay so."""
    counts = np.floor(counts * total / counts.sum()).astype(np.int64)
    some = np.flatnonzero(counts)
    np.add.at(counts, rng.choice(some, total - counts.sum()), 1)
    return counts


def _image_id(image: int) -> int:
    return 5 * image + 9


def _image(image: int) -> dict[str, Any]:
    name = f"{_image_id(image):012d}.jpg"
    return {
        "license": 1,
        "file_name": name,
        "coco_url": f"http://images.example.org/train2017/{name}",
        "height": 480,
        "width": 640,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"http://farm9.example.org/8186/{_image_id(image)}_{name}_z.jpg",
        "id": _image_id(image),
    }


def _polygon(rng: np.random.Generator) -> str:
    return json.dumps([np.round(rng.random(2 * int(rng.gamma(2.2, 8.6) + 4)) * 480, 2).tolist()])


def _crowd(rng: np.random.Generator) -> str:
    return json.dumps({"counts": rng.integers(1, 900, 450).tolist(), "size": [480, 640]})


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall time in seconds and peak resident memory in MB of one process."""

    seconds: float
    megabytes: float


def measure(command: Sequence[str]) -> Cost:
    """Run a command to its end; raise RuntimeError if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]} ended with {process.returncode}")
    return Cost(time.perf_counter() - start, usage.ru_maxrss / 1024)


def command_of(contender: str, file: Path, out: Path) -> list[str]:
    """Return the command line of a contender."""
    if contender == "build-affinity":
        arguments = ["build-affinity", "--annotations", str(file), "--out", str(out)]
        return [sys.executable, "-m", "augsynth", *arguments]
    return [sys.executable, "-c", _PARSE if contender == "bare parse" else _PYCOCOTOOLS, str(file)]


def compare(
    file: Path, *, repeats: int, contenders: Sequence[str] = CONTENDERS, out: Path
) -> dict[str, Cost]:
    """Return the median time and the highest peak of every contender, run in turns."""
    found: dict[str, list[Cost]] = {contender: [] for contender in contenders}
    for _ in range(repeats):
        for contender in contenders:
            found[contender].append(measure(command_of(contender, file, out)))
    return {
        contender: Cost(
            statistics.median(cost.seconds for cost in costs), max(cost.megabytes for cost in costs)
        )
        for contender, costs in found.items()
    }


def show_comparison(title: str, file: Path, costs: dict[str, Cost]) -> None:
    """Print every contender's figures and what they are of the others'."""
    parse, coco = costs["bare parse"], costs["pycocotools"]
    print(f"\n### {title} ({file.stat().st_size / 1e6:,.0f} MB)\n")
    print("| | seconds | × bare parse | MB | × pycocotools |\n|---|---:|---:|---:|---:|")
    for name, cost in costs.items():
        print(
            f"| {name} | {cost.seconds:.1f} | {cost.seconds / parse.seconds:.2f} | {cost.megabytes:,.0f} "
            f"| {cost.megabytes / coco.megabytes:.2f} |",
            flush=True,
        )


def show_growth(title: str, sizes: Sequence[dict[str, int]], folder: Path, *, repeats: int) -> None:
    """Print the time of build-affinity on files of growing size, and how it grows."""
    files = []
    for index, size in enumerate(sizes):
        files.append(folder / f"growth_{index}.json")
        write_file(files[-1], **size)
    times: list[list[float]] = [[] for _ in files]
    for _ in range(repeats):
        for index, file in enumerate(files):
            cost = compare(file, repeats=1, contenders=("build-affinity",), out=folder / f"g{index}.json")
            times[index].append(cost["build-affinity"].seconds)
    print(f"\n### growth with {title}\n\n| images | objects | categories | seconds | × the first |")
    print("|---:|---:|---:|---:|---:|")
    medians = [statistics.median(each) for each in times]
    for size, seconds in zip(sizes, medians, strict=True):
        cells = f"{size['images']:,} | {size['objects']:,} | {size['categories']:,}"
        print(f"| {cells} | {seconds:.1f} | {seconds / medians[0]:.1f} |", flush=True)
    for file in files:
        file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the files are made; a temporary folder without")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender")
    parser.add_argument("--rows", default="coco,lvis,growth", help="what to measure")
    parser.add_argument("--write", type=Path, help="only write an annotation file")
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--objects", type=int, default=861_000)
    parser.add_argument("--categories", type=int, default=80)
    options = parser.parse_args()
    size = {"images": options.images, "objects": options.objects, "categories": options.categories}
    if options.write:
        write_file(options.write, **size)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, rows = Path(name), options.rows.split(",")
        for row, row_size in (
            ("coco", size),
            ("lvis", {"images": 30_000, "objects": 380_000, "categories": 1200}),
        ):
            if row in rows:
                write_file(folder / f"{row}.json", **row_size)
                costs = compare(folder / f"{row}.json", repeats=options.repeats, out=folder / "a.json")
                text = ", ".join(f"{value:,} {key}" for key, value in row_size.items())
                show_comparison(f"{row}: {text}", folder / f"{row}.json", costs)
        if "growth" in rows:
            steps = [{**size, "images": n, "objects": 7 * n} for n in (1_180, 3_730, 11_800, 37_300, 118_000)]
            show_growth("images", steps, folder, repeats=options.repeats)
            steps = [
                {"images": 10_000, "objects": 120_000, "categories": n} for n in (12, 38, 120, 380, 1200)
            ]
            show_growth("categories", steps, folder, repeats=options.repeats)


if __name__ == "__main__":
    main()
