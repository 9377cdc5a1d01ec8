"""What an accepted object costs: the script that everybody writes, the same in batches, and `augsynth generate`.

    python -m benchmarks.cost.speed [--num 24] [--rounds 3] [--cores 1]
    python -m benchmarks.cost.speed --full-size --device cuda --precision bfloat16   # never run yet

`loop` calls the diffusers inpainting pipeline for one object a time, `batched` for eight; both with DDIM, 25 steps,
the checkpoint's guidance and float32, both paste the result into the image. They get their places planned for
nothing, and the same detector with the same rules and thresholds judges what they paint. `augsynth` runs with its
defaults, planning, masks and writing included. With `--cores` the scripts have so many threads, `augsynth` as many
processes of one thread; the denoiser's share is that of the time of all cores. Each contender is a process of its
own, one after the other, in turn, `--rounds` times; medians are printed. From the first window on counts; what comes
before is a column of its own.

`--full-size` takes a checkpoint of Stable Diffusion 1.5's size with random weights, and no filter.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CONTENDERS = ("loop", "batched", "augsynth")
BATCH = 8
STEPS = 25
BORN = time.monotonic()


@dataclass(slots=True)
class Meter:
    """What the denoiser did, counted at its forward pass.

    Attributes:
        device: Of the model.
        cores: How many processes may paint at once.
    """

    device: str
    cores: int = 1
    # Seen by forked processes, too: latents, seconds that they took, seconds from the start to the first of them.
    _samples: Any = field(default_factory=lambda: multiprocessing.Value("q", 0))
    _seconds: Any = field(default_factory=lambda: multiprocessing.Value("d", 0.0))
    _first: Any = field(default_factory=lambda: multiprocessing.Value("d", 0.0))

    @property
    def samples(self) -> int:
        """Latents that went through the denoiser."""
        return int(self._samples.value)

    @property
    def first(self) -> float:
        """Seconds from the start of the process to its first call, 0 before."""
        return float(self._first.value)

    def watch(self) -> None:
        """Count every call of a UNet from here on."""
        import torch
        from diffusers import UNet2DConditionModel

        forward = UNet2DConditionModel.forward

        def counted(network: Any, sample: Any, *rest: Any, **named: Any) -> Any:
            started = time.monotonic()
            with self._first.get_lock():
                self._first.value = self._first.value or started - BORN
            answer = forward(network, sample, *rest, **named)
            if self.device.startswith("cuda"):
                torch.cuda.synchronize()
            with self._seconds.get_lock(), self._samples.get_lock():
                self._seconds.value += time.monotonic() - started
                self._samples.value += len(sample)
            return answer

        UNet2DConditionModel.forward = counted

    def report(self, *, accepted: int, attempts: int) -> dict[str, Any]:
        """Return the figures of a contender that has just finished."""
        seconds = time.monotonic() - BORN - self.first
        return {
            "accepted": accepted,
            "attempts": attempts,
            "seconds": seconds,
            "first": self.first,
            "samples": self.samples,
            "share": self._seconds.value / seconds / self.cores,
            "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }


def run_contender(args: argparse.Namespace) -> dict[str, Any]:
    """Run one contender in this process."""
    import torch

    from augsynth.generation.config import GenerateConfig

    torch.set_num_threads(args.cores)
    ours = args.contender == "augsynth"
    meter = Meter(args.device, args.cores if ours and args.device == "cpu" else 1)
    options: dict[str, Any] = {"n": args.num, "out": str(args.work / "run"), "device": args.device}
    options["processes"] = args.cores if ours else None
    options["precision"] = None if ours and not args.full_size else args.precision
    if args.full_size:
        options |= {"model": str(args.checkpoint), "filter": "off", "steps": 20}
        data = args.work.parent / "data"
        options |= {
            "annotations": str(data / "annotations" / "instances.json"),
            "images": str(data / "images"),
        }
    config = GenerateConfig.of(**options)
    if ours:
        from augsynth.generation.run import generate

        meter.watch()
        tally = generate(config, progress=lambda stage, tally: None)
        return meter.report(accepted=tally.accepted, attempts=tally.attempts)
    return run_script(config, meter, batch=BATCH if args.contender == "batched" else 1)


def run_script(config: Any, meter: Meter, *, batch: int) -> dict[str, Any]:
    """Paint planned windows with the checkpoint's pipeline until enough are accepted."""
    from augsynth.generation.loading import open_context, open_dataset
    from augsynth.generation.stages import PaintedWindow, detect, judge_windows

    config, dataset = open_dataset(config.but(masks="off"))
    context = open_context(config, dataset)
    pipeline = open_pipeline(config)
    windows = planned_windows(context, config.run.seed)
    ready = list(itertools.islice(windows, 4 * config.run.n))  # planned for nothing
    meter.watch()
    accepted = attempts = 0
    for low in range(0, len(ready), batch):
        chosen = ready[low : low + batch]
        pictures = paint(pipeline, chosen, guidance=context.painting.inpainter.guidance)
        painted = [
            PaintedWindow(window, pasted(window, picture), is_blank=False)
            for window, picture in zip(chosen, pictures, strict=True)
        ]
        judged = judge_windows(context.judging, detect(context.judging.detector, painted))
        accepted += sum(one.verdict.accepted for one in judged)
        attempts += len(judged)
        if accepted >= config.run.n:
            break
    return meter.report(accepted=accepted, attempts=attempts)


