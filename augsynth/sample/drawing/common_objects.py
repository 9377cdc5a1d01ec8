"""Round things and how light falls on them: bottle, can, cup, battery, lid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Drawn = tuple[Array, Array]

PALETTE = np.array(
    [
        (0.78, 0.14, 0.13), (0.13, 0.33, 0.68), (0.12, 0.47, 0.25), (0.90, 0.72, 0.13),
        (0.88, 0.45, 0.12), (0.46, 0.20, 0.52), (0.14, 0.55, 0.60), (0.86, 0.86, 0.84),
        (0.17, 0.17, 0.19), (0.52, 0.33, 0.18), (0.84, 0.47, 0.58), (0.55, 0.70, 0.25),
        (0.70, 0.63, 0.50), (0.48, 0.58, 0.68),
    ],
    np.float32,
)  # fmt: skip
_GLASS = np.array(
    [(0.10, 0.36, 0.16), (0.33, 0.17, 0.06), (0.60, 0.71, 0.74), (0.20, 0.42, 0.66)], np.float32
)
METAL = np.array((0.74, 0.75, 0.77), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Easel:
    """A patch in an object's own coordinates.

    Attributes:
        u: (h, w) across the object, its longer side being 1.
        v: (h, w) along the object, downwards.
        light: (3,) unit vector towards the light, in (u, v, towards the viewer).
        rng: Drawn from, for the looks.
    """

    u: Array
    v: Array
    light: Array
    rng: np.random.Generator

    def blank(self) -> Array:
        """Return an empty (h, w, 3) picture."""
        return np.zeros((*self.u.shape, 3), np.float32)


def colour(rng: np.random.Generator, among: tuple[int, ...] | None = None) -> Array:
    """Return a (3,) colour near one of the palette's."""
    base = PALETTE[int(rng.choice(among)) if among else int(rng.integers(len(PALETTE)))]
    value = base * rng.uniform(0.8, 1.15) + rng.normal(0, 0.04, 3)
    return np.asarray(np.clip(value, 0.04, 0.95).astype(np.float32))


def paint(picture: Array, mask: NDArray[np.bool_], rgb: Array) -> None:
    """Fill the mask with a colour, in place."""
    picture[mask] = rgb


def shade(
    picture: Array, light: Array, nu: Array, nv: Array, *, ambient: float = 0.42, gloss: float = 0.0,
    power: float = 20.0,
) -> Array:  # fmt: skip
    """Return the picture lit by Lambert's law plus a Blinn highlight; the normal's third part follows."""
    nz = np.sqrt(np.maximum(1 - nu * nu - nv * nv, 0.0))
    lit = np.maximum(nu * light[0] + nv * light[1] + nz * light[2], 0.0)
    out: Array = picture * (ambient + (1.2 - ambient) * lit)[..., None]
    if gloss:
        half = light + np.array((0, 0, 1), np.float32)
        half = half / np.linalg.norm(half)
        out += (gloss * np.maximum(nu * half[0] + nv * half[1] + nz * half[2], 0.0) ** power)[..., None]
    return out


def draw_bottle(e: Easel) -> Drawn:
    """Draw a bottle: cap, neck, shoulders, body and label, of glass or plastic."""
    rng = e.rng
    body, neck = rng.uniform(0.145, 0.185), rng.uniform(0.05, 0.066)
    shoulder = rng.uniform(-0.20, -0.08)
    rise = rng.uniform(0.10, 0.18)
    vs = [-0.5, -0.405, -0.40, shoulder - rise, shoulder - rise * 0.4, shoulder, 0.46, 0.5]
    ws = [neck * 1.25, neck * 1.25, neck, neck * 1.05, (neck + body) / 2 * 1.1, body, body, body * 0.8]
    half = np.interp(e.v, vs, ws).astype(np.float32)
    if rng.random() < 0.45:
        half *= 1 - 0.05 * (np.cos(e.v * rng.uniform(60, 80)) > 0.2) * (e.v > shoulder + 0.05)
    x = e.u / half
    inside = (np.abs(x) < 1) & (np.abs(e.v) < 0.5)
    x = np.clip(x, -1, 1)
    picture = e.blank()
    kind = int(rng.choice(5, p=(0.24, 0.19, 0.27, 0.18, 0.12)))
    tint = colour(rng) if kind == 4 else _GLASS[kind] * np.float32(rng.uniform(0.8, 1.2))
    picture[:] = tint
    rim = np.abs(x) ** 4
    picture *= (1.15 - 0.55 * rim)[..., None]
    picture += (0.16 * (np.abs(x) < 0.5) * (e.v > shoulder))[..., None]
    opacity = 0.74 + 0.24 * rim if kind == 2 else np.full_like(e.u, 0.94)
    top, bottom = rng.uniform(0.0, 0.08), rng.uniform(0.26, 0.38)
    label = (e.v > top) & (e.v < bottom) & inside
    ink = colour(rng)
    paint(picture, label, colour(rng, (7, 3, 0, 1, 12, 2)))
    stripe = label & (np.abs(e.v - (top + bottom) / 2) < (bottom - top) * 0.22)
    paint(picture, stripe, ink)
    cap = inside & (e.v < -0.405)
    paint(picture, cap, colour(rng, (0, 1, 3, 7, 8, 2)))
    opacity[label | cap] = 1
    picture = shade(picture, e.light, x * 0.95, 0 * x, gloss=0.25, power=18)
    side = -0.5 if e.light[0] < 0 else 0.5
    streak = np.exp(-(((x - side) / 0.13) ** 2)) * (e.v > shoulder - 0.1) * (e.v < 0.42)
    picture += (streak * 0.6 * np.where(label, 0.25, 1.0))[..., None]
    return picture, opacity * inside


