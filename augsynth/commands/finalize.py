"""`augsynth finalize`: a copy of a finished run without the objects that were struck out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from augsynth.commands.flags import Command
from augsynth.commands.generate import SHORT
from augsynth.commands.terminal import Report, Terminal
from augsynth.core.errors import ConfigError
from augsynth.core.options import REQUIRED, option


@dataclass(frozen=True, slots=True)
class FinalizeOptions:
    """The run, what is struck out of it, and the copy."""

    run: Path = option(REQUIRED, "Directory of a finished run; it stays as it is.")
    out: Path = option(REQUIRED, "Directory of the copy.")
    veto: Path | None = option(
        None,
        "File of the struck-out objects, as the run's report saves it; docs/review.md has its form.",
        unset="none is struck out",
    )
    judge: str | None = option(
        None, "Detector trained apart from what filters, that grades the copy's labels for its report."
    )
    replace: bool = option(
        False, "Paint as many objects anew, as the run would have gone on; needs its data and models."
    )


def run_finalize(options: FinalizeOptions, terminal: Terminal) -> Report:
    """Write the copy.

    Raises:
        AugsynthError: As `augsynth.generation.finalize.finalize`.
    """
    from augsynth.generation.veto import read_veto

    if options.veto is None and options.judge is None:
        raise ConfigError("neither veto nor judge is given; say with --veto FILE what is struck out")
    numbers = () if options.veto is None else read_veto(options.veto)
    from augsynth.commands.progress import RunDisplay, summary_lines
    from augsynth.generation.finalize import finalize

    with RunDisplay(terminal.notices) as display:
        tally = finalize(
            options.run,
            numbers,
            out=options.out,
            replace=options.replace,
            progress=display.update,
            judge=options.judge,
            title=str(options.veto),
        )
    annotations = str(options.out / "annotations" / "instances_augmented.json")
    return Report(
        [f"{tally.vetoed} objects taken out", *summary_lines(tally, options.out)],
        {"out": str(options.out), "annotations": annotations, **tally.document()},
        SHORT if options.replace and tally.accepted < tally.wanted else 0,
    )


FINALIZE = Command(
    "finalize",
    FinalizeOptions,
    run_finalize,
    help="Copy a finished run without the objects that a person struck out, or with its labels graded; the run stays "
    "as it is.",
    example="augsynth finalize runs/first --veto veto.json --out runs/reviewed",
    exits=f"Exit code {SHORT}: fewer objects could be painted anew than were taken out.",
    positional="run",
)
