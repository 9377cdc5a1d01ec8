"""Hooks for training, whose code is in `augsynth.training.mmdet_hooks`."""

from augsynth.training.mmdet_hooks import (
    BestCheckpointArtifact,
    InnerPipelineSwitch,
    MistakePictures,
    draw_mistakes,
    mistakes,
)

__all__ = ["BestCheckpointArtifact", "InnerPipelineSwitch", "MistakePictures", "draw_mistakes", "mistakes"]
