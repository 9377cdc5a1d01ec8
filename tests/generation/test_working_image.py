"""A new image in the making: what was seen of it, and how it was some objects ago."""

from dataclasses import replace

import numpy as np

from augsynth.core.scene import Detections, Scene
from augsynth.generation.working_image import Seen, WorkingImage

SOURCE = Scene(7, "a.png", (40, 30)).adding(np.array([1.0, 1, 9, 9]), category_id=2, annotation_id=3)


def grown(num: int) -> WorkingImage:
    """An image with objects accepted in attempts 10, 11, …; after the k-th every pixel is k."""
    image = WorkingImage(0, SOURCE, SOURCE, np.zeros((30, 40, 3), np.uint8))
    for k in range(1, num + 1):
        box = np.array([10.0 + k, 10, 12 + k, 20])
        scene = image.scene.adding(box, category_id=1, annotation_id=-k)
        pixels = np.full((30, 40, 3), k, np.uint8)
        versions = (*image.versions, (scene, pixels))
        image = replace(
            image,
            scene=scene,
            pixels=pixels,
            versions=versions,
            accepted=(*image.accepted, 9 + k),
            painted=(*image.painted, box),
        )
    return image


def test_only_the_view_that_was_seen_is_known() -> None:
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    view = np.array([0, 0, 30, 30])
    image = grown(1)
    assert image.saw(view) is None
    seen = replace(image, seen=Seen(view, nothing))
    assert seen.saw(view.copy()) is nothing and seen.saw(view + 1) is None


def test_it_goes_back_to_its_first_objects() -> None:
    image = replace(grown(3), seen=Seen(np.zeros(4, np.int64), Detections(*[np.zeros((0, 4))] * 3)))
    back = image.first(2)
    assert back.accepted == (10, 11) and (back.pixels == 2).all() and back.seen is None
    assert back.scene.annotation_ids.tolist() == [3, -1, -2] and len(back.painted) == len(back.versions) == 2
    assert image.first(3) is image and image.first(9) is image
    assert image.accepted == (10, 11, 12) and (image.pixels == 3).all()
