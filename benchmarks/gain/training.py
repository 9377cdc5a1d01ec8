"""One training with MMDetection's runner, and what the detector then finds on the test images."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.datasets.transforms import CopyPaste
from mmdet.registry import DATA_SAMPLERS, TRANSFORMS
from numpy.typing import NDArray
from torch.utils.data import Sampler

from benchmarks.gain.arms import Arm, Recipe
from benchmarks.gain.detectors import compute_in_bfloat16, model_config, start_from, unfold_batch_norm
from benchmarks.gain.sources import Source, category_names

GREY = dict(img=(114, 114, 114))
FINISH = [dict(type="YOLOXHSVRandomAug"), dict(type="PackDetInputs")]
NUM_STATISTICS_BATCHES = 8


@TRANSFORMS.register_module()
class SimpleCopyPaste(CopyPaste):  # type: ignore[misc]
    """MMDetection's CopyPaste with a chance, without the index past the end, and with an image of 8 bits.

    Args:
        prob: Chance that an image is pasted into.
        kwargs: As for CopyPaste.
    """

    def __init__(self, prob: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prob = prob

    def get_indexes(self, dataset: Any) -> int:
        return random.randrange(len(dataset))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        donor = results["mix_results"][0]
        if random.random() >= self.prob or not len(donor["gt_bboxes"]) or not len(results["gt_bboxes"]):
            return results
        results = super().transform(results)
        results["img"] = results["img"].astype(np.uint8)
        return results


@DATA_SAMPLERS.register_module()
class MixedSampler(Sampler[int]):
    """Draw real and new images in a given proportion, for a given part of the schedule, without end.

    Args:
        dataset: Real images, then new ones; with `plain_from` all of them twice, the second time as they are.
        num_real: Number of real images.
        ratio: Share of new images among those drawn; 0 leaves them out.
        until: Number of draws after which only real images follow.
        seed: Of the draws.
        plain_from: Number of draws after which images come as they are, without anything pasted.
    """

    def __init__(
        self,
        dataset: Any,
        num_real: int,
        ratio: float,
        until: int,
        seed: int,
        plain_from: int | None = None,
    ) -> None:
        self.total = len(dataset) // (1 if plain_from is None else 2)
        self.num_real, self.ratio, self.until, self.seed = num_real, ratio, until, seed
        self.plain_from = plain_from

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng(self.seed)
        decks: list[list[int]] = [[], []]
        drawn = 0
        while True:
            new = bool(rng.random() < self.ratio) and drawn < self.until and self.total > self.num_real
            if not decks[new]:
                low, high = (self.num_real, self.total) if new else (0, self.num_real)
                decks[new] = (low + rng.permutation(high - low)).tolist()
            plain = self.plain_from is not None and drawn >= self.plain_from
            drawn += 1
            yield decks[new].pop() + (self.total if plain else 0)

    def __len__(self) -> int:
        return self.total

    def set_epoch(self, epoch: int) -> None:
        """Draws go on where they were; there are no epochs."""


@dataclass(frozen=True)
class Schedule:
    """How long and how a detector is trained.

    Attributes:
        iterations: Optimizer steps.
        batch: Images in a step.
        lr: Peak learning rate of AdamW; a warm-up of a tenth, then a cosine to a fiftieth.
    """

    iterations: int
    batch: int = 8
    lr: float = 1e-3


@dataclass(frozen=True)
class Material:
    """What an arm trains on.

    Attributes:
        share: COCO file of the real images.
        painted: Run directory of a painted set, or None.
        banks: Banks to paste from.
        affinity: Affinity file, where anything is pasted.
    """

    share: Path
    painted: Path | None = None
    banks: tuple[Path, ...] = ()
    affinity: Path | None = None


def train_pipeline(source: Source, arm: Arm, recipe: Recipe, material: Material) -> list[dict[str, Any]]:
    """Return the transforms before packing that every arm shares, with its own pasting in the middle."""
    with_masks = arm.pasted == "copy_paste" and source.masks
    paste = [
        dict(
            type="AffinityPaste",
            bank=str(bank),
            affinity=str(material.affinity),
            classes=category_names(material.share),
            prob=recipe.paste_prob,
            max_objects=-(-recipe.paste_objects // len(material.banks)),
            gamma=recipe.gamma,
            tau=recipe.tau or None,
            saturation=recipe.saturation or None,
            turn_prob=recipe.turn_prob if source.from_above else 0.0,
            blends=recipe.blends.split(","),
        )
        for bank in material.banks
    ]
    pad = dict(type="Pad", size=source.size_wh, pad_val=GREY)
    return [*loading(source, with_masks=with_masks), *paste, pad]


def loading(source: Source, *, with_masks: bool = False) -> list[dict[str, Any]]:
    """Return how every arm loads a picture: scaled by up to a quarter, cropped, mirrored."""
    return [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=with_masks, poly2mask=True),
        dict(type="RandomResize", scale=source.size_wh, ratio_range=(0.8, 1.25), keep_ratio=True),
        dict(type="RandomCrop", crop_size=source.size_wh, allow_negative_crop=True),
        dict(type="RandomFlip", prob=0.5),
    ]


def runner_config(
    source: Source,
    arm: Arm,
    recipe: Recipe,
    material: Material,
    *,
    detector: str,
    schedule: Schedule,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Return the whole configuration of MMEngine's runner."""
    classes = category_names(source.train)
    common = dict(type="CocoDataset", metainfo=dict(classes=classes), filter_cfg=dict(filter_empty_gt=False))
    pipeline = train_pipeline(source, arm, recipe, material)
    mixes = arm.pasted == "copy_paste"
    real = dict(common, ann_file=str(material.share), data_prefix=dict(img=f"{source.images}/"),
                pipeline=pipeline if mixes else pipeline + FINISH)  # fmt: skip
    datasets = [real]
    if material.painted:
        new = material.painted / "synthetic" / "instances.json"
        datasets.append(dict(real, ann_file=str(new), data_prefix=dict(img=f"{material.painted}/images/")))
    draws = schedule.iterations * schedule.batch
    plain_from = round(recipe.paste_until * draws) if material.banks and recipe.paste_until < 1 else None
    if plain_from is not None:
        plain = [*loading(source), pipeline[-1], *FINISH]
        datasets += [dict(d, pipeline=plain) for d in datasets]
    dataset: dict[str, Any] = dict(type="ConcatDataset", datasets=datasets) if len(datasets) > 1 else real
    if mixes:
        paste = dict(
            type="SimpleCopyPaste",
            prob=recipe.copy_paste_prob,
            max_num_pasted=100,
            paste_by_box=not source.masks,
        )
        dataset = dict(type="MultiImageMixDataset", dataset=real, pipeline=[paste, *FINISH])
    sampler = dict(
        type="MixedSampler",
        num_real=count_images(material.share),
        ratio=recipe.synthetic_ratio if material.painted else 0.0,
        until=round(recipe.synthetic_until * draws),
        seed=seed,
        plain_from=plain_from,
    )
    test = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=source.size_wh, keep_ratio=True),
        dict(type="Pad", size=source.size_wh, pad_val=GREY),
        dict(type="PackDetInputs", meta_keys=("img_id", "ori_shape", "img_shape", "scale_factor")),
    ]
    test_set = dict(common, ann_file=str(source.test), data_prefix=dict(img=f"{source.images}/"),
                    pipeline=test, test_mode=True)  # fmt: skip
    warm = max(1, schedule.iterations // 10)
    return dict(
        model=model_config(detector, len(classes)),
        work_dir=str(folder / "log"),
        train_dataloader=dict(batch_size=schedule.batch, num_workers=0, sampler=sampler, dataset=dataset),
        test_dataloader=dict(batch_size=16, num_workers=0, dataset=test_set,
                             sampler=dict(type="DefaultSampler", shuffle=False)),
        test_cfg=dict(type="TestLoop"),
        test_evaluator=dict(type="DumpDetResults", out_file_path=str(folder / "unused.pkl")),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=schedule.iterations, val_interval=10**9),
        optim_wrapper=dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=schedule.lr, weight_decay=0.05),
            paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
            clip_grad=dict(max_norm=10.0),
        ),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=warm),
            dict(type="CosineAnnealingLR", eta_min=schedule.lr / 50, by_epoch=False, begin=warm,
                 end=schedule.iterations, T_max=schedule.iterations - warm),
        ],
        default_hooks=dict(
            timer=dict(type="IterTimerHook"),
            logger=dict(type="LoggerHook", interval=50, ignore_last=False),
            param_scheduler=dict(type="ParamSchedulerHook"),
            checkpoint=None,
            sampler_seed=None,
        ),
        log_processor=dict(type="LogProcessor", window_size=50, by_epoch=False),
        randomness=dict(seed=seed),
        default_scope="mmdet",
        log_level="ERROR",
        experiment_name=folder.name,
    )  # fmt: skip


