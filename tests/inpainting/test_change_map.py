"""How far each pixel around an object is repainted: core, edge, ring, neighbours, borders."""

import numpy as np
import pytest

from augsynth.inpainting.change_map import object_change, replaced_share, to_cells

NOTHING = np.zeros((40, 50), bool)
HOLE = np.array([8.0, 8.0, 42.0, 32.0])


def disc() -> np.ndarray:
    y, x = np.mgrid[:40, :50]
    return np.asarray(np.hypot(x - 25, y - 20) < 9)


def change_of(strength: float, **parts: np.ndarray) -> np.ndarray:
    options = {"shown": disc(), "hole_xyxy": HOLE, "keep": NOTHING, "gone": NOTHING, **parts}
    return object_change(strength=strength, **options)


@pytest.mark.parametrize("strength", [0.02, 0.2, 0.5])
def test_up_to_one_half_the_core_stays(strength: float) -> None:
    change = change_of(strength)
    assert change[20, 25] == 0
    assert 0 < change[20, 33] < 2 * strength, "the edge"
    assert change[20, 35] == pytest.approx(2 * strength), "next to the object"
    assert change.max() <= 2 * strength
    assert change[:8].max() == change[:, :8].max() == change[32:].max() == change[:, 42:].max() == 0


def test_one_strength_leads_from_the_object_to_noise() -> None:
    cores = [change_of(strength)[20, 25] for strength in (0.5, 0.6, 0.8, 1.0)]
    assert cores == pytest.approx([0, 0.2, 0.6, 1])
    inside = change_of(1.0)[disc()]
    assert inside.min() == 1


def test_neighbours_stay_and_what_makes_way_goes() -> None:
    neighbour = NOTHING.copy()
    neighbour[10:30, 36:50] = True
    change = change_of(0.4, keep=neighbour)
    assert change[neighbour].max() == 0
    assert change[20, 14] > 0.3, "the other side changes"
    gone = NOTHING.copy()
    gone[12:28, 14:36] = True
    change = change_of(0.1, gone=gone)
    assert change[20, 15] > 0.9 and change[20, 25] == 0


def test_the_pictures_border_is_no_side_of_the_hole() -> None:
    shown = np.zeros((40, 50), bool)
    shown[15:40, 20:30] = True
    change = change_of(0.5, shown=shown, hole_xyxy=np.array([8.0, 8, 42, 40]))
    assert change[39, 31] == pytest.approx(1)
    assert change[0, 25] == 0


def test_without_an_object_all_of_the_hole_changes() -> None:
    change = change_of(0.3, shown=NOTHING)
    assert change[20, 25] == pytest.approx(0.6)
    assert change.max() <= 0.6 + 1e-9


def test_detail_gives_way_from_one_half_on() -> None:
    assert replaced_share(np.array([0.0, 0.5, 0.75, 1.0])).tolist() == [0, 0, 0.5, 1]


def test_a_cell_takes_its_strongest_pixel() -> None:
    change = np.zeros((8, 8))
    change[3, 5] = 0.7
    cells = to_cells(change, 4)
    assert cells[1, 2] == np.float32(0.7) and cells.sum() == np.float32(0.7)
