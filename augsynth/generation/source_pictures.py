"""The source pictures of a run: told by size and time whether they are still those that it began with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from augsynth.core.errors import DatasetError, ResumeError
from augsynth.core.scene import Dataset

PictureStamp = tuple[int, int]  # number of bytes, time of the last change in ns


@dataclass(frozen=True, slots=True, eq=False)
class SourcePictures:
    """What the pictures of a dataset were like when a run began.

    Attributes:
        root: The image directory.
        stamps: By `file_name`; None where there is no file.
    """

    root: Path
    stamps: dict[str, PictureStamp | None]

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Look at all pictures of a dataset; none is opened."""
        root = dataset.image_root or Path()
        return cls(root, {scene.file_name: _stamp(root / scene.file_name) for scene in dataset.scenes})

    def check(self, names: Iterable[str] | None = None) -> None:
        """Raise unless pictures are as they were.

        Args:
            names: Their `file_name`s; all without it.

        Raises:
            DatasetError: One was changed, or is gone.
        """
        for name in self.stamps if names is None else names:
            path = self.root / name
            found = _stamp(path)
            if found != self.stamps[name]:
                raise DatasetError(f"{path}: {_what(found)} while the run went on; {_REMEDY}")

    def compare(self, before: SourcePictures) -> None:
        """Raise unless the pictures are those of a run that is continued.

        Raises:
            ResumeError: One was changed, or is gone.
        """
        for name in sorted({*before.stamps, *self.stamps}):
            found = self.stamps.get(name)
            if before.stamps.get(name) != found:
                raise ResumeError(f"{self.root / name}: {_what(found)} since the run began; {_REMEDY}")

    def to_bytes(self) -> bytes:
        """Return the stamps as JSON."""
        return msgspec.json.encode(self.stamps)

    def with_stamps(self, text: bytes) -> SourcePictures:
        """Return the same pictures with stamps that were written as JSON.

        Raises:
            ValueError: They are damaged.
        """
        return SourcePictures(self.root, msgspec.json.decode(text, type=dict[str, PictureStamp | None]))


_REMEDY = (
    "put back the file as it was (size and time of change are compared), or begin again with another --out"
)


def _what(found: PictureStamp | None) -> str:
    return "is gone" if found is None else "was changed"


def _stamp(path: Path) -> PictureStamp | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
