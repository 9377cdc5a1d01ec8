"""Detection networks made of torchvision parts: our presets, and any detector torchvision names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, list_models
from torchvision.models.detection import FCOS, FasterRCNN
from torchvision.models.detection import _utils as detection_utils
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import (
    FeaturePyramidNetwork,
    MultiScaleRoIAlign,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

from augsynth.core.errors import ConfigError

STRIDES = (4, 8, 16)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers that define one of our presets.

    Attributes:
        two_stage: Faster R-CNN when true, FCOS otherwise.
        widths: Channels of the stem and of the stages at strides 4, 8 and 16.
        depths: Residual blocks of these three stages.
        neck: Channels of the feature pyramid.
        tower: 3x3 convolutions of the one-stage head before its outputs.
        hidden: Units of the two-stage head's two layers.
    """

    two_stage: bool
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int]
    neck: int
    tower: int = 1
    hidden: int = 384


PRESETS = {
    "fcos_tiny": Architecture(False, (8, 16, 24, 32), (1, 1, 1), 16),
    "fcos_small": Architecture(False, (24, 48, 96, 128), (1, 2, 2), 64),
    "fcos_base": Architecture(False, (32, 64, 128, 256), (2, 2, 3), 96, tower=2),
    "frcnn_base": Architecture(True, (32, 64, 128, 256), (1, 2, 2), 96),
}


def check_preset(preset: str, *, masks: bool = False) -> None:
    """Raise ConfigError when a preset is neither ours nor a torchvision detector; with `masks` Mask R-CNN is one."""
    if preset not in PRESETS and preset not in torchvision_detectors(masks=masks):
        raise ConfigError(
            f"unknown detector preset {preset!r}: choose one of {', '.join(PRESETS)} or a torchvision "
            f"detector ({', '.join(torchvision_detectors(masks=masks))})"
        )


def torchvision_detectors(*, masks: bool = False) -> list[str]:
    """Return the names of torchvision's box detectors, with `masks` those with a mask head as well."""
    from torchvision.models import detection

    return [n for n in list_models(module=detection) if "keypoint" not in n and (masks or "mask" not in n)]


def build_model(preset: str, *, num_categories: int) -> nn.Module:
    """Return an untrained detector with labels 1..num_categories; all but SSD keep their input's size.

    Args:
        preset: One of `PRESETS`, or any detector `torchvision.models.get_model` knows; one with a mask head can be
            loaded, not trained here.
        num_categories: Number of categories without background.

    Raises:
        ConfigError: The preset is unknown.
    """
    check_preset(preset, masks=True)
    model: nn.Module
    if preset in PRESETS:
        model = _build_preset(PRESETS[preset], num_categories)
    else:
        model = get_model(preset, weights=None, weights_backbone=None, num_classes=num_categories + 1)
    if not preset.startswith("ssd"):
        model.transform = NativeSize(model.transform, divisor=STRIDES[-1] if preset in PRESETS else 32)
    return model


def channels_last(network: Any, device: str) -> None:
    """Lay the weights out so that a CPU convolves them a quarter faster."""
    if device == "cpu":
        network.to(memory_format=torch.channels_last)


class NativeSize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalise and batch images at the size they come in."""

    def __init__(self, transform: GeneralizedRCNNTransform, *, divisor: int) -> None:
        super().__init__(1, 1, transform.image_mean, transform.image_std, size_divisible=divisor)

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return image and target as they are."""
        return image, target


