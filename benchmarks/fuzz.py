"""Mutated annotation files and images: no traceback, no hang, no read outside the image directory.

    python -m benchmarks.fuzz --annotations 20000 --images 2000 --seed 0

Every example is drawn by hypothesis from the seed, read as the commands read it, and what was read is used: masks
decoded and cut, images decoded and placed, the document written and read again. Only an `AugsynthError` of one line
may come of it. A failure is shrunk and printed; it becomes a case of tests/cases or tests/coco.
"""

import argparse
import copy
import faulthandler
import io
import json
import os
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from augsynth.affinity.model import Affinity
from augsynth.coco.faults import repair_lines
from augsynth.coco.json_lines import write_json
from augsynth.coco.reader import read_dataset
from augsynth.coco.split import split_dataset
from augsynth.coco.writer import augmented_document, copied_annotation, next_ids
from augsynth.core.errors import AugsynthError
from augsynth.core.images import place_original, read_header, read_image
from augsynth.core.masks import as_rle, decoded, recut, to_rle
from augsynth.core.scene import Scene
from augsynth.placement.layout import Layout

LIMIT_S = 5.0  # of the processor, so that a busy machine fails nothing
WAIT_S = 60.0  # of the clock: a pipe that nobody writes to takes no processor
WIDTH, HEIGHT = 40, 30
_RLE = to_rle(np.pad(np.ones((9, 9), np.bool_), ((3, 18), (4, 27))))
_NAMES = ["a.png", "sub/b.jpg", "turned.jpg", "link.png"]
_STRANGE_NAMES = [
    "../outside/secret.png",
    "out.png",
    "up/secret.png",
    "passwd.png",
    "pipe.png",
    "zero.png",
    "dangling.png",
    "loop.png",
    "text.png",
    "sub",
    "x" * 300 + ".png",
    "/etc/passwd",
    "a.png/",
    "sub\\b.jpg",
    "a\x1b[31m.png",
    "\u202egnp.a",
]
_NUMBERS = [
    *(0, -1, 1, 2, 0.5, -0.0, 7, 1e-300, 1e8, 1e12, 1e300, -1e300, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63),
    *(-(2**63), 10**60, int("9" * 400), 39.999999999, 40.5, 65536),
]
_TEXTS = [
    "",
    " ",
    "can",
    "$x_{$",
    "\x1b[2J",
    "\u202e",
    "a" * 5000,
    "NaN",
    "1",
    "0n2",
    "PPYo1",
    "\x00",
    "図" * 90,
]
_SHAPES = [[], {}, [[]], [{}], {"id": 1}, [[[1, 2], [3, 4], [5, 6]]], [[1, 2, 3, 4]], [1, 2, 3, 4, 5, 6]]


def clean_document():
    """Return a small valid document with every kind of mask, a crowd, keypoints and an image with EXIF."""
    box = {"bbox": [4, 3, 9, 9], "area": 81, "iscrowd": 0}
    counts = [4 * HEIGHT + 3, *[9, HEIGHT - 9] * 8, 9, WIDTH * HEIGHT - 4 * HEIGHT - 3 - 8 * HEIGHT - 9]
    masks = [
        [[4, 3, 13, 3, 13, 12, 4, 12]],
        {"size": [HEIGHT, WIDTH], "counts": counts},
        _RLE,
        [[4, 3, 8, 3, 8, 12], [9, 3, 13, 3, 13, 12.5]],
    ]
    annotations = [
        {
            "id": k + 1,
            "image_id": 1 + k % 4,
            "category_id": (3, 5)[k % 2],
            **box,
            "segmentation": masks[k % 4],
        }
        for k in range(8)
    ]
    annotations[1] |= {"iscrowd": 1}
    annotations[4] |= {"keypoints": [5, 5, 2, 8, 8, 1], "num_keypoints": 2}
    return {
        "info": {"year": 2020},
        "licenses": [{"id": 1, "name": "CC0"}],
        "images": [
            {"id": k + 1, "file_name": name, "width": WIDTH, "height": HEIGHT, "license": 1}
            for k, name in enumerate(_NAMES)
        ],
        "annotations": annotations,
        "categories": [
            {"id": 3, "name": "can", "keypoints": ["top", "end"], "skeleton": [[1, 2]]},
            {"id": 5, "name": "cup", "supercategory": "vessel"},
        ],
    }


