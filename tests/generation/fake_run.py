"""A run without models: every attempt is accepted, and what it paints is told from its job."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from augsynth.affinity.model import Affinity
from augsynth.coco.json_lines import write_json
from augsynth.coco.reader import read_dataset
from augsynth.coco.writer import new_file_name
from augsynth.core.images import write_image
from augsynth.core.masks import to_rle
from augsynth.core.records import NewImage, ObjectMask, Rle, ShardRecord
from augsynth.generation import publishing, run
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import CategoryChooser
from augsynth.generation.engine import PaintedShard
from augsynth.generation.rounds import source_scenes
from augsynth.placement.layout import Layout
from tests.generation.run_files import ignore, painted_attempt

SIDE, NUM = 48, 2


def write_source(root: Path) -> GenerateConfig:
    """Write a dataset of two pictures; return options that ask for one new object in each."""
    rng = np.random.default_rng(5)
    images = [{"id": i, "file_name": f"p{i}.png", "width": SIDE, "height": SIDE} for i in range(1, NUM + 1)]
    for image in images:
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        write_image(root / "pictures" / str(image["file_name"]), pixels)
    boxes = [
        {"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [4, 4, 9, 9], "area": 81, "iscrowd": 0}
        for i in range(1, NUM + 1)
    ]
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "dog"}]
    write_json(root / "a.json", {"images": images, "annotations": boxes, "categories": categories})
    return GenerateConfig.of(
        n=NUM,
        annotations=str(root / "a.json"),
        images=str(root / "pictures"),
        model="none",
        out=str(root / "out"),
    )


def without_models(patch: pytest.MonkeyPatch, config: GenerateConfig) -> list[int]:
    """Let `generate` paint without models; return the list to which the jobs that are painted are added."""
    painted: list[int] = []
    dataset = read_dataset(Path(config.data.annotations), images=Path(config.data.images))
    chooser = CategoryChooser(Affinity.fit(dataset), frozenset({1, 2}))
    layout = Layout.fit(dataset)

    def paint(context, plan, *, write_image):
        attempts, images = [], []
        for job, place in source_scenes(len(dataset.scenes), plan.job_numbers, seed=config.run.seed):
            scene = dataset.scenes[place]
            name = new_file_name(scene.file_name, job=job, suffix="png", taken=())
            width, height = scene.size_wh
            pixels = np.full((height, width, 3), (40 * job + 5) % 256, np.uint8)
            mask = np.zeros((height, width), bool)
            mask[12:28, 12:28] = True
            found = ObjectMask("detector", Rle(**to_rle(mask)))
            write_image(name, pixels)
            painted.append(job)
            values = {"job": job, "source_image_id": scene.image_id, "tile": len(attempts), "mask": found}
            attempts.append(painted_attempt(**values))
            images.append(
                NewImage(
                    job=job,
                    file_name=name,
                    source_image_id=scene.image_id,
                    size_wh=scene.size_wh,
                    attempts=(len(attempts) - 1,),
                )
            )
        record = ShardRecord(
            jobs=plan.jobs, part=plan.part, parts=plan.parts, attempts=tuple(attempts), images=tuple(images)
        )
        return PaintedShard(record, [np.full((40, 80, 3), 9, np.uint8)] * len(attempts))

    def open_context(config, dataset, *, tell=None):
        return SimpleNamespace(
            dataset=dataset,
            filter_rows=(),
            placing=SimpleNamespace(
                chooser=chooser,
                layout=layout,
                rules=SimpleNamespace(mask_growth=1.0),
                init_images=None,
            ),
            painting=SimpleNamespace(
                inpainter=SimpleNamespace(guidance=None, steps=4, samples_per_window=lambda strength: 4),
                prompts=SimpleNamespace(notices=list),
                num_cells=8,
            ),
            loop=SimpleNamespace(slots=1),
        )

    patch.setattr(run, "open_processes", lambda config, paint: nullcontext(lambda plans: map(paint, plans)))
    patch.setattr(run, "jobs_per_shard", lambda config, dataset: 1)
    patch.setattr(run, "open_dataset", lambda config: (config, dataset))
    patch.setattr(run, "fingerprint", lambda config, dataset: {"seed": config.run.seed})
    patch.setattr(run, "describe_models", lambda config: {"model": "none"})
    patch.setattr(run, "open_context", open_context)
    patch.setattr(run, "paint_planned", paint)
    patch.setattr(publishing, "write_contact_sheets", write_small_sheet)
    return painted


def write_small_sheet(out: Path, shards: object, **named: object) -> None:
    write_image(out / "contact_sheet_accepted.png", np.zeros((4, 4, 3), np.uint8))


def generate(config: GenerateConfig, out: Path) -> run.Tally:
    config = replace(config, output=replace(config.output, out=str(out)))
    return run.generate(config, progress=ignore)
