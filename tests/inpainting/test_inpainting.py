"""The aligned sampler against diffusers' own pipeline, and what alignment promises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.seeding import derive_rng
from augsynth.inpainting.aligned import AlignedInpainter, PipelineParts
from augsynth.inpainting.loading import load_inpainter
from augsynth.inpainting.options import PaintingOptions
from augsynth.inpainting.port import InpaintRequest
from augsynth.inpainting.stitching import mask_cells

PROMPTS = ("a photo of a can", "a photo of a bottle", "background")


def make_request(number: int) -> InpaintRequest:
    image = derive_rng(number, "image").integers(0, 256, (32, 32, 3)).astype(np.uint8)
    low = np.array([4.0 + 2 * number, 6.0])
    box = np.concatenate([low, low + np.array([14.0, 11.0 + number])])
    cells = mask_cells(box, np.array([0, 0, 32, 32]), num_cells=16)
    return InpaintRequest(image, cells, PROMPTS[number % 3], 100 + number)


def aligned(parts: dict[str, object], **options: object) -> AlignedInpainter:
    return AlignedInpainter(PipelineParts(**parts), PaintingOptions(**options), negative_prompt="")


def pipeline_latents(
    parts: dict[str, object], request: InpaintRequest, *, guidance: float, steps: int
) -> np.ndarray:
    import torch
    from diffusers import StableDiffusionInpaintPipeline
    from PIL import Image

    pipeline = StableDiffusionInpaintPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    mask = np.kron(request.cells, np.ones((2, 2), bool)).astype(np.uint8) * 255
    result = pipeline(
        prompt=request.prompt,
        image=Image.fromarray(request.image),
        mask_image=Image.fromarray(mask),
        height=32,
        width=32,
        strength=1.0,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(request.seed),
        output_type="latent",
    )
    return np.asarray(result.images)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_without_alignment_it_equals_the_diffusers_pipeline(
    tiny_parts: dict[str, object], guidance: float, number: int
) -> None:
    request = make_request(number)
    painter = aligned(tiny_parts, steps=7, guidance=guidance, alignment="off", sampler="ddim")
    ours = painter.sample_latents([request])
    theirs = pipeline_latents(tiny_parts, request, guidance=guidance, steps=7)
    assert np.abs(ours.numpy() - theirs).max() <= 1e-4
    assert np.abs(theirs).max() > 0.1


@pytest.mark.parametrize("alignment", ["off", "renoise"])
def test_a_result_does_not_depend_on_its_batch(tiny_parts: dict[str, object], alignment: str) -> None:
    requests = [make_request(n) for n in range(4)]
    painter = aligned(tiny_parts, steps=5, alignment=alignment)
    together = painter.sample_latents(requests).numpy()
    alone = np.concatenate([painter.sample_latents([r]).numpy() for r in requests])
    assert np.abs(together - alone).max() <= 1e-4


def test_aligned_surroundings_are_the_source_latents(tiny_parts: dict[str, object]) -> None:
    import torch

    request = make_request(1)
    latents = aligned(tiny_parts, steps=5, alignment="renoise").sample_latents([request]).numpy()[0]
    pixels = torch.from_numpy(request.image).permute(2, 0, 1)[None].float() / 127.5 - 1
    vae = tiny_parts["vae"]
    source = (vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor).numpy()[0]
    assert np.allclose(latents[:, ~request.cells], source[:, ~request.cells], atol=1e-6)
    assert not np.allclose(latents[:, request.cells], source[:, request.cells], atol=1e-2)


def test_prompt_and_seed_both_matter(tiny_parts: dict[str, object]) -> None:
    painter = aligned(tiny_parts, steps=4, guidance=3.0)
    base = make_request(0)
    reseeded = InpaintRequest(base.image, base.cells, base.prompt, base.seed + 1)
    reworded = InpaintRequest(base.image, base.cells, "background", base.seed)
    a, b, c = painter.sample_latents([base, reseeded, reworded]).numpy()
    assert np.abs(a - b).max() > 1e-3
    assert np.abs(a - c).max() > 1e-6


def test_pictures_are_uint8_windows(tiny_checkpoint: Path) -> None:
    painter = load_inpainter(str(tiny_checkpoint), steps=2, batch_size=2)
    pictures = painter.inpaint([make_request(n) for n in range(3)])
    assert [p.shape for p in pictures] == [(32, 32, 3)] * 3
    assert all(p.dtype == np.uint8 for p in pictures)
    assert (painter.size, painter.cell) == (32, 2)


def test_unusable_checkpoints_are_named(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackendError, match=r"model_index\.json"):
        load_inpainter(str(tmp_path / "empty"))
    with pytest.raises(BackendError, match="no such folder"):
        load_inpainter(str(tmp_path / "absent"))
    with pytest.raises(BackendError, match=r"without a network.*--init-images"):
        load_inpainter("nobody/nothing-like-this")
    with pytest.raises(ConfigError, match="alignment"):
        load_inpainter(str(tiny_checkpoint), alignment="sideways")


def started(number: int, strength: float) -> InpaintRequest:
    """A request that starts from its own picture, with one strength in all its cells."""
    request = make_request(number)
    change = strength * np.kron(request.cells, np.ones((2, 2)))
    return replace(request, change=change)


def latents_of(parts: dict[str, object], image: np.ndarray) -> np.ndarray:
    import torch

    vae = parts["vae"]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    return np.asarray((vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor).numpy()[0])


def test_a_picture_is_painted_over_as_far_as_its_change_map_says(tiny_parts: dict[str, object]) -> None:
    origin = latents_of(tiny_parts, make_request(1).image)
    painter = aligned(tiny_parts, steps=10, guidance=1.0)

    def distance(strength: float) -> float:
        request = started(1, strength)
        latents = painter.sample_latents([request], num_steps=round(10 * strength)).numpy()[0]
        return float(np.abs(latents - origin)[:, request.cells].mean())

    near, halfway, far = distance(0.1), distance(0.5), distance(1.0)
    assert near < halfway < far
    assert near < 0.4 * far


def test_one_picture_changes_differently_from_cell_to_cell(tiny_parts: dict[str, object]) -> None:
    request = make_request(1)
    left = np.zeros((16, 16), bool)
    left[:, :8] = True
    change = np.kron(np.where(left, 0.1, 0.9) * request.cells, np.ones((2, 2)))
    painter = aligned(tiny_parts, steps=10, guidance=1.0)
    latents = painter.sample_latents([replace(request, change=change)], num_steps=9).numpy()[0]
    moved = np.abs(latents - latents_of(tiny_parts, request.image)).mean(axis=0)
    assert 0 < moved[request.cells & left].mean() < 0.5 * moved[request.cells & ~left].mean()
    assert moved[~request.cells].max() < 1e-5


def test_a_full_change_leaves_nothing_of_the_picture(tiny_parts: dict[str, object]) -> None:
    painter = aligned(tiny_parts, steps=25)
    from_noise = painter.sample_latents([make_request(2)]).numpy()
    assert (painter.sample_latents([started(2, 1.0)], num_steps=25).numpy() == from_noise).all()


def test_where_nothing_is_to_change_nothing_does(tiny_parts: dict[str, object]) -> None:
    request = started(1, 0.3)
    assert request.change is not None
    change = request.change.copy()
    change[:, :16] = 0
    painter = aligned(tiny_parts, steps=10)
    latents = painter.sample_latents([replace(request, change=change)], num_steps=3).numpy()[0]
    moved = np.abs(latents - latents_of(tiny_parts, request.image)).mean(axis=0)
    assert moved[:, :8].max() < 1e-5 < moved[request.cells].max()
    still = painter.inpaint([replace(request, change=np.zeros((32, 32)))])[0]
    assert still is not None, "what the autoencoder loses is given back"
    assert np.abs(still.astype(int) - request.image).max() <= 1


def test_requests_with_and_without_a_change_map_share_a_call(tiny_parts: dict[str, object]) -> None:
    requests = [make_request(0), started(1, 0.5), make_request(2), started(3, 0.5), started(4, 0.2)]
    painter = aligned(tiny_parts, steps=6, batch_size=3)
    together = painter.inpaint(requests)
    for request, picture in zip(requests, together, strict=True):
        alone = painter.inpaint([request])[0]
        assert picture is not None and alone is not None
        assert np.abs(picture.astype(int) - alone).max() <= 1
    for strength in (-0.1, 1.5):
        with pytest.raises(ConfigError, match="strength"):
            aligned(tiny_parts, strength=strength)
