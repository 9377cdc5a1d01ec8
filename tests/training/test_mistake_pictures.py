"""Pictures of a detector's mistakes: large, in the right colours, and legible."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw

from augsynth.training.mistake_pictures import FOUND, LEAST_PX, MISSED, WRONG, draw_mistakes


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_small_pictures_are_enlarged_and_boxes_stay_where_they_are(picture):
    found = {
        "path": str(picture),
        "found": [((10, 10, 40, 40), 0, 1.0)],
        "missed": [((10, 50, 40, 75), 0, 1.0)],
        "wrong": [((60, 10, 90, 40), 1, 0.8)],
    }
    drawn = draw_mistakes(found, ("can", "jar"))
    assert max(drawn.shape) == LEAST_PX and drawn.shape[0] > 640  # a legend lies below
    for x, y, colour in ((25, 40, FOUND), (25, 75, MISSED), (75, 40, WRONG)):
        assert tuple(drawn[8 * y - 1, 8 * x]) == colour
    assert (drawn[642:] == FOUND).all(-1).any() and (drawn[642:] == WRONG).all(-1).any()


def test_large_pictures_keep_their_size(tmp_path):
    Image.new("RGB", (1000, 900)).save(tmp_path / "a.png")
    found = {"path": str(tmp_path / "a.png"), "found": [], "missed": [], "wrong": []}
    assert draw_mistakes(found, ())[:900].shape == (900, 1000, 3)


def test_names_of_crowded_objects_do_not_cover_one_another(picture, monkeypatch):
    """Twenty boxes at nearly the same place, one of them in a corner, with names of others."""
    filled = []
    rectangle = ImageDraw.ImageDraw.rectangle

    def counted(self, corners, fill=None, **rest):
        if fill in (MISSED, WRONG) and corners[3] < 640:
            filled.append(corners)
        rectangle(self, corners, fill=fill, **rest)

    monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", counted)
    boxes = [((30 + k, 30 + k % 5, 60 + k, 55), k % 3, 0.5) for k in range(19)]
    found = {
        "path": str(picture),
        "found": [],
        "missed": boxes[:10],
        "wrong": [*boxes[10:], ((70, 60, 100, 80), 1, 0.9)],
    }
    drawn = draw_mistakes(found, ("can", "a long name of a category", "\x1b[31m\u05d0"))
    assert len(filled) == 20 and drawn.dtype == np.uint8
    for a, b in itertools.combinations(filled, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
    assert all(a[0] >= 0 and a[2] <= 800 and a[1] >= 0 and a[3] <= 640 for a in filled)
