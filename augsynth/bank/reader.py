"""The object bank: cut-outs with opacity in one memory-mapped file.

A bank is a folder:

    bank.json    version, categories, counts, where the cut-outs come from; its presence means the bank is whole
    index.npy    one structured row a cut-out (`ROW`): where it lies, its size, box, category, score
    others.npy   one structured row (`OTHER`) for each other object that a cut-out shows; absent where none does
    cutouts.bin  one cut-out after another: ring features (float32), RGB pixels (raw), opacity (deflate)

Pixels are stored raw because they are read far more often than written: a cut-out costs one copy instead of
a decoder's run, and all loader workers share the operating system's pages of the file. Opacity is mostly
flat, so deflate makes it vanish at little cost. `benchmarks/cost/bank.py` compares this with other encodings.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.errors import DatasetError
from augsynth.core.hub import first_line
from augsynth.core.scene import Category, FloatArray, Image, IntArray

VERSION = 1
MANIFEST, INDEX, OTHERS, PIXELS = "bank.json", "index.npy", "others.npy", "cutouts.bin"
NOT_READ = (OSError, ValueError, EOFError, SyntaxError, MemoryError, TokenError)  # of a damaged .npy file
FILES = MANIFEST, INDEX, OTHERS, PIXELS
ROW = np.dtype(
    [
        ("offset", "<u8"),
        ("num_bytes", "<u4"),
        ("checksum", "<u4"),
        ("size_wh", "<u4", 2),
        ("source_size_wh", "<u4", 2),
        ("ring_length", "<u4"),
        ("has_mask", "<u4"),
        ("category_id", "<i8"),
        ("score", "<f8"),
        ("box_xyxy", "<f8", 4),
    ]
)
OTHER = np.dtype([("position", "<i8"), ("category_id", "<i8"), ("box_xyxy", "<f8", 4)])


class BankError(DatasetError):
    """An object bank can't be used as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """One object with opacity.

    Attributes:
        image: (h, w, 3) uint8 RGB; may have a margin around the object.
        alpha: (h, w) uint8 opacity, 255 is opaque; over the whole box where no outline is known.
        box_xyxy: (4,) float64, the object's box in pixels of the cut-out.
        category_id: COCO id among the bank's categories.
        score: What the filter's detector gave; 1.0 for a real annotation.
        source_size_wh: Size of the picture it comes from.
        has_mask: Whether `alpha` follows the object's outline.
        ring: (F,) what surrounded it, `Rings.features`, in single precision; empty when unknown.
        others_xyxy: (M, 4) boxes of other objects that are pasted along, since they lie in a box without an outline.
        other_ids: (M,) their COCO category ids.

    Raises:
        ValueError: The arrays disagree, or a box is empty or reaches outside.
    """

    image: Image
    alpha: NDArray[np.uint8]
    box_xyxy: FloatArray
    category_id: int
    score: float
    source_size_wh: tuple[int, int]
    has_mask: bool
    ring: FloatArray = field(default_factory=lambda: np.zeros(0))
    others_xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    other_ids: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        if self.image.shape != (height, width, 3) or self.image.dtype != np.uint8 or not height * width:
            raise ValueError(f"image must be (h, w, 3) uint8, got {self.image.shape} {self.image.dtype}")
        if self.alpha.shape != (height, width) or self.alpha.dtype != np.uint8:
            raise ValueError(
                f"alpha must be {(height, width)} uint8, got {self.alpha.shape} {self.alpha.dtype}"
            )
        if np.shape(self.box_xyxy) != (4,) or not np.isfinite(self.box_xyxy).all():
            raise ValueError(f"box_xyxy must be four finite numbers, got {self.box_xyxy!r}")
        if self.others_xyxy.shape != (len(self.other_ids), 4):
            raise ValueError(f"others_xyxy must be ({len(self.other_ids)}, 4), got {self.others_xyxy.shape}")
        for x1, y1, x2, y2 in [self.box_xyxy.tolist(), *self.others_xyxy.tolist()]:
            if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
                raise ValueError(f"box {[x1, y1, x2, y2]} is empty or outside a cut-out of {width}×{height}")
        if self.ring.ndim != 1 or not np.isfinite(self.ring).all() or not np.isfinite(self.score):
            raise ValueError("ring must be one row of finite numbers, and score finite")


class Bank:
    """A bank opened for reading: nothing is decoded before it is asked for, nothing is held after.

    Pickled as its path, so that every loader worker opens a map of its own.

    Attributes:
        path: The folder.
        categories: COCO categories that the cut-outs belong to.
        source: Where the cut-outs come from, as the writer was told.
    """

    def __init__(
        self, path: Path, manifest: Mapping[str, Any], index: NDArray[Any], others: NDArray[Any], pixels: Any
    ) -> None:
        self.path = path
        self.categories = tuple(
            Category(int(c["id"]), str(c["name"]), str(c.get("supercategory", "")))
            for c in manifest["categories"]
        )
        self.source: Mapping[str, Any] = manifest.get("source", {})
        # Plain views of the maps: numpy slices a memmap ten times as slowly.
        self._index = np.asarray(index)
        self._others = {k: others[others["position"] == k] for k in set(others["position"].tolist())}
        self._pixels: Any = np.asarray(pixels)
        self._members: dict[int, IntArray] = {}
        self._sound = np.zeros(len(index), np.bool_)  # whose checksum was right when it was first read

    @classmethod
    def open(cls, path: Path | str) -> Bank:
        """Open a bank folder.

        Raises:
            BankError: It is missing, unfinished, damaged, empty or of another version.
        """
        folder = Path(path)
        manifest = _read_manifest(folder)
        if not manifest["count"]:
            raise BankError(f"{folder}: the bank is empty; make one of a dataset whose objects can be cut")
        try:
            index = np.load(folder / INDEX, mmap_mode="r", allow_pickle=False)
            pixels = np.memmap(folder / PIXELS, np.uint8, mode="r")
            found = (folder / OTHERS).exists()
            others = np.load(folder / OTHERS, allow_pickle=False) if found else np.zeros(0, OTHER)
        except NOT_READ as error:
            raise BankError(
                f"{folder}: one of its files can't be opened ({first_line(error)}); {REMEDY}"
            ) from None
        if index.dtype != ROW or index.shape != (manifest["count"],):
            raise BankError(f"{folder / INDEX}: isn't the index of {manifest['count']} cut-outs; {REMEDY}")
        if others.dtype != OTHER:
            raise BankError(f"{folder / OTHERS}: isn't a list of other objects; {REMEDY}")
        if len(pixels) != manifest["num_bytes"]:
            problem = f"has {len(pixels)} bytes, not {manifest['num_bytes']}"
            raise BankError(f"{folder / PIXELS}: {problem}; {REMEDY}")
        try:
            bank = cls(folder, manifest, index, others, pixels)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise BankError(f"{folder / MANIFEST}: categories can't be read; {REMEDY}") from None
        unknown = set(bank.category_ids.tolist()) - {c.id for c in bank.categories}
        if unknown:
            raise BankError(f"{folder / INDEX}: category ids {sorted(unknown)} aren't listed; {REMEDY}")
        return bank

    def __reduce__(self) -> tuple[Any, ...]:
        return Bank.open, (self.path,)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def category_ids(self) -> IntArray:
        """(N,) COCO category ids, a view of the map."""
        return np.asarray(self._index["category_id"])

    @property
    def scores(self) -> FloatArray:
        """(N,) scores, a view of the map."""
        return np.asarray(self._index["score"])

    @property
    def box_sizes_wh(self) -> FloatArray:
        """(N, 2) width and height of the objects' boxes in pixels of the cut-outs."""
        boxes = self._index["box_xyxy"]
        return np.asarray(boxes[:, 2:] - boxes[:, :2])

    @property
    def source_sizes_wh(self) -> IntArray:
        """(N, 2) sizes of the pictures that the cut-outs come from."""
        return np.asarray(self._index["source_size_wh"]).astype(np.int64)

    @property
    def has_masks(self) -> NDArray[np.bool_]:
        """(N,) whether the opacity follows the object's outline."""
        return np.asarray(self._index["has_mask"] != 0)

    def summary(self) -> str:
        """Return one line about the bank for the user."""
        counts = {c.name: len(self.of_category(c.id)) for c in self.categories}
        listed = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        return f"{len(self)} cut-outs, {int(self.has_masks.sum())} with an outline ({listed}): {self.path}"

    def of_category(self, category_id: int) -> IntArray:
        """Return the positions of a category's cut-outs, none for an unknown category."""
        if category_id not in self._members:
            self._members[category_id] = np.flatnonzero(self.category_ids == category_id)
        return self._members[category_id]

    def ring(self, position: int) -> FloatArray:
        """Return a cut-out's ring features without touching its pixels.

        Raises:
            BankError: The index is damaged.
        """
        row = self._index[position]
        start = int(row["offset"])
        data = self._pixels[start : start + 4 * int(row["ring_length"])]
        if len(data) != 4 * int(row["ring_length"]):
            raise BankError(f"{self.path / INDEX}: row {position} is damaged; {REMEDY}")
        return np.asarray(data.view("<f4"), np.float64)

    def _along(self, position: int) -> dict[str, Any]:
        others = self._others.get(range(len(self))[position])
        if others is None:
            return {}
        return {"others_xyxy": others["box_xyxy"].copy(), "other_ids": others["category_id"].copy()}

    def __getitem__(self, position: int) -> Cutout:
        """Return a cut-out with arrays of its own.

        Raises:
            BankError: It is damaged.
            IndexError: There is no such position.
        """
        row = self._index[position]
        start, num_bytes, ring_length = int(row["offset"]), int(row["num_bytes"]), int(row["ring_length"])
        width, height = (int(v) for v in row["size_wh"])
        data = self._pixels[start : start + num_bytes]
        try:
            if len(data) != num_bytes or not (
                self._sound[position] or zlib.crc32(data) == int(row["checksum"])
            ):
                raise ValueError("its checksum is wrong")
            self._sound[position] = True
            first, second = 4 * ring_length, 4 * ring_length + height * width * 3
            if not second < num_bytes:
                raise ValueError("its size is wrong")
            alpha = zlib.decompress(data[second:], bufsize=height * width)
            return Cutout(
                image=np.array(data[first:second]).reshape(height, width, 3),
                alpha=np.frombuffer(bytearray(alpha), np.uint8).reshape(height, width),
                box_xyxy=np.array(row["box_xyxy"], np.float64),
                category_id=int(row["category_id"]),
                score=float(row["score"]),
                source_size_wh=(int(row["source_size_wh"][0]), int(row["source_size_wh"][1])),
                has_mask=bool(row["has_mask"]),
                ring=np.array(data[:first].view("<f4"), np.float64),
                **self._along(position),
            )
        except (ValueError, zlib.error) as error:
            where = f"{self.path / PIXELS}: cut-out {position} of {len(self)}"
            raise BankError(f"{where} is damaged ({error}); {REMEDY}") from None


REMEDY = "make the bank again"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wanted = {"version": int, "count": int, "num_bytes": int, "categories": list}
        if not all(isinstance(manifest[key], kind) for key, kind in wanted.items()):
            raise TypeError
    except OSError as error:
        advice = "name a folder that `augsynth bank` or `generate --bank` has written"
        raise BankError(f"{path}: no object bank ({error.strerror}); {advice}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BankError(f"{path}: isn't the description of an object bank; {REMEDY}") from None
    if manifest["version"] != VERSION:
        raise BankError(f"{path}: version {manifest['version']}, this augsynth reads {VERSION}; {REMEDY}")
    return manifest
