"""report.html: one page with everything in it, which opens from disk and asks no network for anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from augsynth.core.pages import encoded, open_templates, short, style_sheet
from augsynth.generation.reporting.affinity_table import AffinityTable
from augsynth.generation.reporting.charts import score_chart
from augsynth.generation.reporting.nearest import ALIKE
from augsynth.generation.reporting.sprites import COLUMNS, Sheet
from augsynth.generation.reporting.values import Report
from augsynth.generation.reporting.verdict import Verdict

_PARTS = Path(__file__).parent / "page"
_LONGEST_VALUE = 300
# Text that ends a script element or a line of JavaScript early is written as an escape.
_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def render_report(
    report: Report,
    verdict: Verdict,
    affinity: AffinityTable,
    *,
    gallery: Mapping[str, Any],
    sheets: Sequence[Sheet],
    starts: Sequence[Sheet],
    start_numbers: Sequence[int],
    nears: Sequence[Sheet],
    near_places: Sequence[Sequence[Any]],
) -> bytes:
    """Return the page of a report in UTF-8.

    Args:
        report, verdict, affinity: What it says.
        gallery: Columns of the attempts and their texts, as `Columns.document` returns them.
        sheets: Their pictures; a `cell` counts through all of them.
        starts: Pictures of the real objects that painting started from.
        start_numbers: Position of each of them in its bank.
        nears: Pictures of the real objects that painted ones are most like, two in a cell.
        near_places: File name and box of each of them.
    """
    data = {
        **gallery,
        "columnsOfSheet": COLUMNS,
        "sheets": [_measures(sheet) for sheet in sheets],
        "starts": [_measures(sheet) for sheet in starts],
        "startNumbers": list(start_numbers),
        "startSizes": [size for sheet in starts for size in sheet.sizes_wh],
        "nears": [_measures(sheet) for sheet in nears],
        "nearPlaces": [[short(name), *box] for name, *box in near_places],
        "alike": ALIKE,
        "grid": {str(category_id): cells.tolist() for category_id, cells in report.grid.items()},
        "advice": {reason: {"means": means, "do": do} for reason, (means, do) in report.advice.items()},
        "run": report.folder,
        "command": report.command,
        "filtered": report.filtered,
    }
    text = (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            verdict=verdict,
            affinity=affinity,
            data=json_for_script(data),
            shown=len(gallery["columns"].get("reason", ())),
            masks="outline" in gallery["columns"],
            sheets=sheets,
            starts=starts,
            nears=nears,
            style=style_sheet(),
            script=Markup((_PARTS / "report.js").read_text(encoding="utf-8")),
        )
    )
    return encoded(text)


def json_for_script(value: Any) -> Markup:
    """Return JSON that can't end the script element which holds it, whatever texts are in it."""
    return Markup(json.dumps(value, separators=(",", ":")).translate(_ESCAPES))


def _measures(sheet: Sheet) -> dict[str, Any]:
    return {"side": sheet.side_px, "count": len(sheet.sizes_wh)}


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    filters = {"value": _value_text, "share": "{:.0%}".format, "zip": zip}
    environment = open_templates(_PARTS, **filters)
    environment.globals |= {"score_chart": score_chart}
    return environment


def _value_text(value: Any) -> str:
    """Return the value of an option as one line."""
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return short(", ".join(str(each) for each in value), _LONGEST_VALUE)
    return short(str(value), _LONGEST_VALUE)
