"""Write the tables of modules in ARCHITECTURE.md from their docstrings: `python docs/module_table.py`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "augsynth"
PAGE = ROOT / "ARCHITECTURE.md"
PLACE = re.compile(r"(<!-- modules -->\n).*?(<!-- end -->)", re.S)


def first_sentence(path: Path) -> str:
    """Return what a module's docstring begins with, as a line without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).removesuffix(".").replace("|", "\\|")


def folder_table(folder: Path) -> str:
    """Return the table of the modules in a folder and the folders below it."""
    rows = [
        f"| `{path.relative_to(PACKAGE).as_posix()}` | {first_sentence(path)} |"
        for path in sorted(folder.rglob("*.py") if folder != PACKAGE else folder.glob("*.py"))
        if path.name != "__init__.py"
    ]
    about = "" if folder == PACKAGE else f"{first_sentence(folder / '__init__.py')}.\n\n"
    return f"### {folder.name}\n\n{about}" + "\n".join(["| module | what it is |", "|---|---|", *rows])


def tables() -> str:
    """Return the tables of all folders."""
    folders = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
    return "\n\n".join(folder_table(folder) for folder in [*folders, PACKAGE])


def page() -> str:
    """Return ARCHITECTURE.md with the tables as they should be."""
    return PLACE.sub(lambda found: f"{found[1]}{tables()}\n{found[2]}", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
