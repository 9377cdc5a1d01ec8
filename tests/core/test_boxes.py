"""Boxes and the views around them."""

import numpy as np

from augsynth.core.boxes import hold_a_window, square_window, view_around


def test_the_view_holds_the_window() -> None:
    for window in ([0, 0, 64, 64], [900, 500, 964, 564], [700, 0, 764, 64]):
        view = view_around(np.array(window), (1000, 600), side=320)
        assert (view[:2] <= window[:2]).all() and (view[2:] >= window[2:]).all()
        assert view[2] <= 1000 and view[3] <= 600
    assert view_around(np.array([0, 0, 64, 64]), (320, 240), side=320).tolist() == [0, 0, 320, 240]


def test_a_box_holds_a_window_where_one_is_found() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (400, 2))
    boxes = np.hstack([low, low + rng.choice([5.0, 39.5, 40.0, 40.2, 60.0], (400, 2))])
    found = [square_window(box, (120, 40), context=1.35, min_side=8) is not None for box in boxes]
    assert hold_a_window(boxes, (120, 40)).tolist() == found
    assert 100 < sum(found) < 300
