"""A new image in the making, and what is done to it: plan a window, paint it, look at the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from augsynth.core.boxes import clip_boxes, grow_box, square_window, view_around
from augsynth.core.scene import (
    Detections,
    FloatArray,
    Image,
    IntArray,
    Placement,
    Plan,
    Reason,
    Scene,
    Standing,
)
from augsynth.core.seeding import derive_rng
from augsynth.filtering.classifiers import Classifier, crop_object
from augsynth.generation.context import Studio
from augsynth.inpainting.port import InpaintRequest
from augsynth.inpainting.prompts.book import nearest_categories
from augsynth.inpainting.stitching import cells_xyxy, cut_window, mask_cells, stitch
from augsynth.placement.proposal import PlacementRules, propose, propose_uniform
from augsynth.placement.replacement import Replaced


@dataclass(slots=True)
class Canvas:
    """A new image in the making.

    Attributes:
        job: Number of the new image in the run.
        source: The scene that is edited.
        scene: The scene with the accepted objects so far.
        image: Its pixels.
        versions: Scene and pixels after each accepted object, until the objects' masks have been found.
        accepted: Numbers of the accepted attempts within the shard.
        painted: (4,) rectangles of pixels that were repainted, one for each of them and for each decoy.
        view_xyxy, seen: The last view and what the detector found in it.
    """

    job: int
    source: Scene
    scene: Scene
    image: Image
    versions: list[tuple[Scene, Image]] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    painted: list[FloatArray] = field(default_factory=list)
    view_xyxy: IntArray | None = None
    seen: Detections | None = None

    def keep(self, num: int) -> None:
        """Go back to what the image was after its first `num` accepted objects, `num` ≥ 1."""
        if num < len(self.versions):
            self.scene, self.image = self.versions[num - 1]
            self.accepted, self.painted = self.accepted[:num], self.painted[:num]
            self.view_xyxy = self.seen = None
            del self.versions[num:]


@dataclass(slots=True)
class Trial:
    """One attempt on its way through the stages.

    Attributes:
        canvas: The new image it belongs to.
        number: Its place among the attempts, or the decoys, of the shard.
        plan: What to paint and where.
        cells: (n, n) bool latent cells to repaint.
        stitched: (H, W, 3) uint8 canvas with the painted window.
        view_xyxy: (4,) part of the image that the detector looks at; the window where there is none.
        sketch: (H, W, 3) uint8 canvas with a donor in place, where painting starts from one.
        replaced: The object that the new one takes the place of, None for an insertion.
    """

    canvas: Canvas
    number: int
    plan: Plan
    cells: NDArray[np.bool_]
    stitched: Image
    view_xyxy: IntArray
    sketch: Image | None = None
    replaced: Replaced | None = None

    @property
    def scene(self) -> Scene:
        """What the new object joins: the canvas's scene, without the object that it replaces."""
        return self.canvas.scene if self.replaced is None else self.replaced.rest

    @property
    def is_blank(self) -> bool:
        """Whether nothing has been painted."""
        return self.stitched is self.canvas.image

    @property
    def painted_xyxy(self) -> FloatArray:
        """(4,) rectangle of whole pixels outside of which none is repainted."""
        rectangle = cells_xyxy(self.cells, self.plan.window_xyxy)
        return np.concatenate([np.floor(rectangle[:2]), np.ceil(rectangle[2:])])


def draw_place(
    studio: Studio, canvas: Canvas, category_id: int, rng: np.random.Generator, *, rules: PlacementRules
) -> Placement | Reason:
    """Choose a place for an object of a category in the canvas's scene, as the options say."""
    layout = studio.layout
    if studio.config.placement.placement == "uniform":
        return propose_uniform(canvas.scene, category_id=category_id, layout=layout, rng=rng, rules=rules)
    return propose(
        canvas.scene,
        canvas.image,
        category_id=category_id,
        layout=layout,
        appearance=studio.appearance,
        rng=rng,
        rules=rules,
    )


