"""Sharpening: the decoder and its critic each follow their own part of the loss; the encoder stays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from augsynth.training.loop import Schedule, Stage, silent
from augsynth.training.painter.decoder import Sharpening, build_critic, sharpen_decoder
from augsynth.training.painter.presets import build_autoencoder, find_preset
from augsynth.training.windows import Windows


def stage_in(folder: Path, steps: int = 3) -> Stage:
    schedule = Schedule(steps, batch_size=4, lr=1e-3, warmup=0, ema=0.0, save_every=100)
    return Stage(
        "decoder",
        schedule,
        folder / "decoder.pt",
        "key",
        seed=1,
        device="cpu",
        progress=silent,
        precision="no",
    )


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return build_autoencoder(find_preset("tiny-32")).requires_grad_(False)


@pytest.fixture
def windows() -> Windows:
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    return Windows(images, np.zeros((6, 16, 16), bool), np.zeros(6, np.int64))


def test_the_critic_looks_at_patches(autoencoder) -> None:
    critic = build_critic()
    pixels = torch.rand(2, 3, 32, 32)
    *features, scores = critic(pixels)
    assert [tuple(f.shape) for f in features] == [(2, 32, 32, 32), (2, 64, 16, 16), (2, 96, 8, 8)]
    assert scores.shape == (2, 1, 8, 8)
    elsewhere = pixels.clone()
    elsewhere[..., 24:, 24:] = 0
    changed = (critic.eval()(elsewhere)[-1] - critic(pixels)[-1]).abs()[:, 0] > 1e-6
    assert changed[:, 7, 7].all() and not changed[:, :4, :4].any()


def test_neither_player_has_a_gradient_in_the_others_part(autoencoder, windows, tmp_path: Path) -> None:
    players = torch.nn.ModuleDict(
        {
            "decoder": autoencoder.decoder.requires_grad_(True),
            "post_quant_conv": autoencoder.post_quant_conv.requires_grad_(True),
            "critic": build_critic().eval(),
        }
    )
    loss = Sharpening(autoencoder, torch.from_numpy(windows.images), stage_in(tmp_path))
    assert (
        float(loss(players, 3).detach())
        == float(loss(players, 3).detach())
        != float(loss(players, 4).detach())
    )
    loss(players, 3).backward()
    got = [parameter.grad.clone() for parameter in players["critic"].parameters()]
    # The critic's own part: real patches are to score higher than decoded ones.
    pixels, latents = loss._batch(3)
    with torch.no_grad():
        decoded = players["decoder"](players["post_quant_conv"](latents)).float()
    players.zero_grad()
    critic = players["critic"]
    torch.nn.functional.softplus(critic(decoded)[-1] - critic(pixels)[-1]).mean().backward()
    for mine, parameter in zip(got, critic.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-3, atol=1e-6)
    assert any(float(gradient.abs().max()) > 0 for gradient in got)


def test_the_decoder_alone_changes(autoencoder, windows, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    sharpen_decoder(autoencoder, windows, stage=stage_in(tmp_path))
    changed = {
        name for name, value in autoencoder.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed and {name.split(".")[0] for name in changed} == {"decoder", "post_quant_conv"}
    assert not any(parameter.requires_grad for parameter in autoencoder.parameters())
    assert not autoencoder.training
