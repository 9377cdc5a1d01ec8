"""LoRAs of tiny random checkpoints, trained for a few steps."""

from dataclasses import replace
from functools import partial

from augsynth.core.images import read_image
from augsynth.training.lora.options import LoraTraining, check_base
from augsynth.training.lora.train import train_lora
from tests.tiny_families import build_sd, build_sdxl

FAMILIES = {
    "sd 9": (build_sd, {}),
    "sd 9 v": (build_sd, {"prediction": "v_prediction"}),
    "sd 4": (build_sd, {"channels": 4}),
    "sdxl 9": (build_sdxl, {}),
    "sdxl 4": (build_sdxl, {"channels": 4}),
}
QUICK = LoraTraining(
    lora_rank=2, lora_steps=4, lora_batch_size=2, lora_lr=1e-2, warmup=0, num_windows=24, precision="float32",
    categories=("can", "bottle"), samples=1, save_every=2,
    held_out_share=0.3,
)  # fmt: skip


def ignore(stage, step, steps, loss):
    pass


def train(dataset, folder, out, progress=ignore, **options):
    training = replace(QUICK, model=str(folder), **options)
    return train_lora(
        dataset,
        partial(read_image, dataset),
        training=training,
        checkpoint=check_base(training),
        out=out,
        progress=progress,
    )


def tensors(folder):
    from safetensors.torch import load_file

    return load_file(folder / "pytorch_lora_weights.safetensors")
