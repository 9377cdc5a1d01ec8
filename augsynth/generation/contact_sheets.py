"""The contact sheets of a run: windows before and after painting, accepted and rejected ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augsynth.core.figures import contact_sheet
from augsynth.core.records import Attempt

SHEET_TILES = 48
ACCEPTED_SHEET, REJECTED_SHEET = "contact_sheet_accepted.png", "contact_sheet_rejected.png"


def write_contact_sheets(
    out: Path,
    shards: Iterable[tuple[Sequence[Attempt], Sequence[NDArray[np.uint8]]]],
    *,
    names: Mapping[int, str],
    filtered: bool = True,
    sheets: Sequence[str] = (ACCEPTED_SHEET, REJECTED_SHEET),
) -> None:
    """Write `contact_sheet_accepted.png` and `contact_sheet_rejected.png`: windows before and after.

    Args:
        out: The run's directory.
        shards: Attempts and tiles of each shard, read as far as they are needed; a tile holds the window before and
            after, side by side.
        names: Category names by COCO id.
        filtered: Whether anything was judged; otherwise scores mean nothing and aren't shown.
        sheets: Which of both.
    """
    for sheet, chosen in _choose_windows(shards, sheets).items():
        accepted = sheet == ACCEPTED_SHEET
        if not chosen:
            continue
        word = "accepted" if accepted else "rejected"
        contact_sheet(
            [np.split(tile, 2, axis=1) for _, tile in chosen],
            path=out / sheet,
            captions=[_caption(attempt, names, filtered=filtered) for attempt, _ in chosen],
            boxes_xyxy=[_box_in_window(attempt) for attempt, _ in chosen],
            accepted=[accepted if filtered or not accepted else None] * len(chosen),
            title=f"{word}: window before and after, with the {'label' if accepted else 'planned box'}",
        )


def _choose_windows(
    shards: Iterable[tuple[Sequence[Attempt], Sequence[NDArray[np.uint8]]]], sheets: Sequence[str]
) -> dict[str, list[tuple[Attempt, NDArray[np.uint8]]]]:
    """Return the first windows of each sheet."""
    chosen: dict[str, list[tuple[Attempt, NDArray[np.uint8]]]] = {sheet: [] for sheet in sheets}
    for attempts, tiles in shards:
        for attempt in attempts:
            windows = chosen.get(ACCEPTED_SHEET if attempt.accepted else REJECTED_SHEET)
            if windows is None or len(windows) == SHEET_TILES or attempt.judgement is None:
                continue
            if attempt.judgement.tile is not None:
                windows.append((attempt, tiles[attempt.judgement.tile]))
        if all(len(windows) == SHEET_TILES for windows in chosen.values()):
            break
    return chosen


def _caption(attempt: Attempt, names: Mapping[int, str], *, filtered: bool) -> str:
    painted = attempt.painted
    name, judgement = names[painted.category_id], painted.judgement
    rank = f", rank {judgement.class_rank}" if judgement.class_rank is not None else ""
    if judgement.class_found is not None and not attempt.accepted:
        rank += f" behind {judgement.class_found}"
    if attempt.replaced_category_id is not None:
        name = f"{names[attempt.replaced_category_id]} → {name}"
    if attempt.accepted:
        return f"{name} {judgement.score:.2f}{rank}" if filtered else f"{name}, not filtered"
    other = judgement.found_category_id
    found = f", {names.get(other, other)} {judgement.found_score:.2f}" if other is not None else ""
    return f"{name}: {attempt.reason}{found}{rank}"


def _box_in_window(attempt: Attempt) -> NDArray[np.float64]:
    painted = attempt.painted
    box = np.array(painted.label_xyxy if attempt.accepted else painted.plan.planned_xyxy, np.float64)
    return np.asarray(box - np.tile(np.array(painted.plan.window_xyxy[:2], np.float64), 2))
