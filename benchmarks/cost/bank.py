"""What the object bank costs, how pixels could be kept instead, and how far matting from pixels can be trusted.

    python -m benchmarks.cost.bank                         # memory and speed of a bank of 100,000 made-up cut-outs
    python -m benchmarks.cost.bank --data DATA             # the same and encodings on the real objects of a dataset
    python -m benchmarks.cost.bank --data DATA --matting   # outlines found against outlines known

DATA holds images/ and instances.json (or annotations/instances.json) with segmentations. For matting, objects with a
known outline are put into other images, the window goes through the embedded autoencoder and is stitched as
`generate` does it; then the outline is looked for in the difference to the source.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image as PilImage

from augsynth.bank.cutting import (
    CutRules,
    covered_share,
    cut_objects,
    segmentations_of,
    sort_objects,
)
from augsynth.bank.reader import Bank, Cutout
from augsynth.bank.writer import BankWriter
from augsynth.coco.reader import read_dataset
from augsynth.core.boxes import clip_boxes, grow_box, square_window
from augsynth.core.errors import DatasetError
from augsynth.core.images import read_image
from augsynth.core.scene import Category, Dataset
from augsynth.inpainting.checkpoints import EMBEDDED
from augsynth.inpainting.stitching import cells_xyxy, cut_window, mask_cells, stitch
from augsynth.masking.matting import matte
from augsynth.masking.sources import PaintedObject
from augsynth.placement.proposal import PlacementRules

WINDOW = 64


def private_bytes() -> int:
    """Return the memory that this process alone must hold; pages of mapped files are shared and can be dropped."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Anonymous:", "Swap:"))) * 1024


def work(path: str, reads: int, seed: int, answers: multiprocessing.Queue[tuple[int, float]]) -> None:
    """Open the bank as a loader worker does, read at random, and say what it cost."""
    rng = np.random.default_rng(seed)
    np.flatnonzero(rng.random(1000) > 0.5)  # numpy's own first-use costs
    before = private_bytes()
    bank = Bank.open(path)
    for category in bank.categories:
        bank.of_category(category.id)
    chosen = rng.integers(0, len(bank), reads)
    start = time.perf_counter()
    for position in chosen:
        bank[int(position)]
    seconds = time.perf_counter() - start
    answers.put((private_bytes() - before, 1000 * seconds / reads))


def report_costs(path: Path, *, workers: int, reads: int) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[tuple[int, float]] = context.Queue()
    processes = [context.Process(target=work, args=(str(path), reads, s, answers)) for s in range(workers)]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    bank = Bank.open(path)
    disk = sum(p.stat().st_size for p in path.iterdir())
    sides = bank.box_sizes_wh.mean(axis=0)
    print(f"{len(bank):,} cut-outs, mean box {sides[0]:.0f}×{sides[1]:.0f}, {disk / 1e6:,.0f} MB on disk")
    for private, milliseconds in found:
        print(f"  worker: {private:,} bytes of its own, {milliseconds:.3f} ms a cut-out (random reads)")


def write_made_up(path: Path, *, num: int, side: int) -> None:
    """Write a bank of noise with round outlines: only its size matters."""
    rng = np.random.default_rng(0)
    categories = [Category(i, f"category {i}") for i in range(1, 81)]
    y, x = np.indices((side, side)) - side / 2
    alpha = (np.hypot(x, y) < 0.4 * side).astype(np.uint8) * np.uint8(255)
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    box = np.array([0.1, 0.1, 0.9, 0.9]) * side
    ring = rng.random(78)
    with BankWriter(path, categories=categories) as writer:
        for number in range(num):
            writer.add(Cutout(image, alpha, box, number % 80 + 1, 1.0, (640, 480), True, ring))


