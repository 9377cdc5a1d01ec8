"""What a LoRA learns by: its loss, what a batch holds, what is preserved."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from augsynth.core.images import read_image
from augsynth.training.lora.latents import cache_latents, encode_texts
from augsynth.training.lora.objective import Draw, Objective, Pools
from augsynth.training.lora.train import add_adapters, load_base
from augsynth.training.windows import WindowRules
from tests.tiny_families import PROMPTS
from tests.tiny_loras import QUICK, ignore


def objective_of(folder, dataset, tmp_path, *, count=16, **options):
    training = replace(QUICK, model=str(folder), **options)
    painter = load_base(training)
    rules = WindowRules(painter.size, painter.cell, count)
    latents = cache_latents(
        dataset,
        partial(read_image, dataset),
        painter,
        rules=rules,
        seed=1,
        folder=tmp_path,
        key="",
        progress=ignore,
    )
    texts = encode_texts(painter, [PROMPTS[k % 2] for k in range(len(latents))])
    objective = Objective(
        painter.unet, painter.scheduler, latents, texts, plain=painter.plain, snr_gamma=training.snr_gamma,
        device="cpu",
    )  # fmt: skip
    return training, painter, objective, Pools.of(latents, texts, np.arange(1, 14))


@pytest.mark.parametrize("name", ["sd 9", "sd 4", "sdxl 9"])
def test_one_window_is_overfitted_by_the_adapters_alone(folders, dataset, tmp_path, name):
    training, painter, objective, pools = objective_of(folders(name), dataset, tmp_path)
    before = {key: value.clone() for key, value in painter.unet.state_dict().items()}
    parts = (painter.vae, *(encoder for _, encoder in painter.conditioner.encoders))
    others = [{key: value.clone() for key, value in part.state_dict().items()} for part in parts]
    parameters = add_adapters(painter.unet, replace(training, lora_rank=8), name=name)
    trained = {key for key, value in painter.unet.named_parameters() if value.requires_grad}
    assert trained and all(".lora_" in key for key in trained)
    same = np.repeat(pools.own[:1], 4)
    draw = Draw(same, pools.text_rows[same], np.array([100, 350, 600, 850]), np.zeros(4, bool), 5)
    optimizer = torch.optim.AdamW(parameters.parameters(), lr=2e-2)
    losses = []
    for _ in range(40):
        loss = objective.loss(draw)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]
    after = painter.unet.state_dict()
    for key, value in before.items():
        there = after[key] if key in after else after[key.replace(".weight", ".base_layer.weight").replace(
            ".bias", ".base_layer.bias")]  # fmt: skip
        assert torch.equal(there, value), key
    for part, kept in zip(parts, others, strict=True):
        assert all(torch.equal(part.state_dict()[key], value) for key, value in kept.items())


def test_the_prior_is_the_frozen_models_own_prediction(folders, dataset, tmp_path):
    training, painter, objective, pools = objective_of(folders("sd 9"), dataset, tmp_path)
    parameters = add_adapters(painter.unet, training, name="")
    picks = pools.own[:3]
    draw = Draw(picks, np.zeros(3, np.int64), np.array([10, 500, 990]), np.ones(3, bool), 5)
    with torch.no_grad():
        assert float(objective.loss(draw)) == 0, "new adapters change nothing"
        assert float(objective.loss(replace(draw, is_prior=np.zeros(3, bool)))) > 0.1
        for parameter in parameters:
            parameter.add_(0.3)
    loss = objective.loss(draw)
    assert float(loss.detach()) > 0
    loss.backward()
    assert all(parameter.grad is not None for parameter in parameters)


def test_a_batch_holds_what_it_should(folders, dataset, tmp_path):
    _, _, _, pools = objective_of(folders("sd 9"), dataset, tmp_path, count=60)
    assert len(pools.own) and len(pools.other)
    draw = pools.draw(4000, prior_share=0.25, seed=1, batch=7)
    again = pools.draw(4000, prior_share=0.25, seed=1, batch=7)
    assert np.array_equal(draw.picks, again.picks) and draw.noise_seed == again.noise_seed
    assert draw.noise_seed != pools.draw(4, prior_share=0.25, seed=1, batch=8).noise_seed
    assert 0.22 < draw.is_prior.mean() < 0.28
    learnt = ~draw.is_prior
    assert np.isin(draw.picks[learnt], pools.own).all()
    assert (draw.texts[learnt] == pools.text_rows[draw.picks[learnt]]).all()
    assert not len(pools.kept_rows), "objects to learn have both texts"
    assert 0.4 < (draw.texts[draw.is_prior] == 0).mean() < 0.6
    spoken = draw.is_prior & (draw.texts > 0)
    assert np.isin(draw.picks[spoken], pools.other).all()
    assert not pools.draw(100, prior_share=0.0, seed=1, batch=0).is_prior.any()
    alone = replace(pools, other=np.zeros(0, np.int64)).draw(400, prior_share=0.5, seed=1, batch=0)
    assert (alone.texts[alone.is_prior] == 0).all() and alone.is_prior.any()


def test_texts_of_categories_that_no_image_shows_are_preserved_too(folders, dataset, tmp_path):
    _, painter, objective, pools = objective_of(folders("sd 9"), dataset, tmp_path, count=60)
    labels = objective.latents.labels
    texts = encode_texts(painter, [PROMPTS[k % 2] for k in labels > 0], further=["a trumpet"])
    pools = Pools.of(objective.latents, texts, np.arange(1, 14))
    unshown = [row for row in range(1, 4) if row not in texts.of_window]
    assert len(unshown) == 1
    assert pools.kept_rows.tolist() == sorted({*unshown, *texts.of_window[labels == 0].tolist()})
    draw = pools.draw(4000, prior_share=0.5, seed=1, batch=7)
    assert set(draw.texts[~draw.is_prior].tolist()) == set(texts.of_window[labels > 0].tolist())
    heard = draw.is_prior & (draw.texts == unshown[0])
    assert 0.1 < heard.sum() / draw.is_prior.sum() < 0.25
    assert set(draw.picks[heard].tolist()) == set(range(60)), "whatever a window shows"


def test_min_snr_clips_what_has_little_noise(folders, dataset, tmp_path):
    _, painter, objective, _ = objective_of(folders("sd 9"), dataset, tmp_path)
    steps = torch.tensor([0, 400, 999])
    assert objective._emphasis(steps).tolist() == [1, 1, 1]
    weights = replace(objective, snr_gamma=5.0)._emphasis(steps)
    alpha = painter.scheduler.alphas_cumprod[steps]
    assert weights.tolist() == pytest.approx(torch.clamp(5 * (1 - alpha) / alpha, max=1).tolist(), rel=1e-4)
    assert weights[0] < 0.05 and weights[2] == 1


def test_gradient_checkpointing_gives_the_same_gradients(folders, dataset, tmp_path):
    found = []
    for option in (False, True):
        training, painter, objective, pools = objective_of(
            folders("sdxl 9"), dataset, tmp_path, gradient_checkpointing=option
        )
        parameters = add_adapters(painter.unet, training, name="")
        objective.loss(pools.draw(3, prior_share=0.5, seed=3, batch=0)).backward()
        found.append([parameter.grad.clone() for parameter in parameters])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))
    assert any(float(gradient.abs().max()) > 0 for gradient in found[0])