def design(source: Source, detector: str) -> str:
    """Return a digest of the detector and of what every arm does to a picture."""
    parts = [model_config(detector, 1), loading(source), FINISH, NUM_STATISTICS_BATCHES]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]


def count_images(annotations: Path) -> int:
    return len(json.loads(annotations.read_text("utf-8"))["images"])


def train(config: dict[str, Any], *, start: Path | None, low_precision: bool = True) -> Any:
    """Train a detector and return MMEngine's runner with it.

    Args:
        config: Of `runner_config`.
        start: Checkpoint to start from; what doesn't fit starts anew.
        low_precision: Compute the convolutions in bfloat16.
    """
    from mmengine.config import Config
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner

    import_module("mmdet.utils").register_all_modules(init_default_scope=False)
    import_module("augsynth.pasting.transform")
    DefaultScope.get_instance(config["experiment_name"], scope_name="mmdet")
    runner = Runner.from_cfg(Config(config))
    model = runner.model
    if start is not None:
        start_from(model, start)
        loader = runner.build_dataloader(runner.cfg.train_dataloader, seed=config["randomness"]["seed"])
        batches = [batch for batch, _ in zip(loader, range(NUM_STATISTICS_BATCHES), strict=False)]
        unfold_batch_norm(model, batches)
        runner.set_randomness(**config["randomness"])
    if low_precision:
        compute_in_bfloat16(model)
    model.init_weights = lambda: None  # done
    runner.train()
    return runner


