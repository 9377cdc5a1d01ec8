"""What other libraries make of the output of three runs: counts, ids, boxes and masks against the file.

    python -m benchmarks.consumers --data SHARED_DATA --work WORK [--n 12] [--source coco_mini] [--library sahi]

Runs and environments are kept in WORK; what is there is used again. Prints tables in Markdown; the exit code is 1 where
anything isn't as the file says and isn't a known limit of the library, or a library couldn't be run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from augsynth.generation.export import AUGMENTED
from benchmarks.consumers.comparison import Comparison, compare
from benchmarks.consumers.environments import NotRunError, python_of, read_with, version_in
from benchmarks.consumers.libraries import LIBRARIES, Library
from benchmarks.consumers.runs import NAMES, make_run

HEADER = """| library | version | objects | boxes equal | masks equal | AP of the file on itself | |
|---|---|---:|---:|---:|---:|---|"""


def row(library: Library, version: str, result: Comparison, figures: dict[str, float]) -> str:
    """Return a library's line of the table."""
    masks = f"{result.masks} of {result.expected_masks}" if result.expected_masks else "no masks"
    if result.ious:
        masks += f", the others' IoU {np.mean(result.ious):.3f}"
    ap = ", ".join(f"{kind.removeprefix('AP ')} {v:.3f}" for kind, v in figures.items() if "AP" in kind)
    told = f"**{'; '.join(result.faults[:3])}**" if result.faults else library.limits.why
    counts = f"{result.objects} of {result.expected} | {result.boxes} | {masks}"
    return f"| {library.name} | {version} | {counts} | {ap} | {told} |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with coco_mini/ and blood_cells/")
    parser.add_argument("--work", type=Path, required=True, help="runs and environments are kept here")
    parser.add_argument("--n", type=int, default=12, help="objects to paint in each run")
    parser.add_argument("--source", choices=NAMES, action="append")
    parser.add_argument("--library", choices=[one.reader for one in LIBRARIES], action="append")
    args = parser.parse_args()
    work, failed = args.work.resolve(), False
    libraries = [one for one in LIBRARIES if not args.library or one.reader in args.library]
    for name in args.source or NAMES:
        folder = make_run(name, data=args.data, out=work / "runs", n=args.n)
        print(f"\n**{name}**\n\n{HEADER}", flush=True)
        for library in libraries:
            try:
                python = python_of(library, work / "environments")
                held = read_with(library, python, folder / AUGMENTED, folder / "images")
                result = compare(folder / AUGMENTED, held["images"], library.limits)
                version = version_in(python, library.distribution)
                print(row(library, version, result, held["figures"]), flush=True)
                failed |= bool(result.faults)
            except NotRunError as error:
                print(f"| {library.name} | | | | | | **not run: {error}** |", flush=True)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