def make_plan(studio: Studio, scene: Scene, placement: Placement, *, seed: int) -> Plan | None:
    """Return the plan for a placement, or None when no square window of the image holds its mask."""
    mask = clip_boxes(
        grow_box(placement.box_xyxy, factor=studio.config.placement.mask_growth, pad=0.5)[None], scene.size_wh
    )[0]
    window = square_window(
        mask,
        scene.size_wh,
        context=studio.placement_rules.window_context,
        min_side=studio.placement_rules.min_side,
    )
    if window is None:
        return None
    category_id = placement.category_id
    near = nearest_categories(scene, placement.box_xyxy, category_id=category_id, window_xyxy=window)
    prompt = studio.prompts.prompt(category_id, neighbour_ids=near, seed=seed)
    return Plan(placement, window, mask, prompt, seed, studio.prompts.negative(category_id))


def start_trial(studio: Studio, canvas: Canvas, plan: Plan, *, number: int) -> Trial:
    """Return a trial of a plan, with nothing painted yet."""
    num_cells = studio.inpainter.size // studio.inpainter.cell
    view = plan.window_xyxy
    if studio.detector is not None:
        view = view_around(view, canvas.scene.size_wh, side=studio.detector.view_px)
    cells = mask_cells(plan.mask_xyxy, plan.window_xyxy, num_cells=num_cells)
    return Trial(canvas, number, plan, cells, canvas.image, view)


def paint(studio: Studio, trials: Sequence[Trial]) -> None:
    """Paint the windows of all trials in batches and stitch them; a blanked window leaves the canvas's image."""
    requests = [
        InpaintRequest(
            cut_window(t.canvas.image, t.plan.window_xyxy, size=studio.inpainter.size),
            t.cells,
            t.plan.prompt,
            t.plan.seed,
            None
            if t.sketch is None
            else cut_window(t.sketch, t.plan.window_xyxy, size=studio.inpainter.size),
            t.plan.negative_prompt,
        )
        for t in trials
    ]
    for trial, picture in zip(trials, studio.inpainter.inpaint(requests), strict=True):
        if picture is None:
            continue
        trial.stitched, _ = stitch(
            trial.canvas.image,
            picture,
            window_xyxy=trial.plan.window_xyxy,
            cells=trial.cells,
            feather=studio.config.painting.feather,
            rng=derive_rng(trial.plan.seed, "grain"),
        )


def look(studio: Studio, trials: Sequence[Trial]) -> list[Detections]:
    """Return what the detector finds after painting; what it found before is each canvas's `seen`.

    Boxes are in pixels of the image. Without a detector nothing is found.
    """
    stale = [
        t for t in trials if t.canvas.view_xyxy is None or not np.array_equal(t.canvas.view_xyxy, t.view_xyxy)
    ]
    for trial, seen in zip(
        stale, _detect(studio, [(t.canvas.image, t.view_xyxy) for t in stale]), strict=True
    ):
        trial.canvas.view_xyxy, trial.canvas.seen = trial.view_xyxy, seen
    return _detect(studio, [(t.stitched, t.view_xyxy) for t in trials])


def look_closely(classifier: Classifier, objects: Sequence[tuple[Trial, FloatArray]]) -> list[Standing]:
    """Return where each object's category stands for a classifier.

    Args:
        classifier: Sees a crop of each object.
        objects: A trial with the (4,) box of its object in pixels of the image.
    """
    crops = [crop_object(trial.stitched, box) for trial, box in objects]
    return classifier.standings(crops, [trial.plan.placement.category_id for trial, _ in objects])


def _detect(studio: Studio, views: Sequence[tuple[Image, IntArray]]) -> list[Detections]:
    if studio.detector is None:
        return [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))] * len(views)
    crops = [np.ascontiguousarray(image[v[1] : v[3], v[0] : v[2]]) for image, v in views]
    if not crops:
        return []
    return [
        Detections(d.boxes_xyxy + np.tile(v[:2], 2), d.scores, d.category_ids)
        for d, (_, v) in zip(studio.detector.detect(crops), views, strict=True)
    ]
