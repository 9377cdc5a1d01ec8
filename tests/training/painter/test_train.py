"""Training from scratch: windows, resuming, and the standard layout."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import ConfigError, ResumeError
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.inpainting.loading import load_inpainter
from augsynth.training.painter.options import InpainterTraining
from augsynth.training.painter.train import train_inpainter
from tests.tiny_kills import check_every_kill

CONFIG = InpainterTraining(
    preset="tiny-32",
    autoencoder_steps=6,
    decoder_steps=6,
    denoiser_steps=6,
    autoencoder_batch_size=4,
    denoiser_batch_size=4,
    num_windows=60,
    save_every=2,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    from augsynth.coco.reader import read_dataset
    from augsynth.sample import write_sample

    root = tmp_path_factory.mktemp("sample")
    return read_dataset(write_sample(root, num_images=8, seed=3, workers=1), images=root / "images")


def ignore(stage: str, step: int, steps: int, loss: float) -> None:
    pass


class Stop(Exception):
    pass


def stop_at(stage: str, step: int) -> Callable[[str, int, int, float], None]:
    def progress(now: str, done: int, steps: int, loss: float) -> None:
        if (now, done) == (stage, step):
            raise Stop

    return progress


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training that nothing stopped; what changes it takes a copy of the folder it lies in."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return train_inpainter(dataset, partial(read_image, dataset), training=CONFIG, out=out, progress=ignore)


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    files = sorted(folder.rglob("*.safetensors"))
    return {f"{f.relative_to(folder)}:{k}": v for f in files for k, v in load_file(f).items()}


@pytest.mark.parametrize("stop", [("autoencoder", 4), ("decoder", 4), ("denoiser", 4)])
def test_a_stopped_training_ends_as_if_it_had_not_been(
    dataset: Dataset, whole: Path, tmp_path: Path, stop: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from augsynth.training import loop

    clock = iter(range(0, 10**6, 2))  # progress is shown at most once a second
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(clock))}))
    read: Callable[[Scene], Image] = partial(read_image, dataset)
    with pytest.raises(Stop):
        train_inpainter(dataset, read, training=CONFIG, out=tmp_path / "cut", progress=stop_at(*stop))
    cut = train_inpainter(dataset, read, training=CONFIG, out=tmp_path / "cut", progress=ignore)
    expected, got = weights(whole), weights(cut)
    assert expected.keys() == got.keys()
    for name in expected:
        assert np.array_equal(expected[name], got[name]), name


def test_sharpening_changes_the_decoder_alone(dataset: Dataset, whole: Path, tmp_path: Path) -> None:
    read, config = partial(read_image, dataset), replace(CONFIG, decoder_steps=0)
    blurred = weights(train_inpainter(dataset, read, training=config, out=tmp_path, progress=ignore))
    sharp = weights(whole)
    assert blurred.keys() == sharp.keys()
    changed = {name for name in blurred if not np.array_equal(blurred[name], sharp[name])}
    assert {name.split(":")[1].split(".")[0] for name in changed} == {"decoder", "post_quant_conv"}


def test_the_model_loads_as_a_standard_pipeline_and_foreign_folders_are_refused(
    dataset: Dataset, whole: Path, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionInpaintPipeline
    from PIL import Image as PilImage

    read = partial(read_image, dataset)
    folder = shutil.copytree(whole.parent, tmp_path / "run") / whole.name
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    blank = PilImage.new("RGB", (32, 32))
    result = pipeline("a photo of a can", blank, blank, height=32, width=32, num_inference_steps=2)
    assert result.images[0].size == (32, 32)
    assert pipeline.unet.config.in_channels == 9
    assert {v.dtype for v in weights(folder).values() if v.dtype.kind == "f"} == {np.dtype(np.float16)}
    assert list((tmp_path / "run" / "training").glob("samples-*.png"))
    decoder_alone = replace(CONFIG, denoiser_steps=0)
    decoder, all_of_it = {"decoder", "post_quant_conv"}, {"unet", "text_encoder", "vae"}
    for name, config, wanted in (("all", CONFIG, all_of_it), ("decoder", decoder_alone, {"vae"})):
        further = train_inpainter(
            dataset, read, training=config, out=tmp_path / name, progress=ignore, start_from=folder
        )
        first, second = weights(folder), weights(further)
        assert first.keys() == second.keys()
        changed = {name for name in first if not np.array_equal(first[name], second[name])}
        assert {name.split("/")[0] for name in changed} == wanted
        of_vae = {name.split(":")[1].split(".")[0] for name in changed if name.startswith("vae")}
        assert of_vae == decoder
    larger = train_inpainter(
        dataset,
        read,
        training=replace(CONFIG, window_size=40),
        out=tmp_path / "larger",
        progress=ignore,
        start_from=folder,
    )
    assert load_inpainter(str(larger)).size == 40
    further = train_inpainter(
        dataset, read, training=CONFIG, out=tmp_path / "further", progress=ignore, start_from=larger
    )
    assert load_inpainter(str(further)).size == 40
    with pytest.raises(ConfigError, match=r"window_size is 41; it must be a multiple of 4"):
        train_inpainter(
            dataset, read, training=replace(CONFIG, window_size=41), out=tmp_path / "odd", progress=ignore
        )
    with pytest.raises(ConfigError, match="denoiser_steps"):
        train_inpainter(dataset, read, training=decoder_alone, out=tmp_path / "new", progress=ignore)
    with pytest.raises(ConfigError, match="preset"):
        train_inpainter(
            dataset,
            read,
            training=replace(CONFIG, preset="fast-64"),
            out=tmp_path / "other",
            progress=ignore,
            start_from=folder,
        )
    with pytest.raises(ResumeError, match="--out"):
        train_inpainter(
            dataset, read, training=replace(CONFIG, seed=7), out=tmp_path / "run", progress=ignore
        )
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ConfigError, match=r"start: .*can't be loaded"):
        train_inpainter(
            dataset, read, training=CONFIG, out=tmp_path / "cut", progress=ignore, start_from=folder
        )
    assert not (tmp_path / "cut").exists()


def test_a_training_that_was_killed_at_any_write_ends_with_the_same_bytes(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(
        CONFIG, autoencoder_steps=1, decoder_steps=1, denoiser_steps=2, num_windows=8, save_every=1
    )

    def train(folder: Path) -> None:
        train_inpainter(
            dataset, partial(read_image, dataset), training=training, out=folder / "out", progress=ignore
        )

    check_every_kill(train, tmp_path, monkeypatch, results=["out/model/", "out/training/samples"], most=3)


def test_a_foreign_folder_is_refused_before_any_work(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")

    def read(scene: Scene) -> Image:
        pytest.fail("it works")

    for out, says in ((tmp_path, "isn't an empty folder"), (tmp_path / "photo.jpg" / "x", "isn't a folder")):
        with pytest.raises(ConfigError, match=says):
            train_inpainter(dataset, read, training=CONFIG, out=out, progress=ignore)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_more_steps_of_the_decoder_reach_the_model(dataset: Dataset, tmp_path: Path) -> None:
    read, found = partial(read_image, dataset), []
    short = replace(CONFIG, autoencoder_steps=1, denoiser_steps=1, num_windows=8)
    for steps in (1, 2):
        training = replace(short, decoder_steps=steps)
        found.append(
            weights(train_inpainter(dataset, read, training=training, out=tmp_path, progress=ignore))
        )
    changed = {name for name in found[0] if not np.array_equal(found[0][name], found[1][name])}
    assert changed and {n.split(":")[1].split(".")[0] for n in changed} <= {"decoder", "post_quant_conv"}
    with pytest.raises(ResumeError, match="another model, dataset or configuration"):
        train_inpainter(
            dataset, read, training=replace(short, autoencoder_steps=2), out=tmp_path, progress=ignore
        )
