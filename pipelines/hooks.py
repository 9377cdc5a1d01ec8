"""Hooks for training, whose code is in `augsynth.training.mmdet_hooks`."""

from augsynth.training.mmdet_hooks import (
    BestCheckpointArtifact,
    InnerPipelineSwitch,
    MistakePictures,
    mistakes,
)

__all__ = ["BestCheckpointArtifact", "InnerPipelineSwitch", "MistakePictures", "mistakes"]
