"""Labels beside what a detector sees: disputed where another category is sure, unlabelled where nothing is."""

import json

import numpy as np
import pytest

import augsynth
from augsynth.checking.labels import Evidence, check_labels, detect_all
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.core.scene import Detections
from augsynth.sample import write_sample
from tests.checking.tiny_set import Seeing, kinds, write_set


def seen_as_labelled(dataset):
    """What a detector sees that is right everywhere, with scores from 0.5 to 0.9."""
    rng = np.random.default_rng(0)
    return [
        [
            [box, float(rng.uniform(0.5, 0.9)), int(c)]
            for box, c in zip(scene.boxes_xyxy, scene.category_ids, strict=True)
        ]
        for scene in dataset.scenes
    ]


@pytest.fixture
def looked(tmp_path):
    path, images = write_set(tmp_path)
    dataset = read_dataset(path, images=images)

    def look(told):
        found = check_labels(dataset, Seeing(told), lambda scene: read_image(dataset, scene))
        return {finding.kind: [case for case in finding.cases] for finding in found}

    return dataset, look


def test_a_detector_that_agrees_finds_nothing(looked):
    dataset, look = looked
    assert look(seen_as_labelled(dataset)) == {}


def test_another_category_that_is_sure_disputes_a_label(looked):
    dataset, look = looked
    told = seen_as_labelled(dataset)
    told[2][0][1:] = 0.95, 5
    told[3][0][1:] = 0.55, 5  # isn't sure enough
    found = look(told)
    assert found.keys() == {"disputed_labels"}
    (case,) = found["disputed_labels"]
    assert case.annotation_ids == (5,) and str(case).endswith("labelled can, seen as cup (0.95)")


def test_a_label_that_is_seen_as_well_is_not_disputed(looked):
    dataset, look = looked
    told = seen_as_labelled(dataset)
    told[2].append([told[2][0][0], 0.95, 5])
    assert look(told) == {}


def test_a_sure_detection_in_a_free_place_is_an_unlabelled_object(looked):
    dataset, look = looked
    told = seen_as_labelled(dataset)
    free, unsure = [np.array([120.0, 100, 150, 118]), 0.95, 3], [np.array([60.0, 100, 80, 118]), 0.4, 3]
    told[1] += [free, unsure, [free[0] + 1, 0.91, 5]]
    inside = told[4][0][0].copy()
    inside[2:] = (inside[:2] + inside[2:]) / 2  # a part of a labelled object
    told[4].append([inside, 0.95, 3])
    found = look(told)
    assert found.keys() == {"unlabelled_objects"}
    (case,) = found["unlabelled_objects"]
    assert case.image_id == 2 and case.boxes_xywh == ((120, 100, 30, 18),) and case.value == 0.95


def test_a_detector_that_is_mostly_wrong_says_nothing(looked):
    dataset, look = looked
    told = seen_as_labelled(dataset)
    for rows in told:
        rows += [[np.array([120.0, 100, 150, 118]), 0.95, 3], [np.array([90.0, 100, 110, 118]), 0.93, 5]]
    told[2][0][1:] = 0.95, 5
    assert look(told).keys() <= {"disputed_labels"}


def test_a_score_counts_where_four_of_five_with_it_are_right():
    right = [0.5 + 0.01 * k for k in range(20)]
    assert Evidence(right=right).sure([], 0.5) == pytest.approx(np.median(right))
    assert Evidence(right=right).sure([0.9] * 4, 0.5) == pytest.approx(np.median(right))
    few = Evidence(right=right).sure([0.55] * 20, 0.0)
    assert 0.55 < few <= 0.56
    assert Evidence(right=right).sure([0.9] * 20, 0.0) == float("inf")
    assert Evidence(right=right[:9]).sure([], 0.0) == float("inf")


def test_a_large_picture_is_looked_at_in_views_and_nothing_is_seen_twice():
    class Spots:
        name, view_px = "spots", 64

        def detect(self, images):
            found = []
            for image in images:
                y, x = np.nonzero(image[..., 0])
                boxes = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]] if len(x) else [], np.float64)
                num = len(boxes)
                found.append(Detections(boxes.reshape(-1, 4), np.full(num, 0.9), np.ones(num, np.int64)))
            return found

    image = np.zeros((150, 200, 3), np.uint8)
    image[70:80, 90:99] = 255
    found = detect_all(Spots(), image)
    assert found.boxes_xyxy.tolist() == [[90, 70, 99, 80]]


def test_a_detector_needs_pictures(tmp_path):
    path, images = write_set(tmp_path)
    whole, _ = write_set(tmp_path / "whole", first=50)
    images.rename(tmp_path / "elsewhere")
    looked = []
    for given in (path, [path, whole]):
        with pytest.raises(ConfigError, match="give the image directory"):
            augsynth.check(given, detector="embedded", progress=lambda *told: looked.append(told))
    assert not looked, "said before any work"


def test_labels_of_the_sample_that_are_wrong_are_disputed_and_no_others(tmp_path):
    path = write_sample(tmp_path / "sample", num_images=24, workers=1)
    document = json.loads(path.read_text())
    ids = {category["name"]: category["id"] for category in document["categories"]}
    wrong = [a for a in document["annotations"] if a["category_id"] == ids["bottle"]][:5]
    for annotation in wrong:
        annotation["category_id"] = ids["can"]
    path.write_text(json.dumps(document))
    found = augsynth.check(path, tmp_path / "sample" / "images", detector="embedded")
    disputed = {c.annotation_ids[0] for f in found.findings if f.kind == "disputed_labels" for c in f.cases}
    assert len(disputed) >= 2 and disputed <= {annotation["id"] for annotation in wrong}
    assert kinds(found).keys() == {"disputed_labels"}
