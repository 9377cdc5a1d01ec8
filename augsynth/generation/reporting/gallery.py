"""The attempts of a run as a page shows them: a row for each, in numbers that its script reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import msgspec
import numpy as np
from msgspec import UNSET

from augsynth.core.masks import decoded
from augsynth.core.pages import short
from augsynth.core.records import Attempt, Box, PaintedParts, Window

PER_MILLE = 1000
_MOST_CORNERS = 60
_LONGEST_PROMPT = 600

# Columns that only attempts have that were painted.
_PAINTED = (
    *("score", "iou", "margin", "found", "found_score", "rank", "label"),
    *("prompt", "negative", "seed", "planned", "box", "window", "start"),
)

Outline = tuple[tuple[int, ...], ...]
"""Closed rings of x, y, x, y, …, in thousandths of a window."""


def outline_in_window(attempt: Attempt) -> Outline:
    """Return the outline of an attempt's mask, empty without one."""
    if attempt.mask is None:
        return ()
    x1, y1, x2, y2 = attempt.painted.plan.window_xyxy
    mask = decoded(msgspec.to_builtins(attempt.mask.rle))[y1:y2, x1:x2]
    contours, _ = cv2.findContours(
        np.ascontiguousarray(mask, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    rings = []
    scale = PER_MILLE / max(1, *mask.shape)
    for contour in sorted(contours, key=len, reverse=True)[:4]:
        tolerance = 0.004 * max(mask.shape)
        corners = cv2.approxPolyDP(contour, tolerance, True)
        while len(corners) > _MOST_CORNERS:
            tolerance *= 1.6
            corners = cv2.approxPolyDP(contour, tolerance, True)
        if len(corners) >= 3:
            rings.append(tuple(((corners.reshape(-1) + 0.5) * scale).round().astype(int).tolist()))
    return tuple(rings)


class Columns:
    """Rows of attempts as lists, one for each thing that is told of them, with texts named by their number."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names
        self.rows: dict[str, list[Any]] = {}
        self.texts: dict[str, list[str]] = {}
        self.category_ids: list[int] = []
        self._places: dict[tuple[str, str], int] = {}

    def add(self, attempt: Attempt, values: Mapping[str, Any]) -> None:
        """Add an attempt.

        Args:
            attempt: Its record.
            values: What else is known: cell, size_wh, outline, file names, threshold.
        """
        category = attempt.category_id if isinstance(attempt.category_id, int) else None
        row: dict[str, Any] = {
            "category": self._category(category),
            "reason": self._text("reasons", str(attempt.reason)),
            "kept": int(attempt.kept),
            "vetoed": 1 if attempt.judgement is not None and attempt.judgement.vetoed else None,
            "job": attempt.job,
            "slot": attempt.slot,
            "retry": attempt.retry,
            "replaced": self._category(attempt.replaced_category_id),
            "source": self._text("files", short(str(values.get("source", "")))),
            "image": self._text("files", short(str(values["image"]))) if values.get("image") else None,
            "detail": self._text("details", short(attempt.detail)) if attempt.detail else None,
        }
        painted = None if attempt.plan is None else attempt.painted
        row |= self._painted(painted, values.get("threshold"))
        row |= {key: values.get(key) for key in ("cell", "size", "outline", "centre", "near", "likeness")}
        for key, value in row.items():
            self.rows.setdefault(key, []).append(value)

    def _painted(self, painted: PaintedParts | None, threshold: float | None) -> dict[str, Any]:
        if painted is None:
            return dict.fromkeys(_PAINTED)
        plan, judgement = painted.plan, painted.judgement
        score = round(judgement.score, 4)
        label, box = judgement.class_found, judgement.box_xyxy
        window = plan.window_xyxy
        values = (
            score,
            round(judgement.iou, 3),
            None if threshold is None else round(score - threshold, 4),
            self._category(judgement.found_category_id),
            None if judgement.found_score is None else round(judgement.found_score, 4),
            judgement.class_rank,
            None if label is None else self._text("labels", short(label)),
            self._text("prompts", short(plan.prompt, _LONGEST_PROMPT)),
            self._text("prompts", short(plan.negative_prompt, _LONGEST_PROMPT))
            if plan.negative_prompt
            else None,
            str(plan.seed),  # more digits than numbers of JavaScript have
            in_window(plan.planned_xyxy, window),
            None if box is None else in_window(box, window),
            list(window),
            None if plan.init_image is UNSET else plan.init_image,
        )
        return dict(zip(_PAINTED, values, strict=True))

    def _category(self, category_id: int | None) -> int | None:
        if category_id is None:
            return None
        name = short(self.names.get(category_id, str(category_id)))
        place = self._text("categories", name, key=str(category_id))
        if place == len(self.category_ids):
            self.category_ids.append(category_id)
        return place

    def _text(self, kind: str, text: str, *, key: str | None = None) -> int:
        place = (kind, text if key is None else key)
        if place not in self._places:
            group = self.texts.setdefault(kind, [])
            self._places[place] = len(group)
            group.append(text)
        return self._places[place]

    def document(self) -> dict[str, Any]:
        """Return plain values for JSON: columns without a value are left out."""
        columns = {key: column for key, column in self.rows.items() if any(v is not None for v in column)}
        return {"columns": columns, "texts": self.texts, "categoryIds": self.category_ids}


def in_window(box_xyxy: Box, window_xyxy: Window) -> list[int]:
    """Return a box in thousandths of its window."""
    x1, y1, x2, y2 = window_xyxy
    side = max(1, x2 - x1, y2 - y1)
    near = np.array(box_xyxy) - np.array([x1, y1, x1, y1])
    return [round(float(v)) for v in near * PER_MILLE / side]


def centre_in_image(box_xyxy: Box, size_wh: Sequence[int]) -> list[int]:
    """Return the centre of a box in thousandths of the image's width and height."""
    x1, y1, x2, y2 = box_xyxy
    return [round((x1 + x2) / 2 / size_wh[0] * PER_MILLE), round((y1 + y2) / 2 / size_wh[1] * PER_MILLE)]
