"""Judge of docs/method.md §5: an independent detector grades the labels of accepted objects.

    python -m benchmarks.judges.labels --judge DETECTOR RUN_DIR [RUN_DIR …] [--repaint 200] [--min-score 0.1]

The judge must never have been used for filtering, nor be trained on the images at hand. It looks at the part
of the image around each box as large as it was trained on. Of detections that overlap by more than
IoU 0.7 only the best-scored counts, whatever their classes: one place, one answer. A label is right when the
answer that overlaps it most has its class and IoU ≥ 0.7.

The real objects of the same images say what the judge can reach: its agreement with accepted objects is printed
beside its agreement with those, and as their ratio, with an interval from images drawn anew.

Without the filter: the first attempt of every new image is painted again by the run's own code and graded
against the planned box.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.core.errors import AugsynthError, DatasetError
from augsynth.core.images import read_image
from augsynth.core.scene import Image, Placement
from augsynth.core.seeding import derive_rng
from augsynth.detectors.loading import EMBEDDED_DETECTOR, load_detector
from augsynth.detectors.port import Detector
from augsynth.filtering.grading import Grades, grade, relative_agreement, wilson
from augsynth.generation.context import RunContext
from augsynth.generation.loading import open_context
from augsynth.generation.planning import PlannedWindow, make_plan, plan_cells
from augsynth.generation.stages import paint
from augsynth.generation.working_image import WorkingImage
from benchmarks.judges.finished_run import FinishedRun, admissible, read_run

MIN_SCORE = 0.1
CHUNK = 32


def grade_new_images(run: FinishedRun, judge: Detector, *, min_score: float) -> dict[str, Grades]:
    """Return grades of accepted labels, of the boxes planned for them, and of the real objects beside."""
    planned = {a["annotation_id"]: a["planned_xyxy"] for a in run.attempts if "annotation_id" in a}
    sources = {a["image_id"]: a["source_image_id"] for a in run.attempts if "image_id" in a}
    parts: dict[str, list[Grades]] = {"accepted": [], "planned": [], "real": [], "admissible": []}
    for scene in run.edited.scenes:
        painted, real = run.is_synthetic(scene), ~run.is_synthetic(scene) & ~scene.is_crowd
        meant = np.array([planned[int(i)] for i in scene.annotation_ids[painted]]).reshape(-1, 4)
        boxes = np.concatenate([scene.boxes_xyxy[painted], meant, scene.boxes_xyxy[real]])
        ids = np.concatenate([scene.category_ids[painted]] * 2 + [scene.category_ids[real]])
        pixels, source_id = read_image(run.edited, scene), sources[scene.image_id]
        grades = grade(judge, pixels, boxes, ids, image_id=source_id, min_score=min_score)
        num, place = int(painted.sum()), np.arange(len(grades))
        free = admissible(
            scene, max_overlap=run.config.placement.max_overlap, min_size=run.config.placement.min_size
        )[real]
        parts["accepted"].append(grades.only(place < num))
        parts["planned"].append(grades.only((place >= num) & (place < 2 * num)))
        parts["real"].append(grades.only(place >= 2 * num))
        parts["admissible"].append(parts["real"][-1].only(free))
    return {name: Grades.joined(part) for name, part in parts.items()}


def repaint(
    context: RunContext, attempts: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], Image, bool]]:
    """Paint first attempts again as the run did, before any filter.

    Args:
        context: Opened with the run's options.
        attempts: Lines of the provenance file with a plan, on images without earlier accepted objects.

    Yields:
        The attempt, the whole image with the object, and whether anything was painted (else it was blank).

    Raises:
        DatasetError: The plan doesn't come out as recorded; the run is another version's.
    """
    for start in range(0, len(attempts), CHUNK):
        chunk = attempts[start : start + CHUNK]
        windows = [_window(context, attempt) for attempt in chunk]
        painted = paint(
            context.painting, windows
        )  # the run's own stage, so that it can't differ from the run's
        for attempt, window in zip(chunk, painted, strict=True):
            yield attempt, window.pixels, not window.is_blank


def _window(context: RunContext, attempt: Mapping[str, Any]) -> PlannedWindow:
    scene = next(s for s in context.dataset.scenes if s.image_id == attempt["source_image_id"])
    image = WorkingImage(attempt["job"], scene, scene, read_image(context.dataset, scene))
    box = np.array(attempt["planned_xyxy"], np.float64)
    placement = Placement(attempt["category_id"], box, attempt["anchor_annotation_id"], 0.0)
    painting = context.painting
    plan = make_plan(context.placing.rules, painting.prompts, scene, placement, seed=attempt["seed"])
    if plan is None or plan.window_xyxy.tolist() != list(attempt["window_xyxy"]):
        raise DatasetError(
            f"attempt {attempt['attempt']}: the window doesn't come out as recorded; judge the run with the "
            "version that made it"
        )
    cells = plan_cells(plan, num_cells=painting.num_cells)
    return PlannedWindow(image, attempt["slot"], attempt["retry"], plan, cells)


def grade_without_filter(
    run: FinishedRun, context: RunContext, judge: Detector, *, num: int, min_score: float
) -> tuple[dict[str, Grades], str]:
    """Return grades of first attempts against the planned box, and how many came out as in the run."""
    first = [a for a in run.attempts if "planned_xyxy" in a and a["slot"] == 0 and a["retry"] == 0]
    order = derive_rng(run.config.run.seed, "labels judge").permutation(len(first))[:num]
    first = [first[i] for i in sorted(order)]
    parts: list[Grades] = []
    same = compared = 0
    for attempt, image, painted in repaint(context, first):
        ids = np.array([attempt["category_id"]])
        image_id = attempt["source_image_id"]
        if painted:
            boxes = np.array([attempt["planned_xyxy"]], np.float64)
            parts.append(grade(judge, image, boxes, ids, image_id=image_id, min_score=min_score))
        else:
            parts.append(Grades(ids, np.zeros(1), np.zeros(1, np.bool_), np.array([image_id])))
        if "image_id" in attempt and run.config.output.image_format == "png":
            compared += 1
            same += _came_out_equal(run, attempt, image)
    grades = Grades.joined(parts)
    accepted = np.array([a["reason"] == "accepted" for a in first], np.bool_)
    return {
        "first": grades,
        "first accepted": grades.only(accepted),
        "first rejected": grades.only(~accepted),
    }, f"{same} of {compared} accepted objects painted again are equal to the run's, pixel by pixel"


def _came_out_equal(run: FinishedRun, attempt: Mapping[str, Any], image: Image) -> bool:
    """Tell whether the attempt's window, without those of later objects and decoys, is the run's picture."""
    kept = next(read_image(run.edited, s) for s in run.edited.scenes if s.image_id == attempt["image_id"])
    compared = np.zeros(image.shape[:2], np.bool_)
    beside = [a for a in run.attempts if a.get("image_id") == attempt["image_id"] and a["slot"] > 0]
    beside += [d for d in run.decoys if d["image_id"] == attempt["image_id"] and d["reason"] == "accepted"]
    for window, value in ((attempt["window_xyxy"], True), *((a["window_xyxy"], False) for a in beside)):
        x1, y1, x2, y2 = window
        compared[y1:y2, x1:x2] = value
    return np.array_equal(image[compared], kept[compared])


ROWS = {
    "accepted": "**accepted objects, their labels**",
    "planned": "accepted objects, the planned boxes",
    "first": "**no filter: first attempts, the planned boxes**",
    "first accepted": "– those of them that the filter accepts",
    "first rejected": "– those of them that the filter rejects",
    "real": "real objects of the new images",
    "admissible": "– those neither cut nor overlapped",
}


def print_tables(found: Mapping[str, Grades], names: Mapping[int, str]) -> None:
    """Print the shares by kind of box and, for the main kinds, by category."""
    print("| judged | objects | right, IoU ≥ 0.7 (95 %) | right, IoU ≥ 0.5 | wrong class | mean IoU |")
    print("|---|---:|---:|---:|---:|---:|")
    for key, title in ROWS.items():
        grades = found.get(key)
        if grades is None or not len(grades):
            continue
        low, high = wilson(int(grades.right().sum()), len(grades))
        wrong = ((grades.iou >= 0.5) & ~grades.right_class).mean()
        print(
            f"| {title} | {len(grades)} | {grades.right().mean():.1%} ({low:.1%}–{high:.1%}) "
            f"| {grades.right(0.5).mean():.1%} | {wrong:.1%} | {grades.iou.mean():.2f} |"
        )
    print_relative(found)
    columns = [key for key in ("accepted", "first", "real") if key in found]
    titles = {"accepted": "accepted", "first": "no filter", "real": "real"}
    print("\n| right at IoU ≥ 0.7 | " + " | ".join(titles[key] for key in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for category, name in names.items():
        parts = [found[key].only(found[key].category_ids == category) for key in columns]
        cells = [f"{p.right().mean():.1%} of {len(p)}" if len(p) else "–" for p in parts]
        print(f"| {name} | " + " | ".join(cells) + " |")


def print_relative(found: Mapping[str, Grades]) -> None:
    """Print the judge's agreement with accepted objects over its agreement with real ones of the same images."""
    accepted = found["accepted"]
    print("\n| right at IoU ≥ 0.7 | accepted | real | accepted over real (95 %) |")
    print("|---|---:|---:|---:|")
    for key in ("real", "admissible"):
        real = found[key]
        if len(accepted) and len(real):
            ratio = relative_agreement(accepted, real)
            print(
                f"| {ROWS[key]} | {accepted.right().mean():.1%} of {len(accepted)} | {real.right().mean():.1%} of "
                f"{len(real)} | {ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f}) |"
            )


