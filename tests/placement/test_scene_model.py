"""What annotations tell as one value: fitted, looked at, saved, loaded, and used to propose places."""

import numpy as np
import pytest

import augsynth
from augsynth.coco.reader import read_image
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.scene import Scene
from augsynth.sample import write_sample


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    return augsynth.read_dataset(write_sample(root, num_images=24, workers=1), images=root / "images")


@pytest.fixture(scope="module")
def model(dataset):
    return augsynth.fit_affinity(dataset)


def test_an_affinity_is_fitted_looked_at_saved_and_loaded(model, tmp_path):
    assert str(model).startswith("loglinear affinity of ")
    assert model.strongest_pairs(3)[0].value > 0 > model.most_repelled_pairs(3)[0].value
    picture = model.heat_map()
    assert picture.format == "PNG" and min(picture.size) > 300
    model.save(str(tmp_path / "affinity.json"))
    again = augsynth.load_affinity(str(tmp_path / "affinity.json"))
    assert again.names == model.names
    np.testing.assert_array_equal(again.affinity.matrix, model.affinity.matrix)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "affinity.json").read_bytes()


def test_places_are_proposed_for_a_scene(dataset, model):
    scene = max(dataset.scenes, key=len)
    places = augsynth.propose_places(scene, model, num=5)
    assert 1 <= len(places) <= 5
    assert [place.score for place in places] == sorted((place.score for place in places), reverse=True)
    again = augsynth.propose_places(scene, model, num=5)
    assert [place.box_xyxy.tolist() for place in places] == [place.box_xyxy.tolist() for place in again]
    named = augsynth.propose_places(scene, model, category=model.names[2], seed=7)
    assert [place.category_id for place in named] == [model.affinity.category_ids[2]]


def test_bad_requests_for_places_say_what_to_do(dataset, model):
    scene = dataset.scenes[0]
    with pytest.raises(ConfigError, match="category 'botle' isn't in the affinity; it has "):
        augsynth.propose_places(scene, model, category="botle")
    with pytest.raises(ConfigError, match="image and appearance together"):
        augsynth.propose_places(scene, model, image=read_image(dataset, scene))
    strange = Scene(
        7, "a.png", (100, 80), np.array([[1.0, 1, 9, 9]]), *np.full((2, 1), 999), np.zeros(1, bool)
    )
    with pytest.raises(DatasetError, match="image 7: category id 999 isn't in the affinity"):
        augsynth.propose_places(strange, model)
