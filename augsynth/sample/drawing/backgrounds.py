"""Grounds and what borders them: six textured surfaces, each with a region where nothing ever lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from augsynth.sample.world import SIZE_WH

Array = NDArray[np.floating[Any]]
_W, _H = SIZE_WH
_Y, _X = np.mgrid[0:_H, 0:_W].astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A drawn background.

    Attributes:
        picture: (H, W, 3) float32 in [0, 1], without objects.
        forbidden: (H, W) mask of where nothing ever lies.
    """

    picture: Array
    forbidden: NDArray[np.bool_]


def field(rng: np.random.Generator, cell_x: float, cell_y: float | None = None) -> Array:
    """Return (H, W) smooth noise of about unit deviation whose grains have the given size in pixels."""
    cell_y = cell_y or cell_x
    grid = rng.standard_normal((int(_H / cell_y) + 3, int(_W / cell_x) + 3), np.float32)
    smooth = PilImage.fromarray(grid).resize(SIZE_WH, PilImage.Resampling.BICUBIC)
    return np.asarray(smooth)


def _rgb(rng: np.random.Generator, base: tuple[float, float, float], spread: float = 0.05) -> Array:
    value = np.array(base) * rng.uniform(0.85, 1.15) + rng.normal(0, spread, 3) * 0.6
    return np.clip(value, 0.02, 0.98).astype(np.float32)


def _tones(rng: np.random.Generator, cells: Array) -> Array:
    """Return a random tone in [0, 1) for each whole number in `cells`."""
    table = rng.random(97, np.float32)
    return np.asarray(table[cells.astype(np.int64) % 97])


def _mix(a: Array, b: Array, t: Array) -> Array:
    return a + (b - a) * np.clip(t, 0, 1)[..., None]


def _plane(rng: np.random.Generator, turn: float) -> tuple[Array, Array]:
    """Return ground coordinates in pixels of the image's middle: perspective, then turned."""
    scale = 0.62 + 0.76 * _Y / _H
    gx = (_X - _W * rng.uniform(0.3, 0.7)) / scale
    gz = np.log(scale / 0.62).astype(np.float32) * (_H / 0.76) * 1.25
    c, s = math.cos(turn), math.sin(turn)
    return gx * c - gz * s, gx * s + gz * c


def _border(rng: np.random.Generator, heading_deg: float, wave: float) -> Array:
    """Return the signed distance (H, W) to the border in pixels, negative where nothing lies."""
    a = math.radians(heading_deg)
    d = -_X * math.cos(a) - _Y * math.sin(a)
    if wave:
        along = _X * math.sin(a) - _Y * math.cos(a)
        f1, f2 = rng.uniform(0.02, 0.04), rng.uniform(0.06, 0.1)
        p1, p2 = rng.uniform(0, 6.3), rng.uniform(0, 6.3)
        d = d + wave * (np.sin(along * f1 + p1) + 0.4 * np.sin(along * f2 + p2))
    offset = np.quantile(d[::4, ::4], rng.uniform(0.27, 0.46))
    return np.asarray(d - offset, np.float32)


def _bricks(rng: np.random.Generator, d: Array, heading: float) -> Array:
    a = math.radians(heading)
    along = _X * math.sin(a) - _Y * math.cos(a)
    high, long = rng.uniform(9, 14), rng.uniform(22, 34)
    row = np.floor(-d / high)
    pos = along / long + 0.5 * (row % 2)
    tone = _tones(rng, row * 31 + np.floor(pos) * 7)
    base = _rgb(rng, ((0.52, 0.26, 0.20), (0.60, 0.56, 0.50), (0.40, 0.33, 0.30))[int(rng.integers(3))])
    picture = base * (0.82 + 0.36 * tone)[..., None]
    seam = ((-d / high) % 1 < 1.6 / high) | (pos % 1 < 1.6 / long)
    picture = np.where(seam[..., None], _rgb(rng, (0.60, 0.58, 0.55)), picture)
    return np.asarray(picture * (1 + 0.05 * field(rng, 3))[..., None], np.float32)


