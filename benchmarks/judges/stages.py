"""Where is quality lost? Real objects go through one stage of painting after the other, and the filter judges each.

    python -m benchmarks.judges.stages [--annotations FILE --images DIR] [--model MODEL] [--detector DETECTOR] \
        [--probe STAGE]

Every object stays where it is, so nothing differs but what a stage does to its pixels:

    untouched     the photograph itself: what the filter turns down here is its own doing
    resampled     the window is cut, resized to the model's size and stitched back
    autoencoder   … and goes through encoder and decoder
    strength s    … and is noised to s of the schedule and denoised again
    painted       … and is painted from pure noise: `generate` with perfect places
    painted, …    … and is stitched without a soft edge, without matching colour or without matching grain

Thresholds are calibrated on the same images, untouched. The share accepted is a mean over categories; the score is
that of the object's category at its place over what the untouched object gets. `--probe STAGE …` adds the artefact
probe's AUC (see artefacts.py) between the objects of these stages and the same objects untouched.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.coco.reader import read_dataset
from augsynth.core.boxes import ious, square_window
from augsynth.core.errors import AugsynthError
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, Detections, Image, Placement, Plan, Reason, Scene
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.detectors.loading import EMBEDDED_DETECTOR, load_detector
from augsynth.detectors.port import Detector
from augsynth.filtering.judge import FilterRules, Thresholds, calibrate, judge
from augsynth.filtering.thresholds import SAME_PLACE_IOU
from augsynth.inpainting.loading import load_inpainter
from augsynth.inpainting.port import InpaintRequest
from augsynth.inpainting.prompts.book import category_prompt
from augsynth.inpainting.stitching import cut_window, mask_cells, stitch
from augsynth.placement.negatives import without_object
from augsynth.placement.proposal import PlacementRules
from benchmarks.judges.alignment import through_autoencoder
from benchmarks.judges.artefacts import Options, Sample
from benchmarks.judges.crop_features import cut_crop
from benchmarks.judges.filter import look, mask_of, painted_over
from benchmarks.judges.finished_run import admissible

RULES = FilterRules()
FEATHER, MIN_SIDE = 3.0, 8.0  # as generate has them
LEFT_OUT: dict[str, dict[str, Any]] = {
    "no feather": {"feather": 0.0},
    "no colour match": {"match_colour": False},
    "no grain match": {"match_grain": False},
}


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One real object, and what `generate` would have planned to paint it.

    Attributes:
        scene: Its image's annotations without it.
        image: The photograph with it.
        before: The photograph with the object painted over.
        plan: Place, window and mask.
        request: What the painter is asked.
    """

    scene: Scene
    image: Image
    before: Image
    plan: Plan
    request: InpaintRequest

    def stitched(self, picture: Image | None, **options: Any) -> Image:
        """Return the photograph with a painted window in place, itself where nothing was painted.

        Args:
            options: Of `stitch`, where it isn't to do what it does in `generate`.
        """
        if picture is None:
            return self.image
        return stitch(
            self.image,
            picture,
            window_xyxy=self.plan.window_xyxy,
            cells=self.request.cells,
            rng=derive_rng(self.plan.seed, "grain"),
            **{"feather": FEATHER, **options},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """An object as it left a stage; it has what `filter.look` asks for."""

    plan: Plan
    before: Image
    after: Image


def draw_pieces(dataset: Dataset, painter: Any, *, per_category: int, seed: int) -> list[Piece]:
    """Return up to so many objects of each category: whole, free, and large enough to be painted."""
    names = {c.id: c.name for c in dataset.categories}
    places: dict[int, list[tuple[Scene, int]]] = defaultdict(list)
    for scene in dataset.scenes:
        for i in np.flatnonzero(admissible(scene, max_overlap=0.1, min_size=MIN_SIDE)):
            places[int(scene.category_ids[i])].append((scene, int(i)))
    pieces = []
    rules = PlacementRules(model_window=painter.size)
    for category_id, found in sorted(places.items()):
        order = derive_rng(seed, "stages", category_id).permutation(len(found))
        for k in order[:per_category]:
            scene, i = found[k]
            box = scene.boxes_xyxy[i]
            mask = mask_of(box, scene.size_wh)
            window = square_window(
                mask,
                scene.size_wh,
                context=rules.window_context,
                min_side=rules.min_side,
            )
            if window is None:
                continue
            image = read_image(dataset, scene)
            prompt = category_prompt(names[category_id])
            drawn = derive_seed(seed, int(scene.annotation_ids[i]))
            plan = Plan(Placement(category_id, box, None, 0.0), window, mask, prompt, drawn)
            pixels = cut_window(image, window, size=painter.size)
            cells = mask_cells(mask, window, num_cells=painter.size // painter.cell)
            request = InpaintRequest(pixels, cells, prompt, drawn)
            pieces.append(Piece(without_object(scene, i), image, painted_over(image, mask), plan, request))
    return pieces


def score_there(found: Detections, plan: Plan) -> float:
    """Return the best score of the object's category at its place, 0 for none."""
    there = ious(plan.placement.box_xyxy[None], found.boxes_xyxy)[0] >= SAME_PLACE_IOU
    there &= found.category_ids == plan.placement.category_id
    return float(found.scores[there].max(initial=0.0))


def judge_stage(
    detector: Detector, pieces: Sequence[Piece], images: Sequence[Image], thresholds: Thresholds
) -> tuple[list[Reason], list[float]]:
    """Return the filter's verdict on each object as it left a stage, and its score."""
    reasons, scores = [], []
    for piece, image in zip(pieces, images, strict=True):
        ((before, after),) = look(detector, [Looked(piece.plan, piece.before, image)])
        verdict = judge(
            piece.plan, before=before, after=after, scene=piece.scene, thresholds=thresholds, rules=RULES
        )
        reasons.append(verdict.reason)
        scores.append(score_there(after, piece.plan))
    return reasons, scores


def probe_stage(pieces: Sequence[Piece], images: Sequence[Image], options: Options) -> str:
    """Return the AUC with which the artefact probe tells the objects of a stage from the untouched ones."""
    crops = []
    for synthetic in (True, False):
        for piece, image in zip(pieces, images, strict=True):
            crops.append(
                cut_crop(
                    image if synthetic else piece.image,
                    piece.plan.placement.box_xyxy,
                    category_id=piece.plan.placement.category_id,
                    group=str(piece.scene.image_id),
                    synthetic=synthetic,
                )
            )
    sample = Sample.of(crops)
    return sample.cell(sample.probe(options))


def stages(painter: Any, pieces: Sequence[Piece], strengths: Sequence[float]) -> Any:
    """Yield the name of each stage and the images that it leaves."""
    requests = [piece.request for piece in pieces]
    yield "untouched", [piece.image for piece in pieces]
    yield "resampled", [piece.stitched(piece.request.image) for piece in pieces]
    decoded = [np.round(p).astype(np.uint8) for p in through_autoencoder(painter, requests)]
    yield "autoencoder", [piece.stitched(picture) for piece, picture in zip(pieces, decoded, strict=True)]
    for strength in (*strengths, 1.0):
        asked = [_started(r, strength, cell=painter.cell) if strength < 1 else r for r in requests]
        pictures = list(zip(pieces, painter.inpaint(asked), strict=True))
        done = [piece.stitched(picture) for piece, picture in pictures]
        yield (f"strength {strength:g}" if strength < 1 else "painted"), done
    for name, options in LEFT_OUT.items():
        yield f"painted, {name}", [piece.stitched(picture, **options) for piece, picture in pictures]


def _started(request: InpaintRequest, strength: float, *, cell: int) -> InpaintRequest:
    """Return the request painted from its own image, each masked pixel with one strength."""
    return replace(request, change=strength * np.kron(request.cells, np.ones((cell, cell))))


def mean_share(pieces: Sequence[Piece], reasons: Sequence[Reason], category_ids: Sequence[int]) -> float:
    """Return the share accepted in percent, a mean over categories."""
    by_category: dict[int, list[bool]] = defaultdict(list)
    for piece, reason in zip(pieces, reasons, strict=True):
        by_category[piece.plan.placement.category_id].append(reason is Reason.ACCEPTED)
    return 100 * float(
        np.mean([np.mean(by_category[c]) for c in category_ids if c in by_category] or [np.nan])
    )


def main() -> int:
    """Print a row a stage, then the share accepted of every category."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("--annotations", "--images"):
        parser.add_argument(flag, type=Path)
    for flag in ("--model", "--detector"):
        parser.add_argument(flag, default="embedded")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--window-size", type=int, help="side of the painter's window; its own if left out")
    parser.add_argument("--per-category", type=int, default=15)
    parser.add_argument("--scenes", type=int, default=400, help="scenes to draw where no data are given")
    parser.add_argument("--strengths", type=float, nargs="*", default=[0.04, 0.3, 0.6])
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--probe", nargs="+", default=[], metavar="STAGE")
    args = parser.parse_args()
    try:
        report(args)
    except AugsynthError as error:
        print(f"stages: {error}", file=sys.stderr)
        return 2
    return 0


def report(args: argparse.Namespace) -> None:
    """Send objects through the stages and print what the filter says of each."""
    with tempfile.TemporaryDirectory() as folder:
        if args.annotations is None:
            from augsynth.sample import write_sample

            args.annotations = write_sample(Path(folder), num_images=args.scenes, seed=args.seed)
            args.images = Path(folder) / "images"
        dataset = read_dataset(args.annotations, images=args.images)
        judge_folder = EMBEDDED_DETECTOR if args.detector == "embedded" else args.detector
        detector = load_detector(str(judge_folder), dataset.categories, device=args.device)
        painter = load_inpainter(
            args.model, device=args.device, window_size=args.window_size, precision="float32"
        )
        thresholds = calibrate(
            detector, dataset, lambda s: read_image(dataset, s), quantile=0.05, seed=args.seed
        )
        pieces = draw_pieces(dataset, painter, per_category=args.per_category, seed=args.seed)
    counts = Counter(int(c) for s in dataset.scenes for c in s.category_ids)
    common = [c for c, _ in counts.most_common(-(-len(counts) // 2))]
    rare = [c for c in counts if c not in common]
    sides = [float(p.plan.window_xyxy[2] - p.plan.window_xyxy[0]) for p in pieces]
    print(
        f"{args.model}, {args.detector}: {len(pieces)} objects of {len(counts)} categories, "
        f"windows of {np.median(sides):.0f} px for {painter.size}; {datetime.date.today()}"
    )
    print(
        "| stage | accepted | common | rare | score | probe | turned down |\n|---|---:|---:|---:|---:|---:|---|"
    )
    first: np.ndarray[Any, Any] | None = None
    by_stage: dict[str, list[Reason]] = {}
    for name, images in stages(painter, pieces, args.strengths):
        reasons, scores = judge_stage(detector, pieces, images, thresholds)
        by_stage[name] = reasons
        first = np.array(scores) if first is None else first
        found = first > 0
        ratio = float((np.array(scores)[found] / first[found]).mean())
        seen = probe_stage(pieces, images, Options(seeds=1)) if name in args.probe else ""
        down = Counter(r for r in reasons if r is not Reason.ACCEPTED)
        shares = [mean_share(pieces, reasons, ids) for ids in ([*common, *rare], common, rare)]
        cells = " | ".join(f"{share:.0f} %" for share in shares)
        words = ", ".join(f"{reason} {n}" for reason, n in down.most_common())
        print(f"| {name} | {cells} | {ratio:.2f} | {seen} | {words} |", flush=True)
    print("\n| accepted | " + " | ".join(by_stage) + " |\n|---|" + "---:|" * len(by_stage))
    for category in dataset.categories:
        cells = " | ".join(f"{mean_share(pieces, r, [category.id]):.0f} %" for r in by_stage.values())
        print(f"| {category.name} | {cells} |")


if __name__ == "__main__":
    sys.exit(main())