def is_own_detector(run: FinishedRun, judge_folder: str) -> bool:
    """Tell whether the judge has the weights of the detector that filtered the run."""
    from augsynth.generation.provenance import weights_digest

    if run.config.filter_models.filter not in ("detector", "both"):
        return False
    if run.config.filter_models.detector == "embedded":
        return weights_digest(judge_folder) == weights_digest(EMBEDDED_DETECTOR)
    digest = weights_digest(judge_folder)
    return judge_folder == run.config.filter_models.detector or (
        digest is not None and digest == run.detector_sha256
    )


def judge_run(
    run: FinishedRun, judge_folder: str, *, num_repainted: int, min_score: float, device: str
) -> None:
    """Print the tables of one run."""
    from augsynth.generation.loading import open_dataset

    start = time.perf_counter()
    judge = load_detector(judge_folder, run.source.categories, device=device, min_score=min_score)
    print(f"\n### {run.folder.name}: judge {judge.name}, its detections from score {min_score:g}\n")
    if is_own_detector(run, judge_folder):
        print("**The judge is the run's own detector: this says nothing about its labels.**\n")
    found = grade_new_images(run, judge, min_score=min_score)
    note = ""
    if num_repainted:
        config, dataset = open_dataset(run.config)
        without, note = grade_without_filter(
            run, open_context(config, dataset), judge, num=num_repainted, min_score=min_score
        )
        found.update(without)
    print_tables(found, run.names)
    print(f"\n{note}{'; ' if note else ''}{time.perf_counter() - start:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN_DIR", help="outputs of `augsynth generate`"
    )
    parser.add_argument("--judge", required=True, help="folder of an independent detector, or `embedded`")
    parser.add_argument("--repaint", type=int, default=200, help="first attempts painted again; 0 for none")
    parser.add_argument("--min-score", type=float, default=MIN_SCORE, help="weakest detection that counts")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    print(f"Labels judge, {datetime.date.today()}")
    judge = str(EMBEDDED_DETECTOR) if given.judge == "embedded" else given.judge
    for folder in given.runs:
        try:
            run = read_run(folder)
            judge_run(
                run,
                judge,
                num_repainted=given.repaint,
                min_score=given.min_score,
                device=given.device,
            )
        except AugsynthError as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
