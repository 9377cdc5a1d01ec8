"""`augsynth generate`: from a dataset to an augmented dataset, resumable at any point."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from augsynth.affinity.model import save_affinity_file
from augsynth.coco.faults import repair_lines
from augsynth.core.devices import Process
from augsynth.core.errors import ConfigError, LowYieldError, ResumeError
from augsynth.core.records import ShardRecord
from augsynth.core.scene import Dataset
from augsynth.core.storage import local_folder
from augsynth.filtering.real_objects import report_lines
from augsynth.generation.config import GenerateConfig, plain_config
from augsynth.generation.contact_sheets import REJECTED_SHEET
from augsynth.generation.context import RunContext
from augsynth.generation.engine import paint_planned
from augsynth.generation.export import AFFINITY
from augsynth.generation.foresight import foresee
from augsynth.generation.known_records import Extent, InOrder, KnownRecords
from augsynth.generation.loading import INPUTS, open_context, open_dataset
from augsynth.generation.processes import (
    DoneShard,
    PaintShards,
    is_small,
    open_processes,
    threads_of,
)
from augsynth.generation.provenance import describe_models, fingerprint, licence_notices
from augsynth.generation.publishing import RunSheets, publish_records
from augsynth.generation.remote_run import RemoteRun
from augsynth.generation.report import RunReport
from augsynth.generation.report_values import Subject
from augsynth.generation.rounds import ShardPlan, plan_round, rounds_over
from augsynth.generation.run_folder import LOOK_AGAIN_S, RunFolder
from augsynth.generation.run_state import check_output
from augsynth.generation.source_pictures import SourcePictures
from augsynth.generation.statistics import End, Tally
from augsynth.generation.stopping import find_end, low_yield_line, note_given_up

_PIXELS_PER_SHARD = 50_000_000

Progress = Callable[[str, Tally], None]


def generate(config: GenerateConfig, *, progress: Progress, preview: int | None = None) -> Tally:
    """Paint accepted objects until there are enough or the attempt budget is spent, and publish the dataset.

    Args:
        config: The options.
        progress: Called with a stage name and the tally so far.
        preview: Stop, unpublished, once so many attempts were made; without it the same run goes on from there.

    Returns:
        The tally of the whole run, including what earlier invocations did.

    Raises:
        AugsynthError: Bad options, data, models or output directory; nothing that was committed is lost.
        LowYieldError: Hardly anything is accepted; nothing was published, and with a lower `min_yield` the run goes on.
    """
    _check_ray(config)
    out, remote = local_folder(config.output.out), RemoteRun.of(config.output.out)
    check_output(out)
    if remote is not None:
        remote.check()
    progress("reading", Tally(config.run.n))
    config, dataset = open_dataset(config)
    notices, pictures = foresee(config, dataset), SourcePictures.of(dataset)
    with (
        threads_of(config),
        RunFolder(out, fingerprint(config, dataset), pictures, may_join=True, remote=remote) as folder,
    ):
        return paint_to_end(folder, config, dataset, progress=progress, notices=notices, preview=preview)


def paint_to_end(
    folder: RunFolder,
    config: GenerateConfig,
    dataset: Dataset,
    *,
    progress: Progress,
    notices: Sequence[str] = (),
    preview: int | None = None,
) -> Tally:
    """Paint on from what a run's directory holds, until there is enough, and publish the dataset.

    Args:
        folder: Entered.
        config: With the models filled in.
        dataset: The source.
        progress: As for `generate`.
        notices: What the user should know before painting.
        preview: As for `generate`.

    Raises:
        AugsynthError: As `generate`.
    """
    tally = Tally(config.run.n, names={c.id: c.name for c in dataset.categories})
    stored = folder.read_shards()
    for shard in stored.values():
        _check_known(folder.out, shard, dataset)
    shards = InOrder(stored)
    models = describe_models(config)
    while len(shards) in stored:
        shards.append(stored[len(shards)])
        tally.add(shards[-1])
        if find_end(tally, config.run) is End.LOW_YIELD:  # where it was seen, whatever was painted beyond
            raise _low_yield(folder, shards, tally, config)
    tally.notices += [*folder.notices, *notices, *repair_lines(dataset), *licence_notices(models)]
    device = Process.current().device(config.run.device)
    context = open_context(config.but(device=device), dataset, tell=lambda stage: progress(stage, tally))
    inpainter, asked = context.painting.inpainter, config
    config = config.but(guidance=inpainter.guidance or None, steps=inpainter.steps)
    tally.filter_rows = context.filter_rows
    tally.notices += report_lines(context.filter_rows, min_auc=config.filter_models.min_auc)
    tally.notices += context.painting.prompts.notices()
    tally.notices += _without_start(config, dataset, context)
    note_given_up(tally, context.placing.chooser)
    sheets = RunSheets(folder, tally, config)
    report = RunReport(folder, Subject.of(context), asked=asked, config=config, models=models)
    progress("painting", tally)

    def committed(done: DoneShard) -> None:
        report.count(done)
        if folder.leads:
            sheets.update(shards)
            report.update(shards, tally)
        progress("painting", tally)

    end = _paint_shards(
        folder, context, shards, stored, config=asked, tally=tally, committed=committed, preview=preview
    )
    if end is None:
        sheets.write(shards)
        report.write(shards, tally, status="running")
        folder.send_rest()
        return tally
    if end is End.LOW_YIELD:
        report.write(shards, tally, status="stopped")
        raise _low_yield(folder, shards, tally, config)
    tally.ended = end
    progress("writing", tally)
    if not folder.wait_or_lead():
        tally.finished = True
        progress("done", tally)
        return tally
    _publish(folder, context, shards, config=config, models=models, tally=tally)
    report.write(shards, tally, status="finished")
    folder.finish()
    tally.finished = True
    progress("done", tally)
    return tally


def _paint_shards(
    folder: RunFolder,
    context: RunContext,
    shards: InOrder,
    stored: KnownRecords,
    *,
    config: GenerateConfig,
    tally: Tally,
    committed: Callable[[DoneShard], None],
    preview: int | None,
) -> End | None:
    """Paint shards, round by round, until the run ends; return why, or None where `preview` attempts were made.

    Args:
        folder: Of the run.
        context: What it works with.
        shards: Those that are there in order; what is painted is added to them and to `tally`.
        stored: By number, those that are there.
        config, tally, preview: As for `paint_to_end`.
        committed: Called with each shard, once it is in `tally`.
    """
    run, chooser = config.run, context.placing.chooser
    largest = jobs_per_shard(config, context.dataset)
    with _open_painters(config, context, folder) as paint:
        while True:
            over = rounds_over(shards.extents)
            before = tally if over == len(shards) else _count(islice(shards, over), tally)
            note_given_up(before, chooser)
            end = find_end(before, run, chooser)
            if end is not None or (preview is not None and tally.attempts >= preview):
                return end
            plans = plan_round(
                before,
                run,
                first=over,
                first_job=sum(shard.jobs for shard in shards.extents[:over]),
                slots=context.loop.slots,
                largest=largest,
                room=chooser.room(before.yields),
            )
            _check_round(folder.out, plans, stored)
            for done in _in_order(folder, paint, plans[len(shards) - over :], stored):
                if len(shards) not in stored:
                    folder.send_shard(len(shards))
                shards.append(done.record)
                tally.add(done.record)
                committed(done)
                if preview is not None and tally.attempts >= preview:
                    return None
                if find_end(tally, run) is End.LOW_YIELD:
                    return End.LOW_YIELD


def _check_ray(config: GenerateConfig) -> None:
    """Raise ConfigError where Ray is asked for and can't be used, before anything is learnt."""
    address = config.run.ray
    if address is None:
        return
    if address not in ("auto", "local") and not re.fullmatch(r"(ray://)?[^\s/]+:\d{1,5}", address):
        raise ConfigError(f"ray: {address!r} is no address of a cluster; give HOST:PORT, auto or local")
    if find_spec("ray") is None:
        raise ConfigError("ray is given, but Ray isn't installed: pip install 'augsynth[ray]'")


