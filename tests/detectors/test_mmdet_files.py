"""Files of MMDetection: checkpoints are read without running code in them; configs and weights are found together."""

import os

import numpy as np
import pytest

from augsynth.core.errors import BackendError
from augsynth.core.scene import Category
from augsynth.detectors.loading import detector_files, load_detector
from augsynth.detectors.mmdet_files import find_mmdet_files, read_checkpoint

CATEGORIES = [Category(7, "can"), Category(3, "glass bottle")]


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("old_format", [False, True])
def test_pickled_code_never_runs(tmp_path, old_format):
    import torch

    document = {"state_dict": {"a": torch.arange(3.0)}, "meta": {"epoch": 3, "x": Trap(tmp_path / "sprung")}}
    torch.save(document, tmp_path / "trap.pth", _use_new_zipfile_serialization=not old_format)
    state, meta = read_checkpoint(tmp_path / "trap.pth")
    assert state["a"].tolist() == [0, 1, 2]
    assert meta["epoch"] == 3
    assert not (tmp_path / "sprung").exists()
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "trap.pth")
    with pytest.raises(BackendError, match="no dictionary of weights"):
        read_checkpoint(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


def test_all_kinds_of_tensors_are_read_as_they_were(tmp_path):
    import torch

    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    state = {str(kind): torch.tensor([0, 1, 1]).to(kind) for kind in kinds}
    state["parameter"] = torch.nn.Parameter(torch.rand(2, 3))
    state["view"] = torch.arange(12).reshape(3, 4).T[1:3]
    for document in (state, torch.nn.Linear(3, 2).state_dict()):
        torch.save(document, tmp_path / "kinds.pth")
        found, _ = read_checkpoint(tmp_path / "kinds.pth")
        assert found.keys() == document.keys()
        for key, value in document.items():
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value)


def test_a_program_and_a_damaged_file_are_refused(tmp_path):
    import torch

    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    with pytest.raises(BackendError, match="TorchScript is a program"):
        read_checkpoint(tmp_path / "script.pt")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "noise.pth").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "noise.safetensors").write_bytes(b"no")
    for name in ("empty.pth", "noise.pth", "noise.safetensors", "missing.pth"):
        with pytest.raises(BackendError, match="can't be read"):
            read_checkpoint(tmp_path / name)


@pytest.mark.mmdet
def test_a_training_checkpoint_with_its_history_is_read(tmp_path):
    import torch
    from mmengine.logging import MessageHub

    hub = MessageHub.get_instance("checkpoint test")
    hub.update_scalar("train/loss", 1.5)
    hub.update_scalar("train/loss", np.float32(0.5))
    document = {"state_dict": {"a": torch.ones(2)}, "meta": {"epoch": 1}, "message_hub": hub.state_dict()}
    torch.save(document, tmp_path / "epoch_1.pth")
    state, meta = read_checkpoint(tmp_path / "epoch_1.pth")
    assert state["a"].tolist() == [1, 1]
    assert meta["epoch"] == 1


def test_files_of_a_work_directory(tmp_path):
    (tmp_path / "work").mkdir()
    config = tmp_path / "work" / "tiny.py"
    config.write_text("model = dict()\n")
    with pytest.raises(BackendError, match="no checkpoint beside the config"):
        find_mmdet_files(str(config.parent))
    for name in ("epoch_3.pth", "epoch_4.pth"):
        (config.parent / name).touch()
    with pytest.raises(BackendError, match=r"several checkpoints \(epoch_3.pth, epoch_4.pth\)"):
        find_mmdet_files(str(config.parent))
    best = config.parent / "best_coco_bbox_mAP_50_epoch_3.pth"
    best.touch()
    files = find_mmdet_files(str(config.parent))
    assert (files.config, files.weights) == (config, best)
    assert detector_files(str(config.parent)) == [config, best]
    (config.parent / "other.py").touch()
    with pytest.raises(BackendError, match="several configs"):
        find_mmdet_files(str(config.parent))


def test_what_is_not_an_mmdet_model_is_left_to_the_others(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.py").touch()
    assert find_mmdet_files(str(tmp_path)) is None
    assert find_mmdet_files("IDEA-Research/grounding-dino-tiny") is None
    with pytest.raises(BackendError, match="no such file"):
        find_mmdet_files(f"{tmp_path / 'model.py'}:{tmp_path / 'no.pth'}")
    with pytest.raises(BackendError, match=r"no_such_config\.py: no such folder"):
        load_detector("no_such_config.py", CATEGORIES)
