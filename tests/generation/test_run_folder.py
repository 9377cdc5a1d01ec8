"""A run's directory: who may write into it, and what a damaged one says."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augsynth.core.errors import BackendError, ResumeError
from augsynth.core.records import NewImage, ShardRecord
from augsynth.generation.config import GenerateConfig
from augsynth.generation.loading import open_dataset
from augsynth.generation.provenance import fingerprint
from augsynth.generation.run import Tally, generate
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.run_state import read_state
from augsynth.generation.shard_files import read_tiles
from augsynth.generation.source_pictures import SourcePictures
from tests.generation.run_files import files_of, ignore, painted_attempt

NO_PICTURES = SourcePictures(Path(), {})


def test_a_run_that_painted_nothing_binds_nobody(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "again"
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BackendError, match=r"model_index\.json"):
        generate(config.but(out=str(out), model=str(tmp_path / "nothing")), progress=ignore)
    assert not out.exists()
    out.mkdir()
    with pytest.raises(BackendError, match="later"), RunFolder(out, {"model": "one"}, NO_PICTURES):
        raise BackendError("later")
    assert out.is_dir() and not any(out.iterdir()), "the folder was there before"
    with RunFolder(out, {"model": "another"}, NO_PICTURES):
        state = read_state(out)
        assert state is not None and state.fingerprint == {"model": "another"}
    (out / "images").mkdir()
    (out / "images" / "painted.png").touch()
    with (
        pytest.raises(ResumeError, match="model = 'another', not 'a third'"),
        RunFolder(out, {"model": "a third"}, NO_PICTURES),
    ):
        pass


def test_a_run_that_failed_stays_where_something_was_painted(tmp_path: Path) -> None:
    begun(tmp_path / "out")
    before = files_of(tmp_path / "out")
    with (
        pytest.raises(BackendError, match="later"),
        RunFolder(tmp_path / "out", {"model": "one"}, NO_PICTURES),
    ):
        raise BackendError("later")
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize("is_painting", [False, True])
def test_a_run_that_failed_stays_where_another_process_helps(tmp_path: Path, is_painting: bool) -> None:
    out = tmp_path / "out"
    with contextlib.ExitStack() as helper:
        with pytest.raises(BackendError, match="later"), RunFolder(out, {}, NO_PICTURES):
            other = helper.enter_context(RunFolder(out, {}, NO_PICTURES, may_join=True))
            if is_painting:
                helper.enter_context(other.claim(0))
            raise BackendError("later")
        other.check_place()
        assert other.wait_or_lead(), "it leads now"
    with pytest.raises(BackendError, match="later"), RunFolder(out, {}, NO_PICTURES):
        raise BackendError("later")
    assert not out.exists() or not any(out.iterdir())


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
    with RunFolder(out, {"model": "one"}, NO_PICTURES) as folder:
        folder.commit(0, record, tiles=[np.zeros((4, 8, 3), np.uint8)])
        assert folder.read_shards() == {0: record}
        assert [tile.shape for tile in read_tiles(folder.out, 0, num=1)] == [(4, 8, 3)]
    return folder


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path, {}, NO_PICTURES),
        pytest.raises(ResumeError, match="another run is writing"),
        RunFolder(tmp_path, {}, NO_PICTURES),
    ):
        pass
    with RunFolder(tmp_path, {}, NO_PICTURES):
        pass


def test_a_refused_run_lets_go_of_its_directory(tmp_path: Path) -> None:
    begun(tmp_path)
    with (
        pytest.raises(ResumeError, match="model = 'one', not 'two'"),
        RunFolder(tmp_path, {"model": "two"}, NO_PICTURES),
    ):
        pass
    with RunFolder(tmp_path, {"model": "one"}, NO_PICTURES) as folder:
        folder.finish()
    assert {path.name for path in (tmp_path / "shards").iterdir()} == {"00000.json"}
    state = read_state(tmp_path)
    assert state is not None and state.status == "finished"


def shards_of(out: Path) -> tuple[RunFolder, dict[int, ShardRecord]]:
    with RunFolder(out, {"model": "one"}, NO_PICTURES) as folder:
        return folder, folder.read_shards()


def three(out: Path) -> None:
    """A run that has committed three shards with an image and a tile each."""
    with RunFolder(out, {"model": "one"}, NO_PICTURES) as folder:
        for k in range(3):
            image = NewImage(
                job=k, file_name=f"augsynth/{k}.png", source_image_id=7, size_wh=(4, 4), attempts=(0,)
            )
            folder.write_image(image.file_name, np.full((4, 4, 3), k, np.uint8))
            record = ShardRecord(jobs=1, attempts=(painted_attempt(job=k, tile=0),), images=(image,))
            folder.commit(k, record, tiles=[np.zeros((4, 8, 3), np.uint8)])


def rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Change a committed record, and let its digest fit."""

    def tamper(path: Path) -> None:
        document = json.loads(path.read_bytes().split(b"\n", 1)[1])
        change(document)
        body = json.dumps(document).encode()
        path.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    return tamper


