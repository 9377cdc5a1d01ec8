"""Merging the records of shards into the lines of a dataset, on all cores: the bytes are those of one process."""

from __future__ import annotations

import gc
import multiprocessing
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augsynth.coco.faults import Record
from augsynth.coco.growing import GrowingDocument
from augsynth.coco.json_lines import Lines, record_encoder
from augsynth.core.processes import can_fork, forked, num_cores
from augsynth.core.records import PlainShard
from augsynth.generation.config import GenerateConfig
from augsynth.generation.new_images import Numbering, PublishedImage, annotate, image_record
from augsynth.generation.processes import GO_ON

PART = 4  # shards that are merged at once; more of them don't stay in the cache of a core
FEWEST = 256  # shards of a run that several processes merge


class Merged:
    """What a run adds to its source, in files without a name: new images, annotations and lines of provenance.

    Args:
        source_document: What is added to.
        folder: Where there is room for the files.

    Attributes:
        document: New images and annotations.
        attempts, decoys: Lines of provenance.
    """

    def __init__(self, source_document: Mapping[str, Any], folder: Path) -> None:
        self.document = GrowingDocument(source_document, folder)
        self.attempts, self.decoys = (Lines(folder, between=b"\n") for _ in range(2))


def merge(
    merged: Merged,
    source_document: Mapping[str, Any],
    shards: Sequence[PlainShard],
    *,
    config: GenerateConfig,
    models: Mapping[str, Any],
) -> None:
    """Fill what a run adds to its source; however many objects there are, few shards are held.

    Args:
        merged: Still empty.
        source_document: The source's.
        shards: All of the run, in order; each is asked for once, by the process that merges it.
        config: Says how masks are written, and how many processes there are at most.
        models: What each line of provenance says of them.

    Raises:
        AugsynthError: A record can't be read, there is no room, or a process was ended.
    """
    merger = _Merger(merged, source_document, shards, config=config, models=models)
    parts = range(-(-len(shards) // PART))
    num = min(num_cores(), config.run.processes or num_cores())
    with _without_gc():  # in forked processes, too
        if num == 1 or len(shards) < FEWEST or not can_fork():
            for part in parts:
                merger.merge(part)
            return
        with forked(num, merger.merge, task="merging", remedy=GO_ON) as merge_parts:
            for _ in merge_parts(parts):
                pass


@contextmanager
def _without_gc() -> Iterator[None]:
    """Don't look for cycles, of which records have none: that takes a third of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


class _Turns:
    """Numbers that forked processes share, each in its turn."""

    def __init__(self, *numbers: int) -> None:
        self._shared = multiprocessing.RawArray("q", (0, *numbers))
        self._changed = multiprocessing.Condition()

    @contextmanager
    def of(self, turn: int) -> Iterator[list[int]]:
        """Wait for a turn, yield the numbers and take them as the block leaves them; where it raises, none follows."""
        with self._changed:
            self._changed.wait_for(lambda: self._shared[0] == turn)
            numbers = self._shared[1:]
            yield numbers
            self._shared[:] = [turn + 1, *numbers]
            self._changed.notify_all()


class _Merger:
    """Merges parts of a run, each in whatever process: numbers are taken and lines are written in order."""

    def __init__(
        self,
        merged: Merged,
        source_document: Mapping[str, Any],
        shards: Sequence[PlainShard],
        *,
        config: GenerateConfig,
        models: Mapping[str, Any],
    ) -> None:
        self._merged, self._shards, self._models = merged, shards, models
        self._sources = {record["id"]: record for record in source_document["images"]}
        self._form, self._boxed = config.output.mask_format, config.masking.unmasked == "box"
        self._numbering = Numbering(source_document)
        self._encode = record_encoder(order="sorted")
        self._numbers = _Turns(*self._numbering.first, 0, 0)
        self._writing = _Turns()

    def merge(self, part: int) -> None:
        """Merge a part, once those before it have taken their numbers; write it after them."""
        shards = [(shard, shard.in_images()) for shard in self._shards[part * PART : (part + 1) * PART]]
        taken = [self._numbering.count(shard.images, painted) for shard, painted in shards]
        with self._numbers.of(part) as numbers:
            image_id, annotation_id, attempt, decoy = numbers
            for (shard, _), ids in zip(shards, taken, strict=True):
                nums = *ids, len(shard.attempts), len(shard.decoys)
                numbers[:] = map(operator.add, numbers, nums)
        after = image_id - 1, annotation_id - 1
        new = list[tuple[Record, list[Record]]]()
        attempts, decoys = list[bytes](), list[bytes]()
        for (shard, painted), (num_images, num_annotations) in zip(shards, taken, strict=True):
            images = self._numbering.number(shard.images, painted, (image_id, annotation_id))
            for image in images:
                record = image_record(image, self._sources[image.new.source_image_id])
                new.append((record, annotate(image, form=self._form, boxed=self._boxed)))
            for number, line in enumerate(_attempt_lines(shard, images), attempt + len(attempts)):
                line["attempt"] = number
                line.update(self._models)
                attempts.append(self._encode(line))
            for number, line in enumerate(_decoy_lines(shard, images), decoy + len(decoys)):
                decoys.append(self._encode({"decoy": number, **line, **self._models}))
            image_id, annotation_id = image_id + num_images, annotation_id + num_annotations
        records = self._merged.document.encode(new, after=after)
        with self._writing.of(part):
            self._merged.document.add(records)
            self._merged.attempts.add(attempts)
            self._merged.decoys.add(decoys)


def _attempt_lines(shard: PlainShard, images: Sequence[PublishedImage]) -> Iterator[dict[str, Any]]:
    """Yield a shard's lines of provenance, with the numbers of what was published."""
    numbers = {
        number: (image, annotation_id)
        for image in images
        for number, annotation_id in zip(image.new.attempts, image.annotation_ids, strict=True)
    }
    for number, line in enumerate(map(_shown, shard.attempts)):
        if number in numbers:
            image, annotation_id = numbers[number]
            line.update(image.place, annotation_id=annotation_id)
            for k, extra in enumerate(line.get("extras", ()), 1):
                extra["annotation_id"] = annotation_id + k
        yield line


def _shown(attempt: dict[str, Any]) -> dict[str, Any]:
    """Leave of an attempt what is shown: not what undoes it, and of a mask the name of who found it."""
    for key in ("tile", "painted_xyxy"):
        attempt.pop(key, None)
    for one in (attempt, *attempt.get("extras", ())):
        one.pop("whole_mask", None)
        if one.get("mask") is not None:
            one["mask"] = one["mask"]["by"]
    return attempt


def _decoy_lines(shard: PlainShard, images: Sequence[PublishedImage]) -> Iterator[dict[str, Any]]:
    places = {image.new.job: image.place for image in images}
    for decoy in shard.decoys:
        yield {**decoy, **places.get(decoy["job"], {})}
