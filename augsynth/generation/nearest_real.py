"""The real objects that a run's painted ones are most like: looked up once for each shard, with a picture of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from augsynth.core.images import read_image
from augsynth.core.records import Attempt, ShardRecord
from augsynth.core.scene import Dataset, Reason
from augsynth.generation.reporting.nearest import ALIKE, PICTURE_PX, RealObject, RealObjects, pixels_in
from augsynth.generation.reporting.sprites import Sheet, TileSize, draw_sheet
from augsynth.generation.reporting.values import Copies

_PAIRS = 16  # on a sheet; each holds two real objects
_SIZE = TileSize(PICTURE_PX, 60, 0)


class NearestReal:
    """Find the nearest real object of each painted one that didn't start from a real one.

    Args:
        dataset: The source; its real objects are read when the first painted one is looked up.
        ids: Categories that are painted.
    """

    def __init__(self, dataset: Dataset, ids: Iterable[int]) -> None:
        self._dataset, self._ids = dataset, frozenset(ids)
        self._real: RealObjects | None = None
        self._found: dict[int, dict[int, tuple[int, float]]] = {}
        self._shown: list[RealObject] = []
        self._numbers: dict[int, int] = {}
        self._sheets: dict[tuple[int, int], Sheet] = {}

    def look(self, index: int, shard: ShardRecord, tiles: Sequence[NDArray[np.uint8]]) -> None:
        """Look the objects of a shard up, unless that was done before.

        Args:
            index: Its number.
            shard: Its record.
            tiles: Its pictures, windows before and after side by side.
        """
        if index not in self._found:
            looked = (
                (number, self._nearest(attempt, tiles)) for number, attempt in enumerate(shard.attempts)
            )
            self._found[index] = {number: each for number, each in looked if each is not None}

    def columns(self, index: int, number: int) -> dict[str, Any]:
        """Return what the gallery says of an attempt: the number of its nearest real object, and how alike they are."""
        found = self._found.get(index, {}).get(number)
        return {} if found is None else {"near": found[0], "likeness": found[1]}

    def count(self, shards: Sequence[ShardRecord]) -> Copies | None:
        """Return how many accepted objects were looked up and are nearly the same as a real one; None for none."""
        accepted = [
            likeness
            for index, shard in enumerate(shards)
            for number, (_, likeness) in self._found.get(index, {}).items()
            if shard.attempts[number].accepted
        ]
        if not accepted or self._real is None:
            return None
        return Copies(len(accepted), sum(likeness >= ALIKE for likeness in accepted), len(self._real))

    @property
    def places(self) -> list[list[Any]]:
        """File name and box of each real object that was found, by its number."""
        return [[one.file_name, *one.box_xyxy] for one in self._shown]

    @property
    def sheets(self) -> list[Sheet]:
        """Pictures of these, two in a cell, by their numbers."""
        sheets, step = [], 2 * _PAIRS
        for low in range(0, len(self._shown), step):
            part = [one.picture for one in self._shown[low : low + step]]
            key = low, len(part)
            if key not in self._sheets:
                part += [np.full_like(part[0], 255)] * (len(part) % 2)
                pairs = [np.concatenate(part[k : k + 2], axis=1) for k in range(0, len(part), 2)]
                self._sheets[key] = draw_sheet(pairs, _SIZE)
            sheets.append(self._sheets[key])
        return sheets

    def _nearest(self, attempt: Attempt, tiles: Sequence[NDArray[np.uint8]]) -> tuple[int, float] | None:
        if attempt.judgement is None or attempt.reason is Reason.BLANK:
            return None
        category_id, plan, judgement = attempt.painted.category_id, attempt.painted.plan, attempt.judgement
        if judgement.tile is None or plan.init_image is not UNSET:
            return None
        after = np.split(tiles[judgement.tile], 2, axis=1)[1]
        pixels = pixels_in(after, judgement.box_xyxy or plan.planned_xyxy, plan.window_xyxy)
        if pixels is None:
            return None
        if self._real is None:
            self._real = RealObjects.collect(self._dataset, partial(read_image, self._dataset), ids=self._ids)
        found = self._real.nearest(category_id, pixels)
        if found is None:
            return None
        real, likeness = found
        if id(real) not in self._numbers:
            self._numbers[id(real)] = len(self._shown)
            self._shown.append(real)
        return self._numbers[id(real)], likeness
