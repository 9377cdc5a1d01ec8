"""A damaged detector folder is refused in one line that names it, or is used."""

import shutil

import numpy as np
import pytest

from augsynth.core.errors import AugsynthError
from augsynth.detectors.loading import load_detector
from tests.damage import check_damage


@pytest.fixture
def folder(trained, tmp_path):
    shutil.copytree(trained[0].out, tmp_path / "detector")
    return tmp_path / "detector"


def use(folder, shapes):
    dataset, images = shapes
    load_detector(folder, dataset.categories).detect([images["0.png"]])


def test_a_damaged_configuration(folder, shapes):
    used, refused = check_damage(
        folder / "config.json", lambda: use(folder, shapes), without=("training",), every=3, named=str(folder)
    )
    assert used > 3 and refused > 30


def test_damaged_weights(folder, shapes):
    rng = np.random.default_rng(3)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for _ in range(25):
        data = bytearray(whole)
        at = int(rng.integers(3000))
        data[at : at + 4] = rng.bytes(4)
        path.write_bytes(data[: int(rng.choice([len(data), at]))])
        try:
            use(folder, shapes)
        except AugsynthError as error:
            assert str(folder) in str(error) and ";" in str(error) and "\n" not in str(error)