def keep(runner: Any, folder: Path) -> None:
    """Save config and weights as files that `augsynth generate --detector FOLDER` reads."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    runner.cfg.dump(folder / "config.py")
    state = {k: v.contiguous() for k, v in runner.model.state_dict().items()}
    save_file(state, folder / "best_last.safetensors")


@torch.no_grad()
def detect(runner: Any) -> dict[str, NDArray[Any]]:
    """Return what the detector finds on the test images.

    Returns:
        `image_ids` (N,), `boxes_xyxy` (N, 4) pixels of the original images, `scores` (N,) and `labels` (N,).
    """
    loader = runner.build_dataloader(runner.cfg.test_dataloader)
    runner.model.eval()
    rows: dict[str, list[NDArray[Any]]] = {"image_ids": [], "boxes_xyxy": [], "scores": [], "labels": []}
    for batch in loader:
        for sample in runner.model.test_step(batch):
            found = sample.pred_instances.cpu()
            rows["image_ids"].append(np.full(len(found), sample.img_id, np.int32))
            rows["boxes_xyxy"].append(found.bboxes.float().numpy().astype(np.float32))
            rows["scores"].append(found.scores.float().numpy().astype(np.float32))
            rows["labels"].append(found.labels.numpy().astype(np.int16))
    return {k: np.concatenate(v) for k, v in rows.items()}
