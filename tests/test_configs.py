"""The MMDetection configurations: all load, all build, and those for a CPU train for a few iterations."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "mmdet"
NAMES = sorted(path.name for path in FOLDER.glob("*.py"))
PASTING = [name for name in NAMES if "affinity_paste" in name]
ops = pytest.mark.mmdet_ops


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A few small images of the sample, laid out as a user's data, an augmented run and a bank."""
    from PIL import Image

    from augsynth.bank.cutting import CutRules
    from augsynth.commands.bank import build_bank
    from augsynth.sample import write_sample

    root = tmp_path_factory.mktemp("data")
    annotations = write_sample(root / "runs", num_images=6, workers=1)
    document = json.loads(annotations.read_text())
    (root / "data").symlink_to(root / "runs")
    for name, ids in {"train": range(4), "val": range(4, 6)}.items():
        images = [document["images"][k] for k in ids]
        kept = {image["id"] for image in images}
        part = {**document, "images": images}
        part["annotations"] = [a for a in document["annotations"] if a["image_id"] in kept]
        (root / "data" / f"{name}.json").write_text(json.dumps(part))
    shutil.copy(root / "data" / "train.json", annotations.with_name("instances_augmented.json"))
    build_bank(root / "data" / "train.json", root / "data" / "images", root / "bank", rules=CutRules())
    assert Image.open(root / "data" / "images" / Path(document["images"][0]["file_name"]).name).size[0] > 32
    return root


