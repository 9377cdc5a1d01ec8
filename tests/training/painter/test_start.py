"""A model to go on from: taken as it is, grown where more is asked, or refused in one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from augsynth.core.errors import ConfigError
from augsynth.training.painter.options import InpainterTraining
from augsynth.training.painter.presets import find_preset
from augsynth.training.painter.start import open_start

TINY = InpainterTraining(preset="tiny-32")


def test_a_new_model_has_the_sizes_of_its_preset_or_those_asked_for() -> None:
    assert open_start(TINY, None) == (find_preset("tiny-32"), None)
    preset, start = open_start(replace(TINY, window_size=48, latent_channels=6), None)
    assert start is None and (preset.size, preset.latent_channels) == (48, 6)


def test_a_model_is_taken_as_it_is(tiny_checkpoint: Path) -> None:
    for channels in (None, 4):
        preset, start = open_start(replace(TINY, latent_channels=channels, denoiser_steps=0), tiny_checkpoint)
        assert start is not None and start.folder == tiny_checkpoint and start.grown_from is None
        assert set(start.parts) == {"vae", "unet", "text_encoder", "tokenizer", "scheduler"}
        assert preset.size == 32 and start.parts["unet"].config.sample_size == 16


def test_a_model_grows_where_more_is_asked(tiny_checkpoint: Path) -> None:
    preset, start = open_start(replace(TINY, latent_channels=6, window_size=48), tiny_checkpoint)
    assert start is not None and start.grown_from is not None
    assert (preset.latent_channels, preset.size) == (6, 48)
    assert start.grown_from.config.latent_channels == 4
    assert start.parts["vae"].config.latent_channels == 6
    assert start.parts["unet"].config.in_channels == 2 * 6 + 1
    assert start.parts["unet"].config.sample_size == 24


@pytest.mark.parametrize(
    ("changes", "start", "says"),
    [
        ({"denoiser_steps": 0}, None, "denoiser_steps is 0: only a model that --start names can do without"),
        (
            {"denoiser_steps": 0, "latent_channels": 6},
            "tiny",
            "latent_channels changes what the denoiser sees",
        ),
        ({"latent_channels": 2}, "tiny", "latent_channels"),
        ({"window_size": 33}, "tiny", "window_size is 33; it must be a multiple of 4"),
        ({"preset": "fast-64"}, "tiny", r"start: the vae of .* has \(8, 16\) channels"),
        ({"preset": "huge"}, None, "preset 'huge' is unknown; choose one of tiny-32"),
        ({}, "no/such/model/there", "start: "),
    ],
)
def test_what_does_not_fit_is_refused(
    tiny_checkpoint: Path,
    changes: dict[str, Any],
    start: str | None,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=says):
        open_start(replace(TINY, **changes), tiny_checkpoint if start == "tiny" else start)


def test_a_damaged_model_is_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "damaged"
    shutil.copytree(tiny_checkpoint, folder)
    next((folder / "unet").glob("*.safetensors")).write_bytes(b"cut off")
    with pytest.raises(ConfigError, match=r"start: .*damaged can't be loaded \("):
        open_start(TINY, folder)
