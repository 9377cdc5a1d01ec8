"""The mask head finds the outlines of rendered objects, one by one as together; a damaged file is one line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from augsynth.core.errors import BackendError
from augsynth.detectors.loading import load_detector
from augsynth.detectors.mask_head import (
    MASK_HEAD_FILE,
    SIDE_PX,
    MaskHead,
    MaskNetwork,
    cut_crop,
    write_mask_head,
)
from augsynth.sample.render import render_scene
from augsynth.sample.world import CATEGORIES

EMBEDDED = Path(__file__).parents[2] / "augsynth" / "sample" / "models" / "detector"


def random_head(folder):
    torch.manual_seed(0)
    network = MaskNetwork()
    write_mask_head(folder, network.state_dict())
    return network


def test_a_folder_without_a_head_has_none_and_a_damaged_one_is_one_line(tmp_path):
    assert MaskHead.load(tmp_path) is None
    (tmp_path / MASK_HEAD_FILE).write_bytes(b"no weights")
    with pytest.raises(BackendError, match=MASK_HEAD_FILE) as error:
        MaskHead.load(tmp_path)
    assert "\n" not in str(error.value)
    random_head(tmp_path)
    assert MaskHead.load(tmp_path) is not None


def test_a_crop_continues_the_border_and_keeps_the_box_in_its_middle():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 0:12] = 200
    crop = cut_crop(image, np.array([0.0, 10.0, 12.0, 20.0]))
    assert crop.shape == (SIDE_PX, SIDE_PX, 3)
    middle = crop[SIDE_PX // 4 : -SIDE_PX // 4, SIDE_PX // 4 : -SIDE_PX // 4]
    assert (middle == 200).all()
    assert (crop[SIDE_PX // 2, 0] == 200).all()  # left of the image its border is continued
    assert (crop[:4] == 0).all()


def test_a_mask_does_not_depend_on_the_other_boxes(tmp_path):
    random_head(tmp_path)
    head = MaskHead.load(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    boxes = np.array([[5.0, 5, 30, 40], [20, 10, 66.5, 49], [-3, 2, 8, 12]])
    together = head.masks(image, boxes)
    assert together.shape == (3, 50, 70)
    for box, mask in zip(boxes, together, strict=True):
        assert (head.masks(image, box[None])[0] != mask).mean() < 0.002
    assert head.masks(image, np.zeros((0, 4))).shape == (0, 50, 70)


def test_the_embedded_head_finds_the_outlines_of_scenes_it_has_not_seen():
    head = MaskHead.load(EMBEDDED)
    rng = np.random.default_rng(3)
    ious = []
    for index in range(12):
        scene = render_scene(42, index)
        boxes = np.array(scene.boxes_xyxy, np.float64)
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        found = head.masks(scene.image, boxes + rng.normal(0, 0.02, boxes.shape) * sides)
        for mask, true in zip(found, scene.masks, strict=True):
            ious.append((mask & true).sum() / (mask | true).sum())
    assert np.mean(ious) > 0.85
    assert np.median(ious) > 0.88


def test_the_embedded_detector_has_masks():
    detector = load_detector(EMBEDDED, CATEGORIES)
    assert detector.has_masks
    found = detector.detect_masks([render_scene(42, 0).image])[0]
    assert len(found) and found.masks.shape[0] == len(found)


def test_masks_that_were_not_asked_for_are_not_drawn(monkeypatch):
    detector = load_detector(EMBEDDED, CATEGORIES)
    image = render_scene(42, 0).image
    whole = detector.detect_masks([image])[0]
    drawn = []
    masks = MaskHead.masks
    monkeypatch.setattr(
        MaskHead, "masks", lambda self, image, boxes: drawn.append(len(boxes)) or masks(self, image, boxes)
    )
    (one,) = detector.detect_masks([image], of=lambda found: np.array([2]))
    assert drawn == [1] and len(one) == 1
    assert one.boxes_xyxy.tolist() == whole.boxes_xyxy[2:3].tolist()
    assert one.category_ids.tolist() == whole.category_ids[2:3].tolist()
    assert (one.masks[0] != whole.masks[2]).mean() < 0.002