def without_text(path: Path) -> None:
    path.write_bytes(b"")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def with_a_flipped_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def as_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


NAMES = ["shards/00001.json", "shards/00001.npz", "images/augsynth/1.png"]
DAMAGES = [without_text, cut_short, with_a_flipped_bit, Path.unlink, as_a_folder]
RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no record": lambda d: d.pop("record"),
    "no files": lambda d: d.pop("files"),
    "files of another kind": lambda d: d.update(files=[]),
    "no stamp": lambda d: d["files"].popitem(),
    "another digest": lambda d: d["files"]["images/augsynth/1.png"].update(sha256="0" * 64),
    "a negative length": lambda d: d["files"]["shards/00001.npz"].update(num_bytes=-1),
    "no jobs": lambda d: d["record"].pop("jobs"),
    "jobs as text": lambda d: d["record"].update(jobs="1"),
    "attempts of another kind": lambda d: d["record"].update(attempts={}),
    "an empty attempt": lambda d: d["record"]["attempts"].append({}),
    "an unknown reason": lambda d: d["record"]["attempts"][0].update(reason="bored"),
    "no box": lambda d: d["record"]["attempts"][0].update(box_xyxy=None),
    "a box of three": lambda d: d["record"]["attempts"][0].update(box_xyxy=[1, 2, 3]),
    "a negative tile": lambda d: d["record"]["attempts"][0].update(tile=-1),
    "no attempts": lambda d: d["record"].update(attempts=[]),
    "an attempt that isn't there": lambda d: d["record"]["images"][0].update(attempts=[5]),
    "a name that climbs out": lambda d: d["record"]["images"][0].update(file_name="../../run.json"),
    "an absolute name": lambda d: d["record"]["images"][0].update(file_name="/etc/hostname"),
    "a number as name": lambda d: d["record"]["images"][0].update(file_name=3),
    "a decoy of no image": lambda d: d["record"]["decoys"].append(
        {"job": 9, "source_image_id": 7, "slot": 0, "retry": 0, "like_category_id": 1, "reason": "no_region"}
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_painted_again(
    tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    three(tmp_path)
    damage(tmp_path / name)
    check_others_are_left(tmp_path)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_that_says_something_else_is_painted_again(tmp_path: Path, kind: str) -> None:
    three(tmp_path)
    rewritten(RECORDS[kind])(tmp_path / "shards" / "00001.json")
    check_others_are_left(tmp_path)


def check_others_are_left(out: Path) -> None:
    for _ in range(2):  # until it is painted
        folder, shards = shards_of(out)
        assert [*shards] == [0, 2]
        (notice,) = folder.notices
        assert "damaged or missing; 1 of 3 shards are painted again" in notice and "\n" not in notice
        assert "00001" in notice or "1.png" in notice
        kept = {"run.json", "shards/lock", "shards/pictures.json", "shards/all.claim"}
        for k in (0, 2):
            kept |= {f"shards/0000{k}.json", f"shards/0000{k}.npz", f"images/augsynth/{k}.png"}
        assert {*files_of(out)} == kept


def test_files_of_a_shard_that_was_not_committed_are_removed(tmp_path: Path) -> None:
    three(tmp_path)
    (tmp_path / "images" / "augsynth" / "4.png").write_bytes(b"half")
    (tmp_path / "shards" / ".00004.npz.part").write_bytes(b"half")
    before = files_of(tmp_path)
    folder, shards = shards_of(tmp_path)
    assert len(shards) == 3 and not folder.notices
    assert {*before} - {*files_of(tmp_path)} == {"images/augsynth/4.png", "shards/.00004.npz.part"}


def test_what_a_helper_commits_while_a_leader_looks_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, record = tmp_path, ShardRecord(jobs=1, attempts=(painted_attempt(tile=0),))
    with RunFolder(out, {}, NO_PICTURES) as leader, RunFolder(out, {}, NO_PICTURES, may_join=True) as helper:

        def listed() -> str:  # the last that is asked before anything is removed
            helper.commit(0, record, tiles=[np.zeros((4, 8, 3), np.uint8)])
            return ""

        monkeypatch.setattr(leader, "_compare_pictures", listed)
        assert not leader.read_shards()
        assert helper.read_shard(0) == record


def test_a_helper_that_is_late_reads_the_records_of_a_published_run(tmp_path: Path) -> None:
    record = ShardRecord(jobs=1, attempts=(painted_attempt(tile=0),))
    with (
        RunFolder(tmp_path, {}, NO_PICTURES) as leader,
        RunFolder(tmp_path, {}, NO_PICTURES, may_join=True) as late,
    ):
        leader.commit(0, record, tiles=[np.zeros((4, 8, 3), np.uint8)])
        (tmp_path / "shards" / "00000.npz").unlink()
        assert late.read_shard(0) is None, "of a run that goes on it is damaged"
        leader.finish()
        assert late.read_shard(0) == record


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "[" * 100_000, '{"a.png": [1]}', '{"a.png": "new"}'])
def test_pictures_that_are_not_known_any_more(tmp_path: Path, text: str) -> None:
    three(tmp_path)
    (tmp_path / "shards" / "pictures.json").write_text(text)
    folder, shards = shards_of(tmp_path)
    assert not shards and "pictures.json is damaged or missing; 3 of 3 shards" in folder.notices[0]


