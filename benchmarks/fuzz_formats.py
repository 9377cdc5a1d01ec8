"""Mutated datasets of other formats: no traceback, no hang; what is read is written in every format.

    python -m benchmarks.fuzz_formats --examples 5000 --seed 0

As `python -m benchmarks.fuzz` for COCO files: each example changes bytes or words of one file of a small dataset.
"""

import argparse
import base64
import io
import json
import re
import shutil
import tempfile
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from augsynth.coco.faults import repair_lines
from augsynth.coco.formats.convert import write_parts
from augsynth.coco.formats.parts import parts_of
from augsynth.coco.reader import read_with_images
from benchmarks.fuzz import HEIGHT, WIDTH, Watch, mutated

WORDS = [
    b"nan",
    b"-1",
    b"1e308",
    b"1e-320",
    b"0",
    b"2",
    b"99999999999",
    b'""',
    b"../x.png",
    b"[",
    b"{}",
    b"null",
]
WORDS += [b"'", b"\xff\xfe", "図".encode(), b"\r\n", b"<", b"&x;", b"]]>", b"/etc/passwd", b"true", b"1 1 1"]
VOC = (
    "<annotation><filename>a.png</filename><size><width>40</width><height>30</height></size><object><name>cup</name>"
    "<difficult>0</difficult><bndbox><xmin>5</xmin><ymin>4</ymin><xmax>20</xmax><ymax>15</ymax></bndbox><polygon>"
    "<x1>5</x1><y1>4</y1><x2>20</x2><y2>4</y2><x3>20</x3><y3>15</y3></polygon></object></annotation>"
)
CVAT = (
    '<annotations><image id="0" name="a.png" width="40" height="30"><box label="cup" xtl="4" ytl="3" xbr="20" ybr="15" '
    'rotation="10"/><polygon label="lid" points="1,1;9,1;9,9" group_id="1"/><mask label="cup" rle="0, 2, 1, 3" '
    'left="5" top="6" width="3" height="2"/><ellipse label="cup" cx="9" cy="9" rx="3" ry="4"/></image></annotations>'
)
RECTANGLE = {"x": 10, "y": 10, "width": 20, "height": 30, "rotation": 30, "rectanglelabels": ["cup"]}
POLYGON = {"points": [[10, 10], [30, 10], [30, 40]], "polygonlabels": ["lid"]}
TASK = {"id": 1, "data": {"image": "/data/upload/a.png"}}
STUDIO = [{**TASK, "annotations": [{"result": [{"value": RECTANGLE}, {"value": POLYGON}]}]}]
LINE = {"file_name": "a.png", "objects": {"bbox": [[5, 4, 15, 11]], "categories": [0]}}
CARD = "---\ndataset_info:\n  features:\n  - name: x\n    dtype:\n      class_label:\n        names: {'0': cup}\n---\n"


def _samples():
    buffer = io.BytesIO()
    np.save(buffer, np.ones((11, 15), bool))
    mask = {
        "$binary": {"base64": base64.b64encode(zlib.compress(buffer.getvalue())).decode(), "subType": "00"}
    }
    cup = {"label": "cup", "bounding_box": [0.1, 0.1, 0.4, 0.4], "mask": mask, "tags": []}
    return {"samples": [{"filepath": "data/a.png", "tags": [], "ground_truth": {"detections": [cup]}}]}


# Name of the format: (its files beside the picture, the picture, what is read).
SEEDS = {
    "yolo": (
        {
            "data.yaml": "path: .\ntrain: list.txt\nval: images\nnames: {0: cup, 1: lid}\nnc: 2\n",
            "list.txt": "./images/a.png\n",
            "labels/a.txt": "0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.3 0.2 0.3 0.6\n",
        },
        "images/a.png",
        "data.yaml",
    ),
    "pose": (
        {
            "data.yaml": "train: images\nkpt_shape: [2, 3]\nnames: [cup]\n",
            "labels/a.txt": "0 0.5 0.5 0.25 0.5 0.4 0.4 2 0 0 0\n",
        },
        "images/a.png",
        "data.yaml",
    ),
    "darknet": (
        {
            "obj.data": "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\n",
            "obj.names": "cup\n",
            "train.txt": "data/o/a.png\n",
            "o/a.txt": "0 0.5 0.5 0.25 0.5\n",
        },
        "o/a.png",
        "",
    ),
    "voc": ({"Annotations/a.xml": VOC, "ImageSets/Main/train.txt": "a\n"}, "JPEGImages/a.png", ""),
    "imagefolder": ({"metadata.jsonl": json.dumps(LINE) + "\n", "README.md": CARD}, "a.png", ""),
    "fiftyone": ({"samples.json": json.dumps(_samples()), "metadata.json": "{}"}, "data/a.png", ""),
    "label_studio": ({"export.json": json.dumps(STUDIO)}, "a.png", "export.json"),
    "cvat": ({"annotations.xml": CVAT}, "a.png", "annotations.xml"),
}


@st.composite
def datasets(draw):
    """Draw a format and its files, one of them changed: words of it for others, now and then any of its bytes."""
    form = draw(st.sampled_from(sorted(SEEDS)))
    files = {name: text.encode() for name, text in SEEDS[form][0].items()}
    name = draw(st.sampled_from(sorted(files)))
    if draw(st.integers(0, 4)) == 0:
        return form, {**files, name: draw(mutated(files[name]))}
    data = files[name]
    for _ in range(draw(st.integers(1, 2))):
        words = [found.span() for found in re.finditer(rb"[\w.+-]+", data)]
        if words:
            start, end = draw(st.sampled_from(words))
            data = data[:start] + draw(st.sampled_from(WORDS)) + data[end:]
    return form, {**files, name: data}


def use(folder, form, out):
    """Read a dataset and write it in every format, as `import` and `export` do."""
    _, _, asked = SEEDS[form]
    dataset = read_with_images(folder / asked)
    for line in repair_lines(dataset):
        assert "\n" not in line and "\x1b" not in line
    parts = parts_of({"train": [dataset, dataset]})
    for target in ("coco", "yolo", "voc", "imagefolder", "fiftyone", "croissant"):
        write_parts(parts, out / target, target, masks=None, originals="hardlink")


def run_fuzz(folder, *, num_examples, number):
    """Read so many mutated datasets; return how many were read and how many refused."""
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    watch = Watch(folder, [folder])
    options = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}

    @seed(number)
    @settings(max_examples=num_examples, phases=(Phase.generate, Phase.shrink), **options)
    @given(datasets())
    def holds(drawn):
        form, files = drawn
        for name in ("set", "out"):
            shutil.rmtree(folder / name, ignore_errors=True)
        picture = folder / "set" / SEEDS[form][1]
        for path, data in [*((folder / "set" / name, data) for name, data in files.items()), (picture, b"")]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        shutil.copy(folder / "picture.png", picture)
        with watch.example():
            use(folder / "set", form, folder / "out")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        holds()
    return dict(watch.counts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = run_fuzz(Path(folder), num_examples=args.examples, number=args.seed)
    print(json.dumps({"seed": args.seed, **counts, "seconds": round(time.monotonic() - start, 1)}))


if __name__ == "__main__":
    main()
