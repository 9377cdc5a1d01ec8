"""`augsynth generate`: from a dataset to an augmented dataset, resumable at any point."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from augsynth.affinity.model import save_affinity_file
from augsynth.coco.faults import repair_lines, repairs_document
from augsynth.coco.writer import write_json
from augsynth.core.scene import Scene
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import Studio
from augsynth.generation.engine import paint_shard, source_order
from augsynth.generation.export import SUMMARY, publish_dataset, write_contact_sheets
from augsynth.generation.export_bank import write_bank
from augsynth.generation.loading import open_dataset, open_studio
from augsynth.generation.provenance import describe_models, fingerprint, licence_notices
from augsynth.generation.run_folder import RunFolder, check_output
from augsynth.generation.statistics import Tally

JOBS_PER_SHARD = 8


Progress = Callable[[str, Tally], None]


def generate(config: GenerateConfig, *, progress: Progress) -> Tally:
    """Paint accepted objects until there are enough or the attempt budget is spent, and publish the dataset.

    Args:
        config: The options.
        progress: Called with a stage name and the tally so far.

    Returns:
        The tally of the whole run, including what earlier invocations did.

    Raises:
        AugsynthError: Bad options, data, models or output directory; nothing that was committed is lost.
    """
    out = Path(config.output.out)
    check_output(out)
    progress("reading", Tally(config.run.n))
    config, dataset = open_dataset(config)
    with RunFolder(out, fingerprint(config, dataset)) as folder:
        tally = Tally(config.run.n, names={c.id: c.name for c in dataset.categories})
        shards = folder.read_shards()
        for shard in shards:
            tally.add(shard)
        models = describe_models(config)
        tally.notices += [*repair_lines(dataset), *licence_notices(models)]
        progress("loading", tally)
        studio = open_studio(config, dataset)
        config = studio.config
        order: Iterator[tuple[int, int]] = enumerate(source_order(len(dataset.scenes), seed=config.run.seed))
        for _ in range(sum(s["jobs"] for s in shards)):
            next(order)
        progress("painting", tally)
        while tally.accepted < tally.wanted and tally.attempts < config.run.attempt_budget:
            shards.append(_work(studio, folder, len(shards), order, tally))
            tally.add(shards[-1])
            progress("painting", tally)
        progress("writing", tally)
        save_affinity_file(out / "affinity.json", studio.affinity, studio.layout.to_dict())
        publish_dataset(out, dataset, shards, config=config, models=models)
        if config.output.bank:
            num_cells = studio.inpainter.size // studio.inpainter.cell
            write_bank(out, dataset, shards, config=config, num_cells=num_cells, models=models)
        pictures = [(shard["attempts"], folder.read_tiles(i)) for i, shard in enumerate(shards)]
        write_json(out / SUMMARY, {**tally.document(), "repairs": repairs_document(dataset)})
        write_contact_sheets(out, pictures, names=studio.names)
        folder.finish()
        tally.finished = True
    progress("done", tally)
    return tally


def _work(
    studio: Studio, folder: RunFolder, index: int, order: Iterator[tuple[int, int]], tally: Tally
) -> dict[str, Any]:
    config = studio.config
    left = tally.wanted - tally.accepted
    num_jobs = max(1, min(JOBS_PER_SHARD, -(-left // config.slots)))
    jobs: list[tuple[int, Scene]] = [
        (number, studio.dataset.scenes[place]) for number, place in itertools.islice(order, num_jobs)
    ]
    shard = paint_shard(
        studio,
        jobs,
        wanted=left,
        budget=config.run.attempt_budget - tally.attempts,
        before=tally.counts,
        image_dir=folder.out / "images",
    )
    record = {
        "jobs": num_jobs,
        "attempts": shard.attempts,
        "decoys": shard.decoys,
        "images": shard.images,
    }
    folder.commit(index, record, tiles=shard.tiles)
    return record
