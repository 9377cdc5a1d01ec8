"""Boxes and the views around them."""

import numpy as np

from augsynth.core.boxes import view_around


def test_the_view_holds_the_window() -> None:
    for window in ([0, 0, 64, 64], [900, 500, 964, 564], [700, 0, 764, 64]):
        view = view_around(np.array(window), (1000, 600), side=320)
        assert (view[:2] <= window[:2]).all() and (view[2:] >= window[2:]).all()
        assert view[2] <= 1000 and view[3] <= 600
    assert view_around(np.array([0, 0, 64, 64]), (320, 240), side=320).tolist() == [0, 0, 320, 240]
