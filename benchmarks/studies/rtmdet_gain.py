"""Does AffinityPaste help? RTMDet-tiny from scratch, plain and with objects of a bank, for the same iterations.

    python -m benchmarks.studies.rtmdet_gain --data aerial_maritime --work runs/gain --iterations 1500

Needs MMDetection with compiled operators. Bank and affinity file are made of the training split alone; both arms
share seed, schedule and everything else. A run that was stopped goes on from its last checkpoint. Both curves of
mAP on the validation split, and the test split's figures at the end, are written beside this file.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ARMS = ("plain", "affinity_paste")


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with instances_train.json, train/, …"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for bank, checkpoints and logs")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--width", type=int, default=320, help="images are resized to this width")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument(
        "--every", type=int, default=150, help="iterations between validations and checkpoints"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--out", type=Path, default=HERE / "rtmdet_gain.json")
    return parser.parse_args()


def prepare(args):
    """Make bank and affinity file of the training split, unless they are there."""
    args.work.mkdir(parents=True, exist_ok=True)
    annotations = ["--annotations", str(args.data / "instances_train.json")]
    bank, affinity = args.work / "bank", args.work / "affinity.json"
    run = [sys.executable, "-m", "augsynth"]
    if not (bank / "bank.json").is_file():
        images = ["--images", str(args.data / "train")]
        subprocess.run([*run, "bank", *annotations, *images, "--out", str(bank)], check=True)
    if not affinity.is_file():
        subprocess.run([*run, "build-affinity", *annotations, "--out", str(affinity)], check=True)
    return bank, affinity


def config(args, arm, bank, affinity):
    """Return the project's RTMDet-tiny on whole, small images, by iterations instead of epochs."""
    from mmengine.config import Config

    os.environ |= {
        "AUGSYNTH_DATA": str(args.data),
        "AUGSYNTH_TRAIN_ANN": "instances_train.json",
        "AUGSYNTH_TRAIN_IMAGES": "train",
        "AUGSYNTH_VAL_ANN": "instances_valid.json",
        "AUGSYNTH_VAL_IMAGES": "valid",
        "AUGSYNTH_BATCH": str(args.batch),
        "AUGSYNTH_WORKERS": "0",
    }
    cfg = Config.fromfile(ROOT / "configs" / "mmdet" / "rtmdet_tiny.py")
    scale = (args.width, args.width)
    load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
    # Pasting comes after the resize: the fewer pixels, the cheaper.
    resize = dict(type="Resize", scale=scale, keep_ratio=True)
    paste = dict(
        type="AffinityPaste",
        bank=str(bank),
        affinity=str(affinity),
        classes=list(cfg.classes),
        prob=0.5,
        max_objects=3,
    )
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    pack = dict(type="PackDetInputs", meta_keys=keys)
    extra = [paste] if arm == "affinity_paste" else []
    train = [*load, resize, *extra, dict(type="RandomFlip", prob=0.5), pack]
    test = [load[0], resize, load[1], pack]
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor.pad_size_divisor = 32
    dataset = cfg.train_dataloader.dataset.dataset
    dataset.pipeline = train
    cfg.train_dataloader.dataset = dataset
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    cfg.train_dataloader.batch_sampler = None
    cfg.val_dataloader.dataset.pipeline = test
    cfg.test_dataloader = copy.deepcopy(cfg.val_dataloader.to_dict())
    cfg.test_dataloader["dataset"].update(ann_file="instances_test.json", data_prefix=dict(img="test/"))
    cfg.test_evaluator = dict(cfg.val_evaluator.to_dict(), ann_file=str(args.data / "instances_test.json"))
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=args.iterations, val_interval=args.every)
    cfg.val_cfg, cfg.test_cfg = dict(type="ValLoop"), dict(type="TestLoop")
    cfg.optim_wrapper.optimizer.lr = args.lr
    warm = dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=50)
    fall = dict(type="CosineAnnealingLR", eta_min=args.lr * 0.02, by_epoch=False, T_max=args.iterations)
    cfg.param_scheduler = [warm, fall]
    cfg.custom_hooks = []
    cfg.default_hooks = dict(
        timer=dict(type="IterTimerHook"),
        logger=dict(type="LoggerHook", interval=10),
        param_scheduler=dict(type="ParamSchedulerHook"),
        checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=args.every, max_keep_ckpts=1),
        sampler_seed=dict(type="DistSamplerSeedHook"),
    )
    cfg.vis_backends = [dict(type="LocalVisBackend")]
    cfg.visualizer = dict(type="DetLocalVisualizer", vis_backends=cfg.vis_backends, name=arm)
    cfg.log_processor = dict(type="LogProcessor", window_size=10, by_epoch=False)
    cfg.randomness = dict(seed=args.seed)
    cfg.default_scope, cfg.resume, cfg.load_from = "mmdet", True, None
    cfg.work_dir = str(args.work / arm)
    return cfg


def figures(metrics):
    """Return the figures of an evaluation, by short names."""
    return {
        name.split("/")[-1].removeprefix("bbox_"): round(float(value), 4)
        for name, value in metrics.items()
        if "mAP" in name or "precision" in name
    }


def curve(work_dir):
    """Return {iteration: figures} and the median seconds of an iteration from all logs of an arm."""
    found, seconds = {}, []
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        iteration = 0  # mmengine notes step 0 with an evaluation; it belongs to the training row before it
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            if "loss" in row:
                iteration = int(row["step"])
                seconds.append(row["time"])
            elif "coco/bbox_mAP" in row and iteration:
                found[iteration] = figures(row)
    return found, (sorted(seconds)[len(seconds) // 2] if seconds else None)


def draw(result, path):
    """Draw both curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6.4, 4.2))
    titles = {"plain": "without", "affinity_paste": "AffinityPaste", "mAP": "AP", "mAP_50": "AP50"}
    for arm, values in result["arms"].items():
        steps = sorted(values["valid"], key=int)
        for key, style in (("mAP", "-"), ("mAP_50", ":")):
            axis.plot(
                [int(s) for s in steps],
                [100 * values["valid"][s][key] for s in steps],
                style,
                marker=".",
                color="C0" if arm == "plain" else "C1",
                label=f"{titles[arm]}, {titles[key]}",
            )
    data, seed = result["options"]["data"], result["options"]["seed"]
    axis.set(xlabel="iterations", ylabel="AP, AP50 on the validation split (points of 100)", ylim=(0, None))
    axis.set_title(f"RTMDet on {data}, one seed ({seed}): no interval", fontsize=10)
    axis.grid(color="0.9", linewidth=0.6)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main():
    args = options()
    bank, affinity = prepare(args)
    import torch
    from mmengine.runner import Runner

    import_module("augsynth.pasting.transform")
    real_load = torch.load  # checkpoints of these runs hold more than tensors
    torch.load = lambda *a, **k: real_load(*a, **{"weights_only": False} | k)
    result = {"arms": {}}
    if args.out.is_file():
        result = json.loads(args.out.read_text("utf-8"))
    result["options"] = {
        k: getattr(args, k) for k in ("iterations", "width", "batch", "lr", "every", "seed")
    } | {"data": args.data.name, "start": "random weights"}
    for arm in args.arms:
        runner = Runner.from_cfg(config(args, arm, bank, affinity))
        runner.train()
        valid, seconds = curve(args.work / arm)
        result["arms"][arm] = {
            "valid": {str(k): v for k, v in sorted(valid.items())},
            "test": figures(runner.test()),
            "seconds_per_iteration": seconds,
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        draw(result, args.out.with_suffix(".png"))
        print(arm, result["arms"][arm]["test"])


if __name__ == "__main__":
    main()
