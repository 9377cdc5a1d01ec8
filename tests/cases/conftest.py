"""The images of the small dataset."""

import numpy as np
import pytest
from PIL import Image

from tests.cases.small import HEIGHT, NUM_IMAGES, WIDTH


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    for k in range(NUM_IMAGES):
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder
