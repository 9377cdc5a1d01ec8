"""Hooks for training: pictures of mistakes, the best checkpoint as artifact, a late change of pipeline."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.visualization import WandbVisBackend

from augsynth.training.mistake_pictures import draw_mistakes


@HOOKS.register_module()
class MistakePictures(Hook):
    """Show the validation images with most mistakes after each validation.

    Green is an object that was found, red one that wasn't, orange a detection of what isn't there or of the wrong
    class. The pictures go to every vis backend; on disk they are `vis_data/vis_image/mistakes_NN_EPOCH.png`.

    Args:
        num_images: Pictures a validation.
        min_score: Detections below don't count.
        min_iou: Overlap from which a detection and an object of its class are the same.
    """

    def __init__(self, num_images: int = 8, min_score: float = 0.3, min_iou: float = 0.5) -> None:
        self.num_images = num_images
        self.min_score = min_score
        self.min_iou = min_iou
        self._worst: list[tuple[int, int, dict[str, Any]]] = []
        self._seen = 0

    def before_val_epoch(self, runner: Any) -> None:
        """Forget the last validation."""
        self._worst, self._seen = [], 0

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep the images with most mistakes."""
        for sample in outputs or ():
            found = mistakes(sample, min_score=self.min_score, min_iou=self.min_iou)
            self._seen += 1
            if found["count"]:
                heapq.heappush(self._worst, (found["count"], -self._seen, found))
                if len(self._worst) > self.num_images:
                    heapq.heappop(self._worst)

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Draw them, the worst first."""
        names = (runner.visualizer.dataset_meta or {}).get("classes", ())
        for rank, (_, _, found) in enumerate(sorted(self._worst, reverse=True)):
            runner.visualizer.add_image(
                f"mistakes_{rank:02d}", draw_mistakes(found, names), step=runner.epoch
            )


def mistakes(sample: Any, *, min_score: float, min_iou: float) -> dict[str, Any]:
    """Return what a detection sample got right and wrong, in pixels of the source image.

    Returns:
        `path`; `count` of mistakes; `found`, `missed` and `wrong`, lists of (box_xyxy, label, score).
    """
    from mmdet.evaluation.functional import bbox_overlaps

    truth, guess = sample.gt_instances, sample.pred_instances
    guess = guess[guess.scores >= min_score]
    boxes = guess.bboxes.cpu().numpy().astype(np.float32).reshape(-1, 4)
    labels, scores = guess.labels.cpu().numpy(), guess.scores.cpu().numpy()
    real = getattr(truth.bboxes, "tensor", truth.bboxes).cpu().numpy().astype(np.float32).reshape(-1, 4)
    real_labels = truth.labels.cpu().numpy()
    overlap = bbox_overlaps(boxes, real) if len(boxes) and len(real) else np.zeros((len(boxes), len(real)))
    overlap = np.where(labels[:, None] == real_labels[None], overlap, 0.0)
    wrong, taken = [], np.zeros(len(real), bool)
    for k in np.argsort(-scores, kind="stable"):
        row = np.where(taken, 0.0, overlap[k])
        best = int(row.argmax()) if len(row) else -1
        if best >= 0 and row[best] >= min_iou:
            taken[best] = True
        else:
            wrong.append((boxes[k], int(labels[k]), float(scores[k])))
    hits = [(real[k], int(real_labels[k]), 1.0) for k in np.flatnonzero(taken)]
    missed = [(real[k], int(real_labels[k]), 1.0) for k in np.flatnonzero(~taken)]
    count = len(missed) + len(wrong)
    return {"path": sample.img_path, "count": count, "found": hits, "missed": missed, "wrong": wrong}


@HOOKS.register_module()
class BestCheckpointArtifact(Hook):
    """Hand the best checkpoint to Weights & Biases as an artifact when training ends."""

    priority = "LOWEST"

    def after_train(self, runner: Any) -> None:
        """Upload it, or keep it in the offline run."""
        backends = [b for b in runner.visualizer._vis_backends.values() if isinstance(b, WandbVisBackend)]
        best = next(
            (
                getattr(hook, "best_ckpt_path", None)
                for hook in runner.hooks
                if isinstance(hook, CheckpointHook)
            ),
            None,
        )
        if not backends or not best or not Path(best).is_file():
            return
        wandb = backends[0].experiment
        artifact = wandb.Artifact(f"{wandb.run.id}-best", type="model")
        artifact.add_file(str(best))
        wandb.run.log_artifact(artifact, aliases=["best"])


@HOOKS.register_module()
class InnerPipelineSwitch(Hook):
    """Change the training pipeline at an epoch, also inside ClassBalancedDataset and other wrappers.

    MMDetection's PipelineSwitchHook sets the pipeline of the outermost dataset, which a wrapper never looks at.

    Args:
        switch_epoch: First epoch, counted from 0, with the new pipeline.
        switch_pipeline: Its transforms.
    """

    def __init__(self, switch_epoch: int, switch_pipeline: Sequence[Mapping[str, Any]]) -> None:
        self.switch_epoch = switch_epoch
        self.switch_pipeline = switch_pipeline
        self._switched = False

    def before_train_epoch(self, runner: Any) -> None:
        """Set it on the innermost dataset; workers start anew, as theirs is a copy."""
        if self._switched or runner.epoch < self.switch_epoch:
            return
        loader = runner.train_dataloader
        dataset = loader.dataset
        while hasattr(dataset, "dataset"):
            dataset = dataset.dataset
        dataset.pipeline = Compose(self.switch_pipeline)
        loader._iterator = None
        self._switched = True
