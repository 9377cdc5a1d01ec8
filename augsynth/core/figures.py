"""Pictures for people: sheets of painted objects and the heat map of an affinity matrix."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as pil
from PIL import ImageDraw, ImageFont

from augsynth.core.files import write_atomically
from augsynth.core.images import write_image
from augsynth.core.scene import FloatArray, Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

MIN_TILE_PX = 128
_GAP = 4
_MARGIN = 14
_CAPTION_PX = 13
_LINE_PX = 17
_TITLE_PX = 18
_GREEN, _RED, _BLUE = (0, 150, 60), (215, 35, 35), (30, 90, 200)
_MAX_NUMBERED = 15  # categories up to which each cell shows its number
_MAX_LABEL = 30
_GREY, _DIAGONAL = 237, 183  # of 255
PICTURE_MARK = "augsynth heat map"


def contact_sheet(
    tiles: Sequence[Sequence[Image]],
    *,
    path: Path,
    captions: Sequence[str] | None = None,
    boxes_xyxy: Sequence[FloatArray | None] | None = None,
    accepted: Sequence[bool | None] | None = None,
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
        accepted: For each tile the colour of outline and caption: green when true, red when false, blue when None.
        columns: Tiles in a row, ≥ 1.
        tile_px: Longer side of each picture on the sheet, ≥ 128.
        title: Text above the sheet, split at newlines.

    Raises:
        ValueError: There are no tiles, a list has another length, or a number is too small.
    """
    _check_sheet(tiles, captions, boxes_xyxy, accepted, columns, tile_px)
    hues = {True: _GREEN, False: _RED, None: _BLUE}
    colours = [hues[good] for good in (accepted or [None] * len(tiles))]
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


@dataclass(frozen=True, slots=True)
class Scale:
    """What the colours of a heat map mean, the same for every dataset.

    Attributes:
        label: What is measured, with its unit.
        centre: Value shown white between blue (below) and red (above); None for a single hue from 0.
        reach: Distance from the centre (or from 0) at which the colours end; beyond it they stay.
        ticks: Values of the colour bar with their texts; without any, matplotlib's own.
        number: Text of a cell's value.
    """

    label: str = ""
    centre: float | None = 0.0
    reach: float = 1.0
    ticks: tuple[tuple[float, str], ...] = ()
    number: Callable[[float], str] = "{:.2f}".format


