"""`augsynth check`: what is wrong or suspicious in a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from augsynth.coco.formats.known import ANNOTATIONS, NEAR, input_paths
from augsynth.commands.flags import Command
from augsynth.commands.progress import counting
from augsynth.commands.terminal import Report, Terminal
from augsynth.core.errors import DatasetError
from augsynth.core.options import REQUIRED, option, section
from augsynth.core.text import printable

FINDINGS = 1  # exit code
_MOST_LINES = 3
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """Whose view of the labels is asked for."""

    detector: str | None = option(
        None,
        "Detector whose view of the labels is asked for: a folder, an MMDetection CONFIG.py:WEIGHTS or a hub id. It "
        "must not be trained on these pictures.",
    )
    detector_revision: str | None = option(None, "Commit or tag of that hub id.")
    device: str = option("cpu", "Torch device that it runs on.")


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What is checked, and where the results go."""

    annotations: tuple[str, ...] = option(
        REQUIRED, f"{ANNOTATIONS} Given several times, they are splits of one dataset."
    )
    images: tuple[str, ...] = option(
        (), "Image directory; given several times, one for each of the annotations.", unset=NEAR
    )
    page: Path | None = option(None, "Write a page of pictures to this HTML file.")
    fix: Path | None = option(
        None, "Write cleaned copies of the annotation files, and what was changed, here."
    )
    ignore: tuple[str, ...] = option((), "Kind of finding to leave out; may be given several times.")
    labels: LabelOptions = field(default_factory=LabelOptions, metadata=section("Labels"))


def run_check(options: CheckOptions, terminal: Terminal) -> Report:
    """Check a dataset.

    Raises:
        BackendError: The detector can't be loaded.
        ConfigError: An option is wrong, or an output can't be written where it should be.
        DatasetError: A file can't be read, isn't a COCO file, or no image has a file.
    """
    from augsynth.checking.check import check
    from augsynth.checking.page import check_page_path
    from augsynth.core.outputs import check_output_folder

    sources = input_paths(*map(Path, options.annotations))
    if options.page is not None:
        check_page_path(options.page, inputs=sources)
    if options.fix is not None:
        check_output_folder(options.fix, inputs=sources)
    with counting(terminal.notices) as progress:
        found = check(
            options.annotations,
            options.images or None,
            detector=options.labels.detector,
            detector_revision=options.labels.detector_revision,
            device=options.labels.device,
            ignore=options.ignore,
            progress=progress,
        )
    lines: list[str | Table] = []
    for overview in found.overviews:
        lines += [f"{overview.file}: {overview.lines()[0]}", *(f"  {line}" for line in overview.lines()[1:])]
        if not overview.with_pictures:
            lines.append("  pictures aren't looked at: none are near the file; give --images")
    lines.append(_table(found) if found.findings else "nothing found")
    document = {**found.to_dict(), "page": None, "fixed": []}
    if options.page is not None:
        found.write_page(options.page)
        document["page"] = str(options.page)
        lines.append(f"written: {options.page}")
    if options.fix is not None:
        try:
            document["fixed"] = [str(path) for path in found.write_fixed(options.fix)]
            lines.append(f"written: {', '.join(document['fixed'])}")
        except DatasetError as error:  # a finding as well: the table says more
            lines.append(f"nothing written to {options.fix}: {error}")
    lines.append(_verdict(document["counts"]))
    return Report(lines, document, 0 if found.clean else FINDINGS)


def _table(found: Any) -> Table:
    table = Table("level", "what", "where", "what to do", box=None, pad_edge=False)
    table.columns[2].overflow = "fold"
    several = len(found.sources) > 1
    for finding in found.findings:
        cases = [printable(str(case)) for case in finding.cases[:_MOST_LINES]]
        more = finding.count - len(cases)
        where = [*([printable(finding.file)] if several else []), *cases]
        where += [f"… and {more:,} more"] if more > 0 and cases else []
        fixable = "; --fix does it" if finding.fixable else ""
        table.add_row(
            Text(finding.level, style=_STYLES[finding.level]),
            Text(f"{finding.count:,} {finding.message} [{finding.kind}]"),
            Text("\n".join(where)),
            Text(finding.remedy + fixable),
        )
    return table


def _verdict(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {level}{'' if count == 1 else 's'}" for level, count in counts.items())


CHECK = Command(
    "check",
    CheckOptions,
    run_check,
    help="Find what is wrong or suspicious in a dataset, before any work: a table, a page of pictures, a cleaned copy.",
    example="augsynth check --annotations train.json --images images --page check.html",
    exits="Exit code: 0 where nothing but notes is found, 1 for errors or warnings, 2 where nothing could be checked.",
)
