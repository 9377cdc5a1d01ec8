"""The benchmark of many workers: what it makes is what a run would, and it measures it to the end."""

from pathlib import Path

import pytest

from augsynth.core.records import ShardRecord
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.source_pictures import SourcePictures
from benchmarks.cost import scale


def test_its_records_are_those_of_shards() -> None:
    record = scale.make_record(3)
    assert ShardRecord.from_bytes(record.to_bytes()) == record
    assert sum(attempt.kept for attempt in record.attempts) == scale.PER_SHARD == len(record.attempts) // 2


def test_it_merges_and_commits(tmp_path: Path) -> None:
    lines = list(scale.measure_merge(tmp_path / "merged", scale.write_source(tmp_path), 200))
    assert "3.9 shards a second from 1000 workers" in lines[0] and "after 192 objects" in lines[1]
    written = (tmp_path / "merged" / "synthetic" / "instances.json").read_text()
    assert written.count('"synthetic":true') == 192
    assert "a shard at the worker" in next(scale.measure_workers(tmp_path / "claimed", 2))
    with RunFolder(tmp_path / "claimed", {}, SourcePictures(tmp_path, {})) as folder:
        assert len(folder.read_shards()) == 2


def test_it_plans_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "OBJECTS", 20_000)
    [line] = scale.measure_rounds()
    assert line.startswith("rounds of the whole run: ") and "shards" in line
