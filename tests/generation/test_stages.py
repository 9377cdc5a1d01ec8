"""Each stage alone: what it returns, and that what it was given stays as it was."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from augsynth.core.masks import Mask
from augsynth.core.scene import Category, Detections, Image, Placement, Reason, Scene, Standing, Verdict
from augsynth.filtering.judge import Thresholds
from augsynth.filtering.options import FilterRules
from augsynth.generation.context import Judging, Painting
from augsynth.generation.planning import InitImage, PlannedWindow, make_plan, plan_cells
from augsynth.generation.stages import (
    JudgedWindow,
    ObservedWindow,
    PaintedWindow,
    detect,
    judge_windows,
    paint,
    settle,
    visible_masks,
)
from augsynth.generation.working_image import WorkingImage
from augsynth.inpainting.port import InpaintRequest
from augsynth.inpainting.prompts.book import PromptBook, PromptRules
from augsynth.masking.sources import PaintedObject
from augsynth.placement.proposal import PlacementRules
from augsynth.placement.replacement import Replaced

BOOK = PromptBook.open(PromptRules(), [Category(1, "cup"), Category(2, "lid")])
OLD = np.array([50.0, 50.0, 60.0, 60.0])
NEW = np.array([20.0, 20.0, 40.0, 44.0])


def image_of(job: int = 0) -> WorkingImage:
    """A grey image with one object of category 2."""
    source = Scene(7, "a.png", (96, 96)).adding(OLD, category_id=2, annotation_id=3)
    return WorkingImage(job, source, source, np.full((96, 96, 3), 90, np.uint8))


def window_of(image: WorkingImage, **values: object) -> PlannedWindow:
    placement = Placement(1, NEW, None, 0.0)
    rules = PlacementRules(model_window=32)
    plan = make_plan(rules, BOOK, image.scene, placement, seed=5)
    assert plan is not None
    return PlannedWindow(image, 0, 0, plan, plan_cells(plan, num_cells=8), **values)


class White:
    """Paints the cells white, or blanks the window."""

    name, size, cell = "white", 32, 4

    def __init__(self, *, blank: bool = False) -> None:
        self.blank, self.asked = blank, list[InpaintRequest]()

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[Image | None]:
        self.asked += requests
        return [None if self.blank else self.painted(request) for request in requests]

    def painted(self, request: InpaintRequest) -> Image:
        cells = np.kron(request.cells, np.ones((self.cell, self.cell), bool))
        return np.where(cells[..., None], np.uint8(255), request.image)


class Brightness:
    """Finds an object of category 1 where anything is brighter than the grey; counts what it looks at."""

    name, view_px = "brightness", 96

    def __init__(self) -> None:
        self.looked = 0

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        self.looked += len(images)
        return [self.find(image) for image in images]

    def find(self, image: Image) -> Detections:
        rows, columns = np.nonzero((image > 100).any(-1))
        if not len(rows):
            return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
        box = [columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0]
        return Detections(np.array([box], np.float64), np.array([0.9]), np.array([1]))


def test_painting_changes_the_cells_of_a_new_picture() -> None:
    image, inpainter = image_of(), White()
    window = window_of(image)
    [painted] = paint(Painting(inpainter, BOOK), [window])
    changed = (painted.pixels != image.pixels).any(-1)
    x1, y1, x2, y2 = window.painted_xyxy.astype(int)
    assert not painted.is_blank and changed[y1:y2, x1:x2].any()
    changed[y1:y2, x1:x2] = False
    assert not changed.any() and (image.pixels == 90).all()
    assert inpainter.asked[0].change is None and "cup" in inpainter.asked[0].prompt


def test_a_blanked_window_leaves_the_picture_and_an_init_image_is_cut() -> None:
    inpainter = White(blank=True)
    start = np.full((96, 96, 3), 7, np.uint8)
    change = np.full((96, 96), 0.4)
    windows = [window_of(image_of(), init=InitImage(start, change, 4)), window_of(image_of())]
    painted = paint(Painting(inpainter, BOOK), windows)
    assert all(p.is_blank and p.pixels is p.window.image.pixels for p in painted)
    first, second = inpainter.asked
    assert (first.image == 7).all() and first.change is not None and second.change is None
    assert first.change.shape == first.image.shape[:2] and np.allclose(first.change, 0.4)


def test_where_nothing_changes_the_start_is_taken_as_it_is_and_no_model_is_asked() -> None:
    inpainter = White()
    start = np.full((96, 96, 3), 7, np.uint8)
    still = InitImage(start, np.zeros((96, 96)), 4)
    windows = [window_of(image_of(), init=still), window_of(image_of()), window_of(image_of(), init=still)]
    first, second, third = paint(Painting(inpainter, BOOK, strength=0.0), windows)
    assert first.pixels is start and third.pixels is start and not (first.is_blank or third.is_blank)
    assert second.window is windows[1] and (second.pixels == 255).any()
    assert len(inpainter.asked) == 1


def test_an_image_is_looked_at_once_as_long_as_it_stays() -> None:
    image, detector = image_of(), Brightness()
    [observed] = detect(detector, paint(Painting(White(), BOOK), [window_of(image)]))
    assert detector.looked == 2 and len(observed.before) == 0 and len(observed.after) == 1
    rejected = settle(JudgedWindow(observed, Verdict(Reason.LOW_SCORE, None, 0.0, 0.0)), number=0)
    assert rejected.pixels is image.pixels and rejected.accepted == ()
    detect(detector, paint(Painting(White(), BOOK), [window_of(rejected)]))
    assert detector.looked == 3  # only what was painted anew
    accepted = settle(JudgedWindow(observed, Verdict(Reason.ACCEPTED, NEW, 0.9, 1.0)), number=4)
    [again] = detect(detector, paint(Painting(White(), BOOK), [window_of(accepted)]))
    assert detector.looked == 4 and again.before is observed.after
    assert image.seen is None and image.accepted == ()


def test_without_a_detector_nothing_is_found() -> None:
    [observed] = detect(None, paint(Painting(White(), BOOK), [window_of(image_of())]))
    assert len(observed.before) == len(observed.after) == 0
    [judged] = judge_windows(Judging(FilterRules()), [observed])
    assert (
        judged.verdict.accepted and judged.verdict.box_xyxy is observed.painted.window.plan.placement.box_xyxy
    )
    [decoy] = judge_windows(
        Judging(FilterRules()),
        detect(None, paint(Painting(White(), BOOK), [window_of(image_of(), is_decoy=True)])),
    )
    assert decoy.verdict.accepted and decoy.verdict.box_xyxy is None


class Unsure:
    """A classifier that gives every object the same rank."""

    name = "unsure"

    def __init__(self, rank: int) -> None:
        self.rank, self.asked = rank, 0

    def standings(self, crops: Sequence[Image], category_ids: Sequence[int]) -> list[Standing]:
        self.asked += len(crops)
        return [Standing(self.rank, 0.25)] * len(crops)


@pytest.mark.parametrize(("rank", "reason"), [(1, Reason.ACCEPTED), (9, Reason.NOT_IN_TOP_K)])
def test_a_classifier_sees_accepted_objects_and_no_decoys(rank: int, reason: Reason) -> None:
    windows = [window_of(image_of(0)), window_of(image_of(1), is_decoy=True)]
    painted = paint(Painting(White(), BOOK), windows)
    blank = replace(painted[0], is_blank=True)
    classifier = Unsure(rank)
    judged = judge_windows(Judging(FilterRules(), classifier=classifier), detect(None, [*painted, blank]))
    assert [j.verdict.reason for j in judged] == [reason, Reason.ACCEPTED, Reason.BLANK]
    assert classifier.asked == 1 and judged[0].verdict.score == 0.25


def test_objects_and_decoys_are_judged_by_what_the_detector_finds() -> None:
    judging = Judging(FilterRules(min_iou=0.2, max_size_ratio=9), Brightness(), Thresholds(0.5))
    windows = [window_of(image_of(0)), window_of(image_of(1), is_decoy=True)]
    judged = judge_windows(judging, detect(judging.detector, paint(Painting(White(), BOOK), windows)))
    assert [j.verdict.reason for j in judged] == [Reason.ACCEPTED, Reason.EXTRA_OBJECT]


def judged_window(window: PlannedWindow, verdict: Verdict) -> JudgedWindow:
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    painted = PaintedWindow(window, np.zeros_like(window.image.pixels), is_blank=False)
    return JudgedWindow(ObservedWindow(painted, window.plan.window_xyxy, nothing, nothing), verdict)


def test_an_accepted_object_joins_its_scene_with_what_came_along() -> None:
    second = Detections(OLD[None] - 30, np.array([0.7]), np.array([2]))
    verdict = Verdict(Reason.ACCEPTED, NEW, 0.9, 1.0, second)
    image = settle(judged_window(window_of(image_of()), verdict), number=4)
    assert image.scene.annotation_ids.tolist() == [3, -5, -5] and image.scene.category_ids.tolist() == [
        2,
        1,
        2,
    ]
    assert image.accepted == (4,) and len(image.painted) == len(image.versions) == 1
    decoy = settle(
        judged_window(window_of(image, is_decoy=True), Verdict(Reason.ACCEPTED, None, 0.0, 0.0)), number=9
    )
    assert decoy.scene is image.scene and decoy.accepted == (4,) and len(decoy.painted) == 2
    back = settle(judged_window(window_of(image), verdict), number=5).first(1)
    assert back.accepted == (4,) and back.scene is image.scene and back.pixels is image.pixels
    assert len(back.painted) == 1 and back.seen is None and image.first(1) is image


def test_what_is_replaced_leaves_the_scene() -> None:
    image = image_of()
    window = window_of(image, replaced=Replaced.of(image.scene, 0))
    after = settle(judged_window(window, Verdict(Reason.ACCEPTED, NEW, 0.9, 1.0)), number=0)
    assert after.scene.annotation_ids.tolist() == [-1] and image.scene.annotation_ids.tolist() == [3]


class Outlines:
    """Finds what it is told of one object after another: the inside of a box, or nothing."""

    name = "told"

    def __init__(self, *boxes_xyxy: Sequence[int] | None) -> None:
        self.boxes, self.asked = list(boxes_xyxy), list[PaintedObject]()

    def outline(self, objects: Sequence[PaintedObject]) -> list[Mask | None]:
        self.asked += objects
        return [None if box is None else self.mask(box) for box in (self.boxes.pop(0) for _ in objects)]

    def mask(self, box: Sequence[int]) -> Mask:
        mask = np.zeros((96, 96), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return mask


def judged_with(outlines: Outlines, *windows: PlannedWindow, needs_mask: bool = True) -> list[JudgedWindow]:
    judging = Judging(FilterRules(), outliner=outlines, needs_mask=needs_mask)
    return judge_windows(judging, detect(None, paint(Painting(White(), BOOK), windows)))


def test_an_object_without_a_mask_is_turned_down_and_leaves_no_pixel() -> None:
    images = [image_of(0), image_of(1)]
    outlines = Outlines(None, (20, 20, 40, 44))
    decoy = window_of(image_of(2), is_decoy=True)
    judged = judged_with(outlines, *map(window_of, images), decoy)
    assert [j.verdict.reason for j in judged] == [Reason.NO_MASK, Reason.ACCEPTED, Reason.ACCEPTED]
    assert len(outlines.asked) == 2 and judged[2].masks == ()
    first, second = (settle(one, number=k) for k, one in enumerate(judged[:2]))
    assert first.pixels is images[0].pixels and first.accepted == () == first.masks
    assert visible_masks(second, by="told")[1][0].rle.size == (96, 96)
    [kept] = judged_with(Outlines(None), window_of(images[0]), needs_mask=False)
    assert kept.verdict.accepted and visible_masks(settle(kept, number=4), by="told") == {4: [None]}


def test_matting_sees_the_image_before_the_object_but_not_a_replaced_one() -> None:
    image, outlines = image_of(), Outlines((20, 20, 40, 44), (20, 20, 40, 44))
    replaced = window_of(image, replaced=Replaced.of(image.scene, 0))
    judged = judged_with(outlines, window_of(image), replaced)
    inserted, other = outlines.asked
    assert inserted.before is image.pixels and inserted.after is judged[0].pixels
    assert other.before is other.after and other.box_xyxy.tolist() == NEW.tolist()
    assert inserted.painted_xyxy.tolist() == judged[0].window.painted_xyxy.tolist()


def test_a_second_object_needs_a_mask_and_an_earlier_one_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = Detections(OLD[None] - 30, np.array([0.7]), np.array([2]))
    monkeypatch.setattr(
        "augsynth.generation.stages.unfiltered",
        lambda plan: Verdict(Reason.ACCEPTED, NEW, 0.9, 1.0, second),
    )
    image = window_of(image_of())
    assert judged_with(Outlines((20, 20, 40, 44), None), image)[0].verdict.reason is Reason.EXTRA_OBJECT
    outlines = Outlines((20, 20, 40, 44), (36, 36, 50, 50))
    [judged] = judged_with(outlines, image)
    assert outlines.asked[1].category_id == 2 and judged.verdict.accepted
    now = settle(judged, number=0)
    [own, extra] = visible_masks(now, by="told")[0]
    assert own.by == extra.by == "told" and own != extra
    hiding = Outlines((20, 20, 50, 50), (60, 60, 70, 70))
    assert judged_with(hiding, window_of(now))[0].verdict.reason is Reason.LOST_NEIGHBOUR
    assert now.first(1).masks == now.masks
