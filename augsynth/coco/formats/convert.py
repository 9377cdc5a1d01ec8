"""From datasets of any format to a dataset of one: read, put together by split, written as a whole or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from augsynth.coco.faults import fault
from augsynth.coco.formats.known import locate, splits_of
from augsynth.coco.formats.parts import Originals, Part, Written, parts_of
from augsynth.coco.formats.write_coco import OWN_COCO, OWN_FIFTYONE, write_coco, write_fiftyone
from augsynth.coco.formats.write_croissant import OWN as OWN_CROISSANT
from augsynth.coco.formats.write_croissant import write_croissant
from augsynth.coco.formats.write_imagefolder import OWN as OWN_IMAGEFOLDER
from augsynth.coco.formats.write_imagefolder import write_imagefolder
from augsynth.coco.formats.write_voc import OWN as OWN_VOC
from augsynth.coco.formats.write_voc import write_voc
from augsynth.coco.formats.write_yolo import OWN as OWN_YOLO
from augsynth.coco.formats.write_yolo import write_yolo
from augsynth.coco.reader import read_with_images
from augsynth.core.files import fill_folder
from augsynth.core.scene import Dataset


class _Write(Protocol):
    def __call__(
        self, parts: Sequence[Part], draft: Path, *, masks: bool | None, originals: Originals
    ) -> Written: ...


@dataclass(frozen=True, slots=True)
class _Writer:
    """How a format is written, and the names at the top of its folder; the one that comes last says it is whole."""

    write: _Write
    own: frozenset[str]
    last: str


_WRITERS = {
    "coco": _Writer(write_coco, OWN_COCO, "annotations"),
    "yolo": _Writer(write_yolo, OWN_YOLO, "data.yaml"),
    "voc": _Writer(write_voc, OWN_VOC, "ImageSets"),
    "imagefolder": _Writer(write_imagefolder, OWN_IMAGEFOLDER, "README.md"),
    "croissant": _Writer(write_croissant, OWN_CROISSANT, "croissant.json"),
    "fiftyone": _Writer(write_fiftyone, OWN_FIFTYONE, "train"),
}
_ORDER = ("train", "val", "test", "")
_OWN_SPLITS = {"trainval": "train"}  # a split of VOC alone, given where there is no train


def read_parts(
    given: Sequence[tuple[str, Path, Path | None]], *, tell: Callable[[Dataset], None]
) -> list[Part]:
    """Read datasets, each with all of its splits, and put together what belongs to one split.

    Args:
        given: Split that a dataset without splits belongs to, its annotations and its images (None: found).
        tell: Called with each dataset that was read.

    Raises:
        DatasetError: As `read_with_images`; or a dataset without splits is given beside one that has some.
    """
    found: dict[str, list[Dataset]] = defaultdict(list)
    for title, source, images in given:
        path, asked = locate(source)
        splits = () if asked or title else splits_of(path)
        for split in splits or (asked,):
            dataset = read_with_images(f"{path}#{split}" if split else path, images)
            tell(dataset)
            found[title or _OWN_SPLITS.get(split, split)].append(dataset)
    if "" in found and len(found) > 1:
        raise fault(
            found[""][0].source, "", "split", "isn't known", "give datasets without splits by themselves"
        )
    return parts_of({name: found[name] for name in sorted(found, key=_ORDER.index)})


def write_parts(
    parts: Sequence[Part], out: Path, form: str, *, masks: bool | None, originals: Originals
) -> Written:
    """Write a dataset into a new folder, which is whole or not there.

    Args:
        parts: The splits.
        out: The folder; empty, not there, or left unfinished by an earlier call.
        form: `coco`, `yolo`, `voc`, `imagefolder`, `fiftyone` or `croissant`.
        masks: Write masks, don't, or (None) as the format has a place for them.
        originals: Link or copy images.

    Raises:
        DatasetError: An image is missing.
        OutputError: The folder can't be written.
    """
    writer = _WRITERS[form]
    with fill_folder(out, is_own=writer.own.__contains__, last=writer.last) as draft:
        written = writer.write(parts, draft, masks=masks, originals=originals)
    written.main = out / written.main
    return written