def open_pipeline(config: Any) -> Any:
    """Return the checkpoint's own inpainting pipeline, with DDIM."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline

    from augsynth.inpainting.checkpoints import inspect_checkpoint

    place = inspect_checkpoint(config.painting.model).source.place
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        place, dtype=getattr(torch, config.painting.precision)
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(config.run.device)


def planned_windows(context: Any, seed: int) -> Iterator[Any]:
    """Yield windows as a run plans them, one an image."""
    from augsynth.core.images import read_image
    from augsynth.generation.objects import plan_object
    from augsynth.generation.planning import PlannedWindow
    from augsynth.generation.rounds import source_scenes
    from augsynth.generation.statistics import CategoryYields
    from augsynth.generation.working_image import WorkingImage

    yields = CategoryYields()
    for job, place in source_scenes(len(context.dataset.scenes), range(sys.maxsize), seed=seed):
        scene = context.dataset.scenes[place]
        image = WorkingImage(job, scene, scene, read_image(context.dataset, scene))
        plan = plan_object(context.placing, context.painting, image, yields, slot=0, retry=0, seed=seed)
        if isinstance(plan, PlannedWindow):
            yield plan


def paint(pipeline: Any, windows: Sequence[Any], *, guidance: float) -> list[Any]:
    """Return the pictures that the pipeline paints into the windows."""
    import torch
    from PIL import Image as PilImage

    size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    crops, masks = [], []
    for window in windows:
        x1, y1, x2, y2 = (int(v) for v in window.plan.window_xyxy)
        crops.append(PilImage.fromarray(window.image.pixels[y1:y2, x1:x2]).resize((size, size)))
        cells = PilImage.fromarray(window.cells.astype(np.uint8) * 255)
        masks.append(cells.resize((size, size), PilImage.Resampling.NEAREST))
    found: list[Any] = pipeline(
        prompt=[window.plan.prompt for window in windows],
        image=crops,
        mask_image=masks,
        height=size,
        width=size,
        strength=1.0,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(window.plan.seed) for window in windows],
    ).images
    return found


def pasted(window: Any, picture: Any) -> Any:
    """Return the image with what was painted into the mask of a window."""
    from PIL import Image as PilImage

    x1, y1, x2, y2 = (int(v) for v in window.plan.window_xyxy)
    resized = np.asarray(picture.resize((x2 - x1, y2 - y1), PilImage.Resampling.LANCZOS))
    hole = np.asarray(
        PilImage.fromarray(window.cells).resize((x2 - x1, y2 - y1), PilImage.Resampling.NEAREST)
    )
    pixels = window.image.pixels.copy()
    pixels[y1:y2, x1:x2][hole] = resized[hole]
    return pixels


def measure(args: argparse.Namespace, contender: str, work: Path) -> dict[str, Any]:
    """Run a contender in a process of its own and return its figures."""
    words = ["--contender", contender, "--work", str(work), "--num", str(args.num), "--device", args.device]
    words += ["--cores", str(args.cores), "--precision", args.precision]
    words += ["--full-size", "--checkpoint", str(args.checkpoint)] if args.full_size else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.cores)}
    command = [sys.executable, "-m", "benchmarks.cost.speed", *words]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    lines = [line for line in run.stdout.splitlines() if line.startswith("MEASURED ")]
    if run.returncode or not lines:
        raise SystemExit(f"{contender} stopped with {run.returncode}")
    figures: dict[str, Any] = json.loads(lines[0].removeprefix("MEASURED "))
    return figures


def table(rounds: dict[str, list[dict[str, Any]]]) -> str:
    """Return the medians of each contender as a Markdown table."""
    lines = [
        "| contender | accepted / attempts | s an accepted object | as fast as the loop | denoiser samples an accepted "
        "object | denoiser's share of the time | s to the first window | GiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]

    def median(name: str, value: Any) -> float:
        return statistics.median(value(figures) for figures in rounds[name])

    loop = median("loop", lambda f: f["seconds"] / f["accepted"])
    for name, found in rounds.items():
        cost = median(name, lambda f: f["seconds"] / f["accepted"])
        lines.append(
            f"| {name} | {found[0]['accepted']} / {found[0]['attempts']} | {cost:.2f} | {loop / cost:.1f} × | "
            f"{median(name, lambda f: f['samples'] / f['accepted']):.0f} | {median(name, lambda f: f['share']):.0%} | "
            f"{median(name, lambda f: f['first']):.0f} | {median(name, lambda f: f['gib']):.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=24, help="accepted objects of each contender")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=1, help="threads of the scripts, processes of augsynth")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        print("MEASURED " + json.dumps(run_contender(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.full_size:
            from augsynth.sample import write_sample
            from benchmarks.cost.full_size import save

            args.checkpoint = Path(folder) / "checkpoint"
            save("sd15", args.checkpoint)
            write_sample(Path(folder) / "data", num_images=64, seed=0)
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
        for number in range(args.rounds):
            for name in CONTENDERS:
                figures = measure(args, name, Path(folder) / f"{name}-{number}")
                rounds[name].append(figures)
                print(f"round {number + 1}, {name}: {json.dumps(figures)}", file=sys.stderr, flush=True)
    print(table(rounds))
    print(
        f"\n{args.cores} cores used, {platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}"
    )


if __name__ == "__main__":
    main()
