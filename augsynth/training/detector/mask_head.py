"""Train the mask head of a detector on the outlines that a dataset's own objects have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from augsynth.core.masks import as_rle, decoded
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.detectors.mask_head import MARGIN, SIDE_PX, MaskNetwork, as_inputs, cut_crop
from augsynth.training.loop import Progress, Schedule, Stage, run_training

STEPS, BATCH_SIZE, RATE = 500, 24, 2e-3
WIDE_MARGIN, WIDE_PX = 1.7, 96  # of the crops that boxes are drawn from
MIN_SIDE_PX = 6.0
MAX_OBJECTS = 8000
MIN_OBJECTS = 50
HELD_OUT_SHARE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """Objects with their outlines.

    Attributes:
        crops: (N, 4, 96, 96) uint8, three colours and the mask (0 or 255) of each box with a wide margin.
    """

    crops: torch.Tensor

    def __len__(self) -> int:
        return len(self.crops)


def outlined_share(dataset: Dataset) -> float:
    """Return the share of a dataset's objects, crowds aside, that have a mask; 0 where there is no object."""
    kept = {int(i) for s in dataset.scenes for i in s.annotation_ids[~s.is_crowd]}
    outlined = sum(
        1 for a in dataset.document.get("annotations", ()) if a["id"] in kept and a.get("segmentation")
    )
    return outlined / len(kept) if kept else 0.0


def fit_objects(dataset: Dataset) -> list[tuple[int, int]]:
    """Return the objects that have a mask and a side of 6 px or more, each by its scene's and its own position."""
    masks = _masks(dataset)
    return [
        (s, k)
        for s, scene in enumerate(dataset.scenes)
        for k in range(len(scene))
        if int(scene.annotation_ids[k]) in masks
        and not scene.is_crowd[k]
        and (scene.boxes_xyxy[k, 2:] - scene.boxes_xyxy[k, :2]).min() >= MIN_SIDE_PX
    ]


def _masks(dataset: Dataset) -> dict[int, Any]:
    """Return the outlines of objects by annotation id."""
    return {
        a["id"]: a["segmentation"] for a in dataset.document.get("annotations", ()) if a.get("segmentation")
    }


def cut_outlined(dataset: Dataset, read_image: Callable[[Scene], Image], *, seed: int) -> Outlined:
    """Cut the objects that have a mask and a side of 6 px or more, 8,000 at most, drawn by the seed."""
    masks = _masks(dataset)
    fit = fit_objects(dataset)
    order = derive_rng(seed, "mask head", "objects").permutation(len(fit))[:MAX_OBJECTS]
    wanted: dict[int, list[int]] = {}
    for i in sorted(order.tolist()):
        wanted.setdefault(fit[i][0], []).append(fit[i][1])
    crops = []
    for s, members in wanted.items():
        scene = dataset.scenes[s]
        image = read_image(scene)
        for k in members:
            rle = as_rle(masks[int(scene.annotation_ids[k])], (image.shape[1], image.shape[0]))
            if rle is not None:
                crops.append(_crop(image, decoded(rle), scene.boxes_xyxy[k]))
    empty = np.zeros((0, 4, WIDE_PX, WIDE_PX), np.uint8)
    return Outlined(torch.from_numpy(np.stack(crops) if crops else empty))


def _crop(image: Image, mask: Any, box_xyxy: Any) -> Any:
    drawn = np.repeat(mask[:, :, None].astype(np.uint8) * 255, 3, axis=2)
    colours = cut_crop(image, box_xyxy, margin=WIDE_MARGIN, side_px=WIDE_PX)
    outline = cut_crop(drawn, box_xyxy, margin=WIDE_MARGIN, side_px=WIDE_PX)[..., :1]
    return np.concatenate([colours, outline], axis=2).transpose(2, 0, 1)


