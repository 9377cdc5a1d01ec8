"""What a command says: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from augsynth.core.storage import named


@dataclass(frozen=True, slots=True)
class Report:
    """What a command found.

    Attributes:
        lines: For people: lines and tables.
        document: The same for programs, as plain values.
        status: Exit code.
    """

    lines: Sequence[str | Table]
    document: dict[str, Any]
    status: int = 0


@dataclass(slots=True)
class Terminal:
    """Where a command's words go.

    Attributes:
        verbose: Tell more, and show where in the code an error arose.
        as_json: Print the result as JSON.
        results: Standard output.
        notices: Standard error, for progress and notices; silent with `--quiet`.
        errors: Standard error, for what ends a command.
    """

    verbose: bool = False
    as_json: bool = False
    results: Console = field(default_factory=lambda: Console(soft_wrap=False))
    notices: Console = field(default_factory=lambda: Console(stderr=True))
    errors: Console = field(default_factory=lambda: Console(stderr=True))

    def notice(self, text: str) -> None:
        """Say something that isn't the result."""
        self.notices.print(text, markup=False, highlight=False, soft_wrap=True)

    def detail(self, text: str) -> None:
        """Say something that is wanted with `--verbose` only."""
        if self.verbose:
            self.notice(text)

    def complain(self, message: str) -> None:
        """Say what ended the command, in one line."""
        self.errors.print(f"augsynth: {named(message)}", markup=False, highlight=False, soft_wrap=True)

    def show(self, report: Report) -> None:
        """Print a result, for people or for programs."""
        if self.as_json:
            escaped = not self.results.encoding.startswith("utf")  # what it can't print it would replace
            text = json.dumps(report.document, indent=2, ensure_ascii=escaped)
            self.results.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        for line in report.lines:
            self.results.print(
                named(line) if isinstance(line, str) else line,
                markup=False,
                highlight=False,
                soft_wrap=isinstance(line, str),
            )


TERMINAL = Terminal()
