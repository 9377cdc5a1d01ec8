"""What tests of whole runs read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from augsynth.core.images import write_image
from augsynth.core.records import Attempt, Box, Extra, Judgement, ObjectMask, PlannedObject, Window
from augsynth.core.scene import Image, Reason
from augsynth.generation.report import DOCUMENT, PAGE
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.statistics import Tally

RANDOM = {"category_choice": "uniform", "placement": "uniform", "filter": "off", "masks": "off"}


def written_to(folder: Path) -> Callable[[str, Image], None]:
    """What writes new images into a folder."""
    return lambda name, image: write_image(folder / name, image)


def ignore(stage: str, tally: Tally) -> None:
    pass


def files_of(folder: Path) -> dict[str, bytes]:
    """What a folder holds, but for a run's report, which says when it was written and how long painting took."""
    files = (
        path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (PAGE, DOCUMENT)
    )
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def counted_commits() -> tuple[list[int], Callable[..., None]]:
    """The shards that a run commits from now on, and what takes the place of `RunFolder.commit` to count them."""
    committed: list[int] = []
    commit: Callable[..., None] = RunFolder.commit

    def counted(self: RunFolder, index: int, *rest: object, **named: object) -> None:
        commit(self, index, *rest, **named)
        committed.append(index)

    return committed, counted


def provenance(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "provenance.jsonl").read_text().splitlines()]


def painted_attempt(
    reason: Reason = Reason.ACCEPTED,
    *,
    box_xyxy: Box = (10.0, 10.0, 30.0, 30.0),
    window_xyxy: Window = (0, 0, 40, 40),
    extras: tuple[Extra, ...] = (),
    mask: ObjectMask | UnsetType | None = UNSET,
    tile: int | None = None,
    painted_xyxy: Box | None = None,
    **values: Any,
) -> Attempt:
    """An attempt of category 1 in image 7 that was painted."""
    plan = PlannedObject(
        planned_xyxy=box_xyxy,
        window_xyxy=window_xyxy,
        anchor_annotation_id=None,
        alignment_score=0.5,
        prompt="a cup",
        seed=11,
        painted_xyxy=painted_xyxy or box_xyxy,
    )
    judgement = Judgement(score=0.9, iou=0.8, box_xyxy=box_xyxy, extras=extras, mask=mask, tile=tile)
    given = {"job": 0, "source_image_id": 7, "slot": 0, "retry": 0, "category_id": 1, **values}
    return Attempt(**given, reason=reason, plan=plan, judgement=judgement)
