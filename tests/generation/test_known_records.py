"""Records of a run: the first are held, the others read, and nobody can tell which."""

from pathlib import Path

import pytest

from augsynth.core.errors import ResumeError
from augsynth.core.records import ShardRecord
from augsynth.core.scene import Reason
from augsynth.generation import known_records
from augsynth.generation.known_records import Extent, InOrder
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.source_pictures import SourcePictures
from tests.generation.run_files import painted_attempt

RECORDS = [
    ShardRecord(jobs=k + 1, part=k % 2, parts=2, attempts=(painted_attempt(Reason.LOW_SCORE, job=k),) * 2)
    for k in range(5)
]


def test_records_are_read_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_records, "MOST_HELD", 5)
    with RunFolder(tmp_path / "out", {}, SourcePictures(tmp_path, {})) as folder:
        for k, record in enumerate(RECORDS):
            folder.commit(k, record, tiles=[])
        known = folder.read_shards()
        assert len(known._held) == 2 and known == dict(enumerate(RECORDS))
        assert 4 in known and 5 not in known and known.extents[3] == Extent(4, 1, 2)
        shards = InOrder(known)
        for record in RECORDS[:3]:
            shards.append(record)
        assert list(shards) == RECORDS[:3] == shards[:9] and shards[-1] == RECORDS[2]
        assert shards.extents == [Extent(1, 0, 2), Extent(2, 1, 2), Extent(3, 0, 2)] and len(known) == 5
        with pytest.raises(IndexError):
            shards[3]
        with pytest.raises(KeyError):
            known[5]
        path = tmp_path / "out" / "shards" / "00002.json"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(ResumeError, match=r"00002\.json: damaged or gone; run again"):
            shards[2]


def test_new_records_are_known_from_then_on(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out", {}, SourcePictures(tmp_path, {})) as folder:
        known = folder.read_shards()
        shards = InOrder(known)
        shards.append(RECORDS[0])
        assert known == {0: RECORDS[0]} and list(shards) == [RECORDS[0]]
