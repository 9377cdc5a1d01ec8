"""The stages after a plan: paint, detect, judge, settle. Each returns new values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from augsynth.core.boxes import view_around
from augsynth.core.masks import Mask, to_rle, visible
from augsynth.core.records import ObjectMask, Rle
from augsynth.core.scene import (
    Detections,
    FloatArray,
    Image,
    IntArray,
    Reason,
    Standing,
    Verdict,
)
from augsynth.core.seeding import derive_rng
from augsynth.detectors.port import Detector, detect_all
from augsynth.filtering.classifiers import Classifier, crop_object
from augsynth.filtering.judge import judge, judge_class, judge_decoy, unfiltered
from augsynth.filtering.judge_replacement import judge_replacement
from augsynth.generation.context import Judging, Painting
from augsynth.generation.planning import PlannedWindow
from augsynth.generation.working_image import Seen, WorkingImage
from augsynth.inpainting.port import InpaintRequest, inpaint_in_room
from augsynth.inpainting.stitching import cut_window, rescale, stitch, stitch_changes
from augsynth.masking.sources import PaintedObject
from augsynth.pasting.init_images import reference_picture

FROM_BANK = "bank"  # who found a mask that came with a real object


@dataclass(frozen=True, slots=True, eq=False)
class PaintedWindow:
    """A window after painting.

    Attributes:
        window: What was to be painted.
        pixels: (H, W, 3) uint8 image with the painted window; the image as it was where the model blanked it.
        is_blank: Whether nothing has been painted.
    """

    window: PlannedWindow
    pixels: Image
    is_blank: bool


@dataclass(frozen=True, slots=True, eq=False)
class ObservedWindow:
    """A painted window and what the detector found in its view, in pixels of the image; nothing without one.

    Attributes:
        painted: The window.
        view_xyxy: (4,) part of the image that was looked at.
        before: Detections before painting.
        after: Detections after it.
    """

    painted: PaintedWindow
    view_xyxy: IntArray
    before: Detections
    after: Detections


@dataclass(frozen=True, slots=True, eq=False)
class JudgedWindow:
    """A painted window and the verdict on it.

    Attributes:
        observed: The window.
        verdict: On the object, or the decoy.
        masks: (H, W) of the object and of what came along with it, None where there is none to be believed; empty
            where none were looked for.
    """

    observed: ObservedWindow
    verdict: Verdict
    masks: tuple[Mask | None, ...] = ()

    @property
    def window(self) -> PlannedWindow:
        """What was to be painted."""
        return self.observed.painted.window

    @property
    def pixels(self) -> Image:
        """(H, W, 3) uint8 image with the painted window."""
        return self.observed.painted.pixels


def paint(painting: Painting, windows: Sequence[PlannedWindow]) -> list[PaintedWindow]:
    """Paint windows in batches and stitch them into their images.

    Where a window starts from a picture of which nothing is to change, no model is asked.
    """
    size = painting.inpainter.size
    asked = [window for window in windows if window.init is None or window.init.change.any()]
    requests = [_request(window, size=size) for window in asked]
    pictures = iter(inpaint_in_room(painting.inpainter, requests))
    return [
        PaintedWindow(window, window.init.pixels, is_blank=False)
        if window.init is not None and not window.init.change.any()
        else _stitched(window, next(pictures), feather=painting.feather)
        for window in windows
    ]


def _request(window: PlannedWindow, *, size: int) -> InpaintRequest:
    plan, init = window.plan, window.init
    pixels = window.image.pixels if init is None else init.pixels
    change = None
    if init is not None:
        change = np.clip(rescale(init.change.astype(np.float32), size).astype(np.float64), 0, 1)
    return InpaintRequest(
        cut_window(pixels, plan.window_xyxy, size=size),
        window.cells,
        plan.prompt,
        plan.seed,
        change,
        plan.negative_prompt,
        None if init is None or init.patch is None else reference_picture(init.patch, size=size),
    )


def _stitched(window: PlannedWindow, picture: Image | None, *, feather: float) -> PaintedWindow:
    if picture is None:
        return PaintedWindow(window, window.image.pixels, is_blank=True)
    rng = derive_rng(window.plan.seed, "grain")
    if window.init is not None:
        init, place = window.init, window.plan.window_xyxy
        pixels = stitch_changes(init.pixels, picture, window_xyxy=place, change=init.change, rng=rng)
        return PaintedWindow(window, pixels, is_blank=False)
    pixels = stitch(
        window.image.pixels,
        picture,
        window_xyxy=window.plan.window_xyxy,
        cells=window.cells,
        feather=feather,
        rng=rng,
    )
    return PaintedWindow(window, pixels, is_blank=False)


def detect(detector: Detector | None, painted: Sequence[PaintedWindow]) -> list[ObservedWindow]:
    """Find objects before and after painting; what an image has been seen to hold isn't looked for again."""
    views = [_view(detector, p.window) for p in painted]
    before = [p.window.image.saw(view) for p, view in zip(painted, views, strict=True)]
    unseen = [k for k, found in enumerate(before) if found is None]
    found = dict(
        zip(
            unseen,
            _detections(detector, [(painted[k].window.image.pixels, views[k]) for k in unseen]),
            strict=True,
        )
    )
    after = _detections(detector, [(p.pixels, view) for p, view in zip(painted, views, strict=True)])
    return [
        ObservedWindow(p, views[k], seen if seen is not None else found[k], after[k])
        for k, (p, seen) in enumerate(zip(painted, before, strict=True))
    ]


