"""Appearance: surroundings are learned, the inside of a box is never seen, odd images are no trouble."""

import json

import numpy as np
import pytest

from augsynth.core.errors import DatasetError
from augsynth.placement.appearance import Appearance
from augsynth.placement.ring_features import Rings
from tests.scenes import CUP, LID, dataset_of, scene_of

GRASS, WATER = (70, 120, 40), (60, 90, 150)


def shore(image_id, *, size_wh=(160, 120)):
    """Grass on one side, water on the other; which is which, and where the shore is, varies."""
    rng = np.random.default_rng(image_id)
    width, height = size_wh
    edge = int(width * rng.uniform(0.4, 0.6))
    first = bool(rng.integers(2))
    image = np.empty((height, width, 3), np.float64)
    image[:, :edge] = GRASS if first else WATER
    image[:, edge:] = WATER if first else GRASS
    image += rng.normal(0, 12, image.shape)
    low, high = (10, edge - 25) if first else (edge + 12, width - 25)
    boxes = []
    for y in (15, 75):
        x, top = rng.uniform(low, high), y + rng.uniform(0, 20)
        boxes.append([x, top, x + 12, top + 12])
        image[int(top) : int(top) + 12, int(x) : int(x) + 12] = rng.uniform(0, 255, 3)
    image = np.clip(image, 0, 255).astype(np.uint8)
    return image, scene_of(boxes, [CUP, LID], size_wh=size_wh, image_id=image_id), first


def shores(count):
    return dataset_of([shore(i)[1] for i in range(count)])


@pytest.fixture(scope="module")
def appearance():
    return Appearance.fit(shores(35), lambda scene: shore(scene.image_id)[0])


def test_the_kind_of_ground_is_learned(appearance):
    right = 0
    for image_id in range(1000, 1020):
        image, _scene, grass_left = shore(image_id)
        boxes = np.array([[18.0, 50, 30, 62], [130, 50, 142, 62]])
        on_left, on_right = appearance.log_odds(scene_of([], []), Rings.of(image), boxes, CUP)
        right += (on_left > on_right) == grass_left
    assert right >= 17


def test_file_form_and_repeatability(appearance):
    copy = Appearance.from_dict(json.loads(json.dumps(appearance.to_dict())))
    image, scene, _ = shore(1002)
    boxes = np.random.default_rng(0).uniform(0, 60, (40, 2))
    boxes = np.hstack([boxes, boxes + 14])
    rings = Rings.of(image)
    np.testing.assert_array_equal(
        copy.log_odds(scene, rings, boxes, CUP), appearance.log_odds(scene, rings, boxes, CUP)
    )
    one, two = (Appearance.fit(shores(8), lambda s: shore(s.image_id)[0]).to_dict() for _ in range(2))
    assert one == two
    with pytest.raises(ValueError, match="ranks"):
        Appearance.from_dict({"category_ids": [1]})


def test_bad_images_are_left_out_and_no_more_are_read_than_asked():
    read = []

    def reader(scene):
        read.append(scene.image_id)
        if scene.image_id % 2:
            raise DatasetError("truncated")
        return shore(scene.image_id)[0]

    model = Appearance.fit(shores(30), reader, max_images=10)
    assert len(read) == len(set(read)) == 10
    assert len(model.trees.leaves)


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 7), (9, 3), (4000, 12)])
def test_any_size_of_image(appearance, size_wh):
    image = np.full((size_wh[1], size_wh[0], 3), 90, np.uint8)
    boxes = np.array([[0.0, 0, size_wh[0], size_wh[1]], [0, 0, 0.5, 0.5]])
    scene = scene_of([], [], size_wh=size_wh)
    assert np.isfinite(appearance.log_odds(scene, Rings.of(image), boxes, LID)).all()


def test_no_usable_object_knows_nothing_and_unknown_categories_are_refused():
    crowds = dataset_of([scene_of([[5, 5, 20, 20]], [CUP], crowd=[True])])
    model = Appearance.fit(crowds, lambda scene: pytest.fail("nothing to read"))
    rings = Rings.of(np.zeros((30, 30, 3), np.uint8))
    box = np.array([[2.0, 2, 9, 9]])
    assert model.log_odds(scene_of([], []), rings, box, CUP) == 0
    with pytest.raises(ValueError, match="category_id 99"):
        model.log_odds(scene_of([], []), rings, box, 99)
