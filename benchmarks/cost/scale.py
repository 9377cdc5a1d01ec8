"""What do ten million objects on a thousand workers cost the process that leads? Its bookkeeping, without models.

    python -m benchmarks.cost.scale [--objects 1000000] [--shards 300] [--ray]

Painting is a stand-in: an attempt is said to take two seconds of a worker, and half of the attempts to be accepted.
Rounds are planned for the whole ten million. Claims, commits and merging are done for real on fewer objects, with the
code of `generate`, on synthetic records; `--ray` also measures a local Ray cluster whose actors only wait.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augsynth.coco.json_lines import write_json
from augsynth.coco.reader import read_dataset
from augsynth.core.records import Attempt, Judgement, NewImage, PlannedObject, ShardRecord
from augsynth.core.scene import Dataset, Reason
from augsynth.generation.config import GenerateConfig
from augsynth.generation.export import publish_dataset
from augsynth.generation.known_records import Extent, InOrder
from augsynth.generation.rounds import ShardPlan, plan_round
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.shard_files import PlainShards, digest, record_path
from augsynth.generation.source_pictures import SourcePictures
from augsynth.generation.statistics import CategoryYields, Tally

OBJECTS, WORKERS, ATTEMPT_S = 10_000_000, 1000, 2.0
JOBS, SLOTS, RETRIES = 32, 2, 2  # of a shard; the second attempt at a slot is accepted
PER_SHARD, CATEGORIES, SOURCES = JOBS * SLOTS, 20, 1000
SHARD_S = PER_SHARD * RETRIES * ATTEMPT_S
SHARDS_A_SECOND = WORKERS / SHARD_S


def write_source(root: Path) -> Dataset:
    """Write annotations of a thousand images with three objects each, without pictures, and read them."""
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(1, SOURCES + 1)]
    annotations = [
        {
            "id": 3 * i - k,
            "image_id": i,
            "category_id": 1 + (i + k) % CATEGORIES,
            "bbox": [10 + 50 * k, 20, 40, 60],
            "area": 2400,
            "iscrowd": 0,
        }
        for i in range(1, SOURCES + 1)
        for k in range(3)
    ]
    categories = [{"id": c, "name": f"category {c}"} for c in range(1, CATEGORIES + 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_json(root / "source.json", document)
    return read_dataset(root / "source.json")


def make_record(index: int, *, with_images: bool = True) -> ShardRecord:
    """Return what a shard says of 32 new images with two objects each, and of as many attempts that were rejected."""
    attempts, images = list[Attempt](), list[NewImage]()
    for job in range(JOBS * index, JOBS * (index + 1)):
        source = job % SOURCES + 1
        for slot in range(SLOTS):
            attempts += [make_attempt(job, source, slot, retry) for retry in range(RETRIES)]
        name, own = f"augsynth/{source}_{job:07d}.png", (len(attempts) - 3, len(attempts) - 1)
        new = NewImage(job=job, file_name=name, source_image_id=source, size_wh=(640, 480), attempts=own)
        images.append(new)
    return ShardRecord(jobs=JOBS, attempts=tuple(attempts), images=tuple(images) if with_images else ())


def make_attempt(job: int, source: int, slot: int, retry: int) -> Attempt:
    x, is_good = 100.5 + 150 * slot, retry == RETRIES - 1
    plan = PlannedObject(
        planned_xyxy=(x, 100.25, x + 80.3, 200.7),
        window_xyxy=(60, 40, 316, 296),
        anchor_annotation_id=3 * source,
        alignment_score=0.53125,
        prompt="a photo of a category beside another",
        seed=job * 7919 + 13 * slot + retry,
    )
    return Attempt(
        job=job,
        source_image_id=source,
        slot=slot,
        retry=retry,
        category_id=1 + job % CATEGORIES,
        reason=Reason.ACCEPTED if is_good else Reason.LOW_SCORE,
        plan=plan,
        judgement=Judgement(score=0.731, iou=0.8125, box_xyxy=(x + 1.5, 101.0, x + 79.0, 198.25)),
    )


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_s() -> float:
    """Return the seconds of a core that this process and those it forked have used."""
    return sum(os.times()[:4])


def measure_rounds() -> Iterator[str]:
    """Plan all rounds of the run."""
    run = GenerateConfig.of(n=OBJECTS, objects_per_image=SLOTS, retries=RETRIES).run
    tally, extents, jobs, began, rounds, most = (
        Tally(OBJECTS),
        dict[int, Extent](),
        0,
        time.process_time(),
        0,
        0,
    )
    while tally.accepted < OBJECTS:
        plans = plan_round(tally, run, first=len(extents), first_job=jobs, slots=SLOTS, largest=JOBS)
        for plan in plans:  # every attempt's outcome is known, so that only counts are kept
            extents[plan.index] = Extent(plan.jobs, plan.part, plan.parts)
            tally.accepted += plan.wanted
            tally.attempts += plan.budget
            jobs += plan.jobs
        for category in range(1, CATEGORIES + 1):
            made = Counter(accepted=tally.accepted // CATEGORIES, low_score=tally.accepted // CATEGORIES)
            tally.by_category[category] = made
        rounds, most = rounds + 1, max(most, len(plans))
    seconds = time.process_time() - began
    yield (
        f"rounds of the whole run: {rounds}, {len(extents):,} shards, {most:,} in the largest; planned in "
        f"{seconds:.1f} s of a core; peak {peak_mib():.0f} MiB"
    )


def measure_workers(out: Path, num: int) -> Iterator[str]:
    """Claim and commit shards as a worker does, but for pictures."""
    records = [make_record(k, with_images=False) for k in range(num)]
    with RunFolder(out, {}, SourcePictures(out, {})) as folder:
        began, used = time.monotonic(), time.process_time()
        for k, record in enumerate(records):
            with folder.claim(k) as is_own:
                assert is_own
                folder.commit(k, record, tiles=[])
        wall, cpu = (time.monotonic() - began) / num, (time.process_time() - used) / num
    yield (
        f"claim and commit: {1000 * wall:.1f} ms a shard at the worker ({1000 * cpu:.1f} ms of a core), "
        f"{100 * wall / SHARD_S:.3f} % of a shard's {SHARD_S:.0f} s"
    )


def measure_merge(out: Path, dataset: Dataset, objects: int) -> Iterator[str]:
    """Take the records of shards in, as they come from workers, and publish them from the disk."""
    num = objects // PER_SHARD
    with RunFolder(out, {}, SourcePictures(out, {})) as folder:
        before, tally, cpu, size = peak_mib(), Tally(objects), 0.0, 0
        known = folder.known_records()
        shards = InOrder(known)
        for k in range(num):
            text = make_record(k).to_bytes()
            write_record(folder, k, text)
            size += len(text)
            began = time.process_time()
            record = ShardRecord.from_bytes(text)
            shards.append(record)
            tally.add(record)
            cpu += time.process_time() - began
        assert tally.accepted == num * PER_SHARD
        taken, share = peak_mib(), cpu / num * SHARDS_A_SECOND
        yield (
            f"taking records in: {1000 * cpu / num:.1f} ms of a core a shard of {PER_SHARD} objects "
            f"({size / num / 1024:.0f} KiB); {SHARDS_A_SECOND:.1f} shards a second from {WORKERS} workers are "
            f"{100 * share:.1f} % of a core"
        )
        yield f"memory: {before:.0f} MiB before, {taken:.0f} MiB after {num * PER_SHARD:,} objects"
        began, cpu = time.monotonic(), cpu_s()
        config = GenerateConfig.of(originals="omit")
        publish_dataset(
            out, dataset, PlainShards(out, num), config=config, models={"model": "none", "detector": "none"}
        )
        wall, cpu = time.monotonic() - began, cpu_s() - cpu
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        written = sum(path.stat().st_size for path in (out / "annotations").glob("*")) / 2**20
        yield (
            f"merging: {num * PER_SHARD / cpu:,.0f} objects a second of a core ({num * PER_SHARD / wall:,.0f} by the "
            f"clock); {written:.0f} MiB of annotations; peak {peak_mib():.0f} MiB, of a forked process {largest:.0f}"
        )
        yield f"merging all {OBJECTS:,}: {OBJECTS * cpu / (num * PER_SHARD) / 60:.0f} min of a core, by proportion"


def write_record(folder: RunFolder, index: int, record: bytes) -> None:
    """Write a record as a commit does, without waiting for the disk."""
    body = b'{"files":{},"record":' + record + b"}"
    record_path(folder.out, index).write_bytes(digest(body).encode() + b"\n" + body)


def measure_ray(num: int, actors: int, shard_s: float) -> Iterator[str]:
    """Hand shards to actors that wait and return a record."""
    import ray

    from augsynth.generation.ray_actors import _Crew

    text = make_record(0).to_bytes()

    class Waiting:
        def begin(self) -> None: ...

        def paint(self, plan: Any) -> tuple[bytes, float]:
            time.sleep(shard_s)
            return text, shard_s

    ray.init(num_cpus=actors, log_to_driver=False, include_dashboard=False)
    crew = _Crew([ray.remote(num_cpus=1)(Waiting).remote() for _ in range(actors)])
    yields = CategoryYields(*(Counter({c: 10**6 for c in range(CATEGORIES)}) for _ in range(5)))
    plans = [ShardPlan(k, k, num, JOBS * k, JOBS, PER_SHARD, PER_SHARD * RETRIES, yields) for k in range(num)]
    list(crew.paint(plans[: 2 * actors]))  # they are all there
    began, used = time.monotonic(), time.process_time()
    assert len(list(crew.paint(plans))) == num
    wall, cpu = time.monotonic() - began, (time.process_time() - used) / num
    ray.shutdown()
    over = wall * actors / num - shard_s
    yield (
        f"Ray: {1000 * over:.0f} ms a shard more than the {shard_s:g} s that {actors} actors wait: "
        f"{100 * over / SHARD_S:.3f} % of a shard's {SHARD_S:.0f} s"
    )
    hours = OBJECTS / PER_SHARD * SHARD_S / WORKERS / 3600
    yield (
        f"Ray at the driver: {1000 * cpu:.1f} ms of a core a shard, records included: "
        f"{100 * cpu * SHARDS_A_SECOND:.1f} % of a core at {WORKERS} workers, for the {hours:.0f} h of {OBJECTS:,} "
        "objects"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=1_000_000, help="Objects that are merged.")
    parser.add_argument(
        "--shards", type=int, default=300, help="Shards that are claimed, and given to Ray's actors."
    )
    parser.add_argument("--ray", action="store_true", help="Measure a local Ray cluster, too.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = write_source(root)
        for line in measure_merge(root / "merged", dataset, args.objects):
            print(line, flush=True)
        for line in measure_workers(root / "claimed", args.shards):
            print(line, flush=True)
    for line in measure_ray(args.shards, 4, 1.0) if args.ray else ():
        print(line, flush=True)
    for line in measure_rounds():
        print(line, flush=True)


if __name__ == "__main__":
    main()