def _view(detector: Detector | None, window: PlannedWindow) -> IntArray:
    if detector is None:
        return window.plan.window_xyxy
    return view_around(window.plan.window_xyxy, window.image.scene.size_wh, side=detector.view_px)


def _detections(detector: Detector | None, views: Sequence[tuple[Image, IntArray]]) -> list[Detections]:
    if detector is None:
        return [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))] * len(views)
    crops = [np.ascontiguousarray(image[v[1] : v[3], v[0] : v[2]]) for image, v in views]
    if not crops:
        return []
    return [
        Detections(d.boxes_xyxy + np.tile(v[:2], 2), d.scores, d.category_ids)
        for d, (_, v) in zip(detect_all(detector, crops), views, strict=True)
    ]


def judge_windows(judging: Judging, observed: Sequence[ObservedWindow]) -> list[JudgedWindow]:
    """Judge objects and decoys; a classifier sees the objects accepted so far, then their masks are found."""
    verdicts = [_verdict(judging, o) for o in observed]
    if judging.classifier is not None:
        boxes = {
            k: verdict.box_xyxy
            for k, verdict in enumerate(verdicts)
            if verdict.accepted and verdict.box_xyxy is not None
        }
        standings = classify(judging.classifier, [(observed[k].painted, box) for k, box in boxes.items()])
        for k, standing in zip(boxes, standings, strict=True):
            verdict = judge_class(verdicts[k], standing, rules=judging.rules)
            alone = judging.detector is None
            verdicts[k] = replace(verdict, score=standing.probability) if alone else verdict
    judged = [JudgedWindow(o, verdict) for o, verdict in zip(observed, verdicts, strict=True)]
    return _outlined(judging, judged)


def _verdict(judging: Judging, observed: ObservedWindow) -> Verdict:
    window, plan = observed.painted.window, observed.painted.window.plan
    if observed.painted.is_blank:
        return Verdict(Reason.BLANK, None, 0.0, 0.0)
    if judging.thresholds is None:
        verdict = Verdict(Reason.ACCEPTED, None, 0.0, 0.0) if window.is_decoy else unfiltered(plan)
        return verdict if window.known_extras is None else replace(verdict, extras=window.known_extras)
    before, after = observed.before, observed.after
    thresholds, rules = judging.thresholds, judging.rules
    if window.is_decoy:
        reason = judge_decoy(
            plan, before=before, after=after, scene=window.scene, thresholds=thresholds, rules=rules
        )
        return Verdict(reason, None, 0.0, 0.0)
    if window.replaced is not None:
        return judge_replacement(
            plan, window.replaced, before=before, after=after, thresholds=thresholds, rules=rules
        )
    along, scene = window.known_extras, window.scene
    if along is not None:  # what is known to come along is no surprise
        for box, category_id in zip(along.boxes_xyxy, along.category_ids.tolist(), strict=True):
            scene = scene.adding(box, category_id=category_id, annotation_id=0)
    verdict = judge(plan, before=before, after=after, scene=scene, thresholds=thresholds, rules=rules)
    if not (verdict.accepted and window.keeps_start):
        return verdict
    # What is known beats what is found.
    found = verdict.extras if along is None else along
    return replace(verdict, box_xyxy=plan.placement.box_xyxy, extras=found)


def classify(classifier: Classifier, objects: Sequence[tuple[PaintedWindow, FloatArray]]) -> list[Standing]:
    """Return where each object's category stands for a classifier.

    Args:
        classifier: Sees a crop of each object.
        objects: A painted window with the (4,) box of its object in pixels of the image.
    """
    crops = [crop_object(painted.pixels, box) for painted, box in objects]
    return classifier.standings(crops, [painted.window.category_id for painted, _ in objects])


