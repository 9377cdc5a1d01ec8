"""HTML pages that open from disk and ask no network for anything: one style, and texts of others that stay texts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from augsynth.core.text import printable

_STYLE = Path(__file__).with_name("page.css")
_LONGEST_NAME = 120


def open_templates(folder: Path, **filters: Any) -> jinja2.Environment:
    """Return the templates of a folder, which escape what is put into them.

    Args:
        folder: Holds the templates.
        filters: More filters, beside `short` and `count`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": short, "count": "{:,}".format, **filters}
    return environment


def style_sheet() -> Markup:
    """Return the style of all pages: light and dark, narrow and wide."""
    return Markup(_STYLE.read_text(encoding="utf-8"))


def short(text: object, length: int = _LONGEST_NAME) -> str:
    """Return what others wrote as one line that can be shown: what steers is written out, what is long is cut."""
    whole = str(text)
    line = " ".join(printable(whole[: 4 * length]).split())
    return line if len(line) <= length and len(whole) <= 4 * length else line[: length - 1] + "…"


def data_url(webp: bytes) -> str:
    """Return a WebP picture as an address that holds all of it."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def encoded(page: str) -> bytes:
    """Return a page in UTF-8; halves of surrogate pairs, which it can't hold, are written out."""
    return page.encode("utf-8", errors="backslashreplace")
