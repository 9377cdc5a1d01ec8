"""Cells: one training of one detector, in one arm, on one share, with one seed. Done once, kept for ever."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RECORD = Path(__file__).with_name("cells.jsonl")  # a line for each cell that the README's tables show
DIGESTS = ("design", "data", "start")  # of what a schedule runs on


@dataclass(frozen=True)
class Cell:
    """What a training depends on.

    Attributes:
        source: Name of the data set.
        share: Share of its training images, in (0, 1].
        arm: Key of `arms.ARMS`.
        detector: Key of `detectors.DETECTORS`.
        seed: Of the share, the generation and the training: arms of one seed are pairs.
        settings: The part of the recipe that the arm depends on.
        schedule: Settings of the training.
        models: Who painted and judged, where the arm needs them: digests of weights.
    """

    source: str
    share: float
    arm: str
    detector: str
    seed: int
    settings: dict[str, Any]
    schedule: dict[str, Any]
    models: dict[str, Any]

    @property
    def key(self) -> str:
        """A name for the folder, the same for equal cells only."""
        document = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(document.encode()).hexdigest()[:10]
        return f"{self.source}_{self.share:g}_{self.arm}_{self.detector}_{self.seed}_{digest}"

    def folder(self, work: Path) -> Path:
        return work / "cells" / self.key

    def is_done(self, work: Path) -> bool:
        return (self.folder(work) / "result.json").is_file()


def finish(cell: Cell, work: Path, result: dict[str, Any]) -> None:
    """Write a cell's result, whole or not at all."""
    write_whole(cell.folder(work) / "result.json", json.dumps({"cell": asdict(cell), **result}, indent=1))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or as it was."""
    part = path.with_suffix(".part")
    part.write_text(text, "utf-8")
    part.replace(path)


def read_results(work: Path) -> list[dict[str, Any]]:
    """Return the results of all finished cells, the newest last."""
    found = sorted((work / "cells").glob("*/result.json"), key=lambda p: (p.stat().st_mtime_ns, p))
    return [json.loads(p.read_text("utf-8")) for p in found]


def read_record(path: Path = RECORD) -> list[dict[str, Any]]:
    """Return the results that were put on record, none where there is no such file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def put_on_record(results: Iterable[Mapping[str, Any]], path: Path = RECORD) -> None:
    """Write results to the record, a line each, in place of what was asked there before."""
    merged = merge([*read_record(path), *results])
    write_whole(path, "".join(json.dumps(r, sort_keys=True) + "\n" for r in merged))


def merge(results: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return results in the order of their questions, the last one where several answer the same.

    What a cell asks is its data, arm, detector, seed, recipe and schedule. The digests say with which files it was
    answered: newer code, data or weights give a newer answer, not another row.
    """
    answers = {}
    for result in results:
        cell = result["cell"]
        length = {k: v for k, v in cell["schedule"].items() if k not in DIGESTS}
        question = [cell[k] for k in ("source", "share", "detector", "arm", "seed", "settings")]
        answers[json.dumps([*question, length], sort_keys=True)] = result
    return [answers[question] for question in sorted(answers)]


@contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Take a folder for this process, so that several may work side by side; yield whether it was free.

    A claim ends with its process, however that ends.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".claim", os.O_CREAT | os.O_RDWR)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)