def _asphalt(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    heading = -90 + rng.uniform(-13, 13)
    d = _border(rng, heading, 0)
    base = _rgb(rng, (0.36, 0.36, 0.37), 0.02)
    grain = 0.10 * field(rng, 1.5) + 0.07 * field(rng, 4) + 0.10 * field(rng, 40)
    ground = base * (1 + grain)[..., None]
    gx, gz = _plane(rng, rng.uniform(-0.5, 0.5))
    if rng.random() < 0.7:
        at, width = rng.uniform(60, 240), rng.uniform(6, 12)
        worn = 0.75 + 0.25 * field(rng, 5)
        stripe = (np.abs(gz - at) < width / 2) & ((gx / 60) % 1 < (0.6 if rng.random() < 0.5 else 1.1))
        paint = _rgb(rng, ((0.82, 0.82, 0.80), (0.80, 0.66, 0.20))[int(rng.integers(2))])
        ground = _mix(ground, paint, stripe * np.clip(worn, 0, 0.95))
    crack = np.abs(field(rng, 46) + 0.18 * field(rng, 9))
    ground *= (1 - 0.55 * (crack < 0.035))[..., None]
    wall = _bricks(rng, d + 9, heading)
    curb = _rgb(rng, (0.62, 0.61, 0.59), 0.02) * (1 + 0.06 * field(rng, 3))[..., None]
    wall = np.where((d > -9)[..., None], curb, wall)
    return ground, wall, d


def _grass(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    heading = float(rng.choice([-90, -90, 180, 0])) + rng.uniform(-18, 18)
    d = _border(rng, heading, rng.uniform(5, 11))
    a, b = _rgb(rng, (0.25, 0.42, 0.13)), _rgb(rng, (0.46, 0.55, 0.22))
    blades = 0.6 * field(rng, 2, 5) + 0.5 * field(rng, 3.5, 8)
    ground = _mix(np.broadcast_to(a, (_H, _W, 3)), b, 0.45 + 0.30 * blades + 0.22 * field(rng, 34))
    soil = _rgb(rng, (0.25, 0.17, 0.11)) * (1 + 0.18 * field(rng, 3) + 0.15 * field(rng, 8))[..., None]
    leaf = field(rng, 7)
    bed = _mix(soil, _rgb(rng, (0.10, 0.28, 0.12)), (leaf > -0.1) * (0.7 + 0.3 * field(rng, 2.5)))
    hues = ((0.85, 0.20, 0.30), (0.93, 0.80, 0.25), (0.75, 0.45, 0.80), (0.95, 0.93, 0.90))
    kinds = np.stack([_rgb(rng, hue) for hue in hues])
    spots = np.clip((field(rng, 6) + 0.5 * field(rng, 9) - 0.75) * 2.2, 0, 0.95)
    which = np.floor(field(rng, 14) * 1.3).astype(np.int64) % 4
    bed = _mix(bed, kinds[which] * (0.85 + 0.12 * leaf)[..., None], spots)
    rim = _rgb(rng, (0.50, 0.47, 0.43)) * (1 + 0.2 * field(rng, 6))[..., None]
    bed = np.where((d > -6)[..., None], rim, bed)
    return ground, bed.astype(np.float32), d


def _sand(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    heading = float(rng.choice([-90, -90, 180, 0])) + rng.uniform(-28, 28)
    d = _border(rng, heading, rng.uniform(5, 10))
    ripples = np.sin((_Y * 0.8 + _X * rng.uniform(-0.4, 0.4)) * 0.33 + 2.2 * field(rng, 36))
    tone = 0.06 * field(rng, 1.6) + 0.05 * field(rng, 30) + 0.035 * ripples
    ground = _rgb(rng, (0.76, 0.66, 0.47), 0.03) * (1 + tone)[..., None]
    ground *= (1 - 0.30 * np.clip(1 - d / rng.uniform(14, 30), 0, 1))[..., None]
    waves = np.sin(d * 0.30 + 1.6 * field(rng, 30, 12)) + 0.6 * field(rng, 12, 4)
    water = _mix(
        np.broadcast_to(_rgb(rng, (0.16, 0.42, 0.52)), (_H, _W, 3)),
        _rgb(rng, (0.40, 0.66, 0.70)),
        0.4 + 0.25 * waves,
    )
    foam = np.exp(-(((d + 4) / 3.5) ** 2)) * (0.75 + 0.3 * field(rng, 4))
    water = _mix(water, np.array((0.94, 0.96, 0.96), np.float32), foam)
    return ground, water, d


def _planks(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    heading = -90 + rng.uniform(-10, 10)
    d = _border(rng, heading, 0)
    gx, gz = _plane(rng, rng.uniform(-0.25, 0.25) + (np.pi / 2 if rng.random() < 0.5 else 0))
    wide = rng.uniform(24, 36)
    board = np.floor(gz / wide)
    tone = _tones(rng, board)
    base = _rgb(rng, ((0.55, 0.38, 0.23), (0.45, 0.36, 0.28), (0.66, 0.50, 0.32))[int(rng.integers(3))])
    grain = np.sin(gz * 1.1 + tone * 40 + 1.8 * field(rng, 26, 14)) * 0.05 + 0.05 * field(rng, 3)
    ground = base * (0.85 + 0.3 * tone + grain)[..., None]
    seam = (gz / wide) % 1
    ends = ((gx / 190 + tone * 7) % 1) < 1.6 / 190
    ground *= np.where((seam < 1.8 / wide) | ends, 0.42, 1.0)[..., None]
    plaster = _rgb(rng, ((0.80, 0.77, 0.70), (0.45, 0.55, 0.60), (0.62, 0.68, 0.58))[int(rng.integers(3))])
    wall = plaster * (1 + 0.05 * field(rng, 50) + 0.025 * field(rng, 2))[..., None]
    a = math.radians(heading)
    panel = ((_X * math.sin(a) - _Y * math.cos(a)) / rng.uniform(36, 60)) % 1
    wall *= np.where((panel < 0.05) & (d < -16), 0.72, 1.0)[..., None]
    board_rgb = _rgb(rng, (0.86, 0.85, 0.82) if rng.random() < 0.5 else (0.25, 0.18, 0.13))
    wall = np.where((d > -14)[..., None], board_rgb * (1 + 0.02 * (d[..., None] + 7)), wall)
    return ground, wall, d


def _tiles(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    heading = float(rng.choice([-90, -90, -90, 180, 0])) + rng.uniform(-12, 12)
    d = _border(rng, heading, 0)
    gx, gz = _plane(rng, rng.uniform(-0.8, 0.8))
    side = rng.uniform(34, 54)
    ix, iz = np.floor(gx / side), np.floor(gz / side)
    tone = _tones(rng, ix * 31 + iz * 7)
    base = _rgb(rng, ((0.62, 0.60, 0.57), (0.48, 0.49, 0.51), (0.66, 0.55, 0.45))[int(rng.integers(3))], 0.03)
    ground = base * (0.9 + 0.2 * tone + 0.06 * field(rng, 2) + 0.06 * field(rng, 12))[..., None]
    joint = np.minimum((gx / side) % 1, (gz / side) % 1) * side < 2.0
    ground *= np.where(joint, 0.62, 1.0)[..., None]
    leaf = 0.6 * field(rng, 4) + 0.6 * field(rng, 7)
    hedge = _mix(
        np.broadcast_to(_rgb(rng, (0.07, 0.19, 0.08)), (_H, _W, 3)),
        _rgb(rng, (0.26, 0.44, 0.16)),
        0.4 + 0.4 * leaf,
    )
    ledge = _rgb(rng, (0.70, 0.68, 0.64)) * (1 + 0.04 * field(rng, 3))[..., None]
    return ground, np.where((d > -10)[..., None], ledge, hedge).astype(np.float32), d


def _belt(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    tilt = math.radians(rng.uniform(-14, 14))
    along = _X * math.cos(tilt) + _Y * math.sin(tilt)
    across = -_X * math.sin(tilt) + _Y * math.cos(tilt)
    middle = np.abs(across - float(np.median(across)) - rng.uniform(-22, 22))
    d = np.quantile(middle[::4, ::4], 1 - rng.uniform(0.27, 0.40)) - middle
    base = _rgb(rng, ((0.20, 0.21, 0.22), (0.16, 0.28, 0.24), (0.25, 0.27, 0.36))[int(rng.integers(3))], 0.02)
    weave = 0.06 * np.sin(across * 1.3) + 0.06 * field(rng, 2) + 0.10 * field(rng, 60, 8)
    ground = base * (1 + weave)[..., None]
    gap = rng.uniform(70, 110)
    ground *= np.where((along / gap) % 1 < 4 / gap, 1.45, 1.0)[..., None]
    steel = _rgb(rng, (0.55, 0.57, 0.59), 0.02)
    brushed = 0.05 * field(rng, 30, 1.5) + 0.10 * np.cos(d * 0.22)
    frame = steel * (1 + brushed)[..., None]
    rail = _rgb(rng, ((0.86, 0.66, 0.10), (0.70, 0.18, 0.14), (0.16, 0.36, 0.62))[int(rng.integers(3))])
    frame = np.where(((d > -12) & (d < -3))[..., None], rail * (1.1 + 0.05 * d)[..., None], frame)
    bolt = np.hypot((along / 26 % 1 - 0.5) * 26, d + 20) < 3.2
    frame = np.where(bolt[..., None], steel * 0.5, frame)
    return ground, frame.astype(np.float32), d.astype(np.float32)


_DRAW = {
    "asphalt": _asphalt, "grass": _grass, "sand": _sand, "planks": _planks, "tiles": _tiles, "belt": _belt,
}  # fmt: skip


def draw_ground(kind: str, rng: np.random.Generator) -> Ground:
    """Draw a background of one kind, with its border's place and angle drawn too."""
    ground, beyond, d = _DRAW[kind](rng)
    if kind != "sand":
        ground = ground * (1 - 0.38 * np.exp(-np.maximum(d, 0) / 5.0))[..., None]
    picture = _mix(beyond, ground, d + 0.5)
    return Ground(np.clip(picture, 0, 1).astype(np.float32), d < 2.0)
