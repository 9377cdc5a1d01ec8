"""Tiny random checkpoints in the standard diffusers layout; which tests are skipped where a library is missing."""

import importlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# What runs learn of a dataset is kept for the other tests of the session, and for them alone; workers inherit it.
_CACHE = None
if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core; two threads on it would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
else:
    _CACHE = tempfile.mkdtemp(prefix="augsynth-tests-")
    os.environ["AUGSYNTH_CACHE"] = _CACHE

NEEDS = {  # marker: what its tests import, the variable that makes a skip an error
    "mmdet": ("mmdet.datasets", "AUGSYNTH_REQUIRE_MMDET"),
    "mmdet_ops": ("mmdet.models", "AUGSYNTH_REQUIRE_MMDET"),
    "docs": ("myst_parser.sphinx_", "AUGSYNTH_REQUIRE_DOCS"),
    "browser": ("selenium", "AUGSYNTH_REQUIRE_BROWSER"),
}
PROGRAMS = {"selenium": ("chromium", "chromedriver")}  # what a module is of no use without


def what_is_missing(module: str) -> str:
    """The reason why a module can't be used, empty when it can."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return f"needs {module}: {error}"
    missing = [program for program in PROGRAMS.get(module, ()) if shutil.which(program) is None]
    return f"needs {' and '.join(missing)}" if missing else ""


def pytest_sessionfinish() -> None:
    """Remove what the session kept."""
    if _CACHE is not None:
        shutil.rmtree(_CACHE, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of a library where it is missing, unless the environment says that it must be there."""
    for marker, (module, required) in NEEDS.items():
        if os.environ.get(required) == "1":
            continue
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = what_is_missing(module) if marked else ""
        for item in marked if reason else []:
            item.add_marker(pytest.mark.skip(reason=reason))


def build_parts(prediction_type: str) -> dict[str, object]:
    import torch
    from diffusers import DDIMScheduler

    from augsynth.training.painter.presets import (
        build_autoencoder,
        build_denoiser,
        build_text_encoder,
        build_tokenizer,
        find_preset,
    )

    torch.manual_seed(0)
    preset = find_preset("tiny-32")
    tokenizer = build_tokenizer(["a photo of a can", "a photo of a bottle", "background"])
    zero_snr = prediction_type == "v_prediction"
    parts = {
        "vae": build_autoencoder(preset),
        "unet": build_denoiser(preset),
        "text_encoder": build_text_encoder(preset, tokenizer),
        "tokenizer": tokenizer,
        "scheduler": DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type=prediction_type,
            rescale_betas_zero_snr=zero_snr,
            timestep_spacing="trailing" if zero_snr else "leading",
            clip_sample=False,
            set_alpha_to_one=zero_snr,
            steps_offset=1,
        ),
    }
    for name in ("vae", "unet", "text_encoder"):
        parts[name].requires_grad_(False).eval()
    parts["vae"].register_to_config(scaling_factor=0.7)
    return parts


@pytest.fixture(scope="session", params=["epsilon", "v_prediction"])
def tiny_parts(request: pytest.FixtureRequest) -> dict[str, object]:
    return build_parts(request.param)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import StableDiffusionInpaintPipeline

    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    pipeline = StableDiffusionInpaintPipeline(
        **build_parts("v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def shapes():
    from tests.tiny_shapes import shapes_dataset

    return shapes_dataset(40)


@pytest.fixture(scope="session")
def trained(shapes, tmp_path_factory):
    from augsynth.training.detector.train import train_detector
    from tests.tiny_shapes import QUICK_DETECTOR, shapes_dataset

    dataset, images = shapes
    out = tmp_path_factory.mktemp("trained") / "detector"
    val, val_images = shapes_dataset(16, first=1000)
    stages = []
    report = train_detector(
        dataset,
        lambda scene: {**images, **val_images}[scene.file_name],
        out=out,
        options=QUICK_DETECTOR,
        val=val,
        progress=lambda *told: stages.append(told),
    )
    return report, stages
