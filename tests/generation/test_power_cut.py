"""Nothing that was committed is lost: a power cut or a kill at any change of the disk, then a restart."""

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augsynth.bank.reader import Bank, Cutout
from augsynth.bank.writer import BankWriter
from augsynth.coco.reader import read_dataset
from augsynth.coco.split import split_dataset, write_folds
from augsynth.core.errors import ResumeError
from augsynth.core.files import is_unfinished
from augsynth.generation.config import GenerateConfig
from augsynth.generation.run_folder import RunFolder
from tests.generation.fake_run import NUM, generate, without_models, write_source
from tests.generation.run_files import counted_commits, files_of
from tests.power_cut import Disk, restore, tree_of
from tests.tiny_kills import Kill, Killed


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GenerateConfig:
    monkeypatch.setattr("os.fsync", lambda handle: None)  # what it does is told by `Disk`, and it takes time
    return write_source(tmp_path / "source")


def test_a_power_cut_loses_no_committed_shard_and_no_finished_run(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = without_models(monkeypatch, config)
    committed, counted = counted_commits()
    root = tmp_path / "whole"
    root.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "commit", counted)
        disk = Disk(patch, root, old=tmp_path / "source", mark=lambda: len(committed))
        generate(config, root / "out")
    wanted = files_of(root / "out")
    moments = {str((mark, tree)): (mark, tree) for mark, *trees in disk.moments for tree in trees}
    assert len(moments) > 30
    ended = 0
    for number, (mark, tree) in enumerate(moments.values()):
        cut = tmp_path / f"cut-{number}"
        restore(tree, cut)
        painted.clear()
        try:
            generate(config, cut / "out")
        except ResumeError as error:
            assert "the run is finished" in str(error) and not painted
            ended += 1
        assert len(painted) <= NUM - mark, "a committed shard was painted again"
        assert files_of(cut / "out") == wanted
        assert [path.name for path in cut.iterdir()] == ["out"]
        shutil.rmtree(cut)
    assert ended > 2


def test_a_kill_while_a_run_is_published(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, output=replace(config.output, bank=True))
    painted = without_models(monkeypatch, config)
    with monkeypatch.context() as patch:
        patch.setattr("augsynth.generation.run._publish", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generate(config, tmp_path / "painted")
    shutil.copytree(tmp_path / "painted", tmp_path / "whole")
    with monkeypatch.context() as patch:
        whole = Kill(patch, tmp_path / "whole")
        generate(config, tmp_path / "whole")
    wanted = files_of(tmp_path / "whole")
    painted.clear()
    seen = set()
    for after in range(whole.count):
        out = tmp_path / "killed"
        shutil.copytree(tmp_path / "painted", out)
        with monkeypatch.context() as patch:
            Kill(patch, out, after=after)
            with contextlib.suppress(Killed):
                generate(config, out)
        left = str(tree_of(out))
        if left not in seen:
            seen.add(left)
            with contextlib.suppress(ResumeError):
                generate(config, out)
            assert files_of(out) == wanted, after
        shutil.rmtree(out)
    assert not painted and len(seen) > 30


def write_bank(folder: Path) -> None:
    cutout = Cutout(
        image=np.zeros((4, 4, 3), np.uint8),
        alpha=np.full((4, 4), 255, np.uint8),
        box_xyxy=np.array([1.0, 1, 3, 3]),
        category_id=1,
        score=1.0,
        source_size_wh=(9, 9),
        has_mask=True,
        others_xyxy=np.array([[0.0, 0, 2, 2]]),
        other_ids=np.array([1]),
    )
    dataset = read_dataset(folder.parents[1] / "source" / "a.json")
    with BankWriter(folder, categories=dataset.categories) as writer:
        writer.add(cutout)


def write_split(folder: Path) -> None:
    dataset = read_dataset(folder.parents[1] / "source" / "a.json")
    write_folds(folder, dataset, split_dataset(dataset, num_folds=2), settings={"folds": 2})


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("write", [write_bank, write_split])
def test_a_kill_and_a_power_cut_while_a_folder_is_filled(
    config: GenerateConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], None],
    is_there: bool,
) -> None:
    root = tmp_path / "whole"
    root.mkdir()
    with monkeypatch.context() as patch:
        disk = Disk(patch, root, old=tmp_path / "source", mark=lambda: None)
        whole = Kill(patch, root)
        write(root / "out")
    wanted = files_of(root / "out")
    trees = [tree for _, *both in disk.moments for tree in both]
    for after in range(whole.count):
        killed = tmp_path / "killed"
        (killed / "out" if is_there else killed).mkdir(parents=True)
        with monkeypatch.context() as patch:
            Kill(patch, killed, after=after)
            with contextlib.suppress(Killed):
                write(killed / "out")
        trees.append(tree_of(killed))
        shutil.rmtree(killed)
    for number, tree in enumerate({str(tree): tree for tree in trees}.values()):
        out = tmp_path / f"cut-{number}" / "out"
        restore(tree, out.parent)
        is_whole = any(out.glob("*.json")) and not is_unfinished(out)
        if not is_whole:
            write(out)
        assert files_of(out) == wanted
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        if write is write_bank:
            assert len(Bank.open(out)) == 1
        else:
            assert json.loads((out / "split.json").read_text())["folds"] == 2
    assert whole.count > 20