def train_mask_head(
    objects: Outlined,
    *,
    file: Path,
    key: str,
    seed: int,
    device: str,
    progress: Progress,
    bf16: bool = False,
    steps: int = STEPS,
) -> tuple[MaskNetwork, float]:
    """Train a head; a twentieth of the objects is held out to judge it.

    Args:
        objects: From `cut_outlined`.
        file: Its checkpoint; one with the same key is continued.
        key: Identifies data and options.
        seed: Of weights, order and augmentation.
        device: A torch device.
        progress: See `run_training`.
        bf16: Mixed precision.
        steps: Optimizer steps.

    Returns:
        The network with its averaged weights, and the mean IoU of its masks with the true ones on objects held out,
        in crops, with boxes moved as a detector moves them.
    """
    order = derive_rng(seed, "mask head", "held out").permutation(len(objects))
    held_out = max(1, round(HELD_OUT_SHARE * len(objects)))
    judged, learnt = objects.crops[order[:held_out]], objects.crops[order[held_out:]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "mask head", "weights"))
        network = MaskNetwork().to(device)
    schedule = Schedule(steps, BATCH_SIZE, RATE, warmup=min(50, steps), ema=0.995, save_every=100)

    def prepare(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = derive_rng(seed, "mask head", "step", step)
        picked = learnt[rng.integers(len(learnt), size=BATCH_SIZE)]
        return drawn_views(picked, rng, jitter=0.05, pale=True)

    def loss_of(model: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        inputs, truth = batch[0].to(device), batch[1].to(device)
        logits = model(inputs).float()
        chances = logits.sigmoid()
        shared, both = (chances * truth).sum((1, 2)), (chances + truth).sum((1, 2))
        dice = 1 - (2 * shared + 1) / (both + 1)  # Milletari, Navab, Ahmadi, "V-Net", 3DV 2016
        loss: torch.Tensor = F.binary_cross_entropy_with_logits(logits, truth) + dice.mean()
        return loss

    stage = Stage("mask head", schedule, file, key, seed, device, progress, "bf16" if bf16 else "no")
    run_training(network, loss_of, stage, prepare=prepare)
    return network, _mean_iou(network.eval(), judged, seed=seed, device=device)


def drawn_views(
    crops: torch.Tensor, rng: np.random.Generator, *, jitter: float, pale: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (N, 5, 64, 64) inputs and (N, 64, 64) masks in [0, 1] of crops, for boxes near the true ones.

    Args:
        crops: (N, 4, 96, 96) uint8.
        rng: Draws everything.
        jitter: Standard deviation of a box's centre and log size, over its sides.
        pale: Mirror, change colours, blur and add noise: a painted object is softer than a real one.
    """
    count = len(crops)
    planes = crops.float() / 255
    shrink = MARGIN / WIDE_MARGIN
    scale = torch.from_numpy(np.exp(rng.normal(0, jitter, (count, 2))).clip(0.85, 1.15)) * shrink
    shift = torch.from_numpy(rng.normal(0, jitter, (count, 2)).clip(-0.1, 0.1)) * 2 / WIDE_MARGIN
    if pale:
        mirrored = torch.from_numpy(np.where(rng.random(count) < 0.5, -1.0, 1.0))
        scale[:, 0] *= mirrored
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale[:, 0].float(), scale[:, 1].float(), shift.float()
    grid = F.affine_grid(theta, [count, 4, SIDE_PX, SIDE_PX], align_corners=False)
    views = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    colours, truth = views[:, :3], views[:, 3]
    if pale:
        colours = _repainted(colours, rng)
    return as_inputs(colours.clamp(0, 1)), truth


def _repainted(colours: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    count = len(colours)
    gain = torch.from_numpy(rng.uniform(0.7, 1.3, (count, 1, 1, 1))).float()
    tint = torch.from_numpy(rng.normal(0, 0.06, (count, 3, 1, 1))).float()
    side = int(rng.integers(24, SIDE_PX + 1))
    small = F.interpolate(colours, (side, side), mode="bilinear", antialias=True)
    soft = F.interpolate(small, (SIDE_PX, SIDE_PX), mode="bilinear")
    blurred = torch.from_numpy(rng.random((count, 1, 1, 1)) < 0.5)
    noise = torch.from_numpy(rng.normal(0, 0.02, tuple(colours.shape))).float()
    return (torch.where(blurred, soft, colours) - 0.5) * gain + 0.5 + tint + noise


def _mean_iou(network: MaskNetwork, crops: torch.Tensor, *, seed: int, device: str) -> float:
    inputs, truth = drawn_views(crops, derive_rng(seed, "mask head", "judged"), jitter=0.02, pale=False)
    ious = []
    for start in range(0, len(crops), BATCH_SIZE):
        with torch.inference_mode():
            found = network(inputs[start : start + BATCH_SIZE].to(device)).cpu() > 0
        true = truth[start : start + BATCH_SIZE] > 0.5
        shared, union = (found & true).sum((1, 2)), (found | true).sum((1, 2)).clamp(min=1)
        ious.append(shared / union)
    return float(torch.cat(ious).mean())
