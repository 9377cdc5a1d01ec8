"""Each model family against its own diffusers pipeline; licences, and checkpoints that can't be used."""

from dataclasses import replace

import numpy as np
import pytest

from augsynth.core.errors import BackendError, ConfigError
from augsynth.inpainting.aligned import AlignedInpainter, PipelineParts
from augsynth.inpainting.checkpoints import FIGURES, inspect_checkpoint, is_non_commercial, read_licence
from augsynth.inpainting.loading import load_inpainter
from augsynth.inpainting.options import PaintingOptions
from augsynth.inpainting.port import InpaintRequest
from tests.tiny_families import (
    build_scheduler,
    build_sd,
    build_sdxl,
    make_request,
    run_pipeline,
    write_index,
)

FAMILIES = {
    "sd 9": (build_sd, {}),
    "sd 9 v": (build_sd, {"prediction": "v_prediction"}),
    "sd 4": (build_sd, {"channels": 4}),
    "sd 4 v": (build_sd, {"channels": 4, "prediction": "v_prediction"}),
    "sd 9 dpm": (build_sd, {"scheduler": "DPMSolverMultistepScheduler"}),
    "sd 4 v dpm": (
        build_sd,
        {"channels": 4, "prediction": "v_prediction", "scheduler": "DPMSolverMultistepScheduler"},
    ),
    "sd 9 lcm": (build_sd, {"scheduler": "LCMScheduler"}),
    "sd 4 lcm told": (build_sd, {"channels": 4, "scheduler": "LCMScheduler", "time_cond_proj_dim": 9}),
    "sdxl 9": (build_sdxl, {}),
    "sdxl 4": (build_sdxl, {"channels": 4}),
    "sdxl 9 v": (build_sdxl, {"prediction": "v_prediction"}),
    "sdxl 4 lcm": (build_sdxl, {"channels": 4, "scheduler": "LCMScheduler"}),
}


@pytest.fixture(scope="session")
def families():
    """Pipelines by name, each built when it is first asked for."""
    built = {}

    def get(name):
        if name not in built:
            build, options = FAMILIES[name]
            built[name] = build(**options)
        return built[name]

    return get


def aligned(pipeline, *, negative_prompt="", **options):
    """Our sampler on a pipeline, by its own kind of steps."""
    kind = type(pipeline.scheduler).__name__
    options.setdefault("sampler", {"DDIMScheduler": "ddim", "LCMScheduler": "lcm"}.get(kind, "dpm"))
    return AlignedInpainter(
        PipelineParts.of(pipeline), PaintingOptions(**options), negative_prompt=negative_prompt
    )


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_without_alignment_a_family_equals_its_own_pipeline(families, name, guidance, monkeypatch):
    monkeypatch.setattr("augsynth.inpainting.aligned.GUIDED_NOISE", (0, np.inf))  # pipelines guide throughout
    pipeline, request = families(name), make_request(1)
    ours = aligned(pipeline, steps=5, guidance=guidance, alignment="off").sample_latents([request]).numpy()
    options = {"num_inference_steps": 5, "guidance_scale": guidance, "output_type": "latent"}
    theirs = np.asarray(run_pipeline(pipeline, request, **options))
    assert np.abs(ours - theirs).max() <= 1e-4
    assert np.abs(theirs).max() > 0.1
    other = run_pipeline(pipeline, replace(request, prompt="background"), **options)
    assert np.abs(np.asarray(other) - theirs).max() > 1e-3, "the tiny model doesn't heed its prompt"


def test_a_negative_prompt_is_the_pipelines(families):
    pipeline, request = families("sdxl 9"), make_request(2)
    painter = aligned(pipeline, steps=3, guidance=4.0, alignment="off", negative_prompt="background")
    options = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "latent"}
    theirs = np.asarray(run_pipeline(pipeline, request, negative_prompt="background", **options))
    assert np.abs(painter.sample_latents([request]).numpy() - theirs).max() <= 1e-4
    usual = aligned(pipeline, steps=3, guidance=4.0, alignment="off")
    own = replace(request, negative="background")  # each object may have its own
    both = usual.sample_latents([request, own]).numpy()
    assert np.abs(both[1] - theirs[0]).max() <= 1e-4 < np.abs(both[0] - theirs[0]).max()


@pytest.mark.parametrize("alignment", ["off", "renoise", "inversion"])
@pytest.mark.parametrize("name", ["sd 4", "sdxl 9", "sd 9 lcm"])
def test_each_window_gets_its_own_result_whatever_shares_its_batch(families, name, alignment):
    if alignment == "inversion" and "lcm" in name:
        pytest.skip("LCM samplers have no inversion")
    requests = [make_request(n) for n in range(8)]
    painter = aligned(families(name), steps=2, guidance=3.0, alignment=alignment)
    together = painter.sample_latents(requests).numpy()
    alone = np.concatenate([painter.sample_latents([r]).numpy() for r in requests])
    assert np.abs(together - alone).max() <= 1e-4
    for field in ("image", "cells", "prompt", "seed"):
        changed = replace(requests[0], **{field: getattr(requests[1], field)})
        assert np.abs(painter.sample_latents([changed]).numpy()[0] - together[0]).max() > 1e-4, field


