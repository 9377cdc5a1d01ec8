"""Standing free: the border and neighbours that reach past a side may hide something, others don't."""

import numpy as np

from augsynth.placement.free_standing import is_cut, may_be_hidden, stand_free

CARD = [100, 100, 140, 160]


def hidden(*others):
    return may_be_hidden(np.array([CARD, *others], float)).tolist()


def test_what_lies_alone_or_in_a_gap_is_not_hidden():
    assert hidden() == [False]
    assert hidden([145, 100, 185, 160]) == [False, False]


def test_neighbours_in_a_row_may_hide_each_other_although_their_boxes_only_touch():
    assert hidden([140, 100, 180, 160]) == [True, True]
    assert hidden([141, 100, 180, 160]) == [True, True]  # annotators leave a gap


def test_a_corner_that_is_covered_hides_no_side():
    assert hidden([130, 145, 200, 220])[0] is False
    assert hidden([115, 120, 200, 220])[0] is True  # more than half of two sides


def test_something_in_front_that_stays_inside_takes_nothing():
    assert hidden([110, 110, 130, 150]) == [False, True]
    assert hidden([115, 120, 125, 135]) == [False, False]  # a small one lies on it


def test_an_object_on_a_much_larger_one_is_not_hidden_by_it():
    assert hidden([40, 40, 250, 250])[0] is False
    assert hidden([96, 96, 144, 164])[0] is True  # as large: one lies behind the other


def test_scale_and_order_do_not_matter():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 200, (40, 2))
    boxes = np.hstack([low, low + rng.uniform(10, 60, (40, 2))])
    order = rng.permutation(40)
    found = may_be_hidden(boxes)
    assert 0 < found.sum() < 40
    assert (may_be_hidden(boxes * 7.5) == found).all()
    assert (may_be_hidden(boxes[order]) == found[order]).all()


def test_the_border_cuts_and_nothing_is_no_trouble():
    boxes = np.array([[0, 20, 30, 60], [50, 20, 80, 60], [99.8, 70, 120, 100]], float)
    assert is_cut(boxes, (120, 100)).tolist() == [True, False, True]
    assert stand_free(boxes, (120, 100)).tolist() == [False, True, False]
    assert stand_free(np.zeros((0, 4)), (120, 100)).shape == (0,)
