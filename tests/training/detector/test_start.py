"""Detectors of torchvision start from weights of COCO, and a line says where to put them when they can't be fetched."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models import get_model, get_model_weights

from augsynth.core.errors import ConfigError
from augsynth.detectors.architectures import build_model
from augsynth.training.detector.start import coco_weights, start_from
from augsynth.training.detector.train import train_detector
from tests.tiny_shapes import QUICK_DETECTOR, shapes_dataset

PRESET = "ssdlite320_mobilenet_v3_large"  # the smallest of them


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps the weights; nothing can be fetched."""

    def no_network(*given: object, **rest: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    name = Path(get_model_weights(PRESET).DEFAULT.url).name
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / name


def test_all_but_what_depends_on_the_categories_is_loaded(kept: Path) -> None:
    torch.manual_seed(0)
    given = get_model(PRESET, weights=None, weights_backbone=None).state_dict()
    torch.save(given, kept)
    weights = coco_weights(PRESET)
    assert weights is not None
    network = build_model(PRESET, num_categories=3)
    left = start_from(network, weights)
    assert left and all("classification_head" in name for name in left)
    for name, value in network.state_dict().items():
        assert name in left or torch.equal(value, given[name]), name


def test_presets_of_ours_start_from_nothing(kept: Path) -> None:
    assert coco_weights("fcos_tiny") is None


def test_a_training_starts_from_them_and_says_so(kept: Path, tmp_path: Path) -> None:
    dataset, images = shapes_dataset(6)
    options = replace(QUICK_DETECTOR, preset=PRESET, steps=1, batch_size=2, lr=None)

    def train(name: str) -> bytes:
        train_detector(dataset, lambda s: images[s.file_name], out=tmp_path / name, options=options)
        return (tmp_path / name / "model.safetensors").read_bytes()

    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(get_model(PRESET, weights=None, weights_backbone=None).state_dict(), kept)
        found.append(train(str(seed)))
    assert found[0] != found[1]
    told = json.loads((tmp_path / "0" / "config.json").read_text())["training"]
    assert (told["start"], told["lr"]) == ("coco", 2e-4)


def test_without_a_network_a_line_says_what_to_do(kept: Path, tmp_path: Path) -> None:
    dataset, images = shapes_dataset(6)
    options = replace(QUICK_DETECTOR, preset=PRESET)
    words = rf"starts from weights that can't be fetched \(no network\): put https://\S+ at {kept}, or take fcos_small"
    with pytest.raises(ConfigError, match=words):
        train_detector(dataset, lambda s: images[s.file_name], out=tmp_path / "out", options=options)
    assert not list(tmp_path.glob("out*"))
    kept.write_bytes(b"half a file")
    with pytest.raises(ConfigError, match=rf"^{kept}: can't be read as weights \(\w+\); delete it$"):
        coco_weights(PRESET)