def build_root(folder):
    """Make an image directory with links, a pipe and a text in it, and something outside that nobody may open."""
    root, outside = folder / "images", folder / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    for path in (root / "a.png", root / "inner.png", root / "sub/b.jpg", outside / "secret.png"):
        picture.save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(root / "turned.jpg", exif=exif)
    (root / "text.png").write_text("root:x:0:0:root:/root:/bin/sh\n")
    os.mkfifo(root / "pipe.png")
    for name, target in {
        "link.png": "inner.png",
        "out.png": "../outside/secret.png",
        "up": "../outside",
        "passwd.png": "/etc/passwd",
        "zero.png": "/dev/zero",
        "dangling.png": "nowhere",
        "loop.png": "loop.png",
    }.items():
        (root / name).symlink_to(target)
    return root


values = st.one_of(
    st.sampled_from(_NUMBERS),
    st.sampled_from(_TEXTS),
    st.sampled_from(_SHAPES),
    st.sampled_from([None, True, False]),
    st.sampled_from(_NAMES + _STRANGE_NAMES),
    st.integers(-100, 100),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)


def _places(node, found):
    """Collect every (container, key) of a document."""
    for key in node if isinstance(node, dict) else range(len(node)):
        found.append((node, key))
        if isinstance(node[key], dict | list):
            _places(node[key], found)
    return found


@st.composite
def annotation_files(draw):
    """Draw the bytes of an annotation file: a valid one with up to four changes, now and then bytes of it changed."""
    document = copy.deepcopy(clean_document())
    for _ in range(draw(st.integers(1, 4))):
        if not (places := _places(document, [])):
            break
        container, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(
            st.sampled_from(["set", "set", "set", "name", "delete", "repeat", "swap", "scale", "nest"])
        ):
            case "set":
                container[key] = copy.deepcopy(draw(values))
            case "name" if _all_dicts(document.get("images")):
                record = draw(st.sampled_from(document["images"]))
                record["file_name"] = draw(st.sampled_from(_NAMES + _STRANGE_NAMES))
            case "delete":
                del container[key]
            case "repeat" if isinstance(container, list):
                container.insert(key, copy.deepcopy(container[key]))
            case "swap":
                other, where = places[draw(st.integers(0, len(places) - 1))]
                container[key] = copy.deepcopy(other[where])
            case "scale" if type(container[key]) in (int, float):
                container[key] = container[key] * draw(st.sampled_from([-1, 0, 1e-3, 10, 1e8, 1e15, 2**40]))
            case "nest":
                container[key] = [copy.deepcopy(container[key]) for _ in range(draw(st.integers(1, 3)))]
    data = json.dumps(document).encode()
    return draw(mutated(data)) if draw(st.integers(0, 9)) == 0 else data


def _all_dicts(records):
    return isinstance(records, list) and records != [] and all(isinstance(r, dict) for r in records)


