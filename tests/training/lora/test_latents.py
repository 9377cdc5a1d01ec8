"""Windows as latents and texts as conditions: each encoded once, whatever the chunks."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from augsynth.core.images import read_image
from augsynth.training.lora import latents as module
from augsynth.training.lora.latents import cache_latents, encode_chunk, encode_texts
from augsynth.training.lora.train import load_base
from augsynth.training.windows import WindowRules, cut_windows
from tests.tiny_families import PROMPTS
from tests.tiny_loras import QUICK, ignore


@pytest.fixture(scope="module")
def painter(folders):
    return load_base(replace(QUICK, model=str(folders("sd 9"))))


def rules_for(painter, count):
    return WindowRules(painter.size, painter.cell, count)


def test_chunks_are_taken_as_they_are_until_the_key_changes(painter, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)
    told, read = [], []

    def reading(scene):
        read.append(scene.image_id)
        return read_image(dataset, scene)

    def cache(key="one", count=10):
        read.clear()
        return cache_latents(
            dataset, reading, painter, rules=rules_for(painter, count), seed=1, folder=tmp_path, key=key,
            progress=lambda stage, step, steps, loss: told.append((stage, step, steps)),
        )  # fmt: skip

    first = cache()
    assert read and told == [("encoding", 4, 10), ("encoding", 8, 10), ("encoding", 10, 10)]
    assert len(first) == 10 and sorted(p.name for p in tmp_path.iterdir()) == [
        "0000000.pt", "0000004.pt", "0000008.pt",
    ]  # fmt: skip
    again = cache()
    assert not read and torch.equal(first.whole, again.whole) and (first.labels == again.labels).all()
    more = cache(count=12)
    assert read and torch.equal(first.whole[:8], more.whole[:8])
    cache(key="two")
    assert read


def test_a_window_is_encoded_whole_and_with_its_mask_greyed_out(painter, dataset):
    windows = cut_windows(dataset, partial(read_image, dataset), rules=rules_for(painter, 6), seed=2)
    found = encode_chunk(painter, windows)
    side = painter.size // painter.cell
    assert found["whole"].shape == found["masked"].shape and found["whole"].shape[-2:] == (side, side)
    assert found["cells"].shape == (len(windows.labels), 1, side, side)
    grey = windows.images.astype(np.float32) / 127.5 - 1
    grey[np.kron(windows.cells, np.ones((painter.cell, painter.cell), bool)).astype(bool)] = 0
    for pixels, got in (
        (windows.images.astype(np.float32) / 127.5 - 1, found["whole"]),
        (grey, found["masked"]),
    ):
        with torch.no_grad():
            wanted = painter.vae.encode(torch.from_numpy(pixels).permute(0, 3, 1, 2)).latent_dist.mean
        torch.testing.assert_close(
            got.float(), wanted * painter.vae.config.scaling_factor, atol=2e-3, rtol=2e-3
        )


def test_a_plain_model_is_not_shown_masked_windows(folders, dataset, tmp_path):
    plain = load_base(replace(QUICK, model=str(folders("sd 4"))))
    found = cache_latents(
        dataset, partial(read_image, dataset), plain, rules=rules_for(plain, 5), seed=1, folder=tmp_path, key="",
        progress=ignore,
    )  # fmt: skip
    assert len(found) == 5 and found.whole.shape[1] == 4 and found.masked.numel() == 0


def test_each_text_is_encoded_once_and_row_0_is_no_text(painter):
    texts = encode_texts(painter, [PROMPTS[1], PROMPTS[0], PROMPTS[1]], further=["a trumpet", PROMPTS[0]])
    table = sorted({PROMPTS[0], PROMPTS[1], "a trumpet"})
    assert texts.of_window.tolist() == [1 + table.index(PROMPTS[k]) for k in (1, 0, 1)]
    assert len(texts.condition.words) == 4
    with torch.no_grad():
        nothing = painter.conditioner.unwanted([""]).words
        wanted = painter.conditioner.wanted([PROMPTS[1]]).words
    chosen = texts.rows(np.array([0, texts.of_window[0]]), "cpu")
    torch.testing.assert_close(chosen.words, torch.cat([nothing, wanted]))
    assert chosen.pooled is None and chosen.sizes is None
