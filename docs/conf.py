"""How Sphinx builds the pages in this folder: `python -m sphinx -W docs build/docs`."""

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "augsynth"
author = "the augsynth authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["images"]
html_theme = "furo"
html_title = "augsynth"
html_copy_source = False
html_show_sourcelink = False

myst_heading_anchors = 3  # the anchors that headings have on GitHub

autodoc_typehints = "description"
autodoc_member_order = "bysource"

# Pages that stand outside this folder: the page that shows one on the site, and where it is.
OUTSIDE = {"benchmarks": "benchmarks/README.md", "benchmarks-log": "benchmarks/gain/LOG.md"}


def take_in_pages_from_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Show the benchmarks' own pages on the site, and lead links to files that it doesn't have nowhere."""
    folder = Path(app.srcdir)
    if page in OUTSIDE:
        source[0] = (folder.parent / OUTSIDE[page]).read_text(encoding="utf-8")
        folder = (folder.parent / OUTSIDE[page]).parent

    def lead(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        path = (folder / target).resolve()
        for name, place in OUTSIDE.items():
            if path == (Path(app.srcdir).parent / place).resolve():
                return f"[{text}]({name}.md{anchor or ''})"
        return link[0] if path.is_relative_to(app.srcdir) else text

    source[0] = re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)", lead, source[0])


def show_names_as_code(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Give the `name`s of a docstring the two backticks of reStructuredText, whatever letter follows."""
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)(?=(\w)?)", _as_code, line) for line in lines]


def _as_code(found: re.Match[str]) -> str:
    return f"``{found[1]}``" + ("\\ " if found[2] else "")


def setup(app: Sphinx) -> None:
    """Connect what this project adds to Sphinx."""
    app.connect("source-read", take_in_pages_from_outside)
    app.connect("autodoc-process-docstring", show_names_as_code)