def draw_can(e: Easel) -> Drawn:
    """Draw a beverage can: metal top with a tab, printed body with a logo stripe, metal foot."""
    rng = e.rng
    half, ell = rng.uniform(0.27, 0.305), rng.uniform(0.07, 0.11)
    top, foot = -0.5 + ell, 0.5 - ell
    taper = np.interp(e.v, [top, top + 0.09, foot - 0.03, foot + ell], [0.86, 1, 1, 0.82]).astype(np.float32)
    x = e.u / (half * taper)
    arc = ell * np.sqrt(np.maximum(1 - np.clip(x, -1, 1) ** 2, 0))
    inside = (np.abs(x) < 1) & (e.v > top) & (e.v < foot + arc)
    lid_r = np.sqrt((e.u / (half * 0.86)) ** 2 + ((e.v - top) / ell) ** 2)
    lid = lid_r < 1
    x = np.clip(x, -1, 1)
    bent = e.v - arc * 0.75
    base, ink = colour(rng), colour(rng)
    picture = e.blank()
    picture[:] = base
    mode = int(rng.integers(3))
    centre = rng.uniform(-0.05, 0.1)
    if mode == 0:
        paint(picture, np.abs(bent - centre) < 0.10, ink)
    elif mode == 1:
        paint(picture, np.abs(bent + x * 0.25 - centre) < 0.08, ink)
    else:
        paint(picture, (x / 0.55) ** 2 + ((bent - centre) / 0.17) ** 2 < 1, ink)
    paint(picture, (bent < top + 0.05) | (bent > foot - 0.075), METAL)
    picture = shade(picture, e.light, x * 0.97, 0 * x, ambient=0.3, gloss=0.55, power=24)
    shine = np.exp(-(((x + np.sign(e.light[0]) * -0.45) / 0.10) ** 2))
    picture += (0.3 * shine)[..., None]
    plate = METAL * (0.75 + 0.3 * np.clip(lid_r, 0, 1) ** 6)[..., None] * (1 + 0.25 * e.u[..., None] / half)
    plate[lid_r > 0.82] *= 1.15
    plate[(lid_r > 0.66) & (lid_r < 0.82)] *= 0.6
    tab = ((e.u / (half * 0.22)) ** 2 + ((e.v - top - ell * 0.15) / (ell * 0.45)) ** 2) < 1
    plate[tab] *= 0.45
    picture[lid] = plate[lid]
    return picture, (inside | lid).astype(np.float32)


