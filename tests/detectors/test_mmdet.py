"""MMDetection models behind the detector port: real models, real checkpoints."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.boxes import view_around
from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.scene import Category
from augsynth.detectors.loading import load_detector
from augsynth.detectors.mmdet_files import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
CATEGORIES = [Category(7, "can"), Category(3, "glass bottle")]
NAMES = ["background stuff", "glass_bottle", "can"]
CONFIG = """
model = dict(
    type="YOLOX",
    data_preprocessor=dict(type="DetDataPreprocessor", pad_size_divisor=32),
    backbone=dict(type="CSPDarknet", deepen_factor=0.33, widen_factor=0.125, out_indices=(2, 3, 4)),
    neck=dict(type="YOLOXPAFPN", in_channels=[32, 64, 128], out_channels=32, num_csp_blocks=1),
    bbox_head=dict(type="YOLOXHead", num_classes=3, in_channels=32, feat_channels=32),
    train_cfg=dict(assigner=dict(type="SimOTAAssigner", center_radius=2.5)),
    test_cfg=dict(score_thr=0.0, nms=dict(type="nms", iou_threshold=0.65), max_per_img=60),
)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(96, 64), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
test_dataloader = dict(
    dataset=dict(type="CocoDataset", pipeline=test_pipeline, metainfo=dict(classes=%r))
)
"""
ops = pytest.mark.mmdet_ops


def write_config(folder, classes=NAMES, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    text = CONFIG % (tuple(classes),)
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "tiny.py").write_text(text)
    return folder / "tiny.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a tiny YOLOX with random weights that finds things everywhere."""
    import torch
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = Config.fromfile(write_config(folder))
    register_all_modules()
    torch.manual_seed(0)
    network = MODELS.build(config.model)
    network.train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        for _ in range(3):
            network(torch.rand(8, 3, 64, 96) * 255, mode="tensor")
        for head in (network.bbox_head.multi_level_conv_cls, network.bbox_head.multi_level_conv_obj):
            for layer in head:
                layer.weight.normal_(std=0.3)
                layer.bias.zero_()
    torch.save({"state_dict": network.state_dict(), "meta": {}}, folder / "tiny.pth")
    return folder


def pictures(num, *, seed=0, size_hw=(60, 90)):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size_hw, 3), np.uint8) for _ in range(num)]


def same(a, b):
    return (
        np.array_equal(a.boxes_xyxy, b.boxes_xyxy)
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.category_ids, b.category_ids)
    )


@ops
def test_detections_are_in_image_pixels_with_the_datasets_ids_and_sorted(model):
    detector = load_detector(model, CATEGORIES, min_score=0.0)
    for size_hw in [(60, 90), (200, 120)]:
        [found] = detector.detect(pictures(1, size_hw=size_hw))
        assert len(found) > 5
        assert set(found.category_ids.tolist()) <= {3, 7}
        assert (np.diff(found.scores) <= 0).all()
        assert (found.boxes_xyxy >= 0).all()
        assert (found.boxes_xyxy <= [size_hw[1], size_hw[0]] * 2).all()
        assert found.boxes_xyxy[:, 2].max() > 0.8 * size_hw[1]
    assert view_around(np.array([5, 5, 9, 9]), (6000, 4000), side=detector.view_px).tolist() == [
        0,
        0,
        6000,
        4000,
    ]
    assert detector.name == "tiny/tiny:tiny.pth"


@ops
def test_a_detection_does_not_depend_on_what_is_in_the_batch(model):
    images = [*pictures(3), *pictures(2, seed=1, size_hw=(70, 50)), *pictures(1, seed=2)]
    together = load_detector(model, CATEGORIES, min_score=0.0, batch_size=4).detect(images)
    alone = load_detector(model, CATEGORIES, min_score=0.0, batch_size=1)
    assert len(together) == len(images)
    for image, found in zip(images, together, strict=True):
        [single] = alone.detect([image])
        np.testing.assert_allclose(found.scores, single.scores, atol=2e-4)
        assert len(found) == len(single)
    assert alone.detect([]) == []