def paint_and_judge(
    painting: Painting, judging: Judging, windows: Sequence[PlannedWindow]
) -> list[JudgedWindow]:
    """Paint windows, look for objects in them and judge these."""
    return judge_windows(judging, detect(judging.detector, paint(painting, windows)))


def settle(judged: JudgedWindow, *, number: int) -> WorkingImage:
    """Return the image after a verdict: with what was accepted, or as it was.

    Args:
        judged: The window and its verdict.
        number: Of the attempt within the shard; its objects get the annotation id -number - 1 until they are published.
    """
    window, verdict, observed = judged.window, judged.verdict, judged.observed
    image = window.image
    if not verdict.accepted:
        return replace(image, seen=Seen(observed.view_xyxy, observed.before))
    changed = replace(
        image,
        pixels=judged.pixels,
        painted=(*image.painted, window.painted_xyxy),
        seen=Seen(observed.view_xyxy, observed.after),
    )
    if window.is_decoy or verdict.box_xyxy is None:
        return changed
    scene = window.scene.adding(verdict.box_xyxy, category_id=window.category_id, annotation_id=-number - 1)
    if verdict.extras is not None:
        for box, category_id in zip(
            verdict.extras.boxes_xyxy, verdict.extras.category_ids.tolist(), strict=True
        ):
            scene = scene.adding(box, category_id=category_id, annotation_id=-number - 1)
    return replace(
        changed,
        scene=scene,
        versions=(*image.versions, (scene, judged.pixels)),
        masks=(*image.masks, judged.masks) if judged.masks else image.masks,
        accepted=(*image.accepted, number),
    )


def visible_masks(
    image: WorkingImage, *, by: str, known: Collection[int] = ()
) -> dict[int, list[ObjectMask | None]]:
    """Return what of each mask is visible under later objects.

    Args:
        image: With its objects, before decoys are painted.
        by: Who found the masks.
        known: Numbers of the attempts whose object's mask came with the real object that painting started from.

    Returns:
        By number of the attempt, the mask of its object and of what came along with it; None where there is none.
    """
    seen = iter(visible([mask for group in image.masks for mask in group]))
    return {
        number: [
            _recorded(next(seen), by=FROM_BANK if place == 0 and number in known else by)
            for place in range(len(group))
        ]
        for number, group in zip(image.accepted, image.masks, strict=True)
    }


def _recorded(mask: Mask | None, *, by: str) -> ObjectMask | None:
    return None if mask is None else ObjectMask(by, msgspec.convert(to_rle(mask), Rle))


def _outlined(judging: Judging, judged: Sequence[JudgedWindow]) -> list[JudgedWindow]:
    """Find the masks of accepted objects and of what came along; turn down what needs one and has none."""
    groups = [_painted_objects(one) for one in judged]
    if judging.outliner is None or not any(groups):
        return list(judged)
    masks = iter(judging.outliner.outline([painted for group in groups for painted in group]))
    outlined = []
    for one, group in zip(judged, groups, strict=True):
        found = tuple(next(masks) for _ in group)
        if group and one.window.known_outline is not None:
            found = (one.window.known_outline, *found[1:])
        reason = _unmasked(one.window.image, found) if group and judging.needs_mask else one.verdict.reason
        outlined.append(replace(one, verdict=replace(one.verdict, reason=reason), masks=found))
    return outlined


def _unmasked(image: WorkingImage, found: Sequence[Mask | None]) -> Reason:
    """Return what speaks against an object where all need masks: its own, a second object's, or an earlier one's."""
    if found[0] is None:
        return Reason.NO_MASK
    if any(mask is None for mask in found[1:]):
        return Reason.EXTRA_OBJECT
    seen = visible([*(mask for group in image.masks for mask in group), *found])
    return Reason.ACCEPTED if all(mask is not None for mask in seen) else Reason.LOST_NEIGHBOUR


def _painted_objects(judged: JudgedWindow) -> list[PaintedObject]:
    """Return an accepted object and what came along with it; nothing for a decoy."""
    window, verdict = judged.window, judged.verdict
    if not verdict.accepted or verdict.box_xyxy is None:
        return []
    painted = PaintedObject(
        # Where an object was replaced, what changed is the outline of both: matting is told that nothing did.
        before=window.image.pixels if window.replaced is None else judged.pixels,
        after=judged.pixels,
        box_xyxy=verdict.box_xyxy,
        painted_xyxy=window.painted_xyxy,
        window_xyxy=window.plan.window_xyxy,
        category_id=window.category_id,
    )
    extras = (
        ()
        if verdict.extras is None
        else zip(verdict.extras.boxes_xyxy, verdict.extras.category_ids.tolist(), strict=True)
    )
    return [painted, *(replace(painted, box_xyxy=box, category_id=kind) for box, kind in extras)]
