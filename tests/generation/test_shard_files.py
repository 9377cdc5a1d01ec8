"""What stays of the shards in a finished run: records, and what lay under objects that were painted over others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import ResumeError
from augsynth.core.records import NewImage, PlainShard, ShardRecord
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.shard_files import PlainShards, read_kept
from augsynth.generation.source_pictures import SourcePictures
from tests.generation.run_files import painted_attempt

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
RECORD = ShardRecord(
    jobs=1,
    attempts=(painted_attempt(), painted_attempt(slot=1)),
    images=(NewImage(job=0, file_name="augsynth/a.png", source_image_id=7, size_wh=(4, 4), attempts=(0, 1)),),
)


def finished(out: Path) -> None:
    with RunFolder(out, {}, SourcePictures(Path(), {})) as folder:
        folder.write_image("augsynth/a.png", np.zeros((4, 4, 3), np.uint8))
        folder.commit(0, RECORD, tiles=[], under={1: PIXELS})
        folder.commit(1, ShardRecord(jobs=1), tiles=[])
        assert folder.read_shards() == {0: RECORD, 1: ShardRecord(jobs=1)}
        folder.finish()


def test_records_stay_in_a_finished_run(tmp_path: Path) -> None:
    finished(tmp_path)
    names = {path.name for path in (tmp_path / "shards").iterdir()}
    assert names == {"00000.json", "00000.under.npz", "00001.json"}
    first, second = read_kept(tmp_path)
    assert first.record == RECORD and second.record == ShardRecord(jobs=1)
    under = first.read_under()
    assert under.keys() == {1} and (under[1] == PIXELS).all() and not second.read_under()


def test_what_is_published_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    finished(tmp_path)
    shards = PlainShards(tmp_path, 2)
    assert list(shards) == [PlainShard.of(RECORD), PlainShard.of(ShardRecord(jobs=1))] == shards[:5]
    assert shards[0].in_images() == dict(enumerate(RECORD.attempts))
    path = tmp_path / "shards" / "00001.json"
    path.write_bytes(path.read_bytes().replace(b'"jobs": 1', b'"jobs": 2'))
    assert shards[0].attempts[1]["slot"] == 1
    with pytest.raises(ResumeError, match=r"00001\.json: damaged or gone; run again"):
        shards[1]


def test_pixels_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    finished(tmp_path)
    first, _ = read_kept(tmp_path)
    (tmp_path / "shards" / "00000.under.npz").unlink()
    with pytest.raises(ResumeError, match=r"00000\.under\.npz is damaged, changed or gone"):
        first.read_under()


@pytest.mark.parametrize("name", ["shards/00000.json", "shards/00000.under.npz", "images/augsynth/a.png"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"x")])
def test_what_isnt_as_it_was_written_is_named(
    tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    finished(tmp_path)
    damage(tmp_path / name)
    if name.endswith("00000.json") and damage is Path.unlink:
        assert read_kept(tmp_path) == [], "who opens the run misses its attempts"
        return
    with pytest.raises(ResumeError, match=f"{Path(name).name}.* is damaged, changed or gone"):
        read_kept(tmp_path)
