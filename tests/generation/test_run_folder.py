"""A run's directory: who may write into it, and what a damaged one says."""

from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import BackendError, ResumeError
from augsynth.core.records import ShardRecord
from augsynth.generation.config import GenerateConfig
from augsynth.generation.loading import open_dataset
from augsynth.generation.provenance import fingerprint
from augsynth.generation.run import Tally, generate
from augsynth.generation.run_folder import RunFolder, read_state
from tests.generation.run_files import files_of, ignore, painted_attempt


def test_a_run_that_painted_nothing_binds_nobody(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "again"
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BackendError, match=r"model_index\.json"):
        generate(config.but(out=str(out), model=str(tmp_path / "nothing")), progress=ignore)
    with RunFolder(out, {"model": "another"}):
        state = read_state(out)
        assert state is not None and state.fingerprint == {"model": "another"}
    (out / "images").mkdir()
    (out / "images" / "painted.png").touch()
    with (
        pytest.raises(ResumeError, match="model = 'another', not 'a third'"),
        RunFolder(out, {"model": "a third"}),
    ):
        pass


def test_a_finished_run_is_left_alone(run: tuple[Path, Tally], config: GenerateConfig) -> None:
    before = files_of(run[0])
    for changed in (config, config.but(n=20)):
        with pytest.raises(ResumeError, match="--out"):
            generate(changed.but(out=str(run[0])), progress=ignore)
    assert files_of(run[0]) == before


def test_a_foreign_directory_is_left_alone(config: GenerateConfig, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ResumeError, match=r"thesis\.txt"):
        generate(config.but(out=str(tmp_path)), progress=ignore)
    assert files_of(tmp_path) == {"thesis.txt": b"years of work"}


def begun(out: Path) -> RunFolder:
    """A run that has committed one shard."""
    record = ShardRecord(jobs=1, attempts=(painted_attempt(tile=0),))
    with RunFolder(out, {"model": "one"}) as folder:
        folder.commit(0, record, tiles=[np.zeros((4, 8, 3), np.uint8)])
        assert folder.read_shards() == [record]
        assert [tile.shape for tile in folder.read_tiles(0, num=1)] == [(4, 8, 3)]
    return folder


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path, {}),
        pytest.raises(ResumeError, match="another run is writing"),
        RunFolder(tmp_path, {}),
    ):
        pass
    with RunFolder(tmp_path, {}):
        pass


def test_a_refused_run_lets_go_of_its_directory(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(ResumeError, match="model = 'one', not 'two'"), RunFolder(tmp_path, {"model": "two"}):
        pass
    with RunFolder(tmp_path, {"model": "one"}) as folder:
        folder.finish()
    assert not (tmp_path / "shards").exists()
    state = read_state(tmp_path)
    assert state is not None and state.status == "finished"


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    tiles, record, state = (tmp_path / n for n in ("shards/00000.npz", "shards/00000.json", "run.json"))
    with pytest.raises(ResumeError, match=r"00000\.npz: damaged; remove 00000\.json"):
        folder.read_tiles(0, num=2)
    tiles.write_bytes(tiles.read_bytes()[:40])
    with pytest.raises(ResumeError, match=r"00000\.npz: damaged"):
        folder.read_tiles(0, num=1)
    for text in ("", "{}", "[]", '{"jobs": 1, "attempts": [{}], "decoys": [], "images": []}'):
        record.write_text(text)
        with pytest.raises(ResumeError, match=r"00000\.json: damaged \(.*; remove it and the later ones"):
            folder.read_shards()
    for text in ("", "[]", '{"status": "tired", "fingerprint": {}}', '{"status": "running"}'):
        state.write_text(text)
        with pytest.raises(ResumeError, match=r"run\.json: damaged \(.*; choose another --out"):
            read_state(tmp_path)


def test_a_record_of_another_dataset_is_refused(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = config.but(out=str(out))
    with RunFolder(out, fingerprint(*open_dataset(asked))) as folder:
        record = ShardRecord(jobs=1, attempts=(painted_attempt(category_id=999),))
        folder.commit(0, record, tiles=[])
    with pytest.raises(ResumeError, match="category 999, which the dataset hasn't"):
        generate(asked, progress=ignore)
