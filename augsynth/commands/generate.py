"""`augsynth generate`: an augmented dataset."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast

from augsynth.commands.flags import COMMAND_LINE, Command
from augsynth.commands.terminal import Report, Terminal
from augsynth.commands.tracking import follow_run
from augsynth.core.devices import check_device
from augsynth.core.errors import ConfigError
from augsynth.core.options import build, check_options, option, plain, section
from augsynth.core.storage import local_folder, named
from augsynth.core.tracking import HELP, Tracker, Tracking
from augsynth.generation.config import GenerateConfig, preset_names, read_config

T = TypeVar("T")
SHORT = 3  # exit code of a run that made fewer objects than were wanted


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What is looked at before a long run.

    Raises:
        ConfigError: A value is out of range, or both are asked for.
    """

    preview: int | None = option(
        None,
        "Paint the beginning of the run, at least so many attempts, show sheets, yield and the time that all will "
        "take, and stop; without it the same command goes on from there.",
        low=1,
        high=10**9,
        unset="off",
    )
    dry_run: bool = option(
        False, "Plan the first attempts and draw their boxes to OUT/planned_boxes.png; nothing is painted."
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.preview is not None and self.dry_run:
            raise ConfigError("preview and dry_run are given together; choose one of them")


@dataclass(frozen=True, slots=True)
class Following:
    """Who hears of a run."""

    track: Tracker | None = option(None, HELP, unset="nothing is tracked")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """What the command line has: a first look, a tracker, and the options of the run."""

    first_look: FirstLook = field(default_factory=FirstLook, metadata=section("Before a long run"))
    following: Following = field(default_factory=Following, metadata=section("Tracking"))
    run: GenerateConfig = field(default_factory=GenerateConfig, metadata=section("Run"))


def run_generate(values: dict[str, Any], terminal: Terminal) -> Report:
    """Run, or go on with, a generation."""
    preset = values.pop("config", None)
    look, following = _taken(FirstLook, values), _taken(Following, values)
    config = read_config(preset, **values)
    check_device(config.run.device)
    usual = plain(GenerateConfig())
    for key, value in plain(config).items():
        if value != usual[key]:
            terminal.detail(f"{key}: {value}")
    from augsynth.commands.progress import RunDisplay, preview_lines, summary_lines

    out = local_folder(config.output.out)
    tracking = Tracking(following.track, out=out, config=plain(config), device=config.run.device)
    with RunDisplay(terminal.notices) as display, tracking:
        if look.dry_run:
            from augsynth.generation.dry_run import dry_run

            planned = dry_run(config, progress=display.update)
            return Report(planned.lines(), planned.document())
        from augsynth.generation.run import generate

        progress = follow_run(tracking, display.update, out)
        tally = generate(config, progress=progress, preview=look.preview)
    if not tally.finished:
        document = {"out": named(str(out)), "left_s": display.left_s, **tally.document()}
        return Report(preview_lines(tally, out, left_s=display.left_s), document)
    lines: list[Any] = summary_lines(tally, out)
    if config.output.bank and tally.accepted:
        from augsynth.bank.reader import Bank

        lines.append(Bank.open(out / "bank").summary())
    annotations = named(str(out / "annotations" / "instances_augmented.json"))
    return Report(
        lines,
        {"out": named(str(out)), "annotations": annotations, **tally.document()},
        0 if tally.accepted >= tally.wanted else SHORT,
    )


def _taken(kind: type[T], values: dict[str, Any]) -> T:
    """Return options of the command alone, taken out of the values."""
    own = {item.name: values.pop(item.name) for item in fields(cast(Any, kind)) if item.name in values}
    return build(kind, own, source=COMMAND_LINE)


GENERATE = Command(
    "generate",
    GenerateOptions,
    run_generate,
    help="Paint objects where they belong until N are accepted, and write the augmented dataset. Stopped at any point, "
    "the same command goes on.",
    example="augsynth generate --annotations train.json --images images \\\n    --config sd15 --n 200 --out runs/first",
    exits=f"Presets: {', '.join(preset_names())}. Exit code {SHORT}: the run has fewer than N objects, or it stopped "
    "below min_yield for a decision; the last line says why.",
    presets=True,
)
