"""Views of training images."""

from dataclasses import replace

import numpy as np
import pytest

from augsynth.training.detector.augment import Example, View, apply_view, draw_view

PLAIN = View(1.0, (0.5, 0.5), False, False, (1.0, 1.0, 1.0), 1.0, 1.0, 0.0, 1.0, 0)


@pytest.mark.parametrize("seed", range(12))
def test_view_moves_boxes_with_their_pixels(seed):
    image = np.full((60, 80, 3), 100, np.uint8)
    image[20:40, 30:45] = (250, 0, 0)
    example = Example(image, np.array([[30.0, 20, 45, 40]]), np.array([1]))
    drawn = draw_view(np.random.default_rng(seed), vertical_flip=True, max_zoom=1.5)
    geometry = replace(
        PLAIN,
        zoom=drawn.zoom,
        offset_xy=drawn.offset_xy,
        flip=drawn.flip,
        flip_vertical=drawn.flip_vertical,
    )
    view = apply_view(example, geometry, canvas_wh=(72, 64))
    assert view.image.shape == (64, 72, 3)
    red = (view.image[..., 0] > 175) & (view.image[..., 2] < 60)
    assert len(view.boxes_xyxy) == (red.sum() > 0)
    ys, xs = np.nonzero(red)
    seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert np.abs(view.boxes_xyxy[0] - seen).max() <= 1.0


def test_crowds_and_cut_objects_are_hidden():
    image = np.full((40, 40, 3), 200, np.uint8)
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30], [25, 25, 39, 39]])
    example = Example(image, boxes, np.array([1, 2, -1]))
    view = apply_view(example, replace(PLAIN, offset_xy=(1.0, 1.0)), canvas_wh=(33, 33))
    assert view.labels.tolist() == [2]  # the first is mostly cut off, the third is a crowd
    assert view.boxes_xyxy.tolist() == [[13, 13, 23, 23]]
    assert (view.image[25, 25] == 114).all() and (view.image[22, 22] == 200).all()
    assert (view.image[1, 1] == 114).all()


def test_views_depend_on_the_seed_alone():
    first, second = (draw_view(np.random.default_rng(5), vertical_flip=False) for _ in range(2))
    assert first == second and not first.flip_vertical
