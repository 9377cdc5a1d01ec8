"""Writing an object bank: the folder appears whole, or not at all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from augsynth.bank.reader import (
    FILES,
    INDEX,
    MANIFEST,
    OTHER,
    OTHERS,
    PIXELS,
    ROW,
    VERSION,
    BankError,
    Cutout,
)
from augsynth.core.scene import Category


class BankWriter:
    """Write a bank: the folder appears whole when the writer is left, or not at all.

    A writer that was killed leaves only a hidden folder beside it, which the next one clears.

    Args:
        path: The folder to make; it must not hold anything.
        categories: COCO categories of the cut-outs.
        source: Where they come from, plain JSON values.
        replace: Put the new bank in the place of an old one.

    Raises:
        BankError: The path holds something else.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        categories: Sequence[Category],
        source: Mapping[str, Any] | None = None,
        replace: bool = False,
    ) -> None:
        self.path = Path(path)
        self.categories = tuple(categories)
        self.source = dict(source or {})
        self._ids = {category.id for category in self.categories}
        self._rows: list[tuple[Any, ...]] = []
        self._others: list[tuple[Any, ...]] = []
        self._num_bytes = 0
        self._file: BinaryIO | None = None
        self._part = self.path.with_name(f".{self.path.name}.part")
        held = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []
        if self.path.is_file() or (held and not (replace and {*held} <= {*FILES})):
            raise BankError(f"{self.path}: isn't an empty folder; nothing was changed; choose another --out")

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self) -> Self:
        _clear(self._part)
        self._part.mkdir(parents=True)
        self._file = (self._part / PIXELS).open("wb")
        return self

    def add(self, cutout: Cutout) -> None:
        """Append a cut-out.

        Raises:
            ValueError: Its category isn't the bank's.
        """
        strange = {cutout.category_id, *cutout.other_ids.tolist()} - self._ids
        if strange:
            raise ValueError(f"category_id {min(strange)} is none of the bank's")
        if self._file is None:
            raise ValueError("the writer is used outside of its `with` block")
        height, width = cutout.alpha.shape
        ring = cutout.ring.astype("<f4").tobytes()
        data = ring + cutout.image.tobytes() + zlib.compress(cutout.alpha.tobytes(), 6)
        self._file.write(data)
        self._others += [
            (len(self._rows), category_id, tuple(box))
            for category_id, box in zip(cutout.other_ids.tolist(), cutout.others_xyxy.tolist(), strict=True)
        ]
        self._rows.append(
            (
                self._num_bytes,
                len(data),
                zlib.crc32(data),
                (width, height),
                cutout.source_size_wh,
                len(cutout.ring),
                cutout.has_mask,
                cutout.category_id,
                cutout.score,
                tuple(float(v) for v in cutout.box_xyxy),
            )
        )
        self._num_bytes += len(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        if kind is not None:
            _clear(self._part)
            return
        rows = np.array(self._rows, ROW)
        np.save(self._part / INDEX, rows)
        if self._others:
            np.save(self._part / OTHERS, np.array(self._others, OTHER))
        (self._part / MANIFEST).write_text(self._manifest(rows), encoding="utf-8")
        _clear(self.path)
        self._part.rename(self.path)

    def _manifest(self, rows: NDArray[Any]) -> str:
        counts = {str(c.name): int((rows["category_id"] == c.id).sum()) for c in self.categories}
        manifest = {
            "version": VERSION,
            "count": len(rows),
            "num_bytes": self._num_bytes,
            "with_mask": int((rows["has_mask"] != 0).sum()),
            "counts": counts,
            "categories": [
                {"id": c.id, "name": c.name, "supercategory": c.supercategory} for c in self.categories
            ],
            "source": self.source,
        }
        return json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"


def _clear(folder: Path) -> None:
    """Remove a bank or what is left of one, and nothing else."""
    if not folder.is_dir():
        return
    for name in FILES:  # the manifest first: without it there is no bank
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
