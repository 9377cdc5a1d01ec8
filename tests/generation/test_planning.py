"""From a place to a window: square, around the mask, and with a prompt of what is near."""

from dataclasses import replace

import numpy as np
import pytest

from augsynth.core.scene import Category, Placement, Scene
from augsynth.generation.planning import (
    PlannedWindow,
    make_plan,
    painted_rectangle,
    plan_cells,
    start_change,
)
from augsynth.generation.working_image import WorkingImage
from augsynth.inpainting.prompts.book import PromptBook, PromptRules
from augsynth.placement.proposal import PlacementRules
from augsynth.placement.replacement import Replaced

BESIDE = PromptRules(template=("a {category} beside {neighbours}",), negative_prompt="blurred")
BOOK = PromptBook.open(BESIDE, [Category(1, "cup"), Category(2, "lid"), Category(3, "box")])
RULES = PlacementRules(model_window=32, mask_growth=1.2)
SCENE = (
    Scene(7, "a.png", (120, 90))
    .adding(np.array([60.0, 30, 72, 42]), category_id=2, annotation_id=1)
    .adding(np.array([2.0, 70, 12, 80]), category_id=3, annotation_id=2)
)


def plan_at(box: list[float], scene: Scene = SCENE, **changes: object):
    placement = Placement(1, np.array(box, np.float64), None, 0.0)
    return make_plan(replace(RULES, **changes), BOOK, scene, placement, seed=5)


def test_the_window_is_square_in_the_image_and_holds_the_mask_that_holds_the_box() -> None:
    for box in ([40, 30, 56, 42], [0, 0, 9, 14], [100, 70, 120, 90], [30, 5, 38, 60]):
        plan = plan_at(box)
        assert plan is not None
        (x1, y1, x2, y2), mask = plan.window_xyxy, plan.mask_xyxy
        assert x2 - x1 == y2 - y1 and x1 >= 0 and y1 >= 0 and x2 <= 120 and y2 <= 90
        assert (mask[:2] >= plan.window_xyxy[:2]).all() and (mask[2:] <= plan.window_xyxy[2:]).all()
        assert (mask[:2] <= box[:2]).all() and (mask[2:] >= box[2:]).all()
    inner = plan_at([40, 30, 60, 50])
    assert inner is not None
    assert inner.mask_xyxy == pytest.approx([37.5, 27.5, 62.5, 52.5])  # a fifth more, and half a pixel a side


def test_there_is_no_plan_where_no_square_window_holds_the_mask() -> None:
    assert plan_at([5, 30, 115, 50]) is None  # wider than the image is high
    assert plan_at([15, 30, 85, 50]) is not None


def test_the_prompt_names_what_the_window_shows() -> None:
    plan = plan_at([40, 30, 56, 42])
    assert plan is not None and plan.seed == 5 and plan.negative_prompt is None
    assert plan.prompt == "a cup beside lid"
    alone = plan_at([40, 30, 56, 42], scene=Scene(7, "a.png", (120, 90)))
    assert alone is not None and "beside" not in alone.prompt and "cup" in alone.prompt


def test_cells_cover_the_mask_and_the_rectangle_covers_the_cells() -> None:
    plan = plan_at([40, 30, 56, 42])
    assert plan is not None
    cells = plan_cells(plan, num_cells=8)
    assert cells.shape == (8, 8) and cells.any() and not cells.all()
    painted = painted_rectangle(plan, cells)
    assert (painted == np.round(painted)).all()
    assert (painted[:2] <= plan.mask_xyxy[:2]).all() and (painted[2:] >= plan.mask_xyxy[2:]).all()
    side = (plan.window_xyxy[2] - plan.window_xyxy[0]) / 8
    assert (painted[:2] > plan.mask_xyxy[:2] - side - 1).all()  # a cell more at most
    assert (painted[2:] < plan.mask_xyxy[2:] + side + 1).all()


def test_a_planned_window_joins_the_scene_without_what_it_replaces() -> None:
    image = WorkingImage(0, SCENE, SCENE, np.zeros((90, 120, 3), np.uint8))
    plan = plan_at([60, 30, 72, 42])
    assert plan is not None
    window = PlannedWindow(image, 0, 1, plan, plan_cells(plan, num_cells=8))
    assert window.scene is SCENE and window.category_id == 1
    instead = replace(window, replaced=Replaced.of(SCENE, 0))
    assert instead.scene.annotation_ids.tolist() == [2]
    assert window.painted_xyxy.tolist() == painted_rectangle(plan, window.cells).tolist()


def test_of_a_start_neighbours_stay_and_what_it_replaces_goes() -> None:
    plan = plan_at([44, 26, 58, 46])
    assert plan is not None
    x1, y1, x2, y2 = plan.window_xyxy.tolist()
    shown = np.zeros((90, 120), np.bool_)
    shown[27:45, 46:57] = True
    change = start_change(plan, SCENE, shown, strength=0.3, gone_xyxy=None)
    assert change.shape == (y2 - y1, x2 - x1)

    def at(x: int, y: int) -> float:
        return float(change[y - y1, x - x1])

    assert at(51, 36) == 0, "the core of the object"
    assert at(45, 36) == pytest.approx(0.6, abs=0.05), "beside it"
    neighbour = np.zeros((90, 120), np.bool_)
    neighbour[30:42, 60:72] = True
    assert change[neighbour[y1:y2, x1:x2]].max() == 0
    change = start_change(plan, SCENE, shown, strength=0.1, gone_xyxy=np.array([44.0, 26, 58, 46]))
    assert at(45, 36) > 0.9 and at(51, 36) == 0
