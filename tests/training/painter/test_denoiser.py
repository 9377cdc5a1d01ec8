"""The denoiser: what it is shown, when, and what an error in the mask costs."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from augsynth.core.seeding import derive_rng
from augsynth.training.loop import Schedule, Stage, silent
from augsynth.training.painter.denoiser import (
    Denoising,
    encode_windows,
    new_parts,
    stratified_timesteps,
)
from augsynth.training.painter.presets import find_preset
from augsynth.training.windows import Windows

STAGE = Stage(
    "denoiser", Schedule(9, batch_size=64), Path("unused"), "", seed=1, device="cpu", progress=silent
)


def windows(num: int = 5) -> Windows:
    images = np.random.default_rng(0).integers(0, 256, (num, 8, 8, 3)).astype(np.uint8)
    cells = np.zeros((num, 4, 4), bool)
    cells[:, :2] = True  # half of the cells
    return Windows(images, cells, np.arange(num) % 2)


def test_timesteps_of_a_batch_are_spread_over_the_schedule() -> None:
    for count in (1, 7, 250):
        steps = np.sort(stratified_timesteps(count, derive_rng(3, count)).numpy())
        width = 1000 / count
        assert (np.floor(steps / width + 1e-9) == np.arange(count)).mean() > 0.98
        assert steps.min() >= 0 and steps.max() <= 999
    drawn = [int(stratified_timesteps(2, derive_rng(k))[0]) for k in range(40)]
    assert min(drawn) < 250 and max(drawn) > 750  # in no order


def test_windows_are_encoded_whole_and_with_their_mask_grey() -> None:
    class Same:
        """An autoencoder whose latents are the means of a cell's pixels."""

        config = SimpleNamespace(scaling_factor=0.5)

        def encode(self, pixels: torch.Tensor) -> SimpleNamespace:
            mean = torch.nn.functional.avg_pool2d(pixels, 2)
            return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean))

    told = []
    given = windows(70)
    whole, masked = encode_windows(Same(), given, device="cpu", progress=lambda *words: told.append(words[1]))
    assert whole.shape == masked.shape == (70, 3, 4, 4) and whole.dtype == torch.float16
    pixels = torch.from_numpy(given.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(
        whole.float(), 0.5 * torch.nn.functional.avg_pool2d(pixels, 2), atol=4e-3, rtol=0
    )
    assert (masked[:, :, :2] == 0).all() and torch.equal(masked[:, :, 2:], whole[:, :, 2:])
    assert told == [64, 70]


class Asked:
    """A network that errs by 1 in masked cells, or outside of them, and notes what it was shown."""

    def __init__(self, *, inside: bool) -> None:
        self.inside = inside

    def __call__(self, inputs: torch.Tensor, timesteps: torch.Tensor, words: torch.Tensor) -> SimpleNamespace:
        self.inputs, self.words = inputs, words
        mask = inputs[:, 4:5]
        return SimpleNamespace(sample=(mask if self.inside else 1 - mask).expand(-1, 4, -1, -1))


@pytest.mark.parametrize(("inside", "wanted"), [(True, 0.75), (False, 0.25)])
def test_an_error_in_the_mask_costs_three_times_as_much(inside: bool, wanted: float) -> None:
    class Still:
        """A schedule that adds nothing and whose target is 0."""

        def add_noise(self, z: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return z

        def get_velocity(self, z: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(z)

    latents = (torch.full((5, 4, 4, 4), 2.0), torch.full((5, 4, 4, 4), 3.0))
    unet = Asked(inside=inside)
    tokens = torch.arange(3)[:, None]

    def encoder(given: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=given[..., None].float())

    loss = Denoising(Still(), windows(), latents, tokens, STAGE)
    modules = {"unet": unet, "text_encoder": encoder}
    assert float(loss(modules, 0)) == pytest.approx(wanted)
    assert unet.inputs.shape == (64, 9, 4, 4)
    assert (unet.inputs[:, :4] == 2).all() and (unet.inputs[:, 5:] == 3).all()
    said = np.concatenate([(loss(modules, step), unet.words.flatten().numpy())[1] for step in range(20)])
    assert set(said.tolist()) == {0, 1, 2} and 0.07 < (said == 0).mean() < 0.13  # a tenth hears nothing


def test_new_parts_follow_from_the_seed() -> None:
    one, again, other = (
        new_parts(find_preset("tiny-32"), ["a cup", "a lid"], seed=seed) for seed in (1, 1, 2)
    )
    assert set(one) == {"unet", "text_encoder", "tokenizer", "scheduler"}
    names = list(one["unet"].state_dict())
    assert all(torch.equal(one["unet"].state_dict()[n], again["unet"].state_dict()[n]) for n in names)
    assert not all(torch.equal(one["unet"].state_dict()[n], other["unet"].state_dict()[n]) for n in names)
    ids = one["tokenizer"](["a cup", "a lid"]).input_ids
    assert ids[0] != ids[1]
