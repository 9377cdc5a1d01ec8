"""An object that anything painted is judged from two pictures."""

import numpy as np
import pytest

import augsynth
from augsynth.coco.reader import read_image
from augsynth.core.errors import ConfigError
from augsynth.core.scene import Placement, Scene
from augsynth.sample import write_sample


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    return augsynth.read_dataset(write_sample(root, num_images=24, workers=1), images=root / "images")


def test_a_real_object_is_judged_as_if_it_had_been_painted(dataset):
    """The image with the object against one whose object is hidden: found, and not found with the pictures swapped."""
    detector = augsynth.load_detector("embedded", dataset.categories)
    verdicts = []
    for scene in sorted(dataset.scenes, key=len)[-3:]:
        sizes = (scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]).prod(axis=1)
        k = int(sizes.argmax())
        box = scene.boxes_xyxy[k]
        place = Placement(int(scene.category_ids[k]), box, None, 0.0)
        rest = Scene(
            scene.image_id,
            scene.file_name,
            scene.size_wh,
            *(np.delete(part, k, axis=0) for part in (scene.boxes_xyxy, scene.category_ids)),
            *(np.delete(part, k) for part in (scene.annotation_ids, scene.is_crowd)),
        )
        full = read_image(dataset, scene)
        x1, y1, x2, y2 = box.round().astype(int)
        empty = full.copy()
        empty[y1:y2, x1:x2] = np.median(full.reshape(-1, 3), axis=0).astype(np.uint8)
        verdicts.append(
            (
                augsynth.judge_pictures(empty, full, scene=rest, placement=place, detector=detector),
                augsynth.judge_pictures(full, empty, scene=rest, placement=place, detector=detector),
            )
        )
    assert any(seen.accepted for seen, _ in verdicts)
    assert not any(hidden.accepted for _, hidden in verdicts)
    best = next(seen for seen, _ in verdicts if seen.accepted)
    assert best.score >= 0.3 and best.box_xyxy is not None
    with pytest.raises(ConfigError, match="after has shape"):
        augsynth.judge_pictures(full, full[1:], scene=rest, placement=place, detector=detector)
