"""Training from scratch: windows, resuming, and the standard layout."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from augsynth.core.errors import ConfigError, DatasetError, ResumeError
from augsynth.core.images import read_image
from augsynth.core.scene import Category, Dataset, Image, Scene
from augsynth.inpainting.loading import load_inpainter
from augsynth.training.loop import Schedule
from augsynth.training.painter.autoencoder import principal_kernel
from augsynth.training.painter.options import InpainterTraining
from augsynth.training.painter.presets import build_tokenizer
from augsynth.training.painter.train import train_inpainter
from augsynth.training.windows import WindowRules, cut_windows

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


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    files = sorted(folder.rglob("*.safetensors"))
    return {f"{f.relative_to(folder)}:{k}": v for f in files for k, v in load_file(f).items()}


def test_windows_hold_their_objects(dataset: Dataset) -> None:
    rules = WindowRules(size=64, cell=4, num_windows=120, symmetry="dihedral")
    windows = cut_windows(dataset, partial(read_image, dataset), rules=rules, seed=1)
    assert windows.images.shape[1:] == (64, 64, 3)
    assert windows.cells.shape[1:] == (16, 16)
    assert len(windows.images) == len(windows.labels) > 100
    assert (windows.cells.sum((1, 2)) > 0).all()
    assert set(windows.labels.tolist()) <= set(range(len(dataset.categories) + 1))
    assert 0 < (windows.labels == 0).mean() < 0.3
    again = cut_windows(dataset, partial(read_image, dataset), rules=rules, seed=1)
    assert np.array_equal(windows.images, again.images) and np.array_equal(windows.labels, again.labels)


def test_the_object_is_under_the_mask() -> None:
    box = np.array([[40.0, 30.0, 60.0, 44.0]])
    scene = Scene(1, "a.png", (120, 90), box, np.array([5]), np.array([1]), np.array([False]))
    data = Dataset((Category(5, "can"),), (scene,), {}, Path("a.json"))
    picture = np.zeros((90, 120, 3), np.uint8)
    picture[30:44, 40:60] = 255
    rules = WindowRules(size=32, cell=4, num_windows=40, background_share=0.0, symmetry="dihedral")
    windows = cut_windows(data, lambda _: picture, rules=rules, seed=0)
    hole = np.kron(windows.cells, np.ones((1, 4, 4), bool)).astype(bool)
    white = windows.images.mean(-1) > 128
    assert white.any((1, 2)).all()
    assert not (white & ~hole).any()
    assert (windows.labels == 1).all()


def test_rare_categories_are_drawn_more_often_than_they_occur() -> None:
    boxes = np.array([[10.0 + i, 10, 30 + i, 30] for i in range(20)])
    scene = Scene(1, "a", (64, 64), boxes, np.array([1] * 19 + [2]), np.arange(1, 21), np.zeros(20, bool))
    data = Dataset((Category(1, "a"), Category(2, "b")), (scene,), {}, Path("a.json"))
    rules = WindowRules(size=32, cell=4, num_windows=400, background_share=0.0, balance=1.0)
    windows = cut_windows(data, lambda _: np.zeros((64, 64, 3), np.uint8), rules=rules, seed=0)
    assert 0.45 < (windows.labels == 2).mean() < 0.55


def test_nothing_to_learn_from_is_said(dataset: Dataset) -> None:
    empty = Dataset(dataset.categories, (Scene(1, "a.jpg", (64, 64)),), {}, Path("empty.json"))
    with pytest.raises(DatasetError, match=r"empty\.json.*annotate"):
        cut_windows(empty, partial(read_image, dataset), rules=WindowRules(32, 4, 10), seed=0)
    with pytest.raises(ConfigError, match="symmetry"):
        WindowRules(32, 4, 10, symmetry="round")


def test_the_tokenizer_spells_what_it_does_not_know() -> None:
    tokenizer = build_tokenizer(["a photo of a can", "background"])
    assert len(tokenizer.tokenize("a photo of a can")) == 5
    assert tokenizer("zebra 병").input_ids.count(tokenizer.eos_token_id) == 1


def test_the_learning_rate_rises_and_falls() -> None:
    schedule = Schedule(steps=1000, lr=1.0, warmup=100)
    rates = [schedule.lr_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) > 0.95
    assert rates[-1] == pytest.approx(0.02, abs=0.002)


@pytest.mark.parametrize("stop", [("autoencoder", 4), ("decoder", 4), ("denoiser", 4)])
def test_a_stopped_training_ends_as_if_it_had_not_been(
    dataset: Dataset, tmp_path: Path, stop: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from augsynth.training import loop

    clock = iter(range(0, 10**6, 2))  # progress is shown at most once a second
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(clock))}))
    read: Callable[[Scene], Image] = partial(read_image, dataset)
    whole = train_inpainter(dataset, read, training=CONFIG, out=tmp_path / "whole", progress=ignore)
    with pytest.raises(Stop):
        train_inpainter(dataset, read, training=CONFIG, out=tmp_path / "cut", progress=stop_at(*stop))
    cut = train_inpainter(dataset, read, training=CONFIG, out=tmp_path / "cut", progress=ignore)
    expected, got = weights(whole), weights(cut)
    assert expected.keys() == got.keys()
    for name in expected:
        assert np.array_equal(expected[name], got[name]), name


def test_sharpening_changes_the_decoder_alone(dataset: Dataset, tmp_path: Path) -> None:
    from dataclasses import replace

    read = partial(read_image, dataset)
    blurred, sharp = (
        weights(train_inpainter(dataset, read, training=config, out=tmp_path / name, progress=ignore))
        for name, config in (("blurred", replace(CONFIG, decoder_steps=0)), ("sharp", CONFIG))
    )
    assert blurred.keys() == sharp.keys()
    changed = {name for name in blurred if not np.array_equal(blurred[name], sharp[name])}
    assert {name.split(":")[1].split(".")[0] for name in changed} == {"decoder", "post_quant_conv"}


def test_the_model_loads_as_a_standard_pipeline_and_foreign_folders_are_refused(
    dataset: Dataset, tmp_path: Path
) -> None:
    from dataclasses import replace

    from diffusers import StableDiffusionInpaintPipeline
    from PIL import Image as PilImage

    read = partial(read_image, dataset)
    folder = train_inpainter(dataset, read, training=CONFIG, out=tmp_path / "run", progress=ignore)
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


def test_principal_components_of_blocks_have_unit_variance_and_tell_hues_apart() -> None:
    rng = np.random.default_rng(0)
    hues = np.array([[150, 100, 100], [100, 150, 100], [100, 100, 150], [125, 125, 125]])
    images = np.repeat(np.repeat(hues[rng.integers(4, size=(24, 8, 8))], 4, 1), 4, 2).astype(np.uint8)
    kernel = principal_kernel(images, cell=4, num_channels=2)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    found = torch.nn.functional.conv2d(pixels, kernel, stride=4)
    assert kernel.shape == (2, 3, 4, 4)
    assert found.std((0, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.02)
    means = [found.permute(0, 2, 3, 1)[(images[:, ::4, ::4] == hue).all(-1)].mean(0) for hue in hues[:3]]
    assert min(float((a - b).norm()) for i, a in enumerate(means) for b in means[:i]) > 1
