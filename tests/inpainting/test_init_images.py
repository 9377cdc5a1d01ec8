"""Painting that starts from a real object: which is taken, where it lands, and what a run makes of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from augsynth.bank.cutting import CutRules
from augsynth.bank.reader import Bank
from augsynth.coco.reader import read_dataset
from augsynth.commands.bank import build_bank
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.core.scene import Category, Dataset
from augsynth.generation.config import GenerateConfig
from augsynth.generation.run import generate
from augsynth.inpainting.init_images import MAX_STRETCH, InitImages
from augsynth.sample import write_sample


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    write_sample(root, num_images=30, seed=5, workers=1)
    annotations = root / "annotations" / "instances.json"
    assert build_bank(annotations, root / "images", root / "bank", rules=CutRules()).lines
    return root


@pytest.fixture(scope="module")
def dataset(source: Path) -> Dataset:
    return read_dataset(source / "annotations" / "instances.json", images=source / "images")


@pytest.fixture(scope="module")
def init_images(source: Path, dataset: Dataset) -> InitImages:
    return InitImages.open(source / "bank", dataset.categories)


def test_an_init_image_is_of_the_category_and_like_the_box(init_images: InitImages) -> None:
    rng = np.random.default_rng(0)
    bank = init_images.bank
    for category_id, positions in init_images.positions.items():
        if len(positions) < 40:
            continue
        like = int(positions[len(positions) // 2])
        box = np.concatenate([[50.0, 60.0], [50.0, 60.0] + bank.box_sizes_wh[like]])
        chosen = [init_images.choose(category_id, box, rng) for _ in range(30)]
        assert None not in chosen and len(set(chosen)) > 3
        picked = np.array(chosen, np.int64)
        assert set(picked) <= set(positions.tolist())

        def unlike(at: np.ndarray, box: np.ndarray = box) -> float:
            return float(np.abs(np.log(bank.box_sizes_wh[at] / (box[2:] - box[:2]))).mean())

        assert unlike(picked) < 0.6 * unlike(np.asarray(positions))
    assert init_images.choose(9999, np.array([0.0, 0, 9, 9]), rng) is None


def test_an_init_image_lands_in_its_box(init_images: InitImages, dataset: Dataset) -> None:
    scene = dataset.scenes[0]
    image = read_image(dataset, scene)
    box = np.array([100.0, 90.0, 140.0, 130.0])
    position = int(np.flatnonzero(init_images.bank.has_masks)[0])
    rng = np.random.default_rng(1)
    changed = [(init_images.put(image, position, box, rng) != image).any(axis=2) for _ in range(6)]
    for mask in changed:
        ys, xs = np.nonzero(mask)
        centre = np.array([xs.min() + xs.max() + 1, ys.min() + ys.max() + 1]) / 2
        assert np.abs(centre - (box[:2] + box[2:]) / 2).max() < 4
        wh = np.array([np.ptp(xs) + 1, np.ptp(ys) + 1])
        source_wh = init_images.bank.box_sizes_wh[position]
        assert MAX_STRETCH**-1 * 0.85 < (wh[0] / wh[1]) / (source_wh[0] / source_wh[1]) < MAX_STRETCH * 1.15
    assert any((mask != changed[0]).any() for mask in changed), "some are mirrored"
    assert (init_images.put(image, position, box + 1000, rng) == image).all(), "outside nothing happens"


def test_a_bank_of_other_categories_is_refused(source: Path) -> None:
    with pytest.raises(ConfigError, match=r"other categories.*augsynth bank"):
        InitImages.open(source / "bank", [Category(1, "submarine")])


def test_a_run_starts_from_init_images_and_says_which(source: Path, tmp_path: Path) -> None:
    config = GenerateConfig.of(
        n=4,
        annotations=str(source / "annotations" / "instances.json"),
        images=str(source / "images"),
        out=str(tmp_path / "out"),
        model="embedded",
        detector="embedded",
        donors=str(source / "bank"),
        strength=0.2,
        gamma=0.0,
        persistence=0.0,
        steps=10,
        max_attempts=100,
    )
    tally = generate(config, progress=lambda stage, tally: None)
    assert tally.accepted == 4
    lines = [json.loads(line) for line in (tmp_path / "out" / "provenance.jsonl").read_text().splitlines()]
    bank = Bank.open(source / "bank")
    names = {c.id: c.name for c in bank.categories}
    painted = [line for line in lines if line.get("donor") is not None]
    assert len(painted) >= 4
    for line in painted:
        assert bank.category_ids[line["donor"]] == line["category_id"], names
    assert tally.yield_share > 0.5, "what starts from a real object is recognised"
