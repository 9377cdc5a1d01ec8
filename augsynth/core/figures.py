"""Pictures for people: sheets of painted objects and the heat map of an affinity matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure
from PIL import Image as pil
from PIL import ImageDraw, ImageFont

from augsynth.core.images import write_atomically, write_image
from augsynth.core.scene import FloatArray, Image

MIN_TILE_PX = 128
_GAP = 4
_MARGIN = 14
_CAPTION_PX = 13
_LINE_PX = 17
_TITLE_PX = 18
_GREEN, _RED, _BLUE = (0, 150, 60), (215, 35, 35), (30, 90, 200)
_MAX_NUMBERED = 15  # categories up to which each cell shows its number
_MAX_LABEL = 30
_MIN_REACH = 0.1  # of a diverging colour scale: less is noise in any measure offered


def contact_sheet(
    tiles: Sequence[Sequence[Image]],
    *,
    path: Path,
    captions: Sequence[str] | None = None,
    boxes_xyxy: Sequence[FloatArray | None] | None = None,
    accepted: Sequence[bool] | None = None,
    columns: int = 4,
    tile_px: int = 160,
    title: str = "",
) -> None:
    """Write a sheet of small pictures, large enough to be judged by eye, as PNG.

    Args:
        tiles: For each attempt its pictures, side by side, for instance (before, after); HWC uint8 RGB of any
            size. Each is scaled to `tile_px` on its longer side.
        path: The file to write, ending with .png; the same input gives the same bytes.
        captions: For each tile a text below it, for instance the category and score or reason; lines split
            at newlines, cut to the width of the tile.
        boxes_xyxy: For each tile (4,) or (N, 4) boxes in pixels of its last picture, outlined there, or None.
        accepted: For each tile the colour of outline and caption: green when true, red when false.
        columns: Tiles in a row, ≥ 1.
        tile_px: Longer side of each picture on the sheet, ≥ 128.
        title: Text above the sheet, split at newlines.

    Raises:
        ValueError: There are no tiles, a list has another length, or a number is too small.
    """
    _check_sheet(tiles, captions, boxes_xyxy, accepted, columns, tile_px)
    colours = [_BLUE] * len(tiles) if accepted is None else [_GREEN if good else _RED for good in accepted]
    texts = [""] * len(tiles) if captions is None else list(captions)
    per_tile = max(len(pictures) for pictures in tiles)
    num_lines = max(len(text.split("\n")) for text in texts) if any(texts) else 0
    cell_w = per_tile * tile_px + (per_tile - 1) * _GAP
    cell_h = tile_px + num_lines * _LINE_PX + _GAP
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    title_lines = title.split("\n") if title else []
    top = _MARGIN + len(title_lines) * (_TITLE_PX + 6) + (6 if title_lines else 0)
    width = _MARGIN + columns * (cell_w + _MARGIN)
    sheet = pil.new("RGB", (width, top + rows * (cell_h + _MARGIN)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(title_lines):
        font = _font(_TITLE_PX)
        draw.text(
            (_MARGIN, _MARGIN + number * (_TITLE_PX + 6)), _fitted(line, font, width - 2 * _MARGIN), 0, font
        )
    for index, pictures in enumerate(tiles):
        x = _MARGIN + index % columns * (cell_w + _MARGIN)
        y = top + index // columns * (cell_h + _MARGIN)
        boxes = None if boxes_xyxy is None else boxes_xyxy[index]
        _draw_pictures(sheet, pictures, (x, y), tile_px, boxes, colours[index])
        font = _font(_CAPTION_PX)
        for number, line in enumerate(texts[index].split("\n") if texts[index] else ()):
            place = (x, y + tile_px + 3 + number * _LINE_PX)
            draw.text(place, _fitted(line, font, cell_w), colours[index] if accepted is not None else 0, font)
    write_image(path, np.array(sheet))


def heat_map(
    matrix: FloatArray,
    names: Sequence[str],
    *,
    path: Path | BinaryIO,
    title: str = "",
    label: str = "",
    centre: float | None = 0.0,
) -> None:
    """Write a square matrix over categories as a heat map in PNG.

    The colour scale follows the 99th percentile of the cells off the diagonal, so that one extreme pair or
    the diagonal doesn't bleach the rest, and reaches at least 0.1 from the centre, so that a dataset without
    structure looks like one. Up to 15 categories each cell shows its number.

    Args:
        matrix: (C, C), row given, column scored; NaN cells are grey.
        names: C category names.
        path: The file to write, or one open for writing; the same input gives the same bytes.
        title: Text above.
        label: What the colours measure.
        centre: Value shown white between blue (below) and red (above), 0 for npmi and 1 for lift; None for
            measures without a neutral value, which get one hue from 0.

    Raises:
        ValueError: The matrix isn't square or the names don't fit it.
    """
    count = len(names)
    if matrix.shape != (count, count) or not count:
        raise ValueError(f"matrix must be ({count}, {count}) for {count} names, got {matrix.shape}")
    side = max(3.2, 0.22 * count + 1.0) if count > _MAX_NUMBERED else 0.62 * count + 1.6
    figure = Figure(figsize=(side + 2.6, side + 1.8), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    norm, colours = _scale(matrix, centre)
    shown = axes.imshow(
        np.ma.masked_invalid(matrix),
        cmap=colours.with_extremes(bad="0.75"),
        norm=norm,
        interpolation="nearest",
    )
    size = 8.0 if count > _MAX_NUMBERED else 10.0
    labels = [_cut(name, _MAX_LABEL) for name in names]
    axes.set_xticks(range(count), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(count), labels, fontsize=size)
    axes.set_xticks(np.arange(1, count) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, count) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.6)
    axes.tick_params(which="both", length=0, labeltop=count > _MAX_NUMBERED, labelright=count > _MAX_NUMBERED)
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=12, pad=12, loc="left")
    bar = figure.colorbar(shown, ax=axes, shrink=0.6, extend="both" if centre is not None else "max")
    bar.set_label(label)
    if count <= _MAX_NUMBERED:
        _number_cells(axes, matrix, norm)

    def save(file: BinaryIO) -> None:
        figure.savefig(file, format="png", metadata={"Software": None})

    if isinstance(path, Path):
        write_atomically(path, save)
    else:
        save(path)


def _check_sheet(
    tiles: Sequence[Sequence[Image]],
    captions: Sequence[str] | None,
    boxes_xyxy: Sequence[FloatArray | None] | None,
    accepted: Sequence[bool] | None,
    columns: int,
    tile_px: int,
) -> None:
    if not tiles or not all(len(pictures) for pictures in tiles):
        raise ValueError("a contact sheet needs at least one tile, and each tile a picture")
    for name, values in (("captions", captions), ("boxes_xyxy", boxes_xyxy), ("accepted", accepted)):
        if values is not None and len(values) != len(tiles):
            raise ValueError(f"{name} must have one entry for each of {len(tiles)} tiles, got {len(values)}")
    if columns < 1 or tile_px < MIN_TILE_PX:
        raise ValueError(f"columns must be ≥ 1 and tile_px ≥ {MIN_TILE_PX}, got {columns} and {tile_px}")


def _draw_pictures(
    sheet: pil.Image,
    pictures: Sequence[Image],
    corner: tuple[int, int],
    tile_px: int,
    boxes_xyxy: FloatArray | None,
    colour: tuple[int, int, int],
) -> None:
    for number, image in enumerate(pictures):
        x, y = corner[0] + number * (tile_px + _GAP), corner[1]
        height, width = image.shape[:2]
        scale = tile_px / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = pil.fromarray(np.ascontiguousarray(image)).resize(size, pil.Resampling.LANCZOS)
        sheet.paste(picture, (x, y))
        if number == len(pictures) - 1 and boxes_xyxy is not None:
            for box in np.atleast_2d(boxes_xyxy):
                _outline(ImageDraw.Draw(sheet), box * scale, (x, y), size, colour)


def _outline(
    draw: ImageDraw.ImageDraw,
    box_xyxy: FloatArray,
    corner: tuple[int, int],
    size_wh: tuple[int, int],
    colour: tuple[int, int, int],
) -> None:
    """Draw a box as a coloured line between two thin white ones, just outside what it frames."""
    limits = np.array([*size_wh, *size_wh]) - 1
    for grow, line in ((3, (255, 255, 255)), (2, colour), (1, colour), (0, (255, 255, 255))):
        around = np.round(box_xyxy + np.array([-grow, -grow, grow, grow]))
        x1, y1, x2, y2 = (np.clip(around, 0, limits) + np.array([*corner, *corner])).tolist()
        if x2 >= x1 and y2 >= y1:
            draw.rectangle((x1, y1, x2, y2), outline=line)


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib: the same on every machine, and more than Latin."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text.rstrip("…")[:-1] + "…"
    return text


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _scale(matrix: FloatArray, centre: float | None) -> tuple[Normalize, matplotlib.colors.Colormap]:
    others = matrix[~np.eye(len(matrix), dtype=bool) & np.isfinite(matrix)]
    if centre is None:
        top = float(np.percentile(others, 99)) if others.size else 1.0
        return Normalize(0.0, top or 1.0), matplotlib.colormaps["YlGnBu"]
    reach = float(np.percentile(np.abs(others - centre), 99)) if others.size else 0.0
    return CenteredNorm(centre, max(reach, _MIN_REACH)), matplotlib.colormaps["RdBu_r"]


def _number_cells(axes: matplotlib.axes.Axes, matrix: FloatArray, norm: Normalize) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if not np.isfinite(value):
            continue
        level = float(norm(value))
        dark = abs(level - 0.5) > 0.35 if isinstance(norm, CenteredNorm) else level > 0.55
        text = f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color="white" if dark else "black")
