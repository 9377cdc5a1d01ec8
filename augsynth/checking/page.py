"""The page of a check: findings as a table and as pictures, in one file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from augsynth.checking.check import Check
from augsynth.checking.crops import Album
from augsynth.checking.findings import LEVELS, Finding
from augsynth.coco.formats.known import input_paths
from augsynth.core.files import write_atomically
from augsynth.core.outputs import check_output_file
from augsynth.reporting.gallery import short
from augsynth.reporting.page import style_sheet

MOST_PICTURES = 12  # cases of a finding that are shown
_MARK = b"<!-- augsynth check -->"
_PARTS = Path(__file__).parent / "page"
_LONGEST = 160  # letters of a text


def is_page(path: Path) -> bool:
    """Say whether a file is such a page."""
    with path.open("rb") as file:
        return _MARK in file.read(400)


def check_page_path(path: Path, *, inputs: Sequence[Path]) -> None:
    """Raise ConfigError unless a page can be written there."""
    check_output_file(path, inputs=inputs, is_own=is_page)


def write_page(path: Path, found: Check) -> None:
    """Write the page.

    Raises:
        ConfigError: Something else is there.
        OutputError: It can't be written.
    """
    check_page_path(path, inputs=input_paths(*found.sources))
    text = render(found)
    write_atomically(path, lambda file: file.write(text))


def render(found: Check) -> bytes:
    """Return the page in UTF-8."""
    datasets = {str(r.dataset.source): r.dataset for r in found.readings if r.dataset is not None}
    album = Album(datasets)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": _shown_text, "count": "{:,}".format}
    text = environment.get_template("check.html.j2").render(
        title=", ".join(_name(source) for source in found.sources),
        clean=found.clean,
        counts=found.to_dict()["counts"],
        overviews=found.overviews,
        findings=[_shown(finding, album) for finding in found.findings],
        levels=LEVELS,
        most=MOST_PICTURES,
        name=_name,
        style=style_sheet() + Markup((_PARTS / "check.css").read_text(encoding="utf-8")),
    )
    return text.encode("utf-8", errors="backslashreplace")


def _shown(finding: Finding, album: Album) -> dict[str, Any]:
    tiles = []
    for case in finding.cases[:MOST_PICTURES]:
        pictures = [_data_url(data) for data in album.pictures(finding.file, case)]
        tiles.append({"case": case, "text": str(case), "pictures": pictures})
    return {"finding": finding, "tiles": tiles, "with_pictures": any(tile["pictures"] for tile in tiles)}


def _data_url(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def _name(path: str | Path) -> str:
    """Return a file with its folder, which tells splits apart."""
    path = Path(path).absolute()
    return f"{path.parent.name}/{path.name}"


def _shown_text(text: object, most: int = _LONGEST) -> str:
    return short(str(text), most)
