"""Tiny random checkpoints of promptable segmenters and of networks with a mask head."""

from pathlib import Path
from typing import Any


def _save(network: Any, processor: Any, folder: Path) -> Path:
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _sam_parts() -> dict[str, Any]:
    vision = {
        "hidden_size": 16,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "mlp_dim": 32,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": 8,
    }
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 8}
    return {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": _decoder()}


def _decoder() -> dict[str, Any]:
    return {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "mlp_dim": 32,
        "iou_head_hidden_dim": 16,
        "iou_head_depth": 2,
    }


def write_sam(folder: Path) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    network = transformers.SamModel(transformers.SamConfig(**_sam_parts()))
    images = transformers.SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    return _save(network, transformers.SamProcessor(images), folder)


def write_sam_hq(folder: Path) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    parts = _sam_parts()
    parts["mask_decoder_config"]["vit_dim"] = 16
    network = transformers.SamHQModel(transformers.SamHQConfig(**parts))
    images = transformers.SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    return _save(network, transformers.SamHQProcessor(images), folder)


def write_sam2(folder: Path) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 2, 1, 1],
        "image_size": [128, 128],
        "window_positional_embedding_background_size": [2, 2],
        "window_size_per_stage": [8, 4, 8, 4],
        "global_attention_blocks": [2],
    }
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=16,
    )
    prompt = {"hidden_size": 16, "image_size": 128, "patch_size": 16, "mask_input_channels": 8}
    config = transformers.Sam2Config(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=_decoder()
    )
    images = transformers.Sam2ImageProcessor(
        size={"height": 128, "width": 128}, mask_size={"height": 32, "width": 32}
    )
    return _save(transformers.Sam2Model(config), transformers.Sam2Processor(images), folder)


def write_mask2former(folder: Path, names: list[str]) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    backbone = {
        "model_type": "swin",
        "image_size": 64,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
        "window_size": 2,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=32,
        num_queries=8,
        id2label=dict(enumerate(names)),
        label2id={name: k for k, name in enumerate(names)},
    )
    network = transformers.Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():  # so that queries differ, and don't answer with everything or nothing
        network.model.transformer_module.queries_features.weight.normal_(std=3)
        network.class_predictor.weight.normal_(std=1)
    images = transformers.Mask2FormerImageProcessor(size={"height": 64, "width": 64}, ignore_index=255)
    return _save(network, images, folder)


def tiny_mask_rcnn(num_categories: int) -> Any:
    """A Mask R-CNN with random weights, small enough for a test; it finds things everywhere."""
    import torch
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

    from augsynth.detectors.architectures import PRESETS, NativeSize, PyramidBackbone

    torch.manual_seed(0)
    backbone = PyramidBackbone(PRESETS["fcos_tiny"])
    width = backbone.out_channels
    network = MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,)), ((0.5, 1.0, 2.0),) * 3),
        box_head=TwoMLPHead(width * 7 * 7, 16),
        box_predictor=FastRCNNPredictor(16, num_categories + 1),
        mask_head=MaskRCNNHeads(width, (8,), 1),
        mask_predictor=MaskRCNNPredictor(8, 8, num_categories + 1),
        box_score_thresh=0.0,
        box_detections_per_img=12,
    )
    with torch.no_grad():  # masks that fill most of their box
        network.roi_heads.mask_predictor.mask_fcn_logits.weight.normal_(std=1)
        network.roi_heads.mask_predictor.mask_fcn_logits.bias.fill_(2)
    network.transform = NativeSize(network.transform, divisor=16)
    return network
