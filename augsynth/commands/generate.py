"""`augsynth generate`: an augmented dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from augsynth.commands.flags import Command
from augsynth.commands.terminal import Report, Terminal
from augsynth.core.devices import check_device
from augsynth.core.options import plain
from augsynth.generation.config import GenerateConfig, preset_names, read_config

SHORT = 3  # exit code of a run that made fewer objects than were wanted


def run_generate(values: dict[str, Any], terminal: Terminal) -> Report:
    """Run, or go on with, a generation."""
    preset = values.pop("config", None)
    config = read_config(preset, **values)
    check_device(config.run.device)
    usual = plain(GenerateConfig())
    for key, value in plain(config).items():
        if value != usual[key]:
            terminal.detail(f"{key}: {value}")
    from augsynth.commands.progress import RunDisplay, summary_lines
    from augsynth.generation.run import generate

    with RunDisplay(terminal.notices) as display:
        tally = generate(config, progress=display.update)
    out = Path(config.output.out)
    lines: list[Any] = summary_lines(tally, out)
    if config.output.bank and tally.accepted:
        from augsynth.bank.reader import Bank

        lines.append(Bank.open(out / "bank").summary())
    annotations = str(out / "annotations" / "instances_augmented.json")
    return Report(
        lines,
        {"out": str(out), "annotations": annotations, **tally.document()},
        0 if tally.accepted >= tally.wanted else SHORT,
    )


GENERATE = Command(
    "generate",
    GenerateConfig,
    run_generate,
    help="Paint objects where they belong until N are accepted, and write the augmented dataset. Stopped at any point, "
    "the same command goes on.",
    example="augsynth generate --annotations train.json --images images \\\n    --config sd15 --n 200 --out runs/first",
    exits=f"Presets: {', '.join(preset_names())}. Exit code {SHORT}: the run has fewer than N objects, or it stopped "
    "below min_yield for a decision; the last line says why.",
    presets=True,
)
