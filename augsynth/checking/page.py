"""The page of a check: findings as a table and as pictures, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from augsynth.checking.check import Check
from augsynth.checking.crops import Album
from augsynth.checking.findings import LEVELS, Finding
from augsynth.coco.formats.known import input_paths
from augsynth.core.files import write_atomically
from augsynth.core.outputs import check_output_file
from augsynth.core.pages import data_url, encoded, open_templates, style_sheet

MOST_PICTURES = 12  # cases of a finding that are shown
_MARK = b"<!-- augsynth check -->"
_PARTS = Path(__file__).parent / "page"


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
    environment = open_templates(_PARTS)
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
    return encoded(text)


def _shown(finding: Finding, album: Album) -> dict[str, Any]:
    tiles = []
    for case in finding.cases[:MOST_PICTURES]:
        pictures = [data_url(data) for data in album.pictures(finding.file, case)]
        tiles.append({"case": case, "text": str(case), "pictures": pictures})
    return {"finding": finding, "tiles": tiles, "with_pictures": any(tile["pictures"] for tile in tiles)}


def _name(path: str | Path) -> str:
    """Return a file with its folder, which tells splits apart."""
    path = Path(path).absolute()
    return f"{path.parent.name}/{path.name}"
