"""Pipelines of diffusers that run as they are: their pictures, references, guidance, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest

from augsynth.core.errors import ConfigError
from augsynth.inpainting.diffusers_pipeline import PipelineInpainter
from augsynth.inpainting.loading import load_inpainter
from tests.tiny_families import (
    build_flux2_klein,
    build_flux_fill,
    build_z_image,
    make_request,
    run_pipeline,
)

GENERIC = {"flux fill": build_flux_fill, "z-image": build_z_image}


@pytest.fixture(scope="session", params=GENERIC)
def generic_folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generic")
    GENERIC[request.param]().save_pretrained(folder)
    return folder


def test_other_pipelines_run_as_they_are(generic_folder):
    requests = [make_request(n) for n in range(3)]
    painter = load_inpainter(str(generic_folder), steps=3, guidance=3.0, window_size=32, batch_size=2)
    assert isinstance(painter, PipelineInpainter)
    assert painter.cell == 2
    pictures = painter.inpaint(requests)
    for request, picture in zip(requests, pictures, strict=True):
        theirs = run_pipeline(
            painter.pipeline, request, num_inference_steps=3, guidance_scale=3.0, output_type="np"
        )[0]
        assert picture.dtype == np.uint8
        assert np.abs(picture / 255 - theirs).max() <= 1.5 / 255
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() > 8
    change = np.kron(requests[0].cells, np.ones((2, 2))) * np.linspace(0, 0.7, 32)
    picture = painter.inpaint([replace(requests[0], change=change)])[0].astype(int)
    assert (picture[change == 0] == requests[0].image[change == 0]).all()
    moved = np.abs(picture - requests[0].image).mean(axis=2)
    middle = np.median(change[change > 0])
    assert 0 < moved[(change > 0) & (change < middle)].mean() < moved[change > middle].mean()
    with pytest.raises(ConfigError, match="inversion"):
        load_inpainter(str(generic_folder), alignment="inversion")
    with pytest.raises(ConfigError, match="multiples of 4"):
        load_inpainter(str(generic_folder), window_size=34)


def test_a_pipeline_that_takes_a_reference_sees_the_object_and_others_do_not(tmp_path, generic_folder):
    build_flux2_klein().save_pretrained(tmp_path / "klein")
    request = make_request(0)
    dark, bright = (replace(request, reference=np.full((32, 32, 3), grey, np.uint8)) for grey in (10, 240))
    klein = load_inpainter(str(tmp_path / "klein"), steps=2, guidance=1.0, window_size=32, batch_size=4)
    assert type(klein.pipeline).__name__ == "Flux2KleinInpaintPipeline"
    none, first, second, again = klein.inpaint([request, dark, bright, dark])
    assert (first == again).all(), "each request has its own reference"
    for one, other in ((none, first), (first, second)):
        assert np.abs(one.astype(int) - other).max() > 0
    alone = klein.inpaint([bright])[0]
    assert np.abs(alone.astype(int) - second).max() <= 1, "alone or in a batch"
    other = load_inpainter(str(generic_folder), steps=1, window_size=32)
    assert (other.inpaint([dark])[0] == other.inpaint([request])[0]).all()


def test_a_pipelines_own_guidance_is_its_default(generic_folder):
    painter = load_inpainter(str(generic_folder), window_size=32)
    assert (
        painter.guidance
        == {"FluxFillPipeline": 30.0, "ZImageInpaintPipeline": 5.0}[type(painter.pipeline).__name__]
    )


def test_what_a_pipeline_refuses_is_no_picture(generic_folder):
    painter = load_inpainter(str(generic_folder), steps=1, window_size=32)

    class Checked(type(painter.pipeline)):
        def __call__(self, *args, **options):
            output = super().__call__(*args, **options)
            output.images[1] = 0
            output.nsfw_content_detected = [True] + [False] * (len(output.images) - 1)
            return output

    painter.pipeline.__class__ = Checked
    pictures = painter.inpaint([make_request(n) for n in range(3)])
    assert pictures[:2] == [None, None]
    assert pictures[2] is not None
