"""From a place to a window that can be painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import clip_boxes, grow_box, square_window
from augsynth.core.records import Side
from augsynth.core.scene import Detections, FloatArray, Image, Placement, Plan, Scene
from augsynth.generation.working_image import WorkingImage
from augsynth.inpainting.change_map import object_change
from augsynth.inpainting.prompts.book import PromptBook, nearest_categories
from augsynth.inpainting.stitching import cells_xyxy, mask_cells
from augsynth.pasting.patch import Patch
from augsynth.placement.proposal import PlacementRules
from augsynth.placement.replacement import Replaced


@dataclass(frozen=True, slots=True, eq=False)
class InitImage:
    """What a window is painted from in a run that starts from real objects.

    Attributes:
        pixels: (H, W, 3) uint8, the whole image with the object.
        change: (side, side) in [0, 1], how far each pixel of the window is repainted.
        position: Of the object in its bank, None where none was put in.
        outline: (H, W) bool pixels of the object where its own outline is known, else None.
        patch: The object as it was cut out, None where none was put in.
        others: What came along with it, in pixels of the image; None where nothing did.
    """

    pixels: Image
    change: FloatArray
    position: int | None = None
    outline: NDArray[np.bool_] | None = None
    patch: Patch | None = None
    others: Detections | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PlannedWindow:
    """One attempt that has a window.

    Attributes:
        image: The new image as it is before.
        slot, retry: Which new object, or decoy, of the image, and which attempt at it.
        plan: What to paint and where.
        cells: (n, n) bool latent cells to repaint.
        init: What painting starts from; None is noise.
        keeps_start: Whether the core of that object stays as it is.
        replaced: The object that the new one takes the place of, None for an insertion.
        mode: What is done, in runs that don't only insert.
        is_decoy: Whether no object is to be painted.
    """

    image: WorkingImage
    slot: int
    retry: int
    plan: Plan
    cells: NDArray[np.bool_]
    init: InitImage | None = None
    keeps_start: bool = False
    replaced: Replaced | None = None
    mode: Side | None = None
    is_decoy: bool = False

    @property
    def known_outline(self) -> NDArray[np.bool_] | None:
        """(H, W) bool pixels of the object where they are known from what painting started from."""
        return None if self.init is None or not self.keeps_start or self.replaced else self.init.outline

    @property
    def known_extras(self) -> Detections | None:
        """What came along with the object that painting started from; None where nothing did."""
        return None if self.init is None or not self.keeps_start else self.init.others

    @property
    def category_id(self) -> int:
        """COCO id of what is painted; of a decoy, of what it is drawn like."""
        return self.plan.placement.category_id

    @property
    def scene(self) -> Scene:
        """What the new object joins: the image's scene, without the object that it replaces."""
        return self.image.scene if self.replaced is None else self.replaced.rest

    @property
    def painted_xyxy(self) -> FloatArray:
        """(4,) rectangle of whole pixels outside of which none is repainted."""
        return painted_rectangle(self.plan, self.cells)


def painted_rectangle(plan: Plan, cells: NDArray[np.bool_]) -> FloatArray:
    """Return the (4,) rectangle of whole pixels that holds the cells of a plan's window."""
    rectangle = cells_xyxy(cells, plan.window_xyxy)
    return np.concatenate([np.floor(rectangle[:2]), np.ceil(rectangle[2:])])


def make_plan(
    rules: PlacementRules, prompts: PromptBook, scene: Scene, placement: Placement, *, seed: int
) -> Plan | None:
    """Return the plan for a placement, or None when no square window of the image holds its mask."""
    box, category_id = placement.box_xyxy, placement.category_id
    mask = clip_boxes(grow_box(box, factor=rules.mask_growth, pad=0.5)[None], scene.size_wh)[0]
    window = square_window(mask, scene.size_wh, context=rules.window_context, min_side=rules.min_side)
    if window is None:
        return None
    near = nearest_categories(scene, box, category_id=category_id, window_xyxy=window)
    prompt = prompts.prompt(category_id, neighbour_ids=near, seed=seed)
    return Plan(placement, window, mask, prompt, seed, prompts.negative(category_id))


def plan_cells(plan: Plan, *, num_cells: int) -> NDArray[np.bool_]:
    """Return the (n, n) latent cells that a plan repaints."""
    return mask_cells(plan.mask_xyxy, plan.window_xyxy, num_cells=num_cells)


def start_change(
    plan: Plan, scene: Scene, shown: NDArray[np.bool_], *, strength: float, gone_xyxy: FloatArray | None
) -> FloatArray:
    """Return the (side, side) change map of a window, in pixels of the image.

    Args:
        plan: The window and the mask.
        scene: Other objects; their boxes stay as they are.
        shown: (H, W) bool pixels of the object that painting starts from; all false without one.
        strength: How far it is repainted.
        gone_xyxy: (4,) box of an object that makes way, None without one.
    """
    x1, y1, x2, y2 = plan.window_xyxy.tolist()
    inside = shown[y1:y2, x1:x2]
    shift = np.tile(plan.window_xyxy[:2], 2)
    keep, gone = np.zeros(inside.shape, np.bool_), np.zeros(inside.shape, np.bool_)
    for box in scene.boxes_xyxy - shift:
        keep[_pixels(box)] = True
    if gone_xyxy is not None:
        gone[_pixels(gone_xyxy - shift)] = True
    hole = plan.mask_xyxy - shift
    return object_change(inside, hole, strength=strength, keep=keep & ~inside, gone=gone & ~inside)


def _pixels(box_xyxy: FloatArray) -> tuple[slice, slice]:
    """Return the rows and columns of the pixels that a box touches."""
    x1, y1 = np.maximum(np.floor(box_xyxy[:2]), 0).astype(int).tolist()
    x2, y2 = np.maximum(np.ceil(box_xyxy[2:]), 0).astype(int).tolist()
    return slice(y1, y2), slice(x1, x2)
