"""XML that others wrote: read without entities, in bounded depth."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from augsynth.core.errors import DatasetError
from augsynth.core.images import read_plain

_MAX_DEPTH = 100


class _RefusedError(Exception):
    """The document has what no dataset needs."""


def read_xml(path: Path) -> Element:
    """Return the root element of an XML file.

    Entities aren't declared by any tool for datasets, and can grow without bounds or name other files: a file that
    declares one is refused. Nothing outside the file is read.

    Raises:
        DatasetError: It can't be read, isn't XML, declares entities, or is nested deeper than 100.
    """
    try:
        return _parse(read_plain(path))
    except OSError as error:
        raise DatasetError(f"{path}: can't be read ({error.strerror}); check the path") from None
    except _RefusedError as error:
        raise DatasetError(f"{path}: {error}; export it again") from None
    except (expat.ExpatError, ValueError, LookupError, RecursionError) as error:
        raise DatasetError(f"{path}: isn't XML ({error}); export it again") from None


def _parse(data: bytes) -> Element:
    builder, depth = TreeBuilder(), 0
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise _RefusedError(f"is nested deeper than {_MAX_DEPTH}")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: object) -> None:
        raise _RefusedError("declares entities")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    parser.Parse(data, True)
    return builder.close()
