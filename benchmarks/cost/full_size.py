"""Does the road carry a checkpoint of full size? Build one with random weights, run `generate` on it, measure.

    python -m benchmarks.cost.full_size [--family sd15] [--num 1] [--steps 4] [--device cpu] [--precision float32]

The networks have the sizes of the published configurations (Stable Diffusion 1.5 inpainting: an 860 million parameter
UNet with nine input channels at 512 px, its autoencoder, CLIP ViT-L's text encoder); only the tokenizer knows few
words, which changes no size. What they paint is noise, so the filter is off. `--keep DIR` keeps the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from augsynth.sample import write_sample
from augsynth.training.painter.presets import build_tokenizer

TEXT_LENGTH, VOCABULARY = 77, 49408
RUN = """
import json, resource, sys, time
import torch
started = time.monotonic()
from augsynth.cli import main
try:
    code = main()
except SystemExit as stop:
    code = stop.code
on_gpu = torch.cuda.is_available()
print("MEASURED " + json.dumps({
    "seconds": time.monotonic() - started,
    "cpu_seconds": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
    "host_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    "device_gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
    "device": torch.cuda.get_device_name() if on_gpu else None,
}))
sys.exit(code)
"""


def build_sd15() -> Any:
    """Return Stable Diffusion 1.5's inpainting pipeline with random weights."""
    import torch
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionInpaintPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a photo of a"])
    tokenizer.model_max_length = TEXT_LENGTH
    text = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=9,
        out_channels=4,
        block_out_channels=(320, 640, 1280, 1280),
        cross_attention_dim=768,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=512,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionInpaintPipeline(
        vae=vae,
        unet=unet,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


FAMILIES = {"sd15": build_sd15}


def save(family: str, folder: Path) -> None:
    """Write the checkpoint unless it is there, and say how many parameters it has."""
    if (folder / "model_index.json").is_file():
        return
    pipeline = FAMILIES[family]()
    for name in ("unet", "vae", "text_encoder"):
        count = sum(p.numel() for p in getattr(pipeline, name).parameters())
        print(f"{name}: {count / 1e6:.1f} million parameters")
    pipeline.save_pretrained(folder, safe_serialization=True)


def generate(checkpoint: Path, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run `augsynth generate` in a process of its own and return what it took."""
    data = out.with_name("data")
    write_sample(data, num_images=8, seed=0)
    command = [
        *("generate", "--annotations", data / "annotations" / "instances.json", "--images", data / "images"),
        *("--model", checkpoint, "--n", args.num, "--out", out, "--device", args.device),
        *("--config", out.with_suffix(".yaml")),
    ]
    options = {
        "filter": "off",
        "steps": args.steps,
        "precision": args.precision,
        "batch_size": args.num,
        "retries": 1,
    }
    out.with_suffix(".yaml").write_text(json.dumps(options), "utf-8")
    run = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, command)], stdout=subprocess.PIPE, text=True, check=False
    )
    measured = [line for line in run.stdout.splitlines() if line.startswith("MEASURED ")]
    if run.returncode or not measured:
        raise SystemExit(f"generate stopped with {run.returncode}")
    found: dict[str, Any] = json.loads(measured[0].removeprefix("MEASURED "))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=list(FAMILIES), default="sd15")
    parser.add_argument("--num", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = args.keep or Path(folder) / args.family
        started = time.monotonic()
        save(args.family, checkpoint)
        size = sum(p.stat().st_size for p in checkpoint.rglob("*") if p.is_file()) / 2**30
        built = time.monotonic() - started
        found = generate(checkpoint, Path(folder) / "out", args)
        images = list((Path(folder) / "out" / "images").glob("*"))
    print(f"checkpoint {size:.2f} GiB, ready after {built:.0f} s; {len(images)} pictures written")
    print(
        f"generate: {args.num} objects, {args.steps} steps, {args.precision} on "
        f"{found['device'] or platform.machine()}: {found['seconds']:.0f} s, "
        f"{found['cpu_seconds']:.0f} of a processor; {found['host_gib']:.1f} GiB of memory"
        + (f", {found['device_gib']:.1f} GiB on the device" if found["device_gib"] is not None else "")
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"building took {peak:.1f} GiB")


if __name__ == "__main__":
    main()
