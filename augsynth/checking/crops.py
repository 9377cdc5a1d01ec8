"""Pictures of findings: what a box is about with its surroundings, the box drawn on it, as WebP."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image as pil
from PIL import ImageDraw

from augsynth.checking.findings import Case
from augsynth.core.errors import DatasetError
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, FloatArray, Scene

TILE_WH = (320, 240)
_LEAST_PX = 48  # of the image that a crop shows, at least
_CONTEXT = 2.5  # side of a crop over that of what it is about
_ZOOM = 8.0
_COLOURS = ("#ff3b30", "#2f9bff")


class Album:
    """The scenes of some datasets by file and image id, from which pictures of findings are cut."""

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        self._datasets = datasets
        self._scenes = {
            (file, scene.image_id): scene for file, data in datasets.items() for scene in data.scenes
        }

    def pictures(self, file: str, case: Case) -> list[bytes]:
        """Return the WebP pictures of a case: one, two for a pair of images, none where there is nothing to show."""
        shown = [
            self._picture(file, case.image_id, case),
            self._picture(case.other_file, case.other_image_id, None),
        ]
        return [picture for picture in shown if picture is not None]

    def _picture(self, file: str, image_id: int | None, case: Case | None) -> bytes | None:
        scene = None if image_id is None else self._scenes.get((file, image_id))
        if scene is None or self._datasets[file].image_root is None:
            return None
        try:
            image = pil.fromarray(read_image(self._datasets[file], scene))
        except DatasetError:
            return None
        return draw_case(image, scene, case)


def draw_case(image: pil.Image, scene: Scene, case: Case | None) -> bytes:
    """Return a crop around the boxes of a case with these drawn, or the whole image without boxes, as WebP."""
    boxes = np.array(case.boxes_xywh if case else (), np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    low, high = np.zeros(2), np.array(scene.size_wh, np.float64)
    if len(boxes):
        low, high = _region(boxes, scene.size_wh)
    crop = image.crop((int(low[0]), int(low[1]), int(np.ceil(high[0])), int(np.ceil(high[1]))))
    scale = min(_ZOOM, TILE_WH[0] / crop.width, TILE_WH[1] / crop.height)
    size = max(1, round(crop.width * scale)), max(1, round(crop.height * scale))
    crop = crop.resize(size, pil.Resampling.LANCZOS if scale < 1 else pil.Resampling.BICUBIC)
    pen = ImageDraw.Draw(crop)
    for number, box in enumerate(boxes):
        corners = (box - np.tile(np.floor(low), 2)) * scale
        inset = 2 * number
        x1, y1, x2, y2 = (corners + np.array([inset, inset, -inset, -inset])).tolist()
        x2, y2 = max(x1 + 1, x2), max(y1 + 1, y2)
        pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="white", width=1)
        pen.rectangle((x1, y1, x2, y2), outline=_COLOURS[number % 2], width=2)
    buffer = io.BytesIO()
    crop.save(buffer, "WEBP", quality=80, method=4)
    return buffer.getvalue()


def _region(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Return the corners of the part of an image that shows the boxes and what is around them."""
    low, high = boxes_xyxy[:, :2].min(0), boxes_xyxy[:, 2:].max(0)
    side = max(_LEAST_PX, _CONTEXT * float((high - low).max()))
    extent = np.minimum(np.array([side, side * TILE_WH[1] / TILE_WH[0]]), size_wh)
    extent = np.minimum(np.maximum(extent, (high - low) * 1.1), size_wh)
    start = np.clip((low + high) / 2 - extent / 2, 0, np.array(size_wh) - extent)
    return start, start + extent
