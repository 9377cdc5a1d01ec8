"""Writing an object bank: the folder appears whole, or not at all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
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
from augsynth.core.files import DRAFT, fill_folder
from augsynth.core.scene import Category


class BankWriter:
    """Write a bank: the folder appears whole when the writer is left, or not at all.

    A writer that was killed leaves a draft in the folder, which the next one clears.

    Args:
        path: The folder to make; it must not hold anything.
        categories: COCO categories of the cut-outs.
        source: Where they come from, plain JSON values.
        replace: Put the new bank in the place of an old one.

    Raises:
        BankError: The path holds something else.
        OutputError: The folder can't be written.
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
        self._stack = ExitStack()
        self._draft = self.path
        held = {p.name for p in self.path.iterdir()} if self.path.is_dir() else set()
        foreign = held - {DRAFT, *FILES} if replace or DRAFT in held else held
        if self.path.is_file() or foreign:
            raise BankError(f"{self.path}: isn't an empty folder; nothing was changed; choose another --out")

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._draft = stack.enter_context(
                fill_folder(self.path, is_own=lambda name: name in FILES, last=MANIFEST)
            )
            self._file = stack.enter_context((self._draft / PIXELS).open("wb"))
            self._stack = stack.pop_all()
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
        self._file = None
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._write_tables()

    def _write_tables(self) -> None:
        rows = np.array(self._rows, ROW)
        np.save(self._draft / INDEX, rows)
        if self._others:
            np.save(self._draft / OTHERS, np.array(self._others, OTHER))
        (self._draft / MANIFEST).write_text(self._manifest(rows), encoding="utf-8")

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
