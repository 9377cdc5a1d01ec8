"""Judge of docs/method.md §5 on photographs: does the filter tell real objects from wrong labels?

    python -m benchmarks.judges.filter --annotations FILE --images DIR --detector DETECTOR

The images are split: on one half thresholds are calibrated, on the other every real object is judged as if it had
just been painted. "Before" is the same photograph with the object painted over by the colour of its surroundings.
Four labels are tried for each:

    real     its own category and box: should be accepted
    moved    its box shifted by half its width or height (IoU 1/3): the label is beside the object
    swapped  its box under another category, drawn by frequency among those the image doesn't show
    empty    its category and size at a place without any annotated object, nothing painted

Small objects are beyond a small detector; the figures are also given for those that it finds at all.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from augsynth.coco.reader import read_dataset
from augsynth.core.boxes import (
    clip_boxes,
    grow_box,
    intersections,
    ious,
    square_window,
    view_around,
)
from augsynth.core.errors import AugsynthError
from augsynth.core.images import read_image
from augsynth.core.scene import (
    Dataset,
    Detections,
    FloatArray,
    Image,
    Placement,
    Plan,
    Reason,
    Scene,
)
from augsynth.core.seeding import derive_rng
from augsynth.detectors.loading import load_detector
from augsynth.detectors.port import Detector
from augsynth.filtering.grading import wilson
from augsynth.filtering.judge import FilterRules, Thresholds, calibrate, judge
from augsynth.filtering.thresholds import SAME_PLACE_IOU
from augsynth.placement.negatives import without_object

KINDS = ("real", "moved", "swapped", "empty")
MIN_SIDE = 8  # as min_size of generate
MIN_WINDOW = 64
TRIES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One label to judge: what it claims, and the image before and after."""

    kind: str
    plan: Plan
    scene: Scene
    before: Image
    after: Image