def test_tiles_that_are_gone_are_named(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with pytest.raises(ResumeError, match=r"00000\.npz: damaged or gone; run again"):
        read_tiles(folder.out, 0, num=2)
    (tmp_path / "shards" / "00000.npz").unlink()
    with pytest.raises(ResumeError, match=r"00000\.npz: damaged or gone; run again"):
        read_tiles(folder.out, 0, num=1)


def test_a_directory_that_is_moved_or_deleted(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    for change in (shutil.rmtree, lambda out: out.rename(tmp_path / "elsewhere")):
        out = tmp_path / "out"
        with RunFolder(out, {}, NO_PICTURES) as folder:
            change(out)
            for use in (
                lambda: folder.write_image("augsynth/a.png", image),
                lambda: folder.commit(0, ShardRecord(jobs=1), tiles=[]),
                folder.finish,
            ):
                with pytest.raises(ResumeError, match="moved or deleted while the run went on"):
                    use()
        assert not out.exists()


def test_what_a_kill_after_the_end_left_is_cleared(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {}, NO_PICTURES) as folder:
        folder.finish()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00001.npz").touch()
    with pytest.raises(ResumeError, match="the run is finished"), RunFolder(tmp_path, {}, NO_PICTURES):
        pass
    assert not (tmp_path / "shards").exists()


def test_a_record_of_another_dataset_is_refused(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = config.but(out=str(out))
    opened = open_dataset(asked)
    with RunFolder(out, fingerprint(*opened), SourcePictures.of(opened[1])) as folder:
        record = ShardRecord(jobs=1, attempts=(painted_attempt(category_id=999),))
        folder.commit(0, record, tiles=[])
    with pytest.raises(ResumeError, match="category 999, which the dataset hasn't"):
        generate(asked, progress=ignore)


def test_too_many_open_files_remove_nothing(tmp_path: Path) -> None:
    import resource

    with RunFolder(tmp_path / "out", {}, SourcePictures(tmp_path, {})) as folder:
        folder.commit(0, ShardRecord(jobs=1), tiles=[])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        list((tmp_path / "out" / "shards").glob("*"))
        path = tmp_path / "out" / "shards" / "00000.json"
        held, inside = path.read_bytes(), Path.read_bytes

        def scarce(self: Path) -> bytes:
            if self == path:
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                return inside(self)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "read_bytes", scarce)
            with pytest.raises(ResumeError, match=r"can't be read .*Too many open files"):
                folder.read_shards()
        assert path.read_bytes() == held and folder.read_shards() == {0: ShardRecord(jobs=1)}


@pytest.mark.parametrize("names", [{"RANK": "1", "WORLD_SIZE": "2"}, {"SLURM_STEP_NUM_TASKS": "2"}])
def test_a_process_of_a_launcher_that_comes_late_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: dict[str, str]
) -> None:
    pictures = SourcePictures(tmp_path, {})
    with RunFolder(tmp_path / "out", {"seed": 1}, pictures) as folder:
        folder.finish()

    def enter(seed: int) -> ResumeError:
        with (
            pytest.raises(ResumeError, match="the run is finished") as raised,
            RunFolder(tmp_path / "out", {"seed": seed}, pictures, may_join=True),
        ):
            pass
        return raised.value

    assert enter(1).exit_code == 2
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert enter(1).exit_code == 0 and "came too late to help" in str(enter(1))
    assert enter(2).exit_code == 2  # another run
