"""A tiny dataset, and the command line run in this process."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from augsynth import cli

CATEGORIES = [{"id": 3, "name": "cup"}, {"id": 7, "name": "lid"}]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six pictures of 96 by 64 pixels with a cup and a lid in each."""
    root = tmp_path_factory.mktemp("dataset")
    (root / "images").mkdir()
    rng = np.random.default_rng(42)
    images, annotations = [], []
    for i in range(1, 7):
        name = f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)).save(root / "images" / name)
        images.append({"id": i, "file_name": name, "width": 96, "height": 64})
        for k, category in enumerate(CATEGORIES):
            box = [10 + 30 * k, 20, 20, 16]
            row = {"id": len(annotations) + 1, "image_id": i, "category_id": category["id"], "bbox": box}
            annotations.append({**row, "area": 320, "iscrowd": 0})
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "instances.json").write_text(json.dumps(document))
    return root


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run `augsynth …` in this process, in an empty directory; return exit code, output and error lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["augsynth", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err.strip().splitlines()

    return call
