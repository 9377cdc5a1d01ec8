"""More latent channels or a larger window for a trained model: it paints as before, and comes out standard."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from augsynth.coco.reader import read_dataset
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.inpainting.loading import load_inpainter
from augsynth.inpainting.port import InpaintRequest
from augsynth.sample import write_sample
from augsynth.training.loop import Schedule, Stage
from augsynth.training.painter import autoencoder
from augsynth.training.painter.growth import even_out, grow_latents, grow_window
from augsynth.training.painter.options import InpainterTraining
from augsynth.training.painter.presets import (
    PRESETS,
    Preset,
    build_autoencoder,
    build_denoiser,
    build_scheduler,
    find_preset,
)
from augsynth.training.painter.train import train_inpainter
from augsynth.training.windows import Windows

CONFIG = InpainterTraining(
    preset="tiny-32",
    autoencoder_steps=30,
    decoder_steps=2,
    denoiser_steps=2,
    autoencoder_batch_size=4,
    denoiser_batch_size=4,
    num_windows=48,
    save_every=100,
)


def ignore(*_):
    pass


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(3)
    preset = find_preset("tiny-32")
    parts = {
        "vae": build_autoencoder(preset).eval(),
        "unet": build_denoiser(preset).eval(),
        "tokenizer": "its own",
    }
    return {**parts, "vae": parts["vae"].requires_grad_(False), "unet": parts["unet"].requires_grad_(False)}


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.no_grad()
def test_a_grown_model_paints_as_before(parts, pictures):
    grown = grow_latents(parts, 7, seed=1)
    assert grown["tokenizer"] == "its own"
    old, new = (p["vae"].encode(pictures).latent_dist for p in (parts, grown))
    torch.testing.assert_close(new.mean[:, :4], old.mean)
    torch.testing.assert_close(new.logvar[:, :4], old.logvar)
    spread = new.mean[:, 4:].std(dim=(0, 2, 3))
    assert spread.min() > 0
    assert (new.std[:, 4:].amax(dim=(0, 2, 3)) < 0.1 * spread).all(), (
        "samples of the posterior are as good as its mean"
    )
    before = parts["vae"].decode(old.mean).sample
    torch.testing.assert_close(grown["vae"].decode(new.mean).sample, before)
    t, words = torch.tensor([7, 500, 999]), torch.randn(3, 4, 16)
    noisy, context, extra = torch.randn(3, 3, 7, 16, 16)
    mask = torch.rand(3, 1, 16, 16)
    noisy[:, 4:], context[:, 4:] = extra[:, :3], extra[:, 3:6]
    wanted = parts["unet"](torch.cat([noisy[:, :4], mask, context[:, :4]], 1), t, words).sample
    found = grown["unet"](torch.cat([noisy, mask, context], 1), t, words).sample
    torch.testing.assert_close(found[:, :4], wanted, atol=1e-5, rtol=1e-5)
    assert not found[:, 4:].any()


@torch.no_grad()
def test_new_channels_get_the_spread_of_the_old_and_pictures_stay(parts, pictures):
    vae = grow_latents(parts, 6, seed=1)["vae"]
    torch.nn.init.normal_(vae.decoder.conv_in.weight, std=0.2)
    latents = vae.encode(pictures).latent_dist.mean
    before = vae.decode(latents).sample
    vae.register_to_config(scaling_factor=0.5)
    even_out(vae, latents, kept=4)
    after = vae.encode(pictures).latent_dist
    torch.testing.assert_close(after.mean[:, :4], latents[:, :4])
    assert after.mean[:, 4:].std(dim=(0, 2, 3)).tolist() == pytest.approx([2, 2], rel=1e-3)
    torch.testing.assert_close(vae.decode(after.mean).sample, before, atol=1e-5, rtol=1e-4)


def test_no_kl_term_widens_what_is_new(parts, tmp_path, monkeypatch):
    """New channels that tell little would otherwise become noise, many times their signal."""
    monkeypatch.setattr(autoencoder, "KL_WEIGHT", 0.1)
    rng = np.random.default_rng(0)
    flat = np.repeat(rng.integers(90, 160, (24, 1, 1, 3)), 32, 1).repeat(32, 2).astype(np.uint8)
    windows = Windows(flat, np.zeros((24, 16, 16), bool), np.zeros(24, np.int64))
    former = copy.deepcopy(parts["vae"])
    trained = grow_latents({**parts, "vae": former}, 6, seed=1)["vae"]
    schedule = Schedule(80, 4, 0.02, warmup=0, ema=0.9)
    autoencoder.train_autoencoder(
        trained,
        windows,
        preset=replace(find_preset("tiny-32"), latent_channels=6),
        stage=Stage("autoencoder", schedule, tmp_path / "checkpoint", "any", 1, "cpu", ignore),
        grown_from=former,
    )
    with torch.no_grad():
        found = trained.encode(torch.from_numpy(flat).permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist
    spread = found.mean[:, 4:].std(dim=(0, 2, 3))
    assert (found.std[:, 4:].mean(dim=(0, 2, 3)) < 0.2 * spread).all()


def test_a_started_training_grows_and_its_model_paints(tmp_path):
    annotations = write_sample(tmp_path / "data", num_images=10, seed=3)
    dataset = read_dataset(annotations, images=tmp_path / "data" / "images")
    read = partial(read_image, dataset)
    first = train_inpainter(dataset, read, training=CONFIG, out=tmp_path / "first", progress=ignore)
    said = []
    grown = train_inpainter(
        dataset,
        read,
        training=replace(CONFIG, latent_channels=8, autoencoder_steps=60, decoder_steps=0),
        out=tmp_path / "grown",
        progress=lambda stage, *_: said.append(stage),
        start_from=first,
    )
    assert [stage for stage in said if stage.startswith("autoencoder, ")]
    painter = load_inpainter(str(grown), batch_size=2, precision="float32")
    former = load_inpainter(str(first), batch_size=2, precision="float32")
    assert painter.unet.config.in_channels == 17 and painter.unet.config.out_channels == 8
    assert painter.vae.config.scaling_factor == former.vae.config.scaling_factor
    image = read(dataset.scenes[0])[:32, :32]
    cells = np.zeros((16, 16), bool)
    cells[4:12, 4:12] = True
    (picture,) = painter.inpaint([InpaintRequest(image, cells, "a photo of a can", 5)])
    assert picture.shape == (32, 32, 3) and np.isfinite(picture).all()
    # The old channels are held to what they were.
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        old, new = (p.vae.encode(pixels).latent_dist.mean for p in (former, painter))
    assert (new[:, :4] - old).abs().mean() < 0.3 * old.abs().mean()
    for config, words in ((replace(CONFIG, latent_channels=3), "has 4"), (zero_steps(8), "denoiser_steps")):
        with pytest.raises(ConfigError, match=words):
            train_inpainter(
                dataset, read, training=config, out=tmp_path / "bad", progress=ignore, start_from=first
            )


def zero_steps(num_channels):
    return replace(CONFIG, latent_channels=num_channels, denoiser_steps=0)


def test_a_new_model_has_as_many_channels_as_asked_for():
    preset = replace(find_preset("tiny-32"), latent_channels=6)
    assert build_autoencoder(preset).config.latent_channels == 6
    assert build_denoiser(preset).config.in_channels == 13


@torch.no_grad()
def test_with_a_level_more_it_does_at_half_the_resolution_what_it_did():
    """To the last digit, where the layers at either end look at one cell and not at its neighbours."""
    torch.manual_seed(5)
    unet = build_denoiser(find_preset("tiny-32")).eval()
    for layer in (unet.conv_in, unet.conv_out):
        centre = layer.weight[:, :, 1, 1].clone()
        layer.weight.zero_()
        layer.weight[:, :, 1, 1] = centre
    scheduler = build_scheduler(find_preset("tiny-32"))
    grown = grow_window({"unet": unet, "vae": "its own", "scheduler": scheduler})
    assert grown["vae"] == "its own"
    larger = grown["unet"].eval()
    assert larger.config.sample_size == 32
    kept, shifted = (s.alphas_cumprod.double() for s in (scheduler, grown["scheduler"]))
    assert shifted[-1] == kept[-1] == 0, "pure noise at the end"
    ratios = (kept / (1 - kept))[:-1] / (shifted / (1 - shifted))[:-1]
    np.testing.assert_allclose(ratios, 4, rtol=1e-3)
    latents, words = torch.randn(2, 9, 16, 16), torch.randn(2, 5, 16)
    steps = torch.tensor([20, 900])
    enlarged = latents.repeat_interleave(2, -1).repeat_interleave(2, -2)
    answer = larger(enlarged, steps, words).sample
    before = unet(latents, steps, words).sample
    torch.testing.assert_close(answer[:, :, ::2, ::2], before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answer[:, :, 1::2, 1::2], before, rtol=1e-4, atol=1e-5)


def test_a_model_goes_on_with_twice_the_window(tmp_path, monkeypatch):
    monkeypatch.setitem(
        PRESETS, "tiny-64", Preset(64, (8, 16), (16, 16, 32), (False, False, True), text_width=16)
    )
    monkeypatch.setitem(
        PRESETS, "odd-64", Preset(64, (8, 16), (16, 32, 32), (False, False, True), text_width=16)
    )
    annotations = write_sample(tmp_path / "sample", num_images=6, seed=2)
    dataset = read_dataset(annotations, images=tmp_path / "sample" / "images")
    read = partial(read_image, dataset)
    first = train_inpainter(dataset, read, training=CONFIG, out=tmp_path / "first", progress=ignore)
    asked = replace(CONFIG, preset="tiny-64")
    second = train_inpainter(
        dataset, read, training=asked, out=tmp_path / "second", progress=ignore, start_from=first
    )
    painter = load_inpainter(str(second), steps=2)
    assert (painter.size, painter.cell) == (64, 2)
    cells = np.zeros((32, 32), bool)
    cells[8:20, 8:20] = True
    window = read(dataset.scenes[0])[:64, :64]
    (picture,) = painter.inpaint([InpaintRequest(window, cells, "a photo of a can", 1)])
    assert picture.shape == (64, 64, 3)
    with pytest.raises(ConfigError, match=r"start: the unet of .* has \(16, 32\) channels.*preset"):
        train_inpainter(
            dataset,
            read,
            training=replace(CONFIG, preset="odd-64"),
            out=tmp_path / "third",
            progress=ignore,
            start_from=first,
        )
