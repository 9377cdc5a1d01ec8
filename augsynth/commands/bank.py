"""`augsynth bank`: a dataset's own objects as cut-outs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from augsynth import __version__
from augsynth.bank.cutting import CutRules, cut_dataset
from augsynth.bank.reader import Bank, BankError
from augsynth.bank.writer import BankWriter
from augsynth.coco.faults import repair_lines
from augsynth.coco.formats.known import ANNOTATIONS, IMAGES, NEAR, input_paths, source_digest
from augsynth.coco.reader import read_with_images
from augsynth.commands.flags import Command
from augsynth.commands.progress import counting
from augsynth.commands.terminal import TERMINAL, Report, Terminal
from augsynth.core.files import is_unfinished
from augsynth.core.images import read_image
from augsynth.core.options import REQUIRED, option, section
from augsynth.core.outputs import check_output_folder


@dataclass(frozen=True, slots=True)
class BankOptions:
    """Whose objects are cut out, and which."""

    annotations: Path = option(REQUIRED, ANNOTATIONS)
    out: Path = option(REQUIRED, "Folder of the bank.")
    images: Path | None = option(None, IMAGES, unset=NEAR)
    rules: CutRules = field(default_factory=CutRules, metadata=section("Which objects"))


def build_bank(
    annotations: Path, images: Path | None, out: Path, *, rules: CutRules, terminal: Terminal = TERMINAL
) -> Report:
    """Write an object bank of a dataset's own objects.

    Raises:
        BankError: No object can be cut.
        ConfigError: The output isn't an empty folder, or can't be written.
        DatasetError: The dataset can't be used.
    """
    check_output_folder(out, inputs=input_paths(annotations, images), is_own=is_unfinished)
    dataset = read_with_images(annotations, images)
    for line in repair_lines(dataset):
        terminal.notice(line)
    source = {
        "made_by": "augsynth bank",
        "version": __version__,
        "annotations": annotations.name,
        "annotations_sha256": source_digest(dataset),
        **asdict(rules),
    }
    with (
        counting(terminal.notices) as progress,
        BankWriter(out, categories=dataset.categories, source=source) as writer,
    ):
        left = cut_dataset(
            dataset,
            partial(read_image, dataset),
            rules=rules,
            add=writer.add,
            progress=partial(progress, "images"),
        )
        reasons = ", ".join(f"{count} {reason}" for reason, count in left.most_common())
        if not len(writer):
            found = f"left out: {reasons}" if left else "there are no annotations"
            raise BankError(f"{annotations}: no object can be cut ({found}); loosen the options")
    bank = Bank.open(out)
    document = {
        "out": str(out),
        "cutouts": len(bank),
        "with_outline": int(bank.has_masks.sum()),
        "categories": {c.name: len(bank.of_category(c.id)) for c in bank.categories},
        "left_out": {str(reason): count for reason, count in left.most_common()},
    }
    return Report([*([f"left out: {reasons}"] if left else []), bank.summary()], document)


BANK = Command(
    "bank",
    BankOptions,
    lambda options, terminal: build_bank(
        options.annotations, options.images, options.out, rules=options.rules, terminal=terminal
    ),
    help="Cut a dataset's own objects out of its images: an object bank for AffinityPaste.",
    example="augsynth bank --annotations train.json --images images --out bank",
)
