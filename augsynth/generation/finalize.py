"""`augsynth finalize`: a copy of a finished run without the objects that a person struck out."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np

from augsynth.affinity.model import Affinity, load_affinity_file
from augsynth.coco.reader import read_with_images
from augsynth.core.errors import AugsynthError, ConfigError, ResumeError
from augsynth.core.files import write_atomically
from augsynth.core.images import place_original, read_image
from augsynth.core.outputs import check_output_folder
from augsynth.core.records import NewImage, RunState, ShardRecord
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.core.yaml_file import read_yaml
from augsynth.filtering.real_objects import FilterRow
from augsynth.generation.config import GenerateConfig, config_from, plain_config
from augsynth.generation.contact_sheets import REJECTED_SHEET, SHEET_TILES
from augsynth.generation.engine import Tile, small_tile
from augsynth.generation.export import AFFINITY, SUMMARY
from augsynth.generation.label_truth import check_judge
from augsynth.generation.loading import open_dataset, source_files, with_local_inputs
from augsynth.generation.processes import threads_of
from augsynth.generation.provenance import digest_of_source, fingerprint
from augsynth.generation.publishing import publish_records
from augsynth.generation.report import DOCUMENT, RunReport
from augsynth.generation.report_values import Subject
from augsynth.generation.reporting.sprites import MOST_SHOWN
from augsynth.generation.run import Progress, paint_to_end
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.run_state import RUN_FILE, finished_state, shortened
from augsynth.generation.shard_files import IMAGES, KeptShard, read_kept
from augsynth.generation.source_pictures import SourcePictures
from augsynth.generation.statistics import End, Tally
from augsynth.generation.undoing import (
    Under,
    unchanged_pixels,
    undo,
    with_dependants,
    without_decoys,
    without_objects,
)
from augsynth.generation.veto import find_struck

ATTEMPTS_EACH = 10  # that a replacement may take, as an object of a run may
_OWN = ("vetoed", "replace")  # what the fingerprint of a finalized run has besides that of its run


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRun:
    """What a finished run left.

    Attributes:
        path: Its directory.
        state: What it depended on.
        shards: Its records.
        config: Its options as they took effect.
        models: What its `config.yaml` says of them.
        affinity: What belongs with what.
        summary: What its `summary.json` says.
    """

    path: Path
    state: RunState
    shards: list[KeptShard]
    config: GenerateConfig
    models: Mapping[str, Any]
    affinity: Affinity
    summary: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> FinishedRun:
        """Read a finished run.

        Raises:
            ResumeError: There is none, it isn't finished, or a file of it isn't as it was written.
        """
        state, shards = finished_state(path), read_kept(path)
        place = path / "config.yaml"
        try:
            summary = json.loads((path / SUMMARY).read_bytes())
            msgspec.convert(summary["real_objects"], list[FilterRow])
            if sum(len(shard.record.attempts) for shard in shards) != summary["attempts"]:
                raise ResumeError(
                    f"{path}: records of the run are gone from its folder shards; put them back"
                )
            values = dict(read_yaml(place))
            models = dict(values.pop("models"))
            config = config_from(values, source=str(place))
            affinity, _ = load_affinity_file(path / AFFINITY)
        except ResumeError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AugsynthError) as error:
            raise ResumeError(f"{path}: damaged ({error}); put it back as the run wrote it") from None
        return cls(path, state, shards, config, models, affinity, summary)

    @property
    def records(self) -> list[ShardRecord]:
        """What the shards say."""
        return [shard.record for shard in self.shards]

    def subject(self, dataset: Dataset) -> Subject:
        """Return what the run's report told of; what filter and painting model say is taken from that report."""
        rows, samples = [msgspec.convert(row, FilterRow) for row in self.summary["real_objects"]], None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((self.path / DOCUMENT).read_bytes())
            samples = msgspec.convert(told["cost"]["denoiser_samples_per_window"], int | None)
            found = [line["real_objects"] for line in told["categories"]]
            with_scores = msgspec.convert([row for row in found if row is not None], list[FilterRow])
            known = {row.category_id: row for row in with_scores}
            rows = [known.get(row.category_id, row) for row in rows]
        return Subject(dataset, self.affinity, rows, samples)

    def with_judge(self, judge: str | None) -> FinishedRun:
        """Return the run as if another detector, or none, graded its labels."""
        return replace_fields(self, config=self.config.but(judge=judge))

    def asked(self) -> GenerateConfig:
        """Return the options before the painting model filled its own in, as the fingerprint has them."""
        names = plain_config(self.config).keys()
        known = {key: value for key, value in self.state.fingerprint.items() if key in names}
        values = {**plain_config(self.config), **known}
        return config_from(values, source=str(self.path / RUN_FILE))