@pytest.fixture
def environment(data, monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("AUGSYNTH_") and name not in ("AUGSYNTH_REQUIRE_MMDET", "AUGSYNTH_CACHE"):
            monkeypatch.delenv(name)
    values = {
        "DATA": data / "data", "AUGMENTED": data / "runs", "BANK": data / "bank", "TEACHER": data / "teacher.pth",
        "SIZE": 64, "EPOCHS": 1, "BATCH": 2, "WORKERS": 0,
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"AUGSYNTH_{name}", str(value))
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def read(name):
    from mmengine.config import Config

    return Config.fromfile(FOLDER / name)


def without_downloads(config):
    config.model.backbone.init_cfg = None
    return config


def build(config):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules()
    return MODELS.build(without_downloads(config).model)


@pytest.fixture
def teacher(data, environment):
    """A checkpoint of a teacher that has learnt nothing yet."""
    import torch

    path = data / "teacher.pth"
    if not path.exists():
        torch.manual_seed(0)
        torch.save({"state_dict": build(read("distill_teacher.py")).state_dict()}, path)
    return path


@pytest.mark.mmdet
@pytest.mark.parametrize("name", NAMES)
def test_every_config_loads_and_says_what_users_expect(name, environment, data):
    config = read(name)
    document = json.loads((data / "data" / "train.json").read_text())
    assert config.num_classes == len(document["categories"])
    assert list(config.classes) == [c["name"] for c in document["categories"]]
    saver = config.default_hooks.checkpoint
    assert (saver.save_best, saver.max_keep_ckpts, saver.save_last) == ("coco/bbox_mAP_50", 1, True)
    assert config.randomness.seed == 42
    assert config.val_evaluator.classwise
    assert config.train_dataloader.dataset.type == "ClassBalancedDataset"
    assert "MistakePictures" in [hook.type for hook in config.custom_hooks]
    inner = config.train_dataloader.dataset.dataset
    assert [step.type for step in inner.pipeline] == [step.type for step in config.train_pipeline]
    assert ("AffinityPaste" in [step.type for step in inner.pipeline]) == (name in PASTING)
    assert inner.metainfo.classes == config.classes
    augmented = "augmented" in name or "distill" in name
    assert (inner.ann_file == "annotations/instances_augmented.json") == augmented
    assert Path(inner.data_root, inner.ann_file).is_file()
    head = config.model.get("roi_head", config.model).bbox_head
    assert head.num_classes == config.num_classes
    assert config.pretty_text


@pytest.mark.mmdet
def test_a_wrong_path_says_which_variable_to_set(environment, tmp_path):
    environment.setenv("AUGSYNTH_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"train\.json: no annotation file; set AUGSYNTH_DATA"):
        read("rtmdet_tiny.py")


@pytest.mark.mmdet
def test_a_student_without_a_teacher_is_refused(environment):
    environment.delenv("AUGSYNTH_TEACHER")
    with pytest.raises(ValueError, match="AUGSYNTH_TEACHER isn't set"):
        read("distill_student.py")


@pytest.mark.mmdet
@pytest.mark.parametrize("name", NAMES)
def test_every_dataset_gives_samples_that_a_model_takes(name, environment):
    from mmdet.registry import DATASETS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules

    register_all_modules()
    config = read(name)
    np.random.seed(0)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert len(dataset) >= 4
    sample = dataset[0]
    assert isinstance(sample["data_samples"], DetDataSample)
    assert sample["inputs"].shape[0] == 3


@ops
@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds(name, environment, teacher):
    config = read(name)
    network = build(config)
    assert type(network).__name__ == config.model.type


def train(config, folder):
    from mmengine.runner import Runner

    config.work_dir = str(folder)
    config.experiment_name = config.visualizer.name = folder.name
    config.default_hooks.logger.interval = 1
    runner = Runner.from_cfg(without_downloads(config))
    runner.train()
    return runner


def untrained_with_boxes(config, path):
    """Save a start of RTMDet whose boxes aren't empty, as a new one's may be."""
    import torch

    network = build(config)
    for layer in network.bbox_head.rtm_reg:
        torch.nn.init.constant_(layer.bias, 2.0)
    torch.save({"state_dict": network.state_dict()}, path)
    return str(path)


@ops
@pytest.mark.parametrize("name", ["rtmdet_tiny.py", "rtmdet_tiny_affinity_paste.py", "distill_student.py"])
def test_training_on_a_cpu_ends_with_one_best_and_one_last_checkpoint(name, environment, teacher, tmp_path):
    environment.setenv("AUGSYNTH_EPOCHS", "2")
    folder = tmp_path / name.removesuffix(".py")
    config = read(name)
    config.model.test_cfg.score_thr = 0.0  # what has learnt nothing finds something all the same
    if "rtmdet" in name:
        config.load_from = untrained_with_boxes(config, tmp_path / "start.pth")
    runner = train(config, folder)
    assert runner.iter >= 4
    assert runner.epoch == 2
    there = sorted(path.name for path in folder.glob("*.pth"))
    assert [n for n in there if n.startswith("epoch_")] == ["epoch_2.pth"]
    assert sum(n.startswith("best_coco_bbox_mAP_50") for n in there) <= 1
    log = next(folder.rglob("vis_data/scalars.json")).read_text()
    assert "coco/bbox_mAP_50" in log
    assert f"coco/{read(name).classes[0]}_precision" in log, "no AP of single classes"
    if "rtmdet" in name:
        pipeline = runner.train_dataloader.dataset.dataset.pipeline
        steps = [type(step).__name__ for step in pipeline.transforms]
        assert "CachedMosaic" not in steps, "the last epochs should be without mosaics"
        assert "AffinityPaste" not in steps, "the last epochs should show images as they are"
        early = [step["type"] for step in config.train_dataloader.dataset.dataset.pipeline]
        assert ("AffinityPaste" in early) == (name in PASTING)


@ops
def test_two_stages_train_and_the_checkpoint_serves_as_filter(environment, tmp_path):
    from augsynth.coco.reader import read_dataset
    from augsynth.detectors.loading import load_detector

    config = read("faster_rcnn_r50.py")
    config.train_cfg.val_interval = 5
    train(config, tmp_path / "faster")
    environment.delenv("AUGSYNTH_DATA")
    dataset = read_dataset(Path(config.data_root, "train.json"), images=Path(config.data_root, "images"))
    detector = load_detector(tmp_path / "faster", dataset.categories, min_score=0.0)
    [found] = detector.detect([np.full((64, 64, 3), 128, np.uint8)])
    assert set(found.category_ids.tolist()) <= {c.id for c in dataset.categories}


@ops
def test_the_best_checkpoint_becomes_an_artifact_of_an_offline_run(environment, teacher, tmp_path):
    pytest.importorskip("wandb", reason="needs wandb: pip install 'augsynth[wandb]'")
    environment.setenv("AUGSYNTH_WANDB", "offline")
    environment.setenv("WANDB_SILENT", "true")
    config = read("rtmdet_tiny.py")
    config.default_hooks.checkpoint.save_best = "coco/bbox_mAP"
    runner = train(config, tmp_path / "watched")
    assert "BestCheckpointArtifact" in [type(hook).__name__ for hook in runner.hooks]
    assert list((tmp_path / "watched").rglob("run-*.wandb"))
