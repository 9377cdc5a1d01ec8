"""Pictures of what a detector got wrong: large enough to be read, with names that don't cover one another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image as pil
from PIL import ImageDraw, ImageFont, ImageOps

from augsynth.core.scene import Image
from augsynth.core.text import printable

FOUND, MISSED, WRONG = (90, 190, 90), (230, 60, 60), (250, 170, 30)
LEAST_PX = 800  # of the longer side
_FONT_PX, _PAD = 15, 3
_LONGEST = 40
_LEGEND = (("found", FOUND), ("not found", MISSED), ("wrong, or not there", WRONG))

Corners = tuple[float, float, float, float]


def draw_mistakes(found: Mapping[str, Any], names: Sequence[str]) -> Image:
    """Return an image with its boxes, HWC uint8 RGB; a smaller one is enlarged to 800 px on its longer side.

    Args:
        found: `path` of the image; `found`, `missed` and `wrong`, lists of (box_xyxy, label, score).
        names: Category names by label.
    """
    with pil.open(found["path"]) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    scale = max(1.0, LEAST_PX / max(picture.size))
    picture = picture.resize([round(side * scale) for side in picture.size], pil.Resampling.LANCZOS)
    shown = pil.new("RGB", (picture.width, picture.height + _FONT_PX + 4 * _PAD), (255, 255, 255))
    shown.paste(picture)
    draw, font = ImageDraw.Draw(shown), _font()
    width = max(2, round(max(picture.size) / 400))
    texts = []
    for key, colour in (("found", FOUND), ("missed", MISSED), ("wrong", WRONG)):
        for box, label, score in found[key]:
            x1, y1, x2, y2 = (float(v) * scale for v in box)
            draw.rectangle((x1, y1, x2, y2), outline=colour, width=width)
            name = printable(names[label] if label < len(names) else str(label))[:_LONGEST]
            if key != "found":
                texts.append(((x1, y1, x2, y2), f"{name} {score:.2f}" if key == "wrong" else name, colour))
    taken: list[Corners] = []
    for box, text, colour in texts:
        size = font.getlength(text) + 2 * _PAD, _FONT_PX + 2 * _PAD
        place = _free_place(box, size, picture.size, taken)
        taken.append(place)
        draw.rectangle(place, fill=colour)
        draw.text((place[0] + _PAD, place[1] + _PAD - 1), text, fill=(0, 0, 0), font=font)
    _draw_legend(draw, picture.height, font)
    return np.asarray(shown, np.uint8)


def _free_place(
    box: Corners, size_wh: tuple[float, float], picture_wh: tuple[int, int], taken: Sequence[Corners]
) -> Corners:
    """Return a place for a text beside its box that covers no other text; the nearest one where none is free."""
    places = [_inside(corner, size_wh, picture_wh) for corner in _corners(box, size_wh)]
    free = (place for place in places if not any(_meet(place, other) for other in taken))
    return next(free, places[0])


def _corners(box: Corners, size_wh: tuple[float, float]) -> Iterable[tuple[float, float]]:
    """Yield upper left corners of texts: above the box, below it, inside it, beside it, then further away."""
    x1, y1, x2, y2 = box
    width, height = size_wh
    yield from ((x1, y1 - height), (x1, y2), (x1, y1), (x2, y1), (x1 - width, y1), (x2 - width, y2 - height))
    for step in range(1, 40):
        away = step * (height + 1)
        yield from ((x1, y1 - height - away), (x1, y2 + away), (x2, y1 + away), (x1 - width, y1 + away))


def _inside(
    corner: tuple[float, float], size_wh: tuple[float, float], picture_wh: tuple[int, int]
) -> Corners:
    x = min(max(0.0, corner[0]), max(0.0, picture_wh[0] - size_wh[0] - 1))
    y = min(max(0.0, corner[1]), max(0.0, picture_wh[1] - size_wh[1] - 1))
    return x, y, x + size_wh[0], y + size_wh[1]


def _meet(one: Corners, other: Corners) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _draw_legend(draw: ImageDraw.ImageDraw, top: int, font: ImageFont.FreeTypeFont) -> None:
    x = 2.0 * _PAD
    for text, colour in _LEGEND:
        draw.rectangle((x, top + 2 * _PAD, x + _FONT_PX, top + 2 * _PAD + _FONT_PX), fill=colour)
        draw.text((x + _FONT_PX + 2 * _PAD, top + 2 * _PAD - 2), text, fill=(0, 0, 0), font=font)
        x += _FONT_PX + 8 * _PAD + font.getlength(text)


def _font() -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib: the same on every machine, and more than Latin."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), _FONT_PX)