def _conv(inp: int, out: int, *, kernel: int = 3, stride: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inp, out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if act else nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inp: int, out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(inp, out, stride=stride), _conv(out, out, act=False))
        same = inp == out and stride == 1
        self.shortcut = nn.Identity() if same else _conv(inp, out, kernel=1, stride=stride, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the block's width."""
        return torch.relu(self.body(x) + self.shortcut(x))


class PyramidBackbone(nn.Module):
    """A small residual network with a feature pyramid at strides 4, 8 and 16."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        stem, *widths = arch.widths
        self.stem = nn.Sequential(_conv(3, stem, stride=2), _conv(stem, widths[0], stride=2))
        stages, inp = [], widths[0]
        for level, (width, depth) in enumerate(zip(widths, arch.depths, strict=True)):
            first = ResidualBlock(inp, width, stride=1 if level == 0 else 2)
            rest = [ResidualBlock(width, width) for _ in range(depth - 1)]
            stages.append(nn.Sequential(first, *rest))
            inp = width
        self.stages = nn.ModuleList(stages)
        self.neck = FeaturePyramidNetwork(widths, arch.neck)
        self.out_channels = arch.neck

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the pyramid: level "0" at stride 4, "1" at 8, "2" at 16."""
        x = self.stem(x)
        features: OrderedDict[str, Tensor] = OrderedDict()
        for level, stage in enumerate(self.stages):
            x = stage(x)
            features[str(level)] = x
        pyramid: dict[str, Tensor] = self.neck(features)
        return pyramid


class QualityHead(nn.Module):
    """A one-stage head with one tower for class, box and localisation quality.

    Differs from torchvision's FCOS head in three ways that matter for small networks trained from scratch:
    batch norm per level (Tan et al. 2020, arXiv 1911.09070) instead of group norm over the whole map, so that
    a crop and the whole image get the same features; softplus distances, which can't die; and the quality
    output predicts the IoU of the box (Wu et al. 2020, arXiv 1912.05992) instead of centre-ness.
    """

    def __init__(self, channels: int, *, num_classes: int, tower: int) -> None:
        super().__init__()
        self.box_coder = detection_utils.BoxLinearCoder(normalize_by_size=True)
        self.num_classes = num_classes
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1, bias=False) for _ in range(tower))
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(tower)) for _ in STRIDES
        )
        self.scales = nn.Parameter(torch.ones(len(STRIDES)))
        self.output = nn.Conv2d(channels, num_classes + 5, 3, 1, 1)
        nn.init.normal_(self.output.weight, std=0.01)
        bias = torch.tensor([-4.6] * num_classes + [2.0] * 4 + [0.0])  # a 1 % prior; boxes of 4 strides
        self.output.bias = nn.Parameter(bias)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return (N, locations, ·) class logits, distances in strides and quality logits."""
        outputs = []
        for level, feature in enumerate(features):
            norms: Any = self.norms[level]
            x = feature
            for conv, norm in zip(self.convs, norms, strict=True):
                x = torch.relu(norm(conv(x)))
            out = self.output(x).flatten(2).transpose(1, 2).float()
            logits, distances, quality = out.split([self.num_classes, 4, 1], dim=2)
            distances = nn.functional.softplus(distances * self.scales[level])
            outputs.append((logits, distances, quality))
        logits, distances, quality = (torch.cat(part, dim=1) for part in zip(*outputs, strict=True))
        return {"cls_logits": logits, "bbox_regression": distances, "bbox_ctrness": quality}

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Return focal, GIoU and quality losses, each over the number of positive locations."""
        labels, boxes = [], []
        for target, matched in zip(targets, matched_idxs, strict=True):
            padded = torch.cat([target["boxes"], target["boxes"].new_zeros(1, 4)])
            boxes.append(padded[matched])
            labels.append(torch.cat([target["labels"], target["labels"].new_zeros(1)])[matched])
        label = torch.stack(labels)
        positive = label > 0
        count = max(1, int(positive.sum()))
        wanted = nn.functional.one_hot(label, self.num_classes).to(head_outputs["cls_logits"].dtype)
        wanted[..., 0] = 0
        focal = sigmoid_focal_loss(head_outputs["cls_logits"], wanted, reduction="sum")
        predicted = self.box_coder.decode(
            head_outputs["bbox_regression"][positive], torch.stack(anchors)[positive]
        )
        true = torch.stack(boxes)[positive]
        giou = generalized_box_iou_loss(predicted, true, reduction="sum")
        iou = _paired_ious(predicted.detach(), true)
        quality = nn.functional.binary_cross_entropy_with_logits(
            head_outputs["bbox_ctrness"][positive].squeeze(-1), iou, reduction="sum"
        )
        return {"class": focal / count, "box": 2.0 * giou / count, "quality": quality / count}


def _paired_ious(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    lo, hi = torch.maximum(a_xyxy[:, :2], b_xyxy[:, :2]), torch.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:])
    inter = (hi - lo).clamp(min=0).prod(1)
    union = (a_xyxy[:, 2:] - a_xyxy[:, :2]).prod(1) + (b_xyxy[:, 2:] - b_xyxy[:, :2]).prod(1) - inter
    return inter / union.clamp(min=1e-6)


def _build_preset(arch: Architecture, num_categories: int) -> Any:
    backbone = PyramidBackbone(arch)
    if arch.two_stage:
        return FasterRCNN(
            backbone,
            box_head=TwoMLPHead(arch.neck * 7 * 7, arch.hidden),
            box_predictor=FastRCNNPredictor(arch.hidden, num_categories + 1),
            rpn_anchor_generator=AnchorGenerator(((16, 24), (32, 48), (64, 128)), ((0.5, 1.0, 2.0),) * 3),
            box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], 7, 2, canonical_scale=64, canonical_level=3),
            rpn_pre_nms_top_n_train=600,
            rpn_post_nms_top_n_train=300,
            rpn_pre_nms_top_n_test=300,
            rpn_post_nms_top_n_test=150,
            rpn_batch_size_per_image=128,
            box_batch_size_per_image=64,
            box_nms_thresh=0.6,
        )
    return FCOS(
        backbone,
        num_categories + 1,
        anchor_generator=AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * len(STRIDES)),
        head=QualityHead(backbone.out_channels, num_classes=num_categories + 1, tower=arch.tower),
        center_sampling_radius=1.5,
        score_thresh=0.03,
        nms_thresh=0.6,
        detections_per_img=100,
        topk_candidates=300,
    )