def halves(dataset: Dataset, *, seed: int) -> tuple[Dataset, Dataset]:
    """Return the images to calibrate on and those to judge."""
    order = derive_rng(seed, "halves").permutation(len(dataset.scenes))
    first = set(order[: len(order) // 2].tolist())
    parts = ([s for k, s in enumerate(dataset.scenes) if (k in first) == wanted] for wanted in (True, False))
    calibrating, judged = (replace(dataset, scenes=tuple(part)) for part in parts)
    return calibrating, judged


def mask_of(box_xyxy: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Return the region that `generate` would repaint for a box."""
    return clip_boxes(grow_box(box_xyxy, factor=1.15, pad=0.5)[None], size_wh)[0]


def make_plan(box_xyxy: FloatArray, category_id: int, size_wh: tuple[int, int]) -> Plan | None:
    """Return the plan that `generate` would have made for a label, None where no square window holds it."""
    mask = mask_of(box_xyxy, size_wh)
    window = square_window(mask, size_wh, context=1.8, min_side=min(MIN_WINDOW, *size_wh))
    return None if window is None else Plan(Placement(category_id, box_xyxy, None, 0.0), window, mask, "", 0)


def painted_over(image: Image, mask_xyxy: FloatArray) -> Image:
    """Return the image with a box filled by the mean colour of the ring around it."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.round(mask_xyxy).astype(int)
    outer = np.round(clip_boxes(grow_box(mask_xyxy, factor=1.3, pad=2)[None], (width, height))[0]).astype(int)
    ring = np.zeros((height, width), bool)
    ring[outer[1] : outer[3], outer[0] : outer[2]] = True
    ring[y1:y2, x1:x2] = False
    filled = image.copy()
    filled[y1:y2, x1:x2] = image[ring].mean(0) if ring.any() else image.mean((0, 1))
    return filled


def shifted(box_xyxy: FloatArray, size_wh: tuple[int, int], rng: np.random.Generator) -> FloatArray | None:
    """Return the box moved by half its width or height and still inside, None where there is no room."""
    wh = box_xyxy[2:] - box_xyxy[:2]
    for k in rng.permutation(4):
        step = np.zeros(2)
        step[k % 2] = wh[k % 2] / 2 * (1 if k < 2 else -1)
        moved = box_xyxy + np.tile(step, 2)
        if (moved[:2] >= 0).all() and (moved[2:] <= size_wh).all():
            return moved
    return None


def elsewhere(box_xyxy: FloatArray, scene: Scene, rng: np.random.Generator) -> FloatArray | None:
    """Return a box of the same size that touches no annotated object, None when none is found."""
    wh = box_xyxy[2:] - box_xyxy[:2]
    room = np.array(scene.size_wh) - wh
    for _ in range(TRIES):
        low = rng.random(2) * room
        box = np.concatenate([low, low + wh])
        if not intersections(box[None], scene.boxes_xyxy).any():
            return box
    return None


def cases(dataset: Dataset, *, seed: int) -> Iterator[list[Case]]:
    """Yield the labels to judge: for every real object that isn't tiny, one of each kind that there is room for."""
    counts = Counter(int(c) for s in dataset.scenes for c in s.category_ids[~s.is_crowd])
    ids, weights = np.array(sorted(counts)), np.array([counts[c] for c in sorted(counts)], float)
    for scene in dataset.scenes:
        image = read_image(dataset, scene)
        for index in np.flatnonzero(~scene.is_crowd):
            box, category = scene.boxes_xyxy[index], int(scene.category_ids[index])
            if (box[2:] - box[:2]).min() < MIN_SIDE:
                continue
            rng = derive_rng(seed, "case", scene.image_id, int(scene.annotation_ids[index]))
            chances = np.where(np.isin(ids, scene.category_ids), 0, weights)
            other = int(rng.choice(ids, p=chances / chances.sum()))
            erased, rest = painted_over(image, mask_of(box, scene.size_wh)), without_object(scene, int(index))
            labels = [
                ("real", box, category, rest, erased),
                ("moved", shifted(box, scene.size_wh, rng), category, rest, erased),
                ("swapped", box, other, rest, erased),
                ("empty", elsewhere(box, scene, rng), category, scene, image),
            ]
            group = [
                Case(kind, plan, others, before, image)
                for kind, where, label, others, before in labels
                if where is not None and (plan := make_plan(where, label, scene.size_wh)) is not None
            ]
            if group:
                yield group


def look(detector: Detector, group: Sequence[Case]) -> list[tuple[Detections, Detections]]:
    """Return what a detector finds around each label before and after, in image pixels."""
    crops, views = [], []
    for case in group:
        size = (case.after.shape[1], case.after.shape[0])
        view = view_around(case.plan.window_xyxy, size, side=detector.view_px)
        x1, y1, x2, y2 = view
        crops += [np.ascontiguousarray(image[y1:y2, x1:x2]) for image in (case.before, case.after)]
        views += [view, view]
    found = [
        Detections(d.boxes_xyxy + np.tile(view[:2], 2), d.scores, d.category_ids)
        for d, view in zip(detector.detect(crops), views, strict=True)
    ]
    return list(zip(found[::2], found[1::2], strict=True))


def count_verdicts(
    detector: Detector, dataset: Dataset, thresholds: Thresholds, rules: FilterRules, *, seed: int
) -> dict[bool, dict[str, Counter[Reason]]]:
    """Return verdicts by kind; under True only those of objects that the detector finds at any score."""
    counts = {found: {kind: Counter[Reason]() for kind in KINDS} for found in (False, True)}
    for group in cases(dataset, seed=seed):
        seen = look(detector, group)
        is_found = group[0].kind == "real" and finds(seen[0][1], group[0].plan.placement)
        for case, (before, after) in zip(group, seen, strict=True):
            verdict = judge(
                case.plan, before=before, after=after, scene=case.scene, thresholds=thresholds, rules=rules
            )
            counts[False][case.kind][verdict.reason] += 1
            if is_found:
                counts[True][case.kind][verdict.reason] += 1
    return counts


def finds(found: Detections, label: Placement) -> bool:
    """Tell whether a detection of the label's category lies at its place, whatever its score."""
    there = ious(label.box_xyxy[None], found.boxes_xyxy)[0] >= SAME_PLACE_IOU
    return bool((there & (found.category_ids == label.category_id)).any())


def print_table(counts: dict[str, Counter[Reason]]) -> None:
    """Print a Markdown table: a row a rule, a column a kind of label."""
    totals = {kind: sum(counts[kind].values()) for kind in KINDS}
    print("| verdict | " + " | ".join(f"{kind}, {totals[kind]}" for kind in KINDS) + " |")
    print("|---|" + "---:|" * len(KINDS))
    for reason in Reason:
        if any(counts[kind][reason] for kind in KINDS):
            cells = (f"{100 * counts[kind][reason] / max(1, totals[kind]):.1f} %" for kind in KINDS)
            print(f"| `{reason}` | " + " | ".join(cells) + " |")
    for kind in KINDS:
        share, low, high = wilson_percent(counts[kind][Reason.ACCEPTED], totals[kind])
        print(f"{kind}: accepted {share:.1f} % (95 %: {low:.1f}–{high:.1f})")


def wilson_percent(hits: int, total: int) -> tuple[float, float, float]:
    """Return share and 95 % interval in percent."""
    low, high = wilson(hits, total)
    return 100 * hits / max(1, total), 100 * low, 100 * high


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--detector", required=True, help="as of generate: a folder, CONFIG.py:WEIGHTS, A,B")
    parser.add_argument("--quantile", type=float, default=0.05, help="as score_quantile of generate")
    parser.add_argument("--min-iou", type=float, default=0.6, help="as min_iou of generate")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    try:
        dataset = read_dataset(args.annotations, images=args.images)
        detector = load_detector(args.detector, dataset.categories, device=args.device)
    except AugsynthError as error:
        print(f"filter: {error}", file=sys.stderr)
        return 2
    calibrating, judged = halves(dataset, seed=args.seed)
    thresholds = calibrate(
        detector, calibrating, lambda s: read_image(dataset, s), quantile=args.quantile, seed=args.seed
    )
    print(
        f"{detector.name}: calibrated on {len(calibrating.scenes)} images, judged on {len(judged.scenes)}; "
        f"pooled threshold {thresholds.pooled:.3f}, {len(thresholds.by_category)} categories with their own; "
        f"{datetime.date.today()}"
    )
    rules = FilterRules(min_iou=args.min_iou)
    counts = count_verdicts(detector, judged, thresholds, rules, seed=args.seed)
    print("\nall objects")
    print_table(counts[False])
    print("\nobjects that the detector finds")
    print_table(counts[True])
    return 0


if __name__ == "__main__":
    sys.exit(main())
