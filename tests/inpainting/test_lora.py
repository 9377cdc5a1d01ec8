"""LoRAs in painting: by their scale, as their pipeline has them, and refused where they don't fit."""

import numpy as np
import pytest

from augsynth.core.errors import BackendError
from augsynth.generation.config import GenerateConfig
from augsynth.generation.provenance import describe_models
from augsynth.inpainting.loading import load_inpainter
from tests.tiny_families import (
    build_sd,
    build_sdxl,
    make_lora,
    make_request,
    run_pipeline,
)


def test_a_lora_changes_what_is_painted_by_its_scale(tmp_path):
    build_sd().save_pretrained(tmp_path / "model")
    lora = make_lora(build_sd(), tmp_path / "mine.safetensors")
    request = make_request(1)

    def paint(**options):
        return load_inpainter(str(tmp_path / "model"), steps=2, **options).sample_latents([request]).numpy()

    bare, whole, half = paint(), paint(lora=str(lora)), paint(lora=str(lora), lora_scale=0.5)
    assert np.abs(whole - bare).max() > 1e-3
    assert np.abs(half - whole).max() > 1e-3
    assert np.abs(paint(lora=str(lora), lora_scale=0.0) - bare).max() <= 1e-5


def test_a_lora_equals_the_pipeline_with_that_lora(tmp_path):
    pipeline = build_sdxl()
    pipeline.save_pretrained(tmp_path / "model")
    lora = make_lora(pipeline, tmp_path / "mine.safetensors")
    like_its_pipeline = {"steps": 3, "guidance": 3.0, "alignment": "off", "sampler": "ddim"}
    like_its_pipeline["precision"] = "float32"
    painter = load_inpainter(str(tmp_path / "model"), lora=str(lora), **like_its_pipeline)
    pipeline.load_lora_weights(str(tmp_path), weight_name="mine.safetensors")
    pipeline.fuse_lora()
    options = {"num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "latent"}
    theirs = np.asarray(run_pipeline(pipeline, make_request(0), **options))
    assert np.abs(painter.sample_latents([make_request(0)]).numpy() - theirs).max() <= 1e-4


def test_a_lora_for_another_family_is_refused(tmp_path):
    build_sd().save_pretrained(tmp_path / "model")
    model = str(tmp_path / "model")
    wider = make_lora(build_sd(width=24), tmp_path / "wider.safetensors")
    large = make_lora(build_sdxl(), tmp_path / "large.safetensors")
    flux = tmp_path / "flux.safetensors"
    write_lora(flux, "transformer.transformer_blocks.0.attn.to_q")
    nothing = tmp_path / "nothing.safetensors"
    write_lora(nothing, "something.else")
    for lora in (wider, large, flux, nothing):
        with pytest.raises(BackendError, match=r"another family|not a LoRA") as caught:
            load_inpainter(model, lora=str(lora))
        assert lora.name in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "pickled.bin").write_bytes(b"x")
    (tmp_path / "damaged.safetensors").write_bytes(b"x")
    for lora, word in (
        ("pickled.bin", "safetensors"),
        ("gone.safetensors", "no such"),
        ("damaged.safetensors", "damaged"),
    ):
        with pytest.raises(BackendError, match=word):
            load_inpainter(model, lora=str(tmp_path / lora))
    with pytest.raises(BackendError, match="no \\.safetensors"):
        load_inpainter(model, lora=str(tmp_path / "model"))


def write_lora(path, layer):
    import torch
    from safetensors.torch import save_file

    save_file(
        {f"{layer}.lora_A.weight": torch.zeros(2, 16), f"{layer}.lora_B.weight": torch.zeros(16, 2)}, path
    )


def test_a_missing_lora_is_named_before_its_licence_is_asked_for():
    for lora in ("nowhere.safetensors", "./nowhere/at/all"):
        with pytest.raises(BackendError, match="no such LoRA"):
            describe_models(GenerateConfig.of(model="embedded", lora=lora))
