"""Structs with flat parts: what is decoded flat is put together, and a part that lacks something is refused."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Struct

from augsynth.core.flat import FlatFields, flat_struct


class Part(Struct):
    x: int
    y: int
    z: int | None = None


class Whole(Struct):
    name: str
    size: int = 3
    part: Part | None = None


OWN, PART = FlatFields(Whole, but=("part",)), FlatFields(Part)
FLAT = flat_struct("Flat", OWN, PART)


def test_a_part_is_made_of_the_values_beside_others() -> None:
    flat = msgspec.json.decode(b'{"name": "a", "y": 2, "x": 1, "other": 5}', type=FLAT)
    assert PART.made_of(flat) == Part(1, 2, None) and OWN.values_of(flat) == ("a", 3)
    assert Whole(*(*OWN.values_of(flat), PART.made_of(flat))) == Whole("a", 3, Part(1, 2))


def test_what_is_missing_or_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r"^y is missing$"):
        PART.made_of(msgspec.json.decode(b'{"name": "a", "x": 1}', type=FLAT))
    for text, words in ((b'{"x": 1}', "name"), (b'{"name": "a", "x": "1"}', "x")):
        with pytest.raises(ValueError, match=words):
            msgspec.json.decode(text, type=FLAT)