@pytest.mark.parametrize("name", ["sd 9", "sd 4", "sdxl 4", "sd 9 lcm"])
def test_a_folder_of_a_family_is_loaded_and_painted_with(families, name, tmp_path):
    pipeline = families(name)
    pipeline.save_pretrained(tmp_path)
    painter = load_inpainter(str(tmp_path), steps=2, precision="float32")
    pictures = painter.inpaint([make_request(n) for n in range(2)])
    assert isinstance(painter, AlignedInpainter)
    assert (painter.size, painter.cell) == (32, 2)
    assert painter.guidance == (1.5 if "lcm" in name else 7.5)
    (tmp_path / FIGURES).write_text("{}")  # as `train-inpainter` leaves it
    own = load_inpainter(str(tmp_path), steps=2, precision="float32")
    assert own.guidance == (1.5 if "lcm" in name else 2.0)
    assert all(p.shape == (32, 32, 3) and p.dtype == np.uint8 for p in pictures)
    straight = aligned(pipeline, steps=2, guidance=painter.guidance, sampler="auto").inpaint(
        [make_request(0)]
    )[0]
    assert np.abs(pictures[0].astype(int) - straight).max() <= 1


def test_a_sampler_can_be_asked_for(families):
    few = aligned(families("sd 9"), steps=4, sampler="lcm")
    assert type(few.scheduler).__name__ == "LCMScheduler"
    assert type(aligned(families("sd 9 lcm"), sampler="ddim").scheduler).__name__ == "DDIMScheduler"
    usual = {
        ("sd 9", "auto"): 10, ("sd 9", "ddim"): 25, ("sd 9 lcm", "auto"): 6, ("sd 9 dpm", "ddim"): 25,
    }  # fmt: skip
    assert {key: aligned(families(key[0]), sampler=key[1]).steps for key in usual} == usual
    backwards = aligned(families("sd 9"), sampler="auto", alignment="inversion")
    assert (type(backwards.scheduler).__name__, backwards.steps) == ("DDIMScheduler", 25)
    with pytest.raises(ConfigError, match="needs DDIM, and the sampler is dpm"):
        aligned(families("sd 9"), sampler="dpm", alignment="inversion")
    with pytest.raises(ConfigError, match="LCM sampler takes 1 to 50"):
        aligned(families("sd 9 lcm"), steps=60)
    with pytest.raises(ConfigError, match="renoise or off"):
        aligned(families("sd 9 lcm"), steps=4, alignment="inversion")
    with pytest.raises(ConfigError, match="multiples of 4"):
        aligned(families("sd 9"), window_size=30)
    assert aligned(families("sd 9"), window_size=48).size == 48


def surroundings_psnr(painter, requests):
    squares = []
    for request, picture in zip(requests, painter.inpaint(requests), strict=True):
        outside = ~np.kron(request.cells, np.ones((painter.cell,) * 2, bool))
        squares.append(((picture.astype(float) - request.image)[outside] ** 2).mean())
    return -10 * np.log10(np.mean(squares) / 255**2)


def test_alignment_keeps_the_surroundings_of_the_embedded_model():
    from augsynth.inpainting.stitching import cut_window, mask_cells
    from augsynth.sample.render import render_scene

    requests = []
    for index in (0, 1):
        window = np.array([40, 60, 168, 188])
        image = cut_window(render_scene(3, index).image, window, size=64)
        cells = mask_cells(np.array([80.0, 100.0, 130.0, 150.0]), window, num_cells=16)
        requests.append(InpaintRequest(image, cells, "a photo of a can", index))
    psnr = {
        alignment: surroundings_psnr(load_inpainter("embedded", steps=4, alignment=alignment), requests)
        for alignment in ("off", "renoise", "inversion")
    }
    assert psnr["inversion"] > psnr["off"] + 0.2
    assert psnr["renoise"] > psnr["off"] + 0.2


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_inversion_walks_the_samplers_road_backwards(kind):
    """A perfect denoiser of normal latents: DDIM leads from where inversion ends back to the source."""
    import torch
    from diffusers import DDIMScheduler

    from augsynth.inpainting.alignment import inverted

    scheduler = DDIMScheduler.from_config(build_scheduler("DDIMScheduler", kind).config)
    mean, spread = 0.6, 0.8
    source = mean + spread * torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(1))

    def predict(latents, t):
        alpha = scheduler.alphas_cumprod[t]
        noise = (latents - alpha.sqrt() * mean) * (1 - alpha).sqrt() / (alpha * spread**2 + 1 - alpha)
        if kind == "epsilon":
            return noise
        origin = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * origin

    missed = []
    for steps in (20, 200):
        scheduler.set_timesteps(steps)
        road = inverted(scheduler, source, scheduler.timesteps, predict)
        latents = road.at(0)
        for t in scheduler.timesteps:
            latents = scheduler.step(predict(latents, t), t, latents, return_dict=False)[0]
        missed.append(float((latents - source).abs().mean()))
    assert missed[1] < 0.2 * missed[0]
    assert missed[1] < 0.05
    assert abs(float(road.at(0).std()) - 1) < 0.1, "where inversion ends is noise"
    assert road.source is source


