"""Pages of runs that were never painted: records and pictures made up, as many as a test asks for."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from msgspec import UNSET

from augsynth.affinity.model import Affinity
from augsynth.core.masks import to_rle
from augsynth.core.records import Attempt, Judgement, ObjectMask, PlannedObject, Rle
from augsynth.core.scene import Category, Dataset, Image, Reason, Scene
from augsynth.filtering.real_objects import FilterRow
from augsynth.generation.reporting.affinity_table import AffinityTable, tabulate
from augsynth.generation.reporting.gallery import Columns, centre_in_image, outline_in_window
from augsynth.generation.reporting.nearest import PICTURE_PX
from augsynth.generation.reporting.page import render_report
from augsynth.generation.reporting.sprites import TILE_SIZES, Sheet, TileSize, choose_size, draw_sheet
from augsynth.generation.reporting.values import CategoryLine, Cost, Model, Report
from augsynth.generation.reporting.verdict import sum_up

SIZE_WH = (320, 240)
NAMES = ("cup", "can", "bottle")
THRESHOLD = 0.5
CELLS = 16


def dataset_of(names: Sequence[str] = NAMES, *, num: int = 30) -> Dataset:
    """Images whose first two categories go together, and whose others are alone."""
    rng = np.random.default_rng(0)
    scenes = []
    for k in range(num):
        ids = [1, 2] if k % 2 else [1 + k % len(names)]
        low = rng.uniform(0, 150, (len(ids), 2))
        numbers = np.arange(len(ids)) + 10 * k
        boxes = np.hstack([low, low + 40])
        flags = np.zeros(len(ids), bool)
        scenes.append(Scene(k, f"{k}.jpg", SIZE_WH, boxes, np.array(ids), numbers, flags))
    categories = tuple(Category(k + 1, name) for k, name in enumerate(names))
    return Dataset(categories, tuple(scenes), {}, source=__file__)  # type: ignore[arg-type]


def attempts_of(num: int, num_categories: int, *, prompt: str = "a photo of a cup") -> list[Attempt]:
    """Two of three attempts are accepted, the first among them; one of seven got no place."""
    rng = np.random.default_rng(1)
    mask = np.zeros(SIZE_WH[::-1], bool)
    mask[70:110, 80:130] = True
    found = ObjectMask("detector", Rle(**to_rle(mask)))
    made = []
    for k in range(num):
        category = 1 + k % num_categories
        if k % 7 == 6:
            made.append(
                Attempt(
                    job=k, source_image_id=0, reason=Reason.NO_REGION, slot=0, retry=0, category_id=category
                )
            )
            continue
        good = k % 3 != 2
        score = float(rng.uniform(THRESHOLD, 1) if good else rng.uniform(0.05, THRESHOLD))
        made.append(
            Attempt(
                job=k,
                source_image_id=0,
                reason=Reason.ACCEPTED if good else Reason.LOW_SCORE,
                slot=0,
                retry=0,
                category_id=category,
                plan=PlannedObject(
                    planned_xyxy=(78.0, 68.0, 132.0, 112.0),
                    window_xyxy=(40, 30, 168, 158),
                    anchor_annotation_id=None,
                    alignment_score=0.0,
                    prompt=prompt,
                    seed=2**62 + k,
                ),
                judgement=Judgement(
                    score=score,
                    iou=0.8,
                    box_xyxy=(80.0, 70.0, 130.0, 110.0) if good else None,
                    found_category_id=None if good else 1 + (k + 1) % num_categories,
                    found_score=None if good else 0.4,
                    mask=found if good else UNSET,
                ),
            )
        )
    return made


def tiles_of(num: int, side: int = 96) -> list[Image]:
    """Windows before and after as cameras make them: smooth, with grain and an object on the right."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:side, :side] / side
    tiles = []
    for _ in range(num):
        a, b, c = rng.uniform(-70, 70, 3)
        shade = 120 + a * x + b * y + c * np.sin(6 * x + a) * np.cos(5 * y + b)
        grain = rng.normal(0, 4, (side, side, 3))
        before = shade[..., None] + grain + rng.uniform(-20, 20, 3)
        after = before.copy()
        disc = (x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.05
        after[disc] = rng.uniform(0, 255, 3) + rng.normal(0, 12, (int(disc.sum()), 3))
        tiles.append(np.clip(np.hstack([before, after]), 0, 255).astype(np.uint8))
    return tiles


def report_of(attempts: Sequence[Attempt], names: Sequence[str] = NAMES, **values: object) -> Report:
    """The report of a finished run with a filter that accepts most real objects."""
    kept = [a for a in attempts if a.accepted]
    lines = []
    for category_id, name in enumerate(names, 1):
        own = [a for a in attempts if a.category_id == category_id]
        good = sum(a.accepted for a in own)
        scores = tuple(a.judgement.score for a in own if a.judgement is not None)
        row = FilterRow(
            category_id=category_id,
            category=name,
            objects=20,
            accepted=19,
            rejected={"low_score": 1},
            threshold=THRESHOLD,
            threshold_objects=20,
            auc=0.99,
            scores=tuple(np.linspace(0.45, 0.99, 20).tolist()),
        )
        rejected = {str(a.reason): sum(b.reason == a.reason for b in own) for a in own if not a.accepted}
        lines.append(
            CategoryLine(category_id, name, 20, 20 + good, len(own), good, good, rejected, row, scores)
        )
    reasons = {str(a.reason): sum(b.reason == a.reason for b in attempts) for a in attempts}
    report = Report(
        title="first",
        folder="runs/first",
        status="finished",
        written="2026-11-29 12:00 UTC",
        wanted=len(kept),
        accepted=len(kept),
        attempts=len(attempts),
        images=len(kept),
        reasons=reasons,
        advice={
            "low_score": ("the score was low", "paint better"),
            "no_region": ("no place", "raise --max-overlap"),
        },
        ended="",
        filtered=True,
        categories=lines,
        cost=Cost(20.0, 2, len(attempts), len(kept), 16, len(attempts), len(kept)),
        grid={k: np.eye(24, dtype=np.int64) for k in range(1, len(names) + 1)},
        options={"n": (len(kept), True), "seed": (42, False)},
        command="augsynth generate --n 9 --out NEW_FOLDER",
        models=[Model("paints", "embedded", "", "apache-2.0", "4bb330334d3b")],
        data_licences=["CC BY 4.0"],
        notices=["the filter on real objects"],
    )
    return replace(report, **values)  # type: ignore[arg-type]


@lru_cache
def affinity_of(names: tuple[str, ...] = NAMES) -> AffinityTable:
    return tabulate(Affinity.fit(dataset_of(names)))


@lru_cache
def sheets_of(num: int, side: int) -> list[Sheet]:
    """Sheets of so many pictures, which repeat after four sheets."""
    size = TILE_SIZES[choose_size(num)]
    pictures = tiles_of(min(num, 4 * CELLS), side)
    drawn = [draw_sheet(pictures[low : low + CELLS], size) for low in range(0, len(pictures), CELLS)]
    sheets = [drawn[k % len(drawn)] for k in range(-(-num // CELLS))]
    if num % CELLS:
        sheets[-1] = draw_sheet(pictures[: num % CELLS], size)
    return sheets


def page_of(
    num: int,
    names: Sequence[str] = NAMES,
    *,
    side: int = 96,
    prompt: str = "a photo of a cup",
    near: int = 0,
    **values: object,
) -> bytes:
    """A whole page with so many attempts, which are most like so many real objects."""
    attempts = attempts_of(num, len(names), prompt=prompt)
    size = TILE_SIZES[choose_size(num)]
    columns, cells = Columns(dict(enumerate(names, 1))), 0
    for attempt in attempts:
        known: dict[str, object] = {"source": "0.jpg"}
        if attempt.judgement is not None:
            known |= {
                "image": "augsynth/0.png" if attempt.kept else None,
                "threshold": THRESHOLD,
                "outline": outline_in_window(attempt) or None,
                "centre": centre_in_image(attempt.painted.plan.planned_xyxy, SIZE_WH),
                "cell": cells,
                "size": [min(side, size.side_px)] * 2,
            }
            known |= {"near": cells % near, "likeness": 0.96 if cells % 10 == 3 else 0.5} if near else {}
            cells += 1
        columns.add(attempt, known)
    sheets = sheets_of(cells, side) if cells else []
    nears = [draw_sheet(tiles_of(CELLS, PICTURE_PX), TileSize(PICTURE_PX, 60, 0))] * (near // (2 * CELLS))
    report = report_of(attempts, names, **values)
    return render_report(
        report,
        sum_up(report),
        affinity_of(tuple(names)),
        gallery=columns.document(),
        sheets=sheets,
        starts=[],
        start_numbers=[],
        nears=nears,
        near_places=[[f"{k}.jpg", 1.0, 2.0, 30.5, 40.0] for k in range(near)],
    )
