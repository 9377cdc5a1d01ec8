"""Read a COCO file with one library and write down what it holds; run in that library's environment.

python -m benchmarks.consumers.read READER ANNOTATIONS IMAGES OUT [--masks]
"""

import argparse
import importlib
import json
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader")
    parser.add_argument("annotations", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--masks", action="store_true")
    args = parser.parse_args()
    reader = importlib.import_module(f"benchmarks.consumers.readers.{args.reader}")
    images, figures = reader.read(args.annotations, args.images, masks=args.masks)
    args.out.write_text(json.dumps({"images": images, "figures": figures}), encoding="utf-8")


if __name__ == "__main__":
    main()
