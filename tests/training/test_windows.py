"""Training windows: what is under their masks, which objects are drawn, resized images."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.images import read_image
from augsynth.core.scene import Category, Dataset, Scene
from augsynth.training.windows import WindowRules, cut_windows, scale_images


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    from augsynth.coco.reader import read_dataset
    from augsynth.sample import write_sample

    root = tmp_path_factory.mktemp("sample")
    return read_dataset(write_sample(root, num_images=8, seed=3, workers=1), images=root / "images")


def test_windows_hold_their_objects(dataset: Dataset) -> None:
    rules = WindowRules(size=64, cell=4, num_windows=120, symmetry="dihedral")
    windows = cut_windows(dataset, partial(read_image, dataset), rules=rules, seed=1)
    assert windows.images.shape[1:] == (64, 64, 3)
    assert windows.cells.shape[1:] == (16, 16)
    assert len(windows.images) == len(windows.labels) > 100
    assert (windows.cells.sum((1, 2)) > 0).all()
    assert set(windows.labels.tolist()) <= set(range(len(dataset.categories) + 1))
    assert 0 < (windows.labels == 0).mean() < 0.3
    again = cut_windows(dataset, partial(read_image, dataset), rules=rules, seed=1)
    assert np.array_equal(windows.images, again.images) and np.array_equal(windows.labels, again.labels)


def test_the_object_is_under_the_mask() -> None:
    box = np.array([[40.0, 30.0, 60.0, 44.0]])
    scene = Scene(1, "a.png", (120, 90), box, np.array([5]), np.array([1]), np.array([False]))
    data = Dataset((Category(5, "can"),), (scene,), {}, Path("a.json"))
    picture = np.zeros((90, 120, 3), np.uint8)
    picture[30:44, 40:60] = 255
    rules = WindowRules(size=32, cell=4, num_windows=40, background_share=0.0, symmetry="dihedral")
    windows = cut_windows(data, lambda _: picture, rules=rules, seed=0)
    hole = np.kron(windows.cells, np.ones((1, 4, 4), bool)).astype(bool)
    white = windows.images.mean(-1) > 128
    assert white.any((1, 2)).all()
    assert not (white & ~hole).any()
    assert (windows.labels == 1).all()


def test_rare_categories_are_drawn_more_often_than_they_occur() -> None:
    boxes = np.array([[10.0 + i, 10, 30 + i, 30] for i in range(20)])
    scene = Scene(1, "a", (64, 64), boxes, np.array([1] * 19 + [2]), np.arange(1, 21), np.zeros(20, bool))
    data = Dataset((Category(1, "a"), Category(2, "b")), (scene,), {}, Path("a.json"))
    rules = WindowRules(size=32, cell=4, num_windows=400, background_share=0.0, balance=1.0)
    windows = cut_windows(data, lambda _: np.zeros((64, 64, 3), np.uint8), rules=rules, seed=0)
    assert 0.45 < (windows.labels == 2).mean() < 0.55


def test_nothing_to_learn_from_is_said(dataset: Dataset) -> None:
    empty = Dataset(dataset.categories, (Scene(1, "a.jpg", (64, 64)),), {}, Path("empty.json"))
    with pytest.raises(DatasetError, match=r"empty\.json.*annotate"):
        cut_windows(empty, partial(read_image, dataset), rules=WindowRules(32, 4, 10), seed=0)
    with pytest.raises(ConfigError, match="symmetry"):
        WindowRules(32, 4, 10, symmetry="round")


def test_chosen_categories_get_most_of_the_windows(dataset):
    rules = WindowRules(32, 2, 200, background_share=0.0, favoured_ids=(2,))
    labels = cut_windows(dataset, partial(read_image, dataset), rules=rules, seed=1).labels
    assert 0.5 < (labels == 2).mean() < 0.7
    assert len(set(labels.tolist())) > 5


def test_resized_images_keep_their_boxes_on_their_objects() -> None:
    box = np.array([[40.0, 30.0, 60.0, 44.0]])
    scene = Scene(1, "a.png", (120, 90), box, np.array([5]), np.array([1]), np.array([False]))
    data = Dataset((Category(5, "can"),), (scene,), {}, Path("a.json"))
    half, _ = scale_images(data, 0.5)
    assert half.scenes[0].size_wh == (60, 45)
    assert half.scenes[0].boxes_xyxy.tolist() == [[20, 15, 30, 22]]
    assert scale_images(data, 1)[0] is data
    for wrong in (0, 5):
        with pytest.raises(ConfigError, match="image_scale"):
            scale_images(data, wrong)


def test_images_are_read_at_their_new_size(dataset: Dataset) -> None:
    half, read = scale_images(dataset, 0.5)
    width, height = half.scenes[0].size_wh
    assert read(half.scenes[0]).shape == (height, width, 3)
    assert 2 * width == dataset.scenes[0].size_wh[0]