def test_a_picture_that_overflowed_is_no_picture(families):
    painter = aligned(families("sd 9"), steps=1)
    request = make_request(0)
    painter.vae = build_sd().vae
    painter.vae.decoder.conv_out.bias.fill_(float("nan"))
    assert painter.inpaint([request]) == [None]


def test_unusable_folders_are_named_before_anything_is_loaded(families, tmp_path):
    families("sd 9").save_pretrained(tmp_path / "pickled", safe_serialization=False)
    cases = {
        "pickled": "pickled",
        "unknown": "knows no NovelPipeline",
        "video": "inpaint",
        "remote": "code that comes with it",
        "damaged": "damaged",
        "nameless": "names no pipeline",
    }
    write_index(tmp_path / "unknown", _class_name="NovelPipeline")
    write_index(tmp_path / "video", _class_name="WanPipeline")
    write_index(tmp_path / "remote", _class_name=["pipeline", "OwnPipeline"])
    write_index(tmp_path / "nameless")
    write_index(tmp_path / "damaged")
    (tmp_path / "damaged" / "model_index.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"")
    for name, words in {**cases, "model.safetensors": "a file"}.items():
        with pytest.raises(BackendError, match=words) as caught:
            load_inpainter(str(tmp_path / name))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_unet_of_another_kind_is_refused(families):
    pipeline = build_sd(channels=8)
    with pytest.raises(BackendError, match="inpainting checkpoint"):
        aligned(pipeline)
    pipeline = build_sd()
    from diffusers import FlowMatchEulerDiscreteScheduler

    pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(BackendError, match="noise schedule"):
        aligned(pipeline)


def test_licences_come_from_the_card_or_the_table(tmp_path):
    assert inspect_checkpoint("embedded").licence == "apache-2.0"
    fill = write_index(tmp_path / "fill", _class_name="FluxFillPipeline")
    assert is_non_commercial(inspect_checkpoint(str(fill)).licence)
    (fill / "README.md").write_text("---\nlicense: other\nlicense_name: my-own-terms\n---\ntext")
    assert inspect_checkpoint(str(fill)).licence == "my-own-terms"
    (fill / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    assert is_non_commercial(read_licence(str(fill)))
    for licence in ("apache-2.0", "openrail++", "creativeml-openrail-m", "sync-license", None):
        assert not is_non_commercial(licence)


def test_guidance_is_asked_for_where_it_matters_only(families, monkeypatch):
    """Neither in the strongest noise nor in the weakest; each such step is one evaluation instead of two."""
    painter = aligned(families("sd 9 dpm"), guidance=4.0)
    seen = []
    forward = painter.unet.forward

    def counted(latents, t, *rest, **named):
        seen.append((int(t), len(latents)))
        return forward(latents, t, *rest, **named)

    monkeypatch.setattr(painter.unet, "forward", counted)
    painter.sample_latents([make_request(1)])
    alphas = painter.scheduler.alphas_cumprod
    noise = {t: float(((1 - alphas[t]) / alphas[t]) ** 0.5) for t, _ in seen}
    assert [num for _, num in seen] == [2 if 0.28 <= noise[t] <= 5.42 else 1 for t, _ in seen]
    assert len(seen) == 10 and {num for _, num in seen} == {1, 2}


def test_a_weak_start_is_weak_however_few_the_steps(families):
    """A picture to start from has at least 25 steps, so 0.04 is one of 25 and not one of 10."""
    request = make_request(1)
    started = replace(request, change=0.04 * np.kron(request.cells, np.ones((2, 2))))
    few, many = (aligned(families("sd 9 dpm"), steps=steps, guidance=1.0) for steps in (4, 25))
    assert few._num_steps(started) == many._num_steps(started) == 1
    np.testing.assert_array_equal(
        few.sample_latents([started], num_steps=1), many.sample_latents([started], num_steps=1)
    )
