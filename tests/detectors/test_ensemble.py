"""Detectors that vote: fusion by the real library, with detectors that say what they are told."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.scene import Category, Dataset, Detections, Scene
from augsynth.detectors.ensemble import EnsembleDetector
from augsynth.detectors.loading import EMBEDDED_DETECTOR, load_detector, split_detectors
from augsynth.detectors.port import without_doubles
from augsynth.filtering.thresholds import calibrate

ROOT = Path(__file__).resolve().parents[2]
FAR = 2**40 + 1


def detections(*rows):
    """Rows of (x1, y1, x2, y2, score, category id)."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    table = table[np.argsort(-table[:, 4], kind="stable")]
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


class Scripted:
    """A detector that finds the same in every image."""

    def __init__(self, *rows, name="scripted", view_px=100):
        self.name, self.view_px = name, view_px
        self.found = detections(*rows)

    def detect(self, images):
        return [self.found] * len(images)


IMAGES = [np.zeros((80, 120, 3), np.uint8)]


def fuse(*members, **options):
    [found] = EnsembleDetector(members, **options).detect(IMAGES)
    return found


def test_what_both_see_is_averaged_by_score_and_keeps_its_score():
    found = fuse(Scripted((10, 10, 50, 50, 0.9, 3)), Scripted((12, 10, 54, 50, 0.6, 3)))
    assert found.category_ids.tolist() == [3]
    assert found.scores == pytest.approx([0.75])
    x2 = (0.9 * 50 + 0.6 * 54) / 1.5
    np.testing.assert_allclose(found.boxes_xyxy, [[(0.9 * 10 + 0.6 * 12) / 1.5, 10, x2, 50]], atol=0.02)


def test_what_one_of_two_sees_counts_half():
    found = fuse(Scripted((10, 10, 50, 50, 0.9, 3)), Scripted((70, 10, 110, 50, 0.6, 3)))
    assert found.scores == pytest.approx([0.45, 0.3])
    assert fuse(Scripted((10, 10, 50, 50, 0.9, 3)), Scripted(), min_score=0.5).scores.size == 0


def test_categories_are_not_mixed():
    found = fuse(Scripted((10, 10, 50, 50, 0.8, 3)), Scripted((10, 10, 50, 50, 0.6, FAR)))
    assert dict(zip(found.category_ids.tolist(), found.scores.tolist(), strict=True)) == {3: 0.4, FAR: 0.3}


def test_a_detector_that_reports_an_object_twice_votes_once():
    twice = Scripted((10, 10, 50, 50, 0.9, 3), (11, 10, 50, 50, 0.8, 3), (11, 10, 50, 50, 0.7, 4))
    assert without_doubles(twice.found, max_iou=0.55).scores.tolist() == [0.9, 0.7]
    assert fuse(twice, Scripted()).scores == pytest.approx([0.45, 0.35])


def test_one_detector_alone_is_left_as_it_is():
    rows = [(10, 10, 50, 50, 0.9, 3), (30, 20, 90, 70, 0.5, 4), (0, 0, 120, 80, 0.05, 3)]
    found = fuse(Scripted(*rows))
    np.testing.assert_allclose(found.boxes_xyxy, detections(*rows).boxes_xyxy, atol=0.011)
    np.testing.assert_allclose(found.scores, [0.9, 0.5, 0.05])


def test_nothing_found_is_nothing_and_boxes_stay_inside():
    empty = fuse(Scripted(), Scripted())
    assert empty.boxes_xyxy.shape == (0, 4)
    assert len(empty.category_ids) == 0
    found = fuse(Scripted((0, 0, 120, 80, 1, 3)), Scripted((0, 0, 120, 80, 1, 3)))
    np.testing.assert_array_equal(found.boxes_xyxy, [[0, 0, 120, 80]])
    assert found.scores.tolist() == [1]


def test_name_view_and_bad_options():
    ensemble = EnsembleDetector([Scripted(name="a", view_px=400), Scripted(name="b", view_px=800)])
    assert ensemble.name == "a, b"
    assert ensemble.view_px == 600
    with pytest.raises(ValueError, match="at least one"):
        EnsembleDetector([])
    with pytest.raises(ValueError, match="same_object_iou"):
        EnsembleDetector([Scripted()], same_object_iou=1.5)


def test_thresholds_calibrated_on_the_ensemble_fit_its_scores():
    """An object that one of two detectors misses scores half, and so does its threshold."""
    boxes = np.array([[10.0, 10, 50, 50]])
    scenes = tuple(
        Scene(k, f"{k}.png", (120, 80), boxes, np.array([3]), np.array([k]), np.array([False]))
        for k in range(12)
    )
    dataset = Dataset((Category(3, "can"),), scenes, {}, Path("none.json"))
    one, blind = Scripted((10, 10, 50, 50, 0.8, 3), view_px=200), Scripted(view_px=200)
    alone = calibrate(one, dataset, lambda _: IMAGES[0])
    both = calibrate(EnsembleDetector([one, blind]), dataset, lambda _: IMAGES[0])
    assert alone[3] == pytest.approx(0.8)
    assert both[3] == pytest.approx(0.4)


def test_detectors_are_named_with_commas(tmp_path):
    assert split_detectors("a/b, ./c") == ["a/b", "./c"]
    odd = tmp_path / "a,b"
    odd.mkdir()
    assert split_detectors(str(odd)) == [str(odd)]
    for wrong in ("a,", ",a", "a,,b", "a,a"):
        with pytest.raises(ConfigError, match="detector is"):
            split_detectors(wrong)
    with pytest.raises(ConfigError, match="detector_revision"):
        load_detector("./a,./b", [Category(1, "can")], revision="main")


def test_two_real_detectors_are_loaded_and_vote(tmp_path):
    import shutil

    from augsynth.detectors.folder import read_config

    copy = tmp_path / "copy"
    shutil.copytree(EMBEDDED_DETECTOR, copy)
    categories = read_config(copy).categories
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    [alone] = load_detector(str(copy), categories, min_score=0.02).detect([image])
    [both] = load_detector(f"{EMBEDDED_DETECTOR},{copy}", categories, min_score=0.02).detect([image])
    once = without_doubles(alone, max_iou=0.55)
    assert len(both) == len(once) > 0
    for box, score, category in zip(once.boxes_xyxy, once.scores, once.category_ids, strict=True):
        near = np.abs(both.boxes_xyxy - box).max(1) < 0.05
        assert (near & (np.abs(both.scores - score) < 2e-4) & (both.category_ids == category)).any()


def test_without_the_library_the_error_names_the_command():
    code = (
        "import sys; sys.modules['ensemble_boxes'] = None\n"
        "from augsynth.detectors.ensemble import EnsembleDetector\n"
        "try: EnsembleDetector([type('D', (), {'name': 'a', 'view_px': 1})()])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.startswith(BackendError.__name__)
    assert "pip install 'augsynth[ensemble]'" in result.stdout
