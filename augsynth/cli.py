"""Register the commands and run the one that is asked for."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import traceback
from typing import Annotated

import typer

from augsynth import __version__
from augsynth.commands.affinity import BUILD_AFFINITY
from augsynth.commands.bank import BANK
from augsynth.commands.check import CHECK
from augsynth.commands.convert import EXPORT, IMPORT
from augsynth.commands.finalize import FINALIZE
from augsynth.commands.flags import add_command
from augsynth.commands.generate import GENERATE
from augsynth.commands.predict import PREDICT
from augsynth.commands.sample import SAMPLE
from augsynth.commands.split import SPLIT
from augsynth.commands.terminal import TERMINAL
from augsynth.commands.train import TRAIN_DETECTOR, TRAIN_INPAINTER, TRAIN_LORA
from augsynth.core.errors import AugsynthError

COMMANDS = (
    GENERATE,
    FINALIZE,
    CHECK,
    BUILD_AFFINITY,
    BANK,
    SPLIT,
    TRAIN_INPAINTER,
    TRAIN_LORA,
    TRAIN_DETECTOR,
    PREDICT,
    SAMPLE,
    IMPORT,
    EXPORT,
)
MISUSED, INTERRUPTED = 2, 130  # exit codes
# With Python's own 700, garbage is looked for a thousand times while torch and diffusers are imported.
OBJECTS_BETWEEN_COLLECTIONS = 100_000

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Enrich a COCO detection dataset with labelled objects painted where they belong.",
    epilog="\b\nExample:\n  augsynth generate --n 8 --out runs/first",
)
for _command in COMMANDS:
    add_command(app, _command)


def main() -> None:
    """Run the command line; an error a user can mend is one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal can't show is no reason to stop
    # SIGTERM ends the command like Ctrl-C, with a line that says how to go on; forked processes end at once.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    atexit.register(gc.freeze)  # what is left at the end is freed without looking for cycles in it
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    try:
        status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except (AugsynthError, typer.TyperException) as error:
        if TERMINAL.verbose:
            traceback.print_exc()
        message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        message = " ".join(message.replace("Value error, ", "").split())
        TERMINAL.complain(message or "see augsynth --help")
        raise SystemExit(error.exit_code if isinstance(error, AugsynthError) else MISUSED) from None
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        TERMINAL.complain("interrupted; the same command goes on from what is finished")
    raise SystemExit(status or 0)


def _show_version(wanted: bool) -> None:
    if wanted:
        TERMINAL.results.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options of every command."""


if __name__ == "__main__":
    main()
