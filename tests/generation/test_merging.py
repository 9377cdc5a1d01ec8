"""Several processes merge what one merges, and what fails in one of them is the run's."""

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augsynth.coco.faults import Record
from augsynth.core.errors import BackendError, OutputError, ResumeError
from augsynth.core.masks import to_rle
from augsynth.core.records import Decoy, Extra, NewImage, ObjectMask, PlainShard, Rle, ShardRecord
from augsynth.core.scene import Category, Dataset, Reason
from augsynth.generation import merging
from augsynth.generation.config import GenerateConfig
from augsynth.generation.export import publish_dataset
from augsynth.generation.shard_files import PlainShards
from tests.generation.run_files import files_of, painted_attempt

NUM = 23
FORKS = pytest.mark.skipif(not merging.can_fork(), reason="no processes are forked here")


def shard_of(number: int) -> ShardRecord:
    """Two new images with three objects, one of which replaced a real one or was struck out, and a decoy."""
    mask = ObjectMask("matting", Rle(**to_rle(np.eye(40, dtype=bool))))
    second = Extra(2, (0.0, 0.0, 5.0, 5.0), 0.5)
    attempts = (
        painted_attempt(replaced_annotation_id=4, replaced_category_id=1),
        painted_attempt(extras=(second,) * (number % 3), mask=mask, tile=1),
        painted_attempt(Reason.LOW_SCORE),
        painted_attempt().judged(vetoed=True) if number % 4 == 1 else painted_attempt(),
    )
    decoy = Decoy(
        job=2 * number, source_image_id=7, slot=0, retry=0, like_category_id=1, reason=Reason.NO_REGION
    )
    struck = (3,) if number % 4 == 1 else ()
    images = (
        NewImage(
            job=2 * number,
            file_name=f"new/{number}a.png",
            source_image_id=7,
            size_wh=(40, 40),
            attempts=(0, 1),
        ),
        NewImage(
            job=2 * number + 1,
            file_name=f"new/{number}b.png",
            source_image_id=7,
            size_wh=(40, 40),
            attempts=() if struck else (3,),
            vetoed=struck,
        ),
    )
    return ShardRecord(jobs=2, attempts=attempts, decoys=(decoy,) * (number % 2), images=images)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    box = {"image_id": 7, "category_id": 1, "bbox": [10.0, 10.0, 20.0, 20.0], "area": 400.0, "iscrowd": 0}
    document: Record = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 40}],
        "annotations": [{"id": 3, **box}, {"id": 4, **box}],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "lid"}],
    }
    return Dataset((Category(1, "cup"), Category(2, "lid")), (), document, tmp_path / "a.json")


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let even small runs be merged by three processes."""
    monkeypatch.setattr(merging, "FEWEST", 1)
    monkeypatch.setattr(merging, "num_cores", lambda: 3)


class Shards(list[PlainShard]):
    """Shards that say which processes asked for them, and do what they are told at one part."""

    def __init__(self, log: Path, at: Callable[[], object] = bool) -> None:
        super().__init__(PlainShard.of(shard_of(k)) for k in range(NUM))
        self.log, self.at = log, at

    def __getitem__(self, index: Any) -> Any:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if index.start == 3 * merging.PART:
            self.at()
        return super().__getitem__(index)

    @property
    def readers(self) -> set[int]:
        return {int(line) for line in self.log.read_text().split()}


def publish(out: Path, dataset: Dataset, shards: Sequence[PlainShard], **options: object) -> dict[str, bytes]:
    config = GenerateConfig.of(**options)
    publish_dataset(out, dataset, shards, config=config, models={"model": "m"})
    return {name: text for name, text in files_of(out).items() if name != "config.yaml"}


@FORKS
def test_the_number_of_processes_changes_nothing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Shards(tmp_path / "one")
    whole = publish(tmp_path / "whole", dataset, alone)
    assert alone.readers == {os.getpid()} and len(whole) == 4
    monkeypatch.setattr(merging, "FEWEST", 1)
    monkeypatch.setattr(merging, "PART", 1)
    for num in (2, 5):
        monkeypatch.setattr(merging, "num_cores", lambda num=num: num)
        shards = Shards(tmp_path / f"log{num}")
        assert publish(tmp_path / str(num), dataset, shards) == whole
        assert os.getpid() not in shards.readers and 1 < len(shards.readers) <= num
    shards = Shards(tmp_path / "asked")
    assert publish(tmp_path / "few", dataset, shards, processes=1) == whole and shards.readers == {
        os.getpid()
    }
    monkeypatch.setattr(merging, "can_fork", lambda: False)
    shards = Shards(tmp_path / "log")
    assert publish(tmp_path / "forkless", dataset, shards) == whole and shards.readers == {os.getpid()}


@FORKS
def test_an_error_in_a_process_is_that_of_the_run(dataset: Dataset, tmp_path: Path, many: None) -> None:
    def fail() -> None:
        raise OutputError("no room")

    out = tmp_path / "out"
    with pytest.raises(OutputError, match=r"^no room$"):
        publish(out, dataset, Shards(tmp_path / "log", fail))
    with pytest.raises(ResumeError, match=r"00000\.json: damaged or gone; run again"):
        publish(out, dataset, PlainShards(out, NUM))
    assert not multiprocessing.active_children() and gc.isenabled()
    assert not any(out.iterdir()), "nothing half-written is left"


@FORKS
def test_a_process_that_is_ended_ends_the_run(dataset: Dataset, tmp_path: Path, many: None) -> None:
    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(
        BackendError, match=r"^a merging process was ended, perhaps for want of memory; the same"
    ):
        publish(tmp_path / "out", dataset, Shards(tmp_path / "log", end))
    assert not multiprocessing.active_children() and not any((tmp_path / "out").iterdir())


@FORKS
def test_an_interrupted_run_ends_its_processes_at_once(dataset: Dataset, tmp_path: Path, many: None) -> None:
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(1)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "out", dataset, Shards(tmp_path / "log", lambda: time.sleep(600)))
    assert not multiprocessing.active_children() and gc.isenabled()
    assert not any((tmp_path / "out").iterdir())