def finalize(
    run: Path,
    numbers: Iterable[int],
    *,
    out: Path,
    replace: bool,
    progress: Progress,
    judge: str | None = None,
    title: str = "veto",
) -> Tally:
    """Write a copy of a finished run without some of its objects; the run stays as it is.

    Where an object was, image and annotations are as they were before it. What was painted over it goes as well, and
    a notice says so. An image that loses all its objects is left out. All else is as in the run, byte for byte.

    Args:
        run: Directory of the finished run.
        numbers: Of the attempts whose objects are struck out.
        out: Directory of the copy; a copy that was interrupted goes on.
        replace: Paint as many objects anew, as the run would have gone on.
        progress: Called with a stage name and the tally so far.
        judge: Detector that grades the labels of the copy, as for `generate`.
        title: Names the list in errors.

    Raises:
        ConfigError: An attempt isn't one of the run's accepted ones, or the place can't be written.
        ResumeError: The run isn't finished, or a file of it or its source isn't as it was.
        AugsynthError: As `generate`, where objects are replaced.
    """
    progress("reading", Tally(0))
    before = FinishedRun.open(run)
    struck = find_struck(before.records, numbers, title=title)
    if run.resolve() in out.resolve().parents:
        raise ConfigError(f"{out}: lies in the run, which isn't changed; choose another --out")
    check_output_folder(out, inputs=[run], is_own=lambda path: (path / RUN_FILE).is_file())
    before = before.with_judge(judge)
    config = before.asked().but(out=str(out))
    config, dataset = open_dataset(config) if replace else (config, _read_source(config))
    gone = [with_dependants(record, places) for record, places in zip(before.records, struck, strict=True)]
    notices = _notices(before.records, gone)
    with threads_of(config):
        _check_source(before, config, dataset, replace=replace)
        if replace:
            config = _with_room(config, before.records, sum(map(len, gone)))
        depends = fingerprint(config, dataset) if replace else before.state.fingerprint
        vetoed = [number for number, _ in _numbered(before.records, gone)]
        depends = {**depends, "vetoed": vetoed, "replace": replace}
        with RunFolder(out, depends, SourcePictures.of(dataset)) as folder:
            copy, there = _Copy(folder, before, dataset, gone), folder.read_shards()
            for index in range(len(before.shards)):
                if index not in there:
                    copy.lay_out(index)
            if replace:
                tally = paint_to_end(folder, config, dataset, progress=progress, notices=notices)
                _carry(before, folder.out, REJECTED_SHEET)
                return tally
            return _publish(folder, before, dataset, progress=progress, notices=notices)


def _with_room(config: GenerateConfig, records: Sequence[ShardRecord], num: int) -> GenerateConfig:
    """Return the options with which a number of objects is replaced: as many as the run had, and attempts for them."""
    kept = sum(attempt.kept for record in records for attempt in record.attempts)
    made = sum(len(record.attempts) for record in records)
    return config.but(n=kept, max_attempts=made + ATTEMPTS_EACH * num)


def _read_source(config: GenerateConfig) -> Dataset:
    config = with_local_inputs(config)
    annotations, images = source_files(config)
    dataset = read_with_images(annotations, images)
    check_judge(config, dataset)
    return dataset


def _check_source(before: FinishedRun, config: GenerateConfig, dataset: Dataset, *, replace: bool) -> None:
    """Raise unless the dataset is that of the run; for replacements all that the run depended on must be the same."""
    then = before.state.fingerprint
    if then.get("source_sha256") != digest_of_source(dataset):
        raise ResumeError(f"{dataset.source}: was changed since the run; put it back as it was")
    if not replace:
        return
    now = json.loads(json.dumps(fingerprint(config, dataset)))
    for key in sorted({*then, *now} - set(_OWN)):
        if then.get(key) != now.get(key):
            raise ResumeError(
                f"{before.path}: the run had {key} = {shortened(then.get(key))}, here it is "
                f"{shortened(now.get(key))}; replace objects where the run was made, or finalize it without --replace"
            )


def _numbered(records: Sequence[ShardRecord], gone: Sequence[Mapping[int, int]]) -> list[tuple[int, int]]:
    """Return the numbers in the run of the objects that go, and of those for which they do."""
    found, first = [], 0
    for record, each in zip(records, gone, strict=True):
        found += [(first + position, first + cause) for position, cause in sorted(each.items())]
        first += len(record.attempts)
    return found


def _notices(records: Sequence[ShardRecord], gone: Sequence[Mapping[int, int]]) -> list[str]:
    return [
        f"attempt {number} goes, too: it was painted over attempt {cause}"
        for number, cause in _numbered(records, gone)
        if number != cause
    ]


class _Copy:
    """The shards of a run on their way into a copy of it.

    Args:
        folder: Of the copy.
        before: The run.
        dataset: Its source.
        gone: For each shard the objects that go, by position of the attempt, with those for which they do.
    """

    def __init__(
        self,
        folder: RunFolder,
        before: FinishedRun,
        dataset: Dataset,
        gone: Sequence[Mapping[int, int]],
    ) -> None:
        self._folder, self._before, self._dataset, self._gone = folder, before, dataset, gone
        self._scenes = {scene.image_id: scene for scene in dataset.scenes}
        kept = [
            sum(attempt.kept for attempt in record.attempts) - len(struck)
            for record, struck in zip(before.records, gone, strict=True)
        ]
        self._shown = list(itertools.accumulate(kept, initial=0))
        made = [len(record.attempts) for record in before.records]
        self._with_pictures = [num <= MOST_SHOWN for num in itertools.accumulate(made)]

    def lay_out(self, index: int) -> None:
        """Commit a shard of the run to the copy, without what goes."""
        kept, struck = self._before.shards[index], self._gone[index]
        record, under = without_objects(kept.record, struck), kept.read_under()
        tiles: dict[int, Tile] = {}
        for new in (new for new in record.images if new.is_written):
            scene = self._scenes[new.source_image_id]
            if struck.keys().isdisjoint(new.vetoed):
                _place(self._before, self._folder.out, new)
            else:
                source = read_image(self._dataset, scene)
                pixels = _without(self._before.path, kept.record, new, source, struck, under)
                self._folder.write_image(new.file_name, pixels)
            if self._with_pictures[index]:
                source, after = read_image(self._dataset, scene), _read_new(self._folder.out, new)
                tiles |= _tiles(kept.record, new, before=source, after=after, under=under)
        numbers = {number: k for k, number in enumerate(sorted(tiles))}
        attempts = [
            attempt.judged(tile=numbers.get(k)) if attempt.judgement is not None else attempt
            for k, attempt in enumerate(record.attempts)
        ]
        stay = {number for new in record.images for number in new.attempts}
        large = max(0, SHEET_TILES - self._shown[index])
        self._folder.commit(
            index,
            msgspec.structs.replace(record, attempts=tuple(attempts)),
            tiles=[tiles[n] if k < large else small_tile(tiles[n]) for n, k in numbers.items()],
            under={number: pixels for number, pixels in under.items() if number in stay},
        )


def _without(
    run: Path, shard: ShardRecord, new: NewImage, source: Image, struck: Mapping[int, int], under: Under
) -> Image:
    """Return a new image of the run without the objects that are struck out.

    Raises:
        ResumeError: The source isn't the picture that the run painted into.
    """
    pixels = _read_new(run, new)
    same = unchanged_pixels(shard, new)
    if new.file_name.endswith(".png") and not np.array_equal(pixels[same], source[same]):
        raise ResumeError(
            f"{run / IMAGES / new.file_name}: isn't of the source picture as it is now; put back the source as it was"
        )
    for number in sorted(struck.keys() & set(new.vetoed), reverse=True):
        undo(pixels, source, shard.attempts[number], under.get(number))
    return pixels


def _place(before: FinishedRun, out: Path, new: NewImage) -> None:
    mode: Literal["hardlink", "copy"] = "hardlink" if before.config.output.originals == "hardlink" else "copy"
    place_original(before.path / IMAGES / new.file_name, out / IMAGES / new.file_name, mode=mode)


def _read_new(out: Path, new: NewImage) -> Image:
    return read_image(out / IMAGES, Scene(new.source_image_id, new.file_name, new.size_wh)).copy()


def _tiles(
    shard: ShardRecord, new: NewImage, *, before: Image, after: Image, under: Under
) -> dict[int, Tile]:
    """Return the windows before and after of the objects that stay in an image, by position of the attempt."""
    found = {}
    pixels = without_decoys(after, before, shard.decoys, job=new.job)
    for number in reversed(new.attempts):
        attempt = shard.attempts[number]
        x1, y1, x2, y2 = attempt.painted.plan.window_xyxy
        shown = pixels[y1:y2, x1:x2].copy()
        undo(pixels, before, attempt, under.get(number))
        found[number] = np.concatenate([pixels[y1:y2, x1:x2], shown], axis=1)
    return found


def _publish(
    folder: RunFolder,
    before: FinishedRun,
    dataset: Dataset,
    *,
    progress: Progress,
    notices: Sequence[str],
) -> Tally:
    """Publish the copy of a run in which nothing is painted."""
    summary, records = before.summary, list(folder.read_shards().values())
    names = {category.id: category.name for category in dataset.categories}
    tally = Tally(int(summary["wanted"]), names=names, notices=[*folder.notices, *notices])
    for record in records:
        tally.add(record)
    subject = before.subject(dataset)
    tally.filter_rows = tuple(subject.filter_rows)
    tally.given_up = {id_ for id_, name in names.items() if name in summary["given_up"]}
    tally.ended = End.VETOED
    progress("writing", tally)
    _carry(before, folder.out, AFFINITY, REJECTED_SHEET)
    models = before.models
    publish_records(folder, dataset, records, config=before.config, models=models, tally=tally)
    report = RunReport(folder, subject, asked=before.asked(), config=before.config, models=models)
    report.write(records, tally, status="finished")
    folder.finish()
    tally.finished = True
    progress("done", tally)
    return tally


def _carry(before: FinishedRun, out: Path, *names: str) -> None:
    """Copy files of the run, where it has them."""
    for name in names:
        if (before.path / name).is_file():
            content = (before.path / name).read_bytes()
            write_atomically(out / name, partial(_write, content))


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
