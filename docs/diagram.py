"""Draw how augsynth works, for light and for dark pages: `python docs/diagram.py [FOLDER]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace as Colours

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

THEMES = {
    "light": Colours(
        ink="#1f2328", muted="#59636e", card="#f6f8fa", line="#d1d9e0", ground="#dbe7f3", old="#0969da",
        new="#1a7f37", no="#cf222e",
    ),
    "dark": Colours(
        ink="#f0f6fc", muted="#9198a1", card="#151b23", line="#3d444d", ground="#22344d", old="#4493f8",
        new="#3fb950", no="#f85149",
    ),
}  # fmt: skip
WIDTH, HEIGHT = 900, 262  # points
CARD_WH = (134, 172)
STEP = 153.2  # from one card to the next
TOP = 84  # lower edge of the cards
PICTURE_WH = (106, 66)
OLD = [(10, 12, 20, 36), (40, 10, 16, 26)]  # annotated objects in the picture: x, y, width, height
NEW = (66, 12, 22, 34)

PROMISE = "Outside the mask of a new object every pixel stays as it was. Every new label is a detected box."
METADATA = {"Title": "How augsynth works", "Creator": None, "Date": None, "Format": None, "Type": None}
Icon = Callable[[Axes, Colours, float, float], None]


def box(axes: Axes, x: float, y: float, shape: tuple[float, ...], colour: str, **style: object) -> None:
    """Outline a box of the picture whose lower left corner is (x, y)."""
    dx, dy, width, height = shape
    style = {"facecolor": "none", "edgecolor": colour, "linewidth": 1.8, **style}
    axes.add_patch(Rectangle((x + dx, y + dy), width, height, **style))


def picture(axes: Axes, theme: Colours, x: float, y: float) -> None:
    """Draw an image with its annotated objects."""
    axes.add_patch(
        Rectangle((x, y), *PICTURE_WH, facecolor=theme.ground, edgecolor=theme.muted, linewidth=0.8)
    )
    for shape in OLD:
        box(axes, x, y, shape, theme.old)


def matrix(axes: Axes, theme: Colours, x: float, y: float) -> None:
    """Draw a matrix of categories whose cells differ in strength."""
    strength = np.array([[9, 6, 1, 2], [6, 9, 3, 1], [1, 3, 9, 7], [2, 1, 7, 9]]) / 10
    for row, column in np.ndindex(4, 4):
        corner = (x + 21 + 16.5 * column, y + 49.5 - 16.5 * row)
        shade = {"facecolor": theme.old, "alpha": float(strength[row, column]), "edgecolor": "none"}
        axes.add_patch(Rectangle(corner, 14.5, 14.5, **shade))


def planned(axes: Axes, theme: Colours, x: float, y: float) -> None:
    """Draw where a new object should go."""
    picture(axes, theme, x, y)
    box(axes, x, y, NEW, theme.new, linestyle=(0, (3, 2)))


def painting(axes: Axes, theme: Colours, x: float, y: float) -> None:
    """Draw an object that comes out of noise."""
    picture(axes, theme, x, y)
    dx, dy, width, height = NEW
    noise = np.random.default_rng(4).uniform(0.1, 1, (6, 4))
    for row, column in np.ndindex(6, 4):
        corner = (x + dx + column * width / 4, y + dy + row * height / 6)
        cell = {"facecolor": theme.new, "alpha": float(noise[row, column]), "edgecolor": "none"}
        axes.add_patch(Rectangle(corner, width / 4, height / 6, **cell))


def checked(axes: Axes, theme: Colours, x: float, y: float) -> None:
    """Draw an object that a detector has found."""
    picture(axes, theme, x, y)
    box(axes, x, y, NEW, theme.new, facecolor=theme.new + "55")
    axes.plot([x + 71, x + 75.5, x + 84], [y + 28, y + 22, y + 36], color=theme.new, linewidth=2.6)


def enriched(axes: Axes, theme: Colours, x: float, y: float) -> None:
    """Draw images with more objects, one behind the other."""
    for offset in (6, 3):
        back = {"facecolor": theme.card, "edgecolor": theme.muted, "linewidth": 0.8}
        axes.add_patch(Rectangle((x + offset, y + offset), *PICTURE_WH, **back))
    picture(axes, theme, x, y)
    box(axes, x, y, NEW, theme.new, facecolor=theme.new + "55")


CARDS: list[tuple[str, str, Icon]] = [
    ("Your dataset", "images and\nCOCO boxes", picture),
    ("1  Affinity", "which categories\nappear together", matrix),
    ("2  Placement", "where it belongs,\nhow large it is", planned),
    ("3  Inpainting", "a diffusion model\npaints it there", painting),
    ("4  Filter", "a detector must\nrecognise it", checked),
    ("New dataset", "more objects,\nwith labels", enriched),
]


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """Draw an arrow between two points."""
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=colour, linewidth=1.5)
    )


def cards(axes: Axes, theme: Colours) -> Iterator[float]:
    """Draw the steps and yield the middle of each card."""
    for number, (title, text, icon) in enumerate(CARDS):
        left, middle = number * STEP, number * STEP + CARD_WH[0] / 2
        edge = theme.line if 0 < number < len(CARDS) - 1 else theme.old
        corner, shape = (left + 1, TOP), "round,pad=0,rounding_size=8"
        axes.add_patch(
            FancyBboxPatch(
                corner, CARD_WH[0] - 2, CARD_WH[1], boxstyle=shape, facecolor=theme.card, edgecolor=edge
            )
        )
        axes.text(
            middle, TOP + 153, title, ha="center", va="center", size=13.5, weight="bold", color=theme.ink
        )
        axes.text(
            middle, TOP + 27, text, ha="center", va="center", size=11.5, color=theme.ink, linespacing=1.35
        )
        icon(axes, theme, middle - PICTURE_WH[0] / 2, TOP + 62)
        if number:
            arrow(axes, (left - 18.5, TOP + 95), (left + 1, TOP + 95), theme.muted)
        yield middle


def draw(theme: Colours) -> Figure:
    """Draw the whole diagram in the colours of a theme."""
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.set_axis_off()
    middles = list(cards(axes, theme))
    judged, placed = middles[4] - 14, middles[2]
    axes.plot([judged, judged, placed], [TOP - 1, 42, 42], color=theme.no, linewidth=1.5)
    arrow(axes, (placed, 41.3), (placed, TOP), theme.no)
    between = (judged + placed) / 2
    axes.text(
        between, 56, "rejected: undone, tried again", ha="center", va="center", size=11.5, color=theme.no
    )
    axes.text(WIDTH / 2, 14, PROMISE, ha="center", va="center", size=11.5, color=theme.muted)
    return figure


def main(folder: Path) -> None:
    """Write one SVG a theme; the same library versions give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "augsynth", "font.family": "DejaVu Sans"}):
        for name, theme in THEMES.items():
            path = folder / f"how_it_works_{name}.svg"
            draw(theme).savefig(path, transparent=True, metadata=METADATA)
            lines = path.read_text(encoding="utf-8").splitlines()
            path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images")
