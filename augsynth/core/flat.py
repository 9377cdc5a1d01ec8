"""A struct whose parts stand flat beside its own values in JSON: decoded in one go, then put together."""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType


class FlatFields:
    """The fields of one struct among those of a flat one.

    Args:
        kind: The struct.
        but: Fields that hold its parts.

    Attributes:
        fields: As msgspec describes them.
        values_of: Returns their values of a flat struct, in order.
    """

    def __init__(self, kind: Any, *, but: Collection[str] = ()) -> None:
        self._kind = kind
        self.fields = [field for field in msgspec.structs.fields(kind) if field.name not in but]
        self.values_of = attrgetter(*(field.name for field in self.fields))
        self._num_needed = sum(field.required for field in self.fields)

    def made_of(self, flat: Struct) -> Any:
        """Return the struct of a flat one.

        Raises:
            ValueError: A value is missing.
        """
        values = self.values_of(flat)
        if UNSET in values[: self._num_needed]:
            raise ValueError(f"{self.fields[values.index(UNSET)].name} is missing")
        return self._kind(*values)


def flat_struct(name: str, own: FlatFields, *parts: FlatFields) -> type[Struct]:
    """Return a struct of all fields; those that parts need may be missing, since a part may be."""
    fields = [(f.name, f.type, *(() if f.required else (f.default,))) for f in own.fields]
    for part in parts:
        fields += [(f.name, f.type | UnsetType, UNSET if f.required else f.default) for f in part.fields]
    return msgspec.defstruct(name, fields, gc=False)