@ops
def test_weak_detections_are_dropped(model):
    images = pictures(1)
    [everything] = load_detector(model, CATEGORIES, min_score=0.0).detect(images)
    least = float(np.median(everything.scores))
    [strong] = load_detector(model, CATEGORIES, min_score=least).detect(images)
    assert 0 < len(strong) == (everything.scores >= least).sum() < len(everything)


@ops
def test_two_paths_a_config_alone_and_safetensors_are_the_same_model(model, tmp_path):
    from safetensors.torch import save_file

    state, _ = read_checkpoint(model / "tiny.pth")
    config = write_config(tmp_path / "elsewhere")
    save_file(state, config.parent / "weights.safetensors")
    images = pictures(2)
    expected = load_detector(model, CATEGORIES, min_score=0.0).detect(images)
    for name in (f"{config}:{model / 'tiny.pth'}", str(config), str(config.parent)):
        found = load_detector(name, CATEGORIES, min_score=0.0).detect(images)
        assert all(same(a, b) for a, b in zip(expected, found, strict=True)), name


@ops
def test_a_checkpoint_says_better_than_the_config_which_classes_it_knows(model, tmp_path):
    import torch

    config = write_config(tmp_path / "model")
    state, _ = read_checkpoint(model / "tiny.pth")
    meta = {"dataset_meta": {"classes": ["can", "jar", "lid"]}}
    torch.save({"state_dict": state, "meta": meta}, config.parent / "a.pth")
    [found] = load_detector(config, [Category(7, "can")], min_score=0.0).detect(pictures(1))
    assert set(found.category_ids.tolist()) == {7}
    with pytest.raises(ConfigError, match="doesn't know 1 of the dataset's categories: glass bottle"):
        load_detector(config, CATEGORIES)


@ops
def test_what_does_not_fit_is_one_clear_line(model, tmp_path):
    weights = model / "tiny.pth"
    broken = tmp_path / "broken.pth"
    broken.write_bytes(weights.read_bytes()[:2000])
    few = write_config(tmp_path / "few", classes=["can", "glass bottle"])
    wide = write_config(
        tmp_path / "wide", **{"widen_factor=0.125": "widen_factor=0.25", "[32, 64, 128]": "[64, 128, 256]"}
    )
    unknown = write_config(tmp_path / "unknown", **{'"YOLOX"': '"NoSuchDetector"'})
    syntax = write_config(tmp_path / "syntax", **{"model = dict(": "model = dict(("})
    step = write_config(tmp_path / "step", **{'type="Resize"': 'type="NoSuchStep"'})
    for name, message in {
        f"{few}:{weights}": "names 2 classes, but its model has 3",
        f"{wide}:{weights}": "pass the config it was trained with",
        f"{unknown}:{weights}": "NoSuchDetector",
        f"{syntax}:{weights}": "can't be loaded as an MMDetection config",
        f"{step}:{weights}": "its test pipeline can't be built",
        f"{model / 'tiny.py'}:{broken}": "can't be read",
    }.items():
        with pytest.raises(BackendError, match=message) as caught:
            load_detector(name, CATEGORIES)
        assert "\n" not in str(caught.value)


