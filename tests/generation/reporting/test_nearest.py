"""The nearest real object: a copy finds its original wherever its box is, and others are not taken for copies."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from augsynth.core.errors import DatasetError
from augsynth.core.scene import Category, Dataset, Image, Scene
from augsynth.generation.reporting import nearest
from augsynth.generation.reporting.nearest import ALIKE, RealObjects, pixels_in

SIZE_WH = (160, 120)


def picture(number: int) -> Image:
    """Smooth and full of shapes, each another one."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (15, 20, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, SIZE_WH, interpolation=cv2.INTER_CUBIC), np.uint8)


def dataset(num: int = 12) -> Dataset:
    """Cups at the left and dogs at the right of every picture."""
    boxes = np.array([[20.0, 30, 60, 90], [90, 20, 140, 70], [100, 80, 104, 84]])
    scenes = tuple(
        Scene(k, f"{k}.png", SIZE_WH, boxes, np.array([1, 2, 2]), np.arange(3) + 9 * k, np.zeros(3, bool))
        for k in range(num)
    )
    return Dataset((Category(1, "cup"), Category(2, "dog")), scenes, {}, Path("a.json"))


def read(scene: Scene) -> Image:
    if scene.image_id == 5:
        raise DatasetError("5.png: gone")
    return picture(scene.image_id)


@pytest.fixture(scope="module")
def real() -> RealObjects:
    return RealObjects.collect(dataset(), read, ids=[1, 2])


def test_small_objects_and_images_that_are_gone_are_passed_over(real: RealObjects) -> None:
    assert {k: len(each) for k, each in real.by_category.items()} == {1: 11, 2: 11}
    assert "5.png" not in {one.file_name for each in real.by_category.values() for one in each}
    assert real.by_category[1][0].picture.shape == (80, 80, 3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_copy_is_nearly_the_same_though_its_box_light_and_sharpness_differ(
    real: RealObjects, mirrored: bool
) -> None:
    for number in (0, 3, 11):
        copy = cv2.GaussianBlur(picture(number)[29:92, 21:60], (0, 0), 0.7)
        copy = np.clip(copy.astype(int) * 0.9 + 12, 0, 255).astype(np.uint8)
        found = real.nearest(1, np.ascontiguousarray(copy[:, ::-1]) if mirrored else copy)
        assert found is not None and found[0].file_name == f"{number}.png" and found[1] >= ALIKE
        assert found[0].box_xyxy == (20.0, 30.0, 60.0, 90.0)


def test_another_object_has_a_nearest_one_but_is_no_copy(real: RealObjects) -> None:
    found = real.nearest(1, picture(99)[30:90, 20:60])
    assert found is not None and found[1] < 0.9
    flat = real.nearest(1, np.full((40, 40, 3), 77, np.uint8))
    assert flat is not None and flat[1] == 0
    assert real.nearest(3, picture(0)) is None and RealObjects().nearest(1, picture(0)) is None


def test_real_objects_are_bounded_in_number_and_in_pixels_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MOST_OBJECTS", 6)
    few = RealObjects.collect(dataset(), read, ids=[1, 2])
    assert {k: len(each) for k, each in few.by_category.items()} == {1: 3, 2: 3}
    monkeypatch.setattr(nearest, "MOST_PIXELS", 2 * SIZE_WH[0] * SIZE_WH[1])
    seen: list[int] = []
    RealObjects.collect(dataset(), lambda scene: seen.append(scene.image_id) or picture(0), ids=[1])  # type: ignore[func-returns-value]
    assert len(seen) == 2


def test_what_a_window_shows_of_a_box() -> None:
    tile = picture(1)[:100, :100]
    whole = pixels_in(tile, (250.0, 140.0, 330.0, 200.0), (200, 100, 400, 300))  # pictured at half its size
    assert whole is not None
    np.testing.assert_array_equal(whole, tile[20:50, 25:65])
    assert pixels_in(tile, (200.0, 100.0, 214.0, 200.0), (200, 100, 400, 300)) is None