def draw_cup(e: Easel) -> Drawn:
    """Draw a paper cup: open rim, tapered wall, sleeve with a print."""
    rng = e.rng
    wide, narrow, ell = rng.uniform(0.36, 0.395), rng.uniform(0.23, 0.27), rng.uniform(0.09, 0.14)
    top, foot = -0.5 + ell, 0.5 - ell * 0.6
    t = (e.v - top) / (foot - top)
    half = np.clip(wide + (narrow - wide) * t, 0.05, 1)
    x = e.u / half
    arc = ell * 0.6 * np.sqrt(np.maximum(1 - np.clip(x, -1, 1) ** 2, 0))
    inside = (np.abs(x) < 1) & (e.v > top) & (e.v < foot + arc)
    x = np.clip(x, -1, 1)
    bent = (e.v - arc - top) / (foot - top)
    picture = e.blank()
    picture[:] = colour(rng, (7, 7, 7, 12, 0, 1, 2))
    if rng.random() < 0.8:
        low, high = rng.uniform(0.14, 0.25), rng.uniform(0.6, 0.78)
        sleeve = colour(rng, (9, 12, 0, 2, 6, 8, 1, 4))
        paint(picture, (bent > low) & (bent < high), sleeve)
        mark = (x / 0.4) ** 2 + ((bent - (low + high) / 2) / 0.15) ** 2 < 1
        paint(picture, mark, colour(rng, (7, 8, 3)))
    else:
        paint(picture, np.abs(np.sin(x * 7)) < 0.45, colour(rng))
    picture = shade(picture, e.light, x * 0.92, np.full_like(x, 0.1), ambient=0.45, gloss=0.08, power=12)
    r = np.sqrt((e.u / wide) ** 2 + ((e.v - top) / ell) ** 2)
    mouth = r < 1
    depth = np.clip((e.v - top) / ell, -1, 1)
    hole = np.array((0.30, 0.26, 0.22), np.float32) * rng.uniform(0.6, 1.4)
    inner = hole * (0.7 + 0.5 * depth)[..., None]
    if rng.random() < 0.5:
        inner[((e.u / (wide * 0.75)) ** 2 + ((e.v - top - ell * 0.25) / (ell * 0.6)) ** 2) < 1] = (
            0.2,
            0.1,
            0.05,
        )
    inner[r > 0.84] = 0.93
    picture[mouth] = inner[mouth]
    return picture, (inside | mouth).astype(np.float32)


def draw_battery(e: Easel) -> Drawn:
    """Draw a round cell: metal nub, dark or copper head, coloured sleeve, metal foot."""
    rng = e.rng
    half = rng.uniform(0.155, 0.185)
    nub = (np.abs(e.u) < half * 0.42) & (e.v > -0.5) & (e.v < -0.42)
    x = e.u / half
    inside = (np.abs(x) < 1) & (e.v > -0.43) & (e.v < 0.5 - 0.03 * x * x)
    x = np.clip(np.where(nub, x / 0.42, x), -1, 1)
    picture = e.blank()
    picture[:] = colour(rng)
    split = rng.uniform(-0.2, -0.05)
    head = np.array([(0.72, 0.45, 0.20), (0.10, 0.10, 0.11), (0.85, 0.68, 0.25)])[int(rng.integers(3))]
    paint(picture, e.v < split, head.astype(np.float32))
    paint(picture, np.abs(e.v - split) < 0.03, np.array((0.9, 0.9, 0.88), np.float32))
    plus = (np.abs(e.u) < 0.02) & (np.abs(e.v + 0.3) < 0.07) | (np.abs(e.u) < 0.07) & (
        np.abs(e.v + 0.3) < 0.02
    )
    paint(picture, plus, np.array((0.92, 0.92, 0.9), np.float32))
    paint(picture, (e.v > 0.42) | nub, METAL)
    paint(picture, (e.v < -0.385) & ~nub, np.array((0.55, 0.56, 0.58), np.float32))
    picture = shade(picture, e.light, x * 0.97, 0 * x, ambient=0.3, gloss=0.7, power=30)
    return picture, (inside | nub).astype(np.float32)


def draw_lid(e: Easel) -> Drawn:
    """Draw a lid: a tilted disc with a raised rim, concentric rings and a sip hole."""
    rng = e.rng
    squash, thick = rng.uniform(0.62, 0.8), rng.uniform(0.03, 0.06)
    v = (e.v + thick / 2) / squash
    r = np.sqrt(e.u**2 + v**2) / 0.49
    face = r < 1
    low = np.sqrt(e.u**2 + ((e.v - thick / 2) / squash) ** 2) / 0.49
    inside = face | (low < 1) | ((np.abs(e.u) < 0.48) & (np.abs(e.v) < thick / 2))
    picture = e.blank()
    base = colour(rng, (7, 7, 8, 9, 0, 1, 2, 3, 12, 13))
    picture[:] = base
    safe = np.maximum(r, 1e-3)
    rings = np.zeros_like(r)
    for at, strength in ((0.93, 0.8), (0.76, -0.75), (0.58, 0.6), (0.30, 0.5)):
        rings += strength * np.exp(-(((r - at) / 0.05) ** 2)) * np.sign(r - at)
    lit = shade(picture, e.light, rings * e.u / 0.49 / safe, rings * v / 0.49 / safe, gloss=0.22, power=14)
    lit *= np.where((r > 0.72) & (r < 0.80), 0.72, 1.0)[..., None]
    lit *= np.where((r > 0.86) & (r < 0.97), 1.15, 1.0)[..., None]
    turn = rng.uniform(0, 2 * np.pi)
    hole = ((e.u - 0.27 * np.cos(turn)) / 0.07) ** 2 + ((v - 0.27 * np.sin(turn)) / 0.05) ** 2 < 1
    lit[hole] *= 0.25
    lit[~face] = base * 0.55
    return lit, inside.astype(np.float32)
