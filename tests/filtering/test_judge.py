import numpy as np
import pytest

from augsynth.core.errors import ConfigError
from augsynth.core.scene import Detections, Placement, Plan, Reason, Scene
from augsynth.filtering.judge import FilterRules, Thresholds, judge, refit_box, unfiltered

CUP, CAN = 4, 9
PLANNED = (50.0, 50.0, 80.0, 90.0)
NEIGHBOUR = (90.0, 50.0, 110.0, 80.0)
THRESHOLDS = Thresholds(0.4, {CUP: 0.5})


def found(*rows: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    rows = tuple(sorted(rows, key=lambda row: -row[1]))
    boxes = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    return Detections(boxes, np.array([row[1] for row in rows]), np.array([row[2] for row in rows], np.int64))


def scene_with(*rows: tuple[tuple[float, float, float, float], int], crowd: bool = False) -> Scene:
    boxes = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    ids = np.array([row[1] for row in rows], np.int64)
    return Scene(1, "a.png", (200, 150), boxes, ids, np.arange(len(ids)), np.full(len(ids), crowd))


def make_plan(box: tuple[float, float, float, float] = PLANNED, category: int = CUP) -> Plan:
    planned = np.array(box)
    grown = planned + np.array([-4.0, -4, 4, 4])
    return Plan(Placement(category, planned, None, 0.0), np.array([35, 35, 125, 125]), grown, "a cup", 1)


def run(after: Detections, *, before: Detections | None = None, scene: Scene | None = None, **rules):
    return judge(
        make_plan(),
        before=before or found(),
        after=after,
        scene=scene or scene_with(),
        thresholds=THRESHOLDS,
        rules=FilterRules(**rules),
    )


GOOD = ((51.0, 51.0, 81.0, 91.0), 0.8, CUP)


def test_a_good_object_is_accepted_with_the_detected_box():
    verdict = run(found(GOOD))
    assert verdict.accepted and verdict.reason is Reason.ACCEPTED
    assert verdict.box_xyxy.tolist() == [51, 51, 81, 91]
    assert verdict.score == 0.8 and 0.85 < verdict.iou < 0.95


def test_without_a_filter_the_planned_box_is_the_label():
    verdict = unfiltered(make_plan())
    assert verdict.accepted and verdict.box_xyxy.tolist() == list(PLANNED)
    assert (verdict.score, verdict.iou) == (1.0, 1.0)


def test_the_label_is_cut_to_the_mask_and_the_image():
    verdict = run(found(((44.0, 50.0, 80.0, 97.0), 0.8, CUP)))
    assert verdict.accepted and verdict.box_xyxy.tolist() == [46, 50, 80, 94]
    kept = run(found(((44.0, 50.0, 80.0, 97.0), 0.8, CUP)), clip_to_mask=False)
    assert kept.box_xyxy.tolist() == [44, 50, 80, 97]
    box = refit_box(np.array([150.0, 140, 210, 160]), make_plan(), scene_with(), FilterRules())
    assert box.tolist() == [150, 140, 200, 150]  # outside the mask there is nothing to cut to


def test_not_found():
    assert run(found()).reason is Reason.NOT_FOUND
    far = run(found(((120.0, 10.0, 150.0, 50.0), 0.9, CUP)))
    assert far.reason is Reason.NOT_FOUND and far.box_xyxy is None and far.score == 0


def test_low_score_uses_the_category_threshold_or_the_fixed_one():
    weak = found((GOOD[0], 0.45, CUP))
    assert run(weak).reason is Reason.LOW_SCORE
    assert run(weak).score == 0.45
    assert run(weak, min_score=0.3).accepted
    assert run(found(GOOD), min_score=0.9).reason is Reason.LOW_SCORE


def test_low_iou():
    verdict = run(found(((62.0, 60.0, 92.0, 100.0), 0.9, CUP)))
    assert verdict.reason is Reason.LOW_IOU and 0.1 < verdict.iou < 0.5
    assert verdict.box_xyxy.tolist() == [62, 60, 92, 100]
    assert run(found(GOOD), min_iou=0.99).reason is Reason.LOW_IOU


def test_a_fitting_detection_wins_over_a_stronger_one_beside_it():
    verdict = run(found(GOOD, ((70.0, 70.0, 100.0, 110.0), 0.95, CUP)), max_extra_overlap=1.0)
    assert verdict.accepted and verdict.score == 0.8


def test_wrong_class_needs_a_stronger_rival_at_the_same_place():
    rival = ((50.0, 52.0, 80.0, 88.0), 0.9, CAN)
    assert run(found(rival)).reason is Reason.WRONG_CLASS
    assert run(found(GOOD, rival)).reason is Reason.WRONG_CLASS
    assert run(found(GOOD, (rival[0], 0.58, CAN))).accepted
    assert run(found((rival[0], 0.3, CAN))).reason is Reason.NOT_FOUND  # too weak to be called a can


def test_a_verdict_names_the_class_that_was_found_instead():
    rival = ((50.0, 52.0, 80.0, 88.0), 0.9, CAN)
    for after in (found(rival), found(GOOD, rival)):
        assert (run(after).found_category_id, run(after).found_score) == (CAN, 0.9)
    weak = run(found((rival[0], 0.3, CAN)))
    assert weak.reason is Reason.NOT_FOUND and (weak.found_category_id, weak.found_score) == (CAN, 0.3)
    assert run(found(GOOD, (rival[0], 0.72, CAN))).found_category_id == CAN
    for verdict in (run(found(GOOD)), run(found()), run(found(GOOD, (rival[0], 0.58, CAN)))):
        assert verdict.found_category_id is None and verdict.found_score is None


def test_an_object_that_another_class_fits_nearly_as_well_is_ambiguous():
    box = (50.0, 52.0, 80.0, 88.0)
    assert run(found(GOOD, (box, 0.72, CAN))).reason is Reason.AMBIGUOUS
    assert run(found(GOOD, (box, 0.58, CAN))).accepted
    assert run(found(GOOD, (box, 0.72, CAN)), rival_factor=1.0).accepted
    away = (90.0, 90.0, 110.0, 115.0)
    assert run(found(GOOD, (away, 0.72, CAN)), max_extra_overlap=1.0).accepted


def test_an_annotated_object_at_the_same_place_is_no_rival():
    can = (52.0, 52.0, 79.0, 95.0)
    seen = (can, 0.95, CAN)
    assert run(found(GOOD, seen), before=found(seen), scene=scene_with((can, CAN))).accepted


def test_a_neighbour_of_the_same_class_is_not_the_new_object():
    neighbour = (40.0, 60.0, 62.0, 90.0)
    seen = (neighbour, 0.9, CUP)
    verdict = run(found(seen), before=found(seen), scene=scene_with((neighbour, CUP)))
    assert verdict.reason is Reason.NOT_FOUND


def test_bad_size():
    small = ((55.0, 55.0, 69.0, 75.0), 0.9, CUP)
    assert run(found(small), min_iou=0.1, min_size_ratio=0.6).reason is Reason.BAD_SIZE
    assert run(found(small), min_iou=0.1, min_size_ratio=0.3).accepted


def test_lost_neighbour():
    scene = scene_with((NEIGHBOUR, CAN))
    before = found((NEIGHBOUR, 0.7, CAN))
    assert run(found(GOOD), before=before, scene=scene).reason is Reason.LOST_NEIGHBOUR
    assert run(found(GOOD, (NEIGHBOUR, 0.7, CAN)), before=before, scene=scene).accepted
    assert run(found(GOOD, (NEIGHBOUR, 0.7, CUP)), before=before, scene=scene).reason is Reason.LOST_NEIGHBOUR
    assert run(found(GOOD, (NEIGHBOUR, 0.3, CAN)), before=before, scene=scene).accepted  # tolerated
    assert run(found(GOOD, (NEIGHBOUR, 0.2, CAN)), before=before, scene=scene).reason is Reason.LOST_NEIGHBOUR


def test_what_was_never_found_or_lies_far_away_cannot_be_lost():
    assert run(found(GOOD), before=found((NEIGHBOUR, 0.3, CAN)), scene=scene_with((NEIGHBOUR, CAN))).accepted
    far = (150.0, 100.0, 180.0, 140.0)
    assert run(found(GOOD), before=found((far, 0.9, CAN)), scene=scene_with((far, CAN))).accepted
    crowd = scene_with((NEIGHBOUR, CAN), crowd=True)
    assert run(found(GOOD), before=found((NEIGHBOUR, 0.9, CAN)), scene=crowd).accepted


def test_an_object_that_touches_the_mask_counts_even_when_mostly_outside_the_window():
    wide = (83.0, 60.0, 190.0, 80.0)
    lost = run(found(GOOD), before=found((wide, 0.9, CAN)), scene=scene_with((wide, CAN)))
    assert lost.reason is Reason.LOST_NEIGHBOUR


def test_extra_object():
    extra = (56.0, 82.0, 76.0, 98.0)
    assert run(found(GOOD, (extra, 0.6, CAN))).reason is Reason.EXTRA_OBJECT
    assert run(found(GOOD, (extra, 0.3, CAN))).accepted  # below its threshold
    sure = ((51.0, 51.0, 81.0, 91.0), 0.95, CUP)
    assert run(found(sure, (extra, 0.45, CAN))).accepted  # doubtful beside a sure one
    assert run(found(sure, (extra, 0.45, CAN)), extra_factor=0.0).reason is Reason.EXTRA_OBJECT
    assert run(found(GOOD, (extra, 0.6, CAN)), before=found((extra, 0.2, CAN))).accepted  # was there
    seen = scene_with((extra, CAN))
    assert run(found(GOOD, (extra, 0.6, CAN)), before=found((extra, 0.6, CAN)), scene=seen).accepted
    assert run(found(GOOD, ((82.0, 40.0, 120.0, 60.0), 0.9, CAN))).accepted  # hardly in the mask
    assert run(found(GOOD, (extra, 0.6, CAN)), max_extra_overlap=1.0).accepted


def test_extra_objects_are_labelled_by_choice_unless_they_are_doubtful():
    extra = (56.0, 82.0, 76.0, 98.0)
    verdict = run(found(GOOD, (extra, 0.6, CAN), ((57.0, 82.0, 76.0, 98.0), 0.5, CAN)), extra_objects="label")
    assert verdict.accepted and verdict.extras.category_ids.tolist() == [CAN]
    assert verdict.extras.boxes_xyxy.tolist() == [[56, 82, 76, 94]]  # cut to the mask, as the object's own
    assert verdict.extras.scores.tolist() == [0.6]
    rival = found(GOOD, (extra, 0.6, CAN), (extra, 0.55, CUP))
    assert run(rival, extra_objects="label").reason is Reason.EXTRA_OBJECT
    inside = found(GOOD, ((55.0, 55.0, 70.0, 70.0), 0.6, CAN))
    assert run(inside, extra_objects="label").reason is Reason.EXTRA_OBJECT
    assert run(found(GOOD), extra_objects="label").extras is None


def test_a_part_of_the_new_object_is_no_extra_object():
    part = (55.0, 55.0, 70.0, 70.0)
    assert run(found(GOOD, (part, 0.6, CUP))).accepted
    assert run(found(GOOD, (part, 0.6, CAN))).reason is Reason.EXTRA_OBJECT


def test_verdicts_do_not_depend_on_the_order_of_equal_scores():
    rows = [GOOD, (NEIGHBOUR, 0.8, CAN), ((0.0, 0.0, 20.0, 20.0), 0.8, CUP)]
    scene, before = scene_with((NEIGHBOUR, CAN)), found((NEIGHBOUR, 0.8, CAN))
    verdicts = [run(found(*order), before=before, scene=scene) for order in (rows, rows[::-1])]
    assert all(v.accepted for v in verdicts)
    assert verdicts[0].box_xyxy.tolist() == verdicts[1].box_xyxy.tolist()


@pytest.mark.parametrize(
    "rules",
    [
        {"min_iou": 1.2},
        {"min_score": -0.1},
        {"max_extra_overlap": 2.0},
        {"lost_factor": -1.0},
        {"min_size_ratio": 0.0},
        {"max_size_ratio": 0.9},
    ],
)
def test_rules_are_validated(rules):
    with pytest.raises(ConfigError, match=next(iter(rules))):
        FilterRules(**rules)


def test_thresholds_are_validated():
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        Thresholds(0.5, {1: 1.5})