@ops
def test_a_checkpoint_with_missing_weights_is_refused(model, tmp_path):
    import torch

    state, _ = read_checkpoint(model / "tiny.pth")
    half = dict(list(state.items())[: len(state) // 2])
    torch.save(half, tmp_path / "half.pth")
    with pytest.raises(BackendError, match=r"weights of tiny\.py are missing"):
        load_detector(f"{model / 'tiny.py'}:{tmp_path / 'half.pth'}", CATEGORIES)


def load_without(module, config):
    """Load a detector in an interpreter that lacks a module; return the error's text."""
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from augsynth.detectors.loading import load_detector\nfrom augsynth.core.scene import Category\n"
        "from augsynth.core.errors import BackendError\n"
        f"try: load_detector({str(config)!r}, [Category(1, 'can')])\n"
        "except BackendError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return result.stdout.strip().splitlines()[-1]


def test_without_mmdet_the_error_names_the_command(tmp_path):
    config = write_config(tmp_path / "model")
    (config.parent / "a.pth").touch()
    assert "pip install 'augsynth[mmdet]'" in load_without("mmdet", config)


@pytest.mark.mmdet
def test_without_compiled_operators_the_error_names_the_command(tmp_path):
    config = write_config(tmp_path / "model")
    (config.parent / "a.pth").touch()
    message = load_without("mmcv._ext", config)
    assert "without its compiled operators" in message
    assert "uv pip install -e '.[mmdet]'" in message


@ops
@pytest.mark.skipif(not (DATA / "yolox_nano").is_dir(), reason="needs the data: YOLOX-Nano and COCO photos")
def test_yolox_nano_reaches_what_mmdetection_itself_measures_on_photographs():
    from augsynth.coco.reader import read_dataset
    from augsynth.core.images import read_image
    from augsynth.training.detector.evaluation import evaluate_detector

    dataset = read_dataset(DATA / "coco_mini" / "instances.json", images=DATA / "coco_mini" / "images")
    detector = load_detector(DATA / "yolox_nano", dataset.categories, min_score=0.001)
    figures = evaluate_detector(detector, dataset, lambda scene: read_image(dataset, scene))
    # MMDetection's own test loop on the same files; the figures that came with the weights are 0.281 and 0.438.
    assert figures.ap == pytest.approx(0.285, abs=0.003)
    assert figures.ap50 == pytest.approx(0.444, abs=0.003)


MASK_RCNN = """
model = dict(
    type="MaskRCNN",
    data_preprocessor=dict(type="DetDataPreprocessor", pad_size_divisor=32, pad_mask=True),
    backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type="BN")),
    neck=dict(type="FPN", in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5),
    rpn_head=dict(
        type="RPNHead",
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type="AnchorGenerator", scales=[4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
    ),
    roi_head=dict(
        type="StandardRoIHead",
        bbox_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7),
            out_channels=8,
            featmap_strides=[4, 8, 16, 32],
        ),
        bbox_head=dict(
            type="Shared2FCBBoxHead", in_channels=8, fc_out_channels=16, roi_feat_size=7, num_classes=3
        ),
        mask_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=14),
            out_channels=8,
            featmap_strides=[4, 8, 16, 32],
        ),
        mask_head=dict(
            type="FCNMaskHead", num_convs=1, in_channels=8, conv_out_channels=8, num_classes=3
        ),
    ),
    train_cfg=None,
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=50, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=20, mask_thr_binary=0.5
        ),
    ),
)
"""


@ops
def test_a_mask_head_gives_masks_of_the_images_size(tmp_path, model):
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config

    head = CONFIG[: CONFIG.index("model = ")]
    tail = CONFIG[CONFIG.index("test_pipeline = ") :] % (tuple(NAMES),)
    (tmp_path / "tiny.py").write_text(head + MASK_RCNN + tail)
    torch.manual_seed(0)
    network = MODELS.build(Config.fromfile(tmp_path / "tiny.py").model)
    with torch.no_grad():
        network.roi_head.mask_head.conv_logits.weight.normal_(std=1)
        network.roi_head.mask_head.conv_logits.bias.fill_(1)
        network.roi_head.bbox_head.fc_cls.weight.normal_(std=3)
        for layer in (network.rpn_head.rpn_reg, network.roi_head.bbox_head.fc_reg):  # boxes are the anchors
            layer.weight.zero_()
            layer.bias.zero_()
    torch.save({"state_dict": network.state_dict(), "meta": {}}, tmp_path / "tiny.pth")
    detector = load_detector(tmp_path, CATEGORIES, min_score=0.0)
    assert detector.has_masks and not load_detector(model, CATEGORIES).has_masks
    images = [*pictures(2), *pictures(1, seed=1, size_hw=(70, 50))]
    for image, found, plain in zip(
        images, detector.detect_masks(images), detector.detect(images), strict=True
    ):
        assert len(found) and found.masks.shape == (len(found), *image.shape[:2]) and found.masks.any()
        assert plain.masks is None and same(plain, found)
        for box, mask in zip(found.boxes_xyxy, found.masks, strict=True):
            rows, columns = np.nonzero(mask)
            if len(rows):
                assert columns.min() >= box[0] - 1.5 and columns.max() + 1 <= box[2] + 1.5
                assert rows.min() >= box[1] - 1.5 and rows.max() + 1 <= box[3] + 1.5