def heat_map(
    matrix: FloatArray,
    names: Sequence[str],
    *,
    path: Path | BinaryIO,
    title: str = "",
    scale: Scale | None = None,
    told: NDArray[np.bool_] | None = None,
    note: str = "",
) -> None:
    """Write a square matrix over categories as a heat map in PNG.

    Colours follow a fixed scale, never the data, so that weak structure looks weak. The diagonal is left out: grey.
    Up to 15 categories each cell shows its number.

    Args:
        matrix: (C, C), row given, column scored; NaN cells are pale grey.
        names: C category names, shown as they are, but for what can't be printed.
        path: The file to write, or one open for writing; the same input gives the same bytes.
        title: Text above, split at newlines.
        scale: What the colours mean.
        told: (C, C) cells that get a colour; the others are pale grey, their numbers too. All without.
        note: Text below the colour bar's label, what grey means for instance.

    Raises:
        ValueError: The matrix isn't square or the names don't fit it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    count, scale = len(names), scale or Scale()
    if matrix.shape != (count, count) or not count:
        raise ValueError(f"matrix must be ({count}, {count}) for {count} names, got {matrix.shape}")
    coloured = np.isfinite(matrix) & (np.ones_like(matrix, bool) if told is None else told)
    others = ~np.eye(count, dtype=bool)
    side = max(3.2, 0.22 * count + 1.0) if count > _MAX_NUMBERED else 0.62 * count + 1.6
    figure = Figure(figsize=(side + 2.6, side + 1.8), dpi=min(130, int(20_000 / side)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    norm, colours = _colours(scale)
    hues = colours(norm(np.where(coloured, matrix, 0.0)), bytes=True)
    hues[~coloured], hues[~others] = (_GREY,) * 3 + (255,), (_DIAGONAL,) * 3 + (255,)
    axes.imshow(hues, interpolation="nearest")
    _name_axes(axes, names)
    if title:
        lines = [_printable(line, 90) for line in title.split("\n")]
        figure.suptitle("\n".join(lines), fontsize=10, x=0.01, ha="left", parse_math=False)
    bar = figure.colorbar(
        ScalarMappable(norm, colours),
        ax=axes,
        shrink=0.6,
        extend="neither" if scale.centre is None else "both",
    )
    if scale.ticks:
        bar.set_ticks([value for value, _ in scale.ticks], labels=[text for _, text in scale.ticks])
    bar.set_label("\n".join(filter(None, [scale.label, note])), fontsize=8.5, parse_math=False)
    if count <= _MAX_NUMBERED:
        _number_cells(axes, matrix, norm, coloured & others, scale.number)

    def save(file: BinaryIO) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            layout = figure.get_layout_engine()
            if layout is not None:  # once: `savefig` would go through all for it before it draws
                layout.execute(figure)
                figure.set_layout_engine(None)
            figure.savefig(file, format="png", metadata={"Software": PICTURE_MARK})

    if isinstance(path, Path):
        write_atomically(path, save)
    else:
        save(path)


def is_heat_map(path: Path) -> bool:
    """Tell whether a file is a picture that `heat_map` wrote."""
    try:
        with pil.open(path, formats=["PNG"]) as picture:
            return bool(picture.info.get("Software") == PICTURE_MARK)
    except (OSError, ValueError, SyntaxError, pil.DecompressionBombError):
        return False


def _check_sheet(
    tiles: Sequence[Sequence[Image]],
    captions: Sequence[str] | None,
    boxes_xyxy: Sequence[FloatArray | None] | None,
    accepted: Sequence[bool | None] | None,
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
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text.rstrip("…")[:-1] + "…"
    return text


def _printable(text: str, length: int) -> str:
    """Return a text as one line of at most `length` characters, with what can't be printed as �."""
    line = " ".join("".join(c if c.isprintable() or c.isspace() else "�" for c in text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _name_axes(axes: Axes, names: Sequence[str]) -> None:
    count = len(names)
    small = count > _MAX_NUMBERED
    options: dict[str, Any] = {"fontsize": 8.0 if small else 10.0, "parse_math": False}
    labels = [_printable(name, _MAX_LABEL) for name in names]
    axes.set_xticks(range(count), labels, rotation=90, **options)
    axes.set_yticks(range(count), labels, **options)
    between, ends = np.arange(1, count) - 0.5, (-0.5, count - 0.5)
    axes.vlines(between, *ends, color="white", linewidth=0.6)
    axes.hlines(between, *ends, color="white", linewidth=0.6)
    axes.set(xlim=ends, ylim=ends[::-1])
    axes.tick_params(length=0, labeltop=small, labelright=small)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("present", fontsize=9)
    axes.set_xlabel("added", fontsize=9)


def _colours(scale: Scale) -> tuple[Normalize, Colormap]:
    import matplotlib
    from matplotlib.colors import CenteredNorm, Normalize

    if scale.centre is None:
        return Normalize(0.0, scale.reach), matplotlib.colormaps["YlGnBu"]
    return CenteredNorm(scale.centre, scale.reach), matplotlib.colormaps["RdBu_r"]


def _number_cells(
    axes: Axes,
    matrix: FloatArray,
    norm: Normalize,
    coloured: NDArray[np.bool_],
    number: Callable[[float], str],
) -> None:
    from matplotlib.colors import CenteredNorm

    for (row, column), value in np.ndenumerate(matrix):
        if row == column or not np.isfinite(value):
            continue
        level = float(norm(value))
        dark = abs(level - 0.5) > 0.35 if isinstance(norm, CenteredNorm) else level > 0.55
        colour = ("white" if dark else "black") if coloured[row, column] else "0.55"
        text = number(round(value, 6) + 0.0).replace("-", "−")
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