def cut_all(dataset: Dataset, rules: CutRules) -> list[Cutout]:
    outlines = segmentations_of(dataset)
    cutouts = []
    for scene in dataset.scenes:
        positions, _ = sort_objects(scene, rules, segmentations=outlines)
        try:
            image = read_image(dataset, scene) if len(positions) else None
        except DatasetError:
            continue
        if image is not None:
            cutouts += cut_objects(image, scene, positions, segmentations=outlines, rules=rules)
    return cutouts


def report_encodings(cutouts: list[Cutout]) -> None:
    """Print size and time to decode of the ways to keep RGB and opacity."""
    rgba = [np.dstack([c.image, c.alpha]) for c in cutouts]

    def png(a: np.ndarray) -> bytes:
        return encoded(a, "PNG", compress_level=6)

    def unpicture(data: bytes, _: tuple[int, ...]) -> np.ndarray:
        return np.array(PilImage.open(io.BytesIO(data)))

    def unraw(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(bytearray(data), np.uint8).reshape(shape)

    def split_raw(a: np.ndarray) -> bytes:
        return a[..., :3].tobytes() + zlib.compress(a[..., 3].tobytes(), 6)

    def unsplit(data: bytes, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        first = shape[0] * shape[1] * 3
        return unraw(data[:first], (*shape[:2], 3)), unraw(zlib.decompress(data[first:]), shape[:2])

    ways: dict[str, tuple[Callable[..., bytes], Callable[..., object]]] = {
        "raw RGBA": (lambda a: a.tobytes(), unraw),
        "raw RGB, deflated opacity (the bank)": (split_raw, unsplit),
        "all deflated": (lambda a: zlib.compress(a.tobytes(), 6), lambda d, s: unraw(zlib.decompress(d), s)),
        "PNG": (png, unpicture),
        "WebP, lossless": (lambda a: encoded(a, "WEBP", lossless=True, exact=True), unpicture),
    }
    raw = sum(a.nbytes for a in rgba)
    for name, (encode, decode) in ways.items():
        data = [encode(a) for a in rgba]
        start = time.perf_counter()
        for one, a in zip(data, rgba, strict=True):
            decode(one, a.shape)
        milliseconds = 1000 * (time.perf_counter() - start) / len(rgba)
        print(f"  {name}: {sum(map(len, data)) / raw:.0%} of raw RGBA, {milliseconds:.3f} ms to decode")


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PilImage.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def report_matting(dataset: Dataset, cutouts: list[Cutout], *, num: int, seed: int) -> None:
    """Print how well outlines found by matting agree with known ones."""
    rebuild = autoencoder()
    rng = np.random.default_rng(seed)
    known = [c for c in cutouts if c.has_mask]
    ious, trusted, wanted = [], [], num
    for _ in range(20 * num):
        if len(ious) == wanted:
            break
        cutout = known[int(rng.integers(len(known)))]
        scene = dataset.scenes[int(rng.integers(len(dataset.scenes)))]
        found = _trial(read_image(dataset, scene), scene.boxes_xyxy, cutout, rebuild, rng)
        if found is not None:
            ious.append(found[0])
            trusted.append(found[1])
    overlaps, sure = np.array(ious), np.array(trusted)
    print(f"matting: {len(overlaps)} objects with a known outline, {sure.mean():.0%} trusted")
    for name, values in (("trusted", overlaps[sure, 0]), ("their boxes instead", overlaps[sure, 1])):
        low = float((values < 0.7).mean())
        print(
            f"  {name}: IoU with the outline mean {values.mean():.3f}, median {np.median(values):.3f}, < 0.7: {low:.0%}"
        )


def autoencoder() -> Callable[[np.ndarray], np.ndarray]:
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(EMBEDDED.parent / "inpainter" / "vae").eval()

    @torch.inference_mode()
    def rebuild(window: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(window.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        out = vae.decode(vae.encode(pixels).latent_dist.mode()).sample[0].permute(1, 2, 0)
        return ((out + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).numpy()

    return rebuild


def paint_known(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    cutout: Cutout,
    rebuild: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> tuple[PaintedObject, np.ndarray] | None:
    """Put an object with a known outline into an image as if it had been painted there; None where it doesn't fit.

    Returns:
        The edit, with a box as a detector would find it, and the (H, W) opacity of the object.
    """
    size = np.array([image.shape[1], image.shape[0]])
    extent = np.array(cutout.alpha.shape[::-1])
    if (extent >= size).any():
        return None
    low = rng.integers(0, size - extent)
    box = cutout.box_xyxy + np.tile(low, 2)
    mask = clip_boxes(grow_box(box, factor=1.15, pad=0.5)[None], (int(size[0]), int(size[1])))[0]
    rules = PlacementRules(model_window=WINDOW)
    window = square_window(
        mask,
        (int(size[0]), int(size[1])),
        context=rules.window_context,
        min_side=rules.min_side,
    )
    if window is None or covered_share(mask, boxes_xyxy) > 0.1:
        return None
    truth = np.zeros(image.shape[:2])
    truth[low[1] : low[1] + extent[1], low[0] : low[0] + extent[0]] = cutout.alpha / 255
    pasted = image.astype(float)
    part = pasted[low[1] : low[1] + extent[1], low[0] : low[0] + extent[0]]
    part += (cutout.image - part) * (cutout.alpha / 255)[..., None]
    cells = mask_cells(mask, window, num_cells=WINDOW // 4)
    picture = rebuild(cut_window(pasted.astype(np.uint8), window, size=WINDOW))
    after = stitch(image, picture, window_xyxy=window, cells=cells, feather=3.0, rng=rng)
    detected = clip_boxes((box + rng.normal(0, 0.02, 4) * np.tile(box[2:] - box[:2], 2))[None], tuple(size))[
        0
    ]
    painted = cells_xyxy(cells, window)
    painted = np.concatenate([np.floor(painted[:2]), np.ceil(painted[2:])])
    return PaintedObject(image, after, detected, painted, window, cutout.category_id), truth


def box_mask(edit: PaintedObject) -> np.ndarray:
    inside = np.zeros(edit.after.shape[:2], bool)
    x1, y1, x2, y2 = np.round(edit.box_xyxy).astype(int)
    inside[y1:y2, x1:x2] = True
    return inside


def _trial(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    cutout: Cutout,
    rebuild: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> tuple[tuple[float, float], bool] | None:
    painted = paint_known(image, boxes_xyxy, cutout, rebuild, rng)
    if painted is None:
        return None
    edit, truth = painted
    alpha = matte(image, edit.after, box_xyxy=edit.box_xyxy, painted_xyxy=edit.painted_xyxy)
    inside = box_mask(edit)
    found = inside if alpha is None else alpha >= 0.5
    return (iou(found, truth >= 0.5), iou(inside, truth >= 0.5)), alpha is not None


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--matting", action="store_true")
    parser.add_argument("--num", type=int, default=100_000, help="cut-outs of the made-up bank")
    parser.add_argument("--side", type=int, default=64, help="their side in pixels")
    parser.add_argument("--reads", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=200)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        if options.data is None:
            path = Path(folder) / "made_up"
            write_made_up(path, num=options.num, side=options.side)
            report_costs(path, workers=options.workers, reads=options.reads)
            return
        files = [options.data / "annotations" / "instances.json", options.data / "instances.json"]
        dataset = read_dataset(
            next((f for f in files if f.is_file()), files[1]), images=options.data / "images"
        )
        cutouts = cut_all(dataset, CutRules())
        if options.matting:
            report_matting(dataset, cutouts, num=options.trials, seed=42)
            return
        path = Path(folder) / "real"
        with BankWriter(path, categories=dataset.categories) as writer:
            for cutout in cutouts:
                writer.add(cutout)
        report_costs(path, workers=options.workers, reads=options.reads)
        report_encodings(cutouts)


if __name__ == "__main__":
    main()