def _open_painters(
    config: GenerateConfig, context: RunContext, folder: RunFolder
) -> AbstractContextManager[PaintShards]:
    if config.run.ray is None:
        return open_processes(config, partial(paint_and_commit, context, folder))
    from augsynth.generation.ray_actors import open_actors

    given = plain_config(config)  # each node fetches for itself what is at a URL
    return open_actors(config.but(**{key: given[key] for key in INPUTS}, out=str(folder.out.resolve())))


def paint_and_commit(context: RunContext, folder: RunFolder, plan: ShardPlan) -> DoneShard | None:
    """Paint a shard and commit it; return None where another process is at it."""
    with folder.claim(plan.index) as is_own:
        if not is_own:
            return None
        record = folder.read_shard(plan.index)
        if record is not None:
            return DoneShard(record)
        began = time.monotonic()
        painted = paint_planned(context, plan, write_image=folder.write_image)
        record = painted.record
        sources = {scene.image_id: scene.file_name for scene in context.dataset.scenes}
        folder.pictures.check({sources[attempt.source_image_id] for attempt in record.attempts})
        folder.commit(plan.index, record, tiles=painted.tiles, under=painted.under)
        return DoneShard(record, time.monotonic() - began)


def _in_order(
    folder: RunFolder, paint: PaintShards, plans: Sequence[ShardPlan], stored: Mapping[int, ShardRecord]
) -> Iterator[DoneShard]:
    """Yield the shards of a round in order: those that are there, those that are painted here, and those of others."""
    found, due = dict[int, DoneShard](), deque(plans)
    left = [plan for plan in plans if plan.index not in stored]
    while due:
        busy = []
        for plan, done in zip(left, paint(left), strict=True):
            if done is None:
                busy.append(plan)
            else:
                found[plan.index] = done
            yield from _ready(due, found, stored)
        yield from _ready(due, found, stored)
        left = busy
        if left:
            time.sleep(LOOK_AGAIN_S)


