"""The affinity file: one JSON object that carries counts, matrix and layout statistics."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.affinity.cooccurrence import Cooccurrence
from augsynth.affinity.loglinear import Structure
from augsynth.affinity.scoring import BLEND, CLIP, MEASURES, Part, Terms
from augsynth.core.arrays import MAX_EXACT, floats, unique_ids, wholes
from augsynth.core.errors import DatasetError
from augsynth.core.files import write_atomically
from augsynth.core.scene import FloatArray, IntArray

FORMAT = "augsynth-affinity"
VERSION = 2
_HEAD = f'{{\n"format": "{FORMAT}",\n'
_REMEDY = "build it again with `augsynth build-affinity`"


def encode(affinity: Any) -> dict[str, Any]:
    """Return an `Affinity` as JSON values; an infinite strength becomes null."""
    counts, structure = affinity.cooccurrence, affinity.structure
    model = _encode_part(Part(affinity.measure, affinity.matrix, affinity.terms))
    fields = {
        "category_ids": affinity.category_ids,
        "names": list(affinity.names),
        "num_scenes": counts.num_scenes,
        "measure": model["measure"],
        "kappa": counts.kappa,
        "temperature": model["temperature"],
        "strength": model["strength"],
        "source_sha256": affinity.source_sha256,
        "structure": {name: getattr(structure, name) for name in Structure.__dataclass_fields__},
        "counts": counts.counts,
        "instance_counts": counts.instance_counts,
        "repeat_counts": counts.repeat_counts,
        "pair_counts": counts.pair_counts,
        "matrix": model["matrix"],
        "bias": model["bias"],
        "count_matrix": model["count_matrix"],
    }
    if affinity.embeddings:
        fields["embeddings"] = affinity.embeddings
    if affinity.parts:
        fields["parts"] = [{"weight": part.weight, **_encode_part(part)} for part in affinity.parts]
    return fields


def _encode_part(part: Part) -> dict[str, Any]:
    terms = part.terms
    return {
        "measure": part.measure,
        "temperature": terms.temperature,
        "strength": terms.strength if math.isfinite(terms.strength) else None,
        "matrix": part.matrix,
        "bias": terms.bias,
        "count_matrix": terms.counts,
    }


def is_affinity_file(path: Path) -> bool:
    """Tell whether a file begins as an affinity file does."""
    with path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD.encode()


def write(path: Path, fields: Mapping[str, Any], layout: Mapping[str, Any]) -> None:
    """Write the file beside its place and move it there; missing folders are made.

    Raises:
        OutputError: The file can't be written.
    """
    content = to_bytes(fields, layout)
    write_atomically(path, lambda file: file.write(content))


def to_bytes(fields: Mapping[str, Any], layout: Mapping[str, Any]) -> bytes:
    """Return the file's content, a key a line."""
    body = ",\n".join(f"  {json.dumps(key)}: {_dumps(value)}" for key, value in fields.items())
    text = (
        f'{_HEAD}"version": {VERSION},\n"affinity": {{\n{body}\n}},\n"layout": {_dumps(dict(layout))}\n}}\n'
    )
    return text.encode()


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keyword arguments of `Affinity`, and the layout.

    Raises:
        DatasetError: The file can't be read, isn't an affinity file, or a field of it is damaged.
    """
    return from_bytes(read_bytes(path), path=path)


def read_bytes(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        DatasetError: It can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: can't be read ({error.strerror}); check the path") from None


def from_bytes(content: bytes, *, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what `read` does from a file's content; `path` is what an error names.

    Raises:
        DatasetError: As `read`.
    """
    try:
        document = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise DatasetError(f"{path}: isn't JSON, perhaps cut short; {_REMEDY}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DatasetError(f"{path}: isn't an affinity file (no format {FORMAT!r}); {_REMEDY}")
    if document.get("version") != VERSION:
        found = document.get("version")
        raise DatasetError(f"{path}: version: {found!r} can't be read, {VERSION} is expected; {_REMEDY}")
    fields = Fields(path, "affinity", _object(path, document, "affinity"))
    return fields.decode(), _object(path, document, "layout")


class Fields:
    """The fields of one JSON object of the file, each checked as it is taken."""

    def __init__(self, path: Path, name: str, record: Mapping[str, Any]) -> None:
        self._path, self._name, self._record = path, name, record

    def decode(self) -> dict[str, Any]:
        """Return the keyword arguments of `Affinity`."""
        names = self._take("names")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise self.fault("names", "must be a list of category names")
        size = len(names)
        category_ids = self._checked("category_ids", lambda values: unique_ids(values, "category_ids"))
        if len(category_ids) != size:
            raise self.fault("category_ids", f"must be {size}, as many as names")
        model = self.part(size, (*MEASURES, CLIP, BLEND))
        return {
            "category_ids": category_ids,
            "names": tuple(names),
            "cooccurrence": self._counts(size),
            "measure": model.measure,
            "matrix": model.matrix,
            "terms": model.terms,
            "structure": Fields(self._path, "affinity.structure", self._inner("structure"))._structure(),
            "source_sha256": self.text("source_sha256"),
            "parts": self._parts(size) if model.measure == BLEND else (),
            "embeddings": self.text("embeddings") if "embeddings" in self._record else "",
        }

    def part(self, size: int, measures: tuple[str, ...], *, weighted: bool = False) -> Part:
        """Return measure, matrix and terms of a model of `size` categories."""
        measure = self.text("measure")
        if measure not in measures:
            raise self.fault("measure", f"must be one of {', '.join(measures)}, not {measure!r}")
        terms = Terms(
            self.number("temperature", above=0),
            math.inf if self._take("strength") is None else self.number("strength"),
            self.floats("bias", (2, size)),
            self.floats("count_matrix", (size, size)),
        )
        matrix = self.floats("matrix", (size, size))
        return Part(measure, matrix, terms, self.number("weight") if weighted else 1.0)

    def _parts(self, size: int) -> tuple[Part, ...]:
        records = self._take("parts")
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise self.fault("parts", "must be a list of objects")
        parts = tuple(
            Fields(self._path, f"{self._name}.parts[{k}]", record).part(
                size, (*MEASURES, CLIP), weighted=True
            )
            for k, record in enumerate(records)
        )
        weights = [part.weight for part in parts]
        if min(weights, default=-1.0) < 0 or not math.isclose(sum(weights), 1, abs_tol=1e-6):
            raise self.fault("parts", f"must have weights of 0 or more that sum to 1, not {weights}")
        return parts

    def _counts(self, size: int) -> Cooccurrence:
        counts = self.wholes("counts", (size,))
        pairs = self.wholes("pair_counts", (size, size))
        if (pairs != pairs.T).any() or (pairs.diagonal() != counts).any():
            raise self.fault("pair_counts", "must be symmetric with counts on the diagonal")
        num_scenes = self.number("num_scenes", above=0)
        if num_scenes != int(num_scenes) or num_scenes < counts.max():
            raise self.fault("num_scenes", "must be a whole number, not below any of counts")
        return Cooccurrence(
            int(num_scenes),
            counts,
            pairs,
            self.wholes("repeat_counts", (size,)),
            self.wholes("instance_counts", (size,)),
            self.number("kappa", above=0),
        )

    def _structure(self) -> Structure:
        prior, pairless, paired = (self.number(f"{name}log_loss") for name in ("prior_", "pairless_", ""))
        return Structure(int(self.number("num_cases")), prior, pairless, paired, self.number("z"))

    def number(self, name: str, *, above: float = -math.inf) -> float:
        """Return a finite number above a bound."""
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_EXACT:
            raise self.fault(name, f"must be a number below 2^53, not {str(value)[:40]!r}")
        if value <= above:
            raise self.fault(name, f"must be above {above}, not {value}")
        return float(value)

    def text(self, name: str) -> str:
        """Return a string."""
        value = self._take(name)
        if not isinstance(value, str):
            raise self.fault(name, f"must be text, not {str(value)[:40]!r}")
        return value

    def floats(self, name: str, shape: tuple[int, ...]) -> FloatArray:
        """Return an array of one shape, of finite numbers."""
        found: FloatArray = self._checked(name, lambda values: floats(values, name, shape))
        return found

    def wholes(self, name: str, shape: tuple[int, ...]) -> IntArray:
        """Return an array of one shape, of whole numbers, 0 or more."""
        found: IntArray = self._checked(name, lambda values: wholes(values, name, shape))
        return found

    def _checked(self, name: str, read: Callable[[Any], Any]) -> Any:
        try:
            return read(self._take(name))
        except ValueError as error:
            raise self.fault(name, str(error).removeprefix(f"{name}: ")) from None

    def fault(self, name: str, what: str) -> DatasetError:
        """Return the error that names file and field."""
        return DatasetError(f"{self._path}: {self._name}.{name}: {what}; {_REMEDY}")

    def _take(self, name: str) -> Any:
        if name not in self._record:
            raise self.fault(name, "is missing")
        return self._record[name]

    def _inner(self, name: str) -> Mapping[str, Any]:
        value = self._take(name)
        if not isinstance(value, dict):
            raise self.fault(name, "must be an object")
        return value


def _object(path: Path, document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        raise DatasetError(f"{path}: {name}: is missing or isn't an object; {_REMEDY}")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _dumps(value: Any) -> str:
    return json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} can't be written to an affinity file")
