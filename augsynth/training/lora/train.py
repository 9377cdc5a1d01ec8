"""Teach a Stable Diffusion checkpoint a dataset's categories with a LoRA (`augsynth train-lora`).

LoRA (Hu et al., arXiv 2106.09685): the checkpoint stays as it is, text encoders and autoencoder included; low-rank
matrices are added to the attention projections of its UNet and they alone are trained, on windows cut as `generate`
cuts them, with masks and prompts as there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.hub import first_line
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.core.seeding import derive_seed
from augsynth.inpainting.aligned import AlignedInpainter
from augsynth.inpainting.checkpoints import Checkpoint
from augsynth.inpainting.loading import load_inpainter
from augsynth.training.folder import WORK, check_out, claim, settle_folder
from augsynth.training.loop import Progress, Schedule, Stage, processes, run_training
from augsynth.training.lora.data import Study, open_book, open_study
from augsynth.training.lora.files import best_loss, describe_lora, save_lora
from augsynth.training.lora.objective import held_out_loss
from augsynth.training.lora.options import LoraTraining, chosen_categories
from augsynth.training.samples import write_samples

if TYPE_CHECKING:
    import torch

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
EMA = 0.99
VERB = "train-lora"
# What may differ when a training is taken up again.
_FREE = frozenset(["device", "save_every", "samples", "lora_steps", "gradient_checkpointing"])


def train_lora(
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    *,
    training: LoraTraining,
    checkpoint: Checkpoint,
    out: Path,
    progress: Progress,
) -> Path:
    """Train a LoRA of a checkpoint on a dataset's objects.

    Stopped at any point and started again with the same arguments, it goes on where it was. `out / "last"` is the
    LoRA of the last checkpoint, `out / "best"` that with the least loss on held-out images. Several processes, as
    `accelerate launch` starts them, share the work (see `run_training`).

    Args:
        dataset: Images and objects to learn.
        read_image: Returns a scene's (H, W, 3) uint8 RGB image.
        checkpoint: What `check_base` returned for these options.

    Returns:
        The folder to give to `generate --lora`: the best, or the last where no image is held out.

    Raises:
        BackendError: The checkpoint can't be used or trained.
        ConfigError: A category is unknown, or no prompt could tell two of them apart.
        DatasetError: Nothing to learn from.
        ResumeError: `out` holds a training of something else.
    """
    check_out(out, verb=VERB)
    book = open_book(training, dataset.categories)
    chosen = chosen_categories(dataset.categories, training.categories)
    painter = load_base(training)
    book = book.limited_to(painter.conditioner.encoders[0][0], chosen)
    for line in book.notices():  # what a LoRA is trained for has to be said whole
        raise ConfigError(line)
    work = out / WORK
    key = _key(dataset, training, painter)
    with processes(training.device).main_process_first():
        claim(work, verb=VERB, key=key)
        for name in ("best", "last"):
            settle_folder(out / name)
    study = open_study(
        dataset, read_image, painter, training=training, book=book, folder=work, key=key, progress=progress
    )
    parameters = add_adapters(painter.unet, training, name=training.model)

    def on_save(_: Any, step: int) -> None:
        with _autocast(training):
            loss = _check(study, training)
            write_samples(painter, study.view, study.prompts, work / f"samples-{step:06d}.png")
        names = [category.name for category in chosen]
        facts = describe_lora(checkpoint, training, names, step=step, held_out_loss=loss)
        if loss is not None and loss < best_loss(out / "best"):
            save_lora(out / "best", painter.unet, checkpoint, facts)
        save_lora(out / "last", painter.unet, checkpoint, facts)

    def loss_of(_: Any, batch: int) -> torch.Tensor:
        draw = study.pools.draw(
            training.lora_batch_size, prior_share=training.prior_share, seed=training.seed, batch=batch
        )
        return study.objective.loss(draw)

    run_training(parameters, loss_of, _stage(training, work, key, progress), on_save=on_save)
    return out / "best" if (out / "best").is_dir() else out / "last"


def load_base(training: LoraTraining) -> AlignedInpainter:
    """Load the checkpoint as `generate` does, frozen; in bfloat16 on an accelerator that trains in it.

    Raises:
        BackendError: It can't be loaded, or is a few-step checkpoint, which this objective would spoil.
    """
    half = training.precision == "bfloat16" and training.device != "cpu"
    painter = load_inpainter(
        training.model,
        model_revision=training.model_revision,
        device=training.device,
        precision="bfloat16" if half else "float32",
        window_size=training.window_size,
        batch_size=training.lora_batch_size,
    )
    if not isinstance(painter, AlignedInpainter):
        raise BackendError(
            f"{training.model}: not of the Stable Diffusion families; choose another checkpoint"
        )
    few = type(painter.scheduler).__name__ == "LCMScheduler"
    if few or painter.unet.config.time_cond_proj_dim is not None:
        raise BackendError(
            f"{training.model}: a few-step checkpoint, which training would spoil; train on the one that it was "
            "distilled from"
        )
    painter.vae.float()  # windows are encoded once, and exactly
    return painter


def add_adapters(unet: Any, training: LoraTraining, *, name: str) -> torch.nn.Module:
    """Add adapters to a frozen UNet's attention projections and return them as a module of float32 parameters.

    Raises:
        BackendError: The UNet has no such layers.
    """
    import torch
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    torch.manual_seed(derive_seed(training.seed, "adapters"))
    rank = training.lora_rank
    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(TARGETS))
    try:
        unet.add_adapter(config)
    except ValueError as error:
        raise BackendError(
            f"{name}: takes no LoRA ({first_line(error)}); choose another checkpoint"
        ) from error
    cast_training_params(unet, torch.float32)
    if training.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        unet.train()  # it has no dropout; what is recomputed is only what trains
    return torch.nn.ParameterList([p for p in unet.parameters() if p.requires_grad])


def _stage(training: LoraTraining, work: Path, key: str, progress: Progress) -> Stage:
    schedule = Schedule(
        training.lora_steps,
        training.lora_batch_size,
        training.lora_lr,
        warmup=training.warmup,
        ema=EMA,
        save_every=training.save_every,
        falls=training.lr_schedule == "cosine",
        accumulate=training.accumulate,
    )
    precision = "bf16" if training.precision == "bfloat16" else "no"
    file = work / "adapters.checkpoint"
    return Stage("LoRA", schedule, file, key, training.seed, training.device, progress, precision)


def _check(study: Study, training: LoraTraining) -> float | None:
    if study.check is None:
        return None
    objective, pools = study.check
    return held_out_loss(objective, pools, seed=training.seed, batch_size=training.lora_batch_size)


def _autocast(training: LoraTraining) -> AbstractContextManager[object]:
    import torch

    kind = torch.device(training.device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=training.precision == "bfloat16")


def _key(dataset: Dataset, training: LoraTraining, painter: AlignedInpainter) -> str:
    """Return a digest of the options, the annotations and a sample of the checkpoint's weights."""
    digest = hashlib.sha256()
    kept = {k: v for k, v in asdict(training).items() if k not in _FREE}
    said = [[c.id, c.name] for c in dataset.categories]
    digest.update(json.dumps([kept, said], sort_keys=True, default=str).encode())
    if training.prompts is not None:
        digest.update(Path(training.prompts).read_bytes())
    for scene in dataset.scenes:
        digest.update(f"{scene.image_id} {scene.file_name} {scene.size_wh}".encode())
        for array in (scene.boxes_xyxy, scene.category_ids, scene.is_crowd):
            digest.update(array.tobytes())
    for part in (painter.unet, painter.vae):
        for name, value in part.state_dict().items():
            digest.update(name.encode())
            digest.update(value.flatten()[:32].float().cpu().numpy().tobytes())
    return digest.hexdigest()
