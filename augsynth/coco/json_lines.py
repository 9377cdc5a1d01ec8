"""JSON with one record a line: documents, and lists written piece by piece; the same records give the same bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np

from augsynth.core.files import make_folder, write_atomically, writing

BETWEEN = b",\n"  # two records of a document
_AT_ONCE = 1 << 20


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document atomically, one record a line: the same document gives the same bytes.

    Raises:
        TypeError: The document holds something that JSON can't.
    """
    write_atomically(path, lambda file: _write_document(file, document))


def record_encoder(*, order: Literal["sorted"] | None = None) -> Callable[[object], bytes]:
    """Return what gives the JSON form of a record; arrays and scalars of numpy are lists and numbers in it.

    Args:
        order: `sorted` for keys in order.
    """
    return msgspec.json.Encoder(enc_hook=_plain, order=order).encode


def _write_document(file: BinaryIO, document: Mapping[str, Any]) -> None:
    encode = record_encoder()
    for index, (key, value) in enumerate(document.items()):
        file.write((BETWEEN if index else b"{\n") + encode(key) + b": ")
        records, lines = (value.first, value.lines) if isinstance(value, Written) else (value, None)
        if isinstance(records, list) and (records or lines):
            for position, record in enumerate(records):
                file.write((BETWEEN if position else b"[\n") + encode(record))
            if lines:
                file.write(BETWEEN if records else b"[\n")
                lines.copy_to(file)
            file.write(b"\n]")
        else:
            file.write(encode(records))
    file.write(b"\n}\n" if document else b"{}\n")


class Lines:
    """Records in their JSON form, one a line, in a file without a name, so that none is held.

    Processes that were forked after it was made may add to it, too, one at a time.

    Args:
        folder: Where there is room for the file.
        between: What is written between two.
    """

    def __init__(self, folder: Path, *, between: bytes = BETWEEN) -> None:
        self._folder, self._between = folder, between
        with writing(folder):
            make_folder(folder)
            # it lives as long as this; nothing is held back, which a forked process would write twice
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def __bool__(self) -> bool:
        """Whether there are any."""
        return os.fstat(self._file.fileno()).st_size > 0

    def add(self, records: Sequence[bytes]) -> None:
        """Write records that `record_encoder` gave.

        Raises:
            OutputError: They can't be written.
        """
        left = memoryview(self._between.join([*records, b""]))
        with writing(self._folder):
            while left:
                left = left[self._file.write(left) :]

    def copy_to(self, file: BinaryIO) -> None:
        """Write all to another file."""
        num_bytes = self._file.seek(0, os.SEEK_END) - len(self._between)
        self._file.seek(0)
        while num_bytes > 0:
            text = self._file.read(min(num_bytes, _AT_ONCE))
            num_bytes -= len(text)
            file.write(text)


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A list in a document, of which the greater part was written before.

    Attributes:
        first: Its first records.
        lines: Those after them.
    """

    first: list[Any]
    lines: Lines


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} can't be written as JSON")
