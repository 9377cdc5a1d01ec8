"""The detectors that are trained: a one-stage and a two-stage one for two cores, and their big sisters for a GPU."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "mmdet" / "_base_"
DETECTORS = {
    "yolox_nano": "YOLOX-Nano",
    "faster_rcnn_nano": "Faster R-CNN on YOLOX-Nano's backbone",
    "rtmdet_tiny": "RTMDet-tiny",
    "faster_rcnn_r50": "Faster R-CNN R50-FPN",
}
BASES = {"rtmdet_tiny": "rtmdet_tiny.py", "faster_rcnn_r50": "faster_rcnn_r50_fpn.py"}
_NORM = dict(type="BN", momentum=0.03, eps=0.001)
_ACT = dict(type="SiLU", inplace=True)
_BACKBONE = dict(type="CSPDarknet", frozen_stages=1, deepen_factor=0.33, widen_factor=0.25, out_indices=(2, 3, 4),
                 use_depthwise=True, spp_kernal_sizes=(5, 9, 13), norm_cfg=_NORM, act_cfg=_ACT)  # fmt: skip
_NECK = dict(type="YOLOXPAFPN", in_channels=[64, 128, 256], out_channels=64, num_csp_blocks=1, use_depthwise=True,
             norm_cfg=_NORM, act_cfg=_ACT)  # fmt: skip


def model_config(name: str, num_classes: int) -> dict[str, Any]:
    """Return a detector's MMDetection model config."""
    if name == "yolox_nano":
        return _yolox(num_classes)
    if name == "faster_rcnn_nano":
        return _faster_rcnn(num_classes)
    model = _from_file(name)
    heads = model["bbox_head"] if "bbox_head" in model else model["roi_head"]["bbox_head"]
    heads["num_classes"] = num_classes
    model["backbone"]["init_cfg"] = None  # it starts from --start, or from nothing
    model["data_preprocessor"]["pad_size_divisor"] = 32
    return model


def _preprocessor() -> dict[str, Any]:
    return dict(type="DetDataPreprocessor", pad_size_divisor=32)


def _yolox(num_classes: int) -> dict[str, Any]:
    head = dict(type="YOLOXHead", num_classes=num_classes, in_channels=64, feat_channels=64, use_depthwise=True,
                norm_cfg=_NORM, act_cfg=_ACT)  # fmt: skip
    return dict(
        type="YOLOX",
        data_preprocessor=_preprocessor(),
        backbone=_BACKBONE,
        neck=_NECK,
        bbox_head=head,
        train_cfg=dict(assigner=dict(type="SimOTAAssigner", center_radius=2.5)),
        test_cfg=dict(score_thr=0.01, nms=dict(type="nms", iou_threshold=0.65), max_per_img=100),
    )


def _faster_rcnn(num_classes: int) -> dict[str, Any]:
    """Two stages on the same pretrained backbone and neck, with anchors from 16 to 128 px."""
    model = _from_file("faster_rcnn_r50")
    strides = [8, 16, 32]
    model["data_preprocessor"] = _preprocessor()
    model["backbone"], model["neck"] = _BACKBONE, _NECK
    model["rpn_head"] |= dict(in_channels=64, feat_channels=64)
    model["rpn_head"]["anchor_generator"] |= dict(scales=[2, 4], strides=strides)
    extractor, head = model["roi_head"]["bbox_roi_extractor"], model["roi_head"]["bbox_head"]
    extractor |= dict(out_channels=64, featmap_strides=strides, finest_scale=28)
    extractor["roi_layer"]["sampling_ratio"] = 2
    head |= dict(in_channels=64, fc_out_channels=256, num_classes=num_classes, reg_class_agnostic=True)
    train, test = model["train_cfg"], model["test_cfg"]
    train["rpn"]["assigner"]["pos_iou_thr"] = 0.6
    train["rpn"]["sampler"]["num"] = 128
    train["rpn_proposal"] |= dict(nms_pre=500, max_per_img=200)
    train["rcnn"]["sampler"]["num"] = 64
    test["rpn"] |= dict(nms_pre=300, max_per_img=100)
    test["rcnn"]["score_thr"] = 0.01
    return model


def _from_file(name: str) -> dict[str, Any]:
    from mmengine.config import Config

    model: dict[str, Any] = Config.fromfile(CONFIGS / BASES[name]).model.to_dict()
    return copy.deepcopy(model)


def start_from(model: nn.Module, weights: Path) -> int:
    """Load what fits of a checkpoint and return how many tensors did."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    return len(fitting)


@torch.no_grad()
def unfold_batch_norm(model: nn.Module, batches: list[dict[str, Any]]) -> None:
    """Give folded batch norms their statistics back, without changing what the model computes.

    A checkpoint whose batch norms were folded into the convolutions has norms that do nothing in evaluation and
    would wreck the features in training, where they normalise by the batch. Here each gets the mean and variance
    of its own inputs as statistics, and scale and shift that undo them.

    Args:
        batches: Inputs of `model.data_preprocessor`, pictures of the training set.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and _is_folded(m)]
    sums: dict[nn.Module, list[Tensor]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float()
        moments = torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))])
        sums.setdefault(module, []).append(moments)

    handles = [norm.register_forward_pre_hook(note) for norm in norms]
    model.eval()
    for batch in batches:
        features = model.extract_feat(model.data_preprocessor(batch, False)["inputs"])
        if hasattr(model, "bbox_head"):
            model.bbox_head(features)
    for handle in handles:
        handle.remove()
    for norm, moments in sums.items():
        mean, square = torch.stack(moments).mean(0)
        variance = (square - mean**2).clamp(min=1e-8)
        slope = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias.add_(slope * (mean - norm.running_mean))
        norm.weight.copy_(slope * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _is_folded(norm: nn.BatchNorm2d) -> bool:
    trivial = torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
    return bool(trivial and (norm.running_var - 1).abs().max() < 0.01)


def compute_in_bfloat16(model: nn.Module) -> None:
    """Let the convolutional parts compute in bfloat16, channels last; losses and boxes stay in float32."""
    for name in ("backbone", "neck", "bbox_head", "rpn_head"):
        module = getattr(model, name, None)
        if isinstance(module, nn.Module):
            module.to(memory_format=torch.channels_last)
            module.forward = _mixed(module.forward)  # type: ignore[method-assign]


def _mixed(forward: Any) -> Any:
    def wrapped(inputs: Any, *rest: Any, **named: Any) -> Any:
        kind = (inputs if isinstance(inputs, Tensor) else inputs[0]).device.type
        if isinstance(inputs, Tensor):
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(kind, torch.bfloat16):
            return _floats(forward(inputs, *rest, **named))

    return wrapped


def _floats(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.float().contiguous()  # mmcv's operators read memory as if channels came first
    if isinstance(values, (list, tuple)):
        return type(values)(_floats(v) for v in values)
    return values
