"""The pictures of a small COCO document."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def root(tmp_path):
    """The pictures of the document in `documents.py`."""
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(folder / name)
    return folder