def _ready(
    due: deque[ShardPlan], found: dict[int, DoneShard], stored: Mapping[int, ShardRecord]
) -> Iterator[DoneShard]:
    """Yield what is due and there, and take it off what is due."""
    while due and (due[0].index in found or due[0].index in stored):
        index = due.popleft().index
        yield found.pop(index) if index in found else DoneShard(stored[index])


def _count(shards: Iterable[ShardRecord], whole: Tally) -> Tally:
    """Return the tally of a run's first shards."""
    tally = Tally(whole.wanted, names=whole.names)
    for shard in shards:
        tally.add(shard)
    return tally


def _check_round(out: Path, plans: Sequence[ShardPlan], stored: KnownRecords) -> None:
    """Raise ResumeError where the shards of a round that are there aren't of the same plan."""
    for plan in plans:
        known = stored.extents.get(plan.index)
        if known is not None and known != Extent(plan.jobs, plan.part, plan.parts):
            raise ResumeError(f"{out}: shard {plan.index} is of another run; choose another --out")


def jobs_per_shard(config: GenerateConfig, dataset: Dataset) -> int:
    """Return how many new images are painted and committed together.

    More of them where the painting model is small, so that batches are full; fewer where the images are so large that
    they would fill the memory.
    """
    most = 32 if is_small(config.painting.model) else 8
    pixels = sum(scene.size_wh[0] * scene.size_wh[1] for scene in dataset.scenes) / max(
        1, len(dataset.scenes)
    )
    return max(4, min(most, round(_PIXELS_PER_SHARD / max(1.0, pixels))))


def _check_known(out: Path, shard: ShardRecord, dataset: Dataset) -> None:
    """Raise ResumeError where a committed record names what the dataset hasn't."""
    images = {new.source_image_id for new in shard.images} - {scene.image_id for scene in dataset.scenes}
    used = {id_ for a in shard.attempts for id_ in (a.category_id, a.replaced_category_id)}
    categories = {i for i in used if isinstance(i, int)} - {category.id for category in dataset.categories}
    for word, unknown in (("image", images), ("category", categories)):
        if unknown:
            raise ResumeError(
                f"{out}: a record of the run names {word} {min(unknown)}, which the dataset hasn't; "
                "choose another --out"
            )


def _without_start(config: GenerateConfig, dataset: Dataset, context: RunContext) -> list[str]:
    """Return a line on the categories that are left out for want of an object to start from."""
    starts = context.placing.init_images
    asked = config.categories.categories
    if starts is None:
        return []
    names = [
        category.name
        for category in dataset.categories_in_use(asked)
        if category.id not in starts.members and (not asked or category.name in asked)
    ]
    return (
        [f"{config.painting.init_images} has no whole object of {', '.join(names)}: left out"]
        if names
        else []
    )


def _low_yield(
    folder: RunFolder, shards: Sequence[ShardRecord], tally: Tally, config: GenerateConfig
) -> LowYieldError:
    """Write the sheet of what was rejected, and return the error that asks for a decision."""
    RunSheets(folder, tally, config).write(shards, only=(REJECTED_SHEET,))
    folder.send_rest()
    return LowYieldError(low_yield_line(tally, config.run, folder.out))


def _publish(
    folder: RunFolder,
    context: RunContext,
    shards: Sequence[ShardRecord],
    *,
    config: GenerateConfig,
    models: Mapping[str, Any],
    tally: Tally,
) -> None:
    placing = context.placing
    folder.check_place()
    save_affinity_file(folder.out / AFFINITY, placing.chooser.affinity, placing.layout.to_dict())
    publish_records(folder, context.dataset, shards, config=config, models=models, tally=tally)
