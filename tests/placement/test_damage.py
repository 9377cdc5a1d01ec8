"""A damaged affinity file is refused in one line that names it, or is used."""

import pytest

from augsynth.placement.scene_model import fit_affinity, load_affinity, propose_places
from tests.damage import check_damage


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_affinity_file(tmp_path, shapes):
    dataset, _ = shapes
    path = tmp_path / "affinity.json"
    fit_affinity(dataset).save(path)
    scene = dataset.scenes[0]

    def use():
        model = load_affinity(path)
        model.affinity.check_matches(dataset, title=str(path))
        str(model)
        model.affinity.strongest_pairs()
        assert model.affinity.probabilities([]).sum() == pytest.approx(1)
        propose_places(scene, model, num=2)

    used, refused = check_damage(path, use, every=13)
    assert used > 5 and refused > 50
