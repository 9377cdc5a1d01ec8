"""`augsynth bank`: a dataset's own objects as cut-outs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from augsynth import __version__
from augsynth.bank.cutting import CutRules, cut_dataset
from augsynth.bank.reader import Bank, BankError
from augsynth.bank.writer import BankWriter
from augsynth.coco.faults import repair_lines
from augsynth.coco.reader import read_dataset
from augsynth.core.images import read_image
from augsynth.core.outputs import check_output_folder


def build_bank(annotations: Path, images: Path, out: Path, *, rules: CutRules) -> Iterator[str]:
    """Write an object bank of a dataset's own objects; yield the lines a user reads.

    Raises:
        BankError: No object can be cut.
        ConfigError: The output isn't an empty folder, or can't be written.
        DatasetError: The dataset can't be used.
    """
    check_output_folder(out, inputs=[annotations, images])
    dataset = read_dataset(annotations, images=images)
    yield from repair_lines(dataset)
    source = {
        "made_by": "augsynth bank",
        "version": __version__,
        "annotations": annotations.name,
        "annotations_sha256": hashlib.sha256(annotations.read_bytes()).hexdigest(),
        **asdict(rules),
    }
    with BankWriter(out, categories=dataset.categories, source=source) as writer:
        left = cut_dataset(dataset, lambda s: read_image(dataset, s), rules=rules, add=writer.add)
        reasons = ", ".join(f"{count} {reason}" for reason, count in left.most_common())
        if not len(writer):
            found = f"left out: {reasons}" if left else "there are no annotations"
            raise BankError(f"{annotations}: no object can be cut ({found}); loosen the options")
    if left:
        yield f"left out: {reasons}"
    yield Bank.open(out).summary()
