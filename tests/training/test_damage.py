"""A damaged mark or figure of a training is refused in one line that names its folder, or isn't believed."""

import json

import pytest

from augsynth.core.errors import AugsynthError
from augsynth.training.folder import MARK, WORK, check_out, claim
from augsynth.training.lora.files import FACTS, best_loss
from augsynth.training.painter.files import FIGURES, read_figures
from tests.damage import check_damage, damaged


def test_a_damaged_mark_is_no_training_of_ours(tmp_path):
    work = tmp_path / WORK
    claim(work, verb="train-inpainter", key="a")
    (tmp_path / "model").mkdir()

    def go_on():
        check_out(tmp_path, verb="train-inpainter")
        claim(work, verb="train-inpainter", key="a")

    used, refused = check_damage(work / MARK, go_on, named=str(tmp_path))
    assert refused > 30 and used == 0


@pytest.mark.parametrize(("name", "read"), [(FIGURES, read_figures), (FACTS, best_loss)])
def test_damaged_figures_are_none(tmp_path, name, read):
    good = {"held_out_loss": 0.25, "steps": 3, "losses": [[1, 0.5]]}
    for what, text in damaged(good):
        (tmp_path / name).write_text(text)
        try:
            found = read(tmp_path)
        except AugsynthError as error:
            assert str(tmp_path) in str(error) and ";" in str(error), what
        else:
            assert found is None or isinstance(found, dict | float), what
            json.dumps(found)
