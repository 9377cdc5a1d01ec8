"""A new image in the making: a value that each step replaces by the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from augsynth.core.masks import Mask
from augsynth.core.scene import Detections, FloatArray, Image, IntArray, Scene


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the detector found in a view of an image, in pixels of the image.

    Attributes:
        view_xyxy: (4,) the view.
        found: The detections.
    """

    view_xyxy: IntArray
    found: Detections


@dataclass(frozen=True, slots=True, eq=False)
class WorkingImage:
    """A new image in the making.

    Attributes:
        job: Number of the new image in the run.
        source: The scene that is edited.
        scene: The scene with the accepted objects so far.
        pixels: (H, W, 3) uint8 as it is now.
        versions: Scene and pixels after each accepted object.
        masks: (H, W) masks of each accepted object and of what came along with it, None where there is none to be
            believed; no entries where none are looked for.
        accepted: Numbers of the accepted attempts within the shard.
        painted: (4,) rectangles of pixels that were repainted, one for each of them and for each decoy.
        seen: What the detector found last, as long as the pixels are those it saw.
    """

    job: int
    source: Scene
    scene: Scene
    pixels: Image
    versions: tuple[tuple[Scene, Image], ...] = ()
    masks: tuple[tuple[Mask | None, ...], ...] = ()
    accepted: tuple[int, ...] = ()
    painted: tuple[FloatArray, ...] = ()
    seen: Seen | None = None

    def saw(self, view_xyxy: IntArray) -> Detections | None:
        """Return what was found in a view, None where that isn't known."""
        if self.seen is None or not np.array_equal(self.seen.view_xyxy, view_xyxy):
            return None
        return self.seen.found

    def first(self, num: int) -> WorkingImage:
        """Return the image as it was after its first `num` accepted objects, `num` ≥ 1."""
        if num >= len(self.versions):
            return self
        scene, pixels = self.versions[num - 1]
        return replace(
            self,
            scene=scene,
            pixels=pixels,
            versions=self.versions[:num],
            masks=self.masks[:num],
            accepted=self.accepted[:num],
            painted=self.painted[:num],
            seen=None,
        )
