"""Tiny checkpoints of the families, and a dataset."""

import pytest

from tests.tiny_loras import FAMILIES


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Checkpoints of the families as folders, each written when it is first asked for."""
    root = tmp_path_factory.mktemp("families")

    def get(name):
        folder = root / name.replace(" ", "-")
        if not folder.exists():
            build, options = FAMILIES[name]
            build(**options).save_pretrained(folder)
        return folder

    return get


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    from augsynth.coco.reader import read_dataset
    from augsynth.sample import write_sample

    root = tmp_path_factory.mktemp("sample")
    return read_dataset(write_sample(root, num_images=16, seed=3, workers=1), images=root / "images")
