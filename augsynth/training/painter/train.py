"""Train a small inpainting model of a dataset's own domain from scratch (`augsynth train-inpainter`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augsynth.core.cache import cached
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.inpainting.prompts.book import BACKGROUND_PROMPT, category_prompt, check_distinct
from augsynth.inpainting.prompts.file import Words, tidy
from augsynth.training.folder import WORK, check_out, claim, settle_folder
from augsynth.training.loop import Progress, Schedule, Stage
from augsynth.training.painter.autoencoder import new_autoencoder, train_autoencoder
from augsynth.training.painter.decoder import sharpen_decoder
from augsynth.training.painter.denoiser import encode_windows, new_parts, train_denoiser
from augsynth.training.painter.files import read_figures, save_pipeline
from augsynth.training.painter.options import InpainterTraining
from augsynth.training.painter.presets import Preset
from augsynth.training.painter.start import Start, open_start
from augsynth.training.samples import write_reconstructions, write_samples
from augsynth.training.windows import WindowRules, Windows, cut_windows

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

VERB = "train-inpainter"
GROWN_LR = 0.3  # of the rate of a new autoencoder, for one that has learnt already
_FREE = frozenset(["device", "save_every", "decoder_steps", "denoiser_steps"])  # may differ when it goes on


def train_inpainter(
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    *,
    training: InpainterTraining,
    out: Path,
    progress: Progress,
    start_from: str | Path | None = None,
) -> Path:
    """Train autoencoder, text encoder and denoiser, and write them in the diffusers layout.

    Stopped at any point and started again with the same arguments, it goes on where it was.

    Args:
        dataset: Images and objects to learn.
        read_image: Returns a scene's (H, W, 3) uint8 RGB image.
        out: Directory of the training.
        start_from: `embedded` or the model folder of an earlier training, of the same preset or of that for half the
            window: its encoder is kept, its decoder, denoiser and text encoder are trained further. With more
            `latent_channels` than it has its encoder is trained further, too. It may go on with windows of another
            size.

    Returns:
        The folder that `StableDiffusionInpaintPipeline.from_pretrained` loads: `out / "model"`.

    Raises:
        ConfigError: As `open_start`; `out` holds something else; unknown symmetry; categories that no prompt could
            tell apart.
        DatasetError: Nothing to learn from.
        ResumeError: `out` holds a training of something else.
    """
    check_out(out, verb=VERB)
    preset, start = open_start(training, start_from)
    _check_names(dataset)
    windows = cut_windows(dataset, read_image, rules=_window_rules(training, preset), seed=training.seed)
    key = _key(windows, training, start)
    claim(out / WORK, verb=VERB, key=key)
    settle_folder(out / "model")
    lesson = _Lesson(training, preset, windows, _prompts(dataset, training), start, out, key, progress)
    autoencoder = _autoencoder(lesson)
    if training.decoder_steps:
        autoencoder = _sharpened(lesson, autoencoder)
    write_reconstructions(autoencoder, windows, lesson.work / "reconstructions.png")
    parts = _denoiser(lesson, autoencoder) if training.denoiser_steps else lesson.parts_at_start()
    lesson.publish({**parts, "vae": autoencoder}, steps_done=training.denoiser_steps)
    return lesson.model_dir


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """What the stages of a training share.

    Attributes:
        training, preset, windows, start, progress: As given.
        prompts: Text of each label of the windows.
        out: Directory of the training.
        key: Identifies all that decides the result, but the number of steps.
    """

    training: InpainterTraining
    preset: Preset
    windows: Windows
    prompts: tuple[str, ...]
    start: Start | None
    out: Path
    key: str
    progress: Progress

    @property
    def work(self) -> Path:
        return self.out / WORK

    @property
    def model_dir(self) -> Path:
        return self.out / "model"

    def stage(self, name: str, *, steps: int, batch_size: int, lr: float, ema: float) -> Stage:
        """Return a stage with its checkpoint in the working folder."""
        schedule = Schedule(steps, batch_size, lr, ema=ema, save_every=self.training.save_every)
        file = self.work / f"{name}.checkpoint"
        return Stage(name, schedule, file, self.key, self.training.seed, self.training.device, self.progress)

    def parts_at_start(self) -> dict[str, Any]:
        """Return all parts of the model but the autoencoder, before they are trained."""
        if self.start is None:
            return new_parts(self.preset, self.prompts, seed=self.training.seed)
        return {name: part for name, part in self.start.parts.items() if name != "vae"}

    def publish(self, parts: Mapping[str, Any], *, steps_done: int) -> None:
        """Write the model, unless it is there."""
        figures = {**asdict(self.training), "steps_done": steps_done}
        if read_figures(self.model_dir) != json.loads(json.dumps(figures)):
            save_pipeline(parts, self.model_dir, figures)


def _autoencoder(lesson: _Lesson) -> AutoencoderKL:
    """Return the autoencoder: that of the model to start from, or trained, or from the working folder."""
    training, start = lesson.training, lesson.start
    if start is not None and start.grown_from is None:
        kept: AutoencoderKL = start.parts["vae"].to(training.device).requires_grad_(False).eval()
        return kept
    model = start.parts["vae"] if start else new_autoencoder(lesson.preset, seed=training.seed)
    grown_from = start.grown_from if start else None
    lr = training.autoencoder_lr * (GROWN_LR if grown_from else 1)
    stage = lesson.stage(
        "autoencoder",
        steps=training.autoencoder_steps,
        batch_size=training.autoencoder_batch_size,
        lr=lr,
        ema=0.995,
    )

    def trained() -> dict[str, Any]:
        train_autoencoder(model, lesson.windows, preset=lesson.preset, stage=stage, grown_from=grown_from)
        return {"weights": model.state_dict(), "scaling_factor": model.config.scaling_factor}

    found = cached(lesson.work / "autoencoder.pt", lesson.key, trained)
    model.load_state_dict(found["weights"])
    model.register_to_config(scaling_factor=found["scaling_factor"])
    autoencoder: AutoencoderKL = model.to(training.device).requires_grad_(False).eval()
    return autoencoder


def _sharpened(lesson: _Lesson, autoencoder: AutoencoderKL) -> AutoencoderKL:
    """Return the autoencoder with a sharpened decoder, from the working folder where that stage has been finished."""
    training = lesson.training
    stage = lesson.stage(
        "decoder",
        steps=training.decoder_steps,
        batch_size=training.autoencoder_batch_size,
        lr=training.decoder_lr,
        ema=0.995,
    )

    def trained() -> dict[str, Any]:
        sharpen_decoder(autoencoder, lesson.windows, stage=stage)
        return {"weights": autoencoder.state_dict()}

    found = cached(lesson.work / "decoder.pt", f"{lesson.key} {training.decoder_steps}", trained)
    autoencoder.load_state_dict(found["weights"])
    return autoencoder


def _denoiser(lesson: _Lesson, autoencoder: AutoencoderKL) -> dict[str, Any]:
    """Return the other parts of the model, trained; the model is written with every checkpoint."""
    from augsynth.inpainting.aligned import AlignedInpainter, PipelineParts
    from augsynth.inpainting.options import PaintingOptions

    training, windows = lesson.training, lesson.windows
    latents = cached(
        lesson.work / "latents.pt",
        lesson.key,
        lambda: encode_windows(autoencoder, windows, device=training.device, progress=lesson.progress),
    )

    def on_save(parts: Mapping[str, Any], step: int) -> None:
        known = PipelineParts(**parts, vae=autoencoder)
        painter = AlignedInpainter(known, PaintingOptions(), negative_prompt="")
        write_samples(painter, windows, lesson.prompts, lesson.work / f"samples-{step:06d}.png")
        lesson.publish({**parts, "vae": autoencoder}, steps_done=step)

    stage = lesson.stage(
        "denoiser",
        steps=training.denoiser_steps,
        batch_size=training.denoiser_batch_size,
        lr=training.denoiser_lr,
        ema=0.9995,
    )
    return train_denoiser(
        lesson.parts_at_start(), windows, latents, lesson.prompts, stage=stage, on_save=on_save
    )


def _window_rules(training: InpainterTraining, preset: Preset) -> WindowRules:
    return WindowRules(
        size=preset.size,
        cell=preset.cell,
        num_windows=training.num_windows,
        symmetry=training.symmetry,
        balance=training.balance,
    )


def _prompts(dataset: Dataset, training: InpainterTraining) -> tuple[str, ...]:
    said = (category_prompt(category.name, template=training.template) for category in dataset.categories)
    return (BACKGROUND_PROMPT, *said)


def _check_names(dataset: Dataset) -> None:
    """Refuse categories with objects that are spoken of by the same word."""
    present = {int(c) for scene in dataset.scenes for c in scene.category_ids}
    check_distinct(
        [category for category in dataset.categories if category.id in present],
        {category.id: Words((tidy(category.name),)) for category in dataset.categories},
        advice="rename one of them in the annotation file, or merge the two",
    )


def _key(windows: Windows, training: InpainterTraining, start: Start | None) -> str:
    """Return a digest of all that decides the result, but the steps of the last two stages."""
    digest = hashlib.sha256()
    for array in (windows.images, windows.cells, windows.labels):
        digest.update(np.ascontiguousarray(array).tobytes())
    kept = {name: value for name, value in asdict(training).items() if name not in _FREE}
    digest.update(json.dumps(kept, sort_keys=True).encode())
    for path in sorted(start.folder.rglob("*.safetensors")) if start else ():
        digest.update(path.read_bytes())
    return digest.hexdigest()