@st.composite
def mutated(draw, data):
    """Draw changes of single bytes, cuts, insertions and repeats of a file's bytes."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        junk = draw(st.binary(min_size=1, max_size=8))
        match draw(st.sampled_from(["write", "write", "insert", "cut", "remove", "repeat"])):
            case "write":
                data[at : at + len(junk)] = junk
            case "insert":
                data[at:at] = junk
            case "cut":
                del data[at:]
            case "remove":
                del data[at : at + draw(st.integers(1, 64))]
            case "repeat":
                data[at:at] = data[at : at + 64] * draw(st.integers(1, 20))
    return bytes(data)


def image_seeds():
    """Return small valid files of every format that is read."""
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for form, options in (
        ("PNG", {}), ("PNG", {"exif": exif}), ("JPEG", {"exif": exif}), ("JPEG", {"progressive": True}), ("GIF", {}),
        ("BMP", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"exif": exif}), ("WEBP", {}), ("EPS", {}),
        ("PPM", {}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        found.append(buffer.getvalue())
    return found


class TimeLimitError(BaseException):
    """An example took too long."""


class Watch:
    """Holds each example to its time and notes what is opened meanwhile."""

    def __init__(self, folder, allowed):
        self.folder, self.allowed = folder.resolve(), tuple(str(path.resolve()) for path in allowed)
        self.opened, self.active, self.counts = [], False, Counter()
        sys.addaudithook(self._note)

    def _note(self, event, args):
        if self.active and event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            self.opened.append(os.fsdecode(args[0]))

    def _strange(self):
        for name in self.opened:
            path = os.path.realpath(name)
            ours = path.startswith((str(self.folder), "/etc/", "/dev/"))
            if ours and not path.startswith(self.allowed):
                yield name

    @contextmanager
    def example(self):
        """Allow an `AugsynthError` of one line, and nothing else."""

        def stop(*_):
            raise TimeLimitError(f"over {LIMIT_S} s of the processor, or {WAIT_S} s of the clock")

        timers = {signal.ITIMER_PROF: LIMIT_S, signal.ITIMER_REAL: WAIT_S}
        old = [(number, signal.signal(number, stop)) for number in (signal.SIGPROF, signal.SIGALRM)]
        self.opened.clear()
        faulthandler.dump_traceback_later(3 * WAIT_S, exit=True)  # where even the alarm isn't heard
        for timer, limit in timers.items():
            signal.setitimer(timer, limit)
        self.active = True
        try:
            yield
            self.counts["read"] += 1
        except AugsynthError as error:
            text = str(error)
            assert text.isprintable() or all(ord(c) >= 32 for c in text), repr(text)
            self.counts["refused"] += 1
        finally:
            self.active = False
            for timer in timers:
                signal.setitimer(timer, 0)
            faulthandler.cancel_dump_traceback_later()
            for number, handler in old:
                signal.signal(number, handler)
        strange = list(self._strange())
        assert not strange, f"opened {strange}"


def use_annotations(path, root, out, *, with_images, thorough):
    """Read an annotation file and do with it what the commands do."""
    dataset = read_dataset(path, images=root if with_images else None)
    for line in repair_lines(dataset):
        assert "\n" not in line and "\x1b" not in line
    cover = np.zeros((HEIGHT, WIDTH), np.bool_)
    cover[:8, :8] = True
    sizes = {scene.image_id: scene.size_wh for scene in dataset.scenes}
    image_id, annotation_id = next_ids(dataset.document)
    new = {**dataset.document["images"][0], "id": image_id, "file_name": "augsynth/new.png"}
    annotations = []
    for record in dataset.document["annotations"]:
        size = sizes[record["image_id"]]
        if "segmentation" in record:
            rle = as_rle(record["segmentation"], size)
            assert rle is not None
            if size[0] * size[1] < 1e7:
                decoded(rle)
        made = copied_annotation(record, annotation_id=annotation_id, image_id=image_id, size_wh=size)
        if made is not None:
            covers = [as_rle(to_rle(cover), (WIDTH, HEIGHT))] if size == (WIDTH, HEIGHT) else []
            annotations.append(recut(made, covers, size) if covers else made)
            annotation_id += 1
    written = out / "written.json"
    write_json(written, augmented_document(dataset.document, [new], annotations))
    again = read_dataset(written)
    assert len(again.scenes) == len(dataset.scenes) + 1
    if with_images:
        for scene in dataset.scenes:
            read_image(dataset, scene)
            target = out / "placed" / scene.file_name
            target.unlink(missing_ok=True)
            place_original(root / scene.file_name, target, "copy", size_wh=scene.size_wh, root=root)
            assert b"root:" not in target.read_bytes()
    if thorough:
        Affinity.fit(dataset)
        Layout.fit(dataset)
        split_dataset(dataset, num_folds=2)


def use_image(data, root, out, name):
    """Read, measure and place a file that may be an image."""
    (root / name).write_bytes(data)
    target = out / "placed" / name
    target.unlink(missing_ok=True)
    try:
        header = read_header(root / name)
        read_image(root, Scene(1, name, header.size_wh))
    finally:
        place_original(root / name, target, "copy", size_wh=(WIDTH, HEIGHT), root=root)
        read_header(target)


def run_fuzz(folder, *, num_annotations, num_images, number):
    """Read so many mutated files; return how many were read and how many refused."""
    root, out = build_root(folder), folder / "out"
    out.mkdir()
    watch = Watch(folder, [root, out, folder / "a.json"])
    options = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
    phases = (Phase.generate, Phase.shrink)

    @seed(number)
    @settings(max_examples=max(num_annotations, 1), phases=phases, **options)
    @given(annotation_files(), st.integers(0, 7))
    def annotations_hold(data, choice):
        (folder / "a.json").write_bytes(data)
        with watch.example():
            use_annotations(folder / "a.json", root, out, with_images=choice > 0, thorough=choice == 7)

    @seed(number)
    @settings(max_examples=max(num_images, 1), phases=phases, **options)
    @given(st.sampled_from(image_seeds()).flatmap(mutated))
    def images_hold(data):
        with watch.example():
            use_image(data, root, out, "mutated.png")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if num_annotations:
            annotations_hold()
        counts = {"annotations": dict(watch.counts)}
        watch.counts.clear()
        if num_images:
            images_hold()
    return {**counts, "images": dict(watch.counts)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", type=int, default=20_000)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = run_fuzz(
            Path(folder), num_annotations=args.annotations, num_images=args.images, number=args.seed
        )
    print(json.dumps({"seed": args.seed, **counts, "seconds": round(time.monotonic() - start, 1)}))


if __name__ == "__main__":
    main()
