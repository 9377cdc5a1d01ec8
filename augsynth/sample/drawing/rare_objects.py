"""Rare things that hold nothing: lighter, glove, bulb."""

from __future__ import annotations

import math

import numpy as np

from augsynth.sample.drawing.common_objects import (
    METAL,
    Array,
    Drawn,
    Easel,
    colour,
    paint,
    shade,
)
from augsynth.sample.drawing.rare_containers import ripple

_RUBBER = (3, 3, 1, 6, 4, 10, 11, 7, 8)


def draw_lighter(e: Easel) -> Drawn:
    """Draw a pocket lighter: translucent coloured body with fuel, metal hood, spark wheel and thumb button."""
    rng = e.rng
    flip = 1.0 if rng.random() < 0.5 else -1.0
    u, half = e.u * flip, rng.uniform(0.145, 0.178)
    light = e.light * np.array((flip, 1, 1), np.float32)
    neck = rng.uniform(-0.26, -0.19)
    x = np.clip(u / half, -1, 1)
    corner = 0.05
    foot = 0.5 - corner + np.sqrt(np.maximum(corner**2 - np.maximum(np.abs(u) - half + corner, 0) ** 2, 0))
    body = (np.abs(u) < half) & (e.v > neck) & (e.v < foot)
    tint = colour(rng, (0, 1, 2, 3, 4, 5, 6, 10, 11, 8, 7))
    picture = e.blank()
    picture[:] = tint
    clear = rng.random() < 0.65
    if clear:
        level = rng.uniform(neck + 0.06, 0.25)
        picture[e.v < level] = tint * 0.62 + 0.34
        picture[np.abs(e.v - level) < 0.012] = tint * 0.4
        picture[(np.abs(u + 0.02) < 0.014) & (e.v < 0.40)] *= 0.6
    else:
        mark = rng.uniform(0.05, 0.2)
        shape = (x / 0.6) ** 2 + ((e.v - mark) / 0.13) ** 2 < 1
        paint(picture, shape if rng.random() < 0.5 else np.abs(e.v - mark + 0.1 * x) < 0.07, colour(rng))
    picture[e.v > 0.43] = tint * 0.72
    nx = np.sign(x) * np.abs(x) ** 2.2 * 0.95
    picture = shade(picture, light, nx, 0 * x, ambient=0.42, gloss=0.3, power=18)
    side = 0.55 if light[0] > 0 else -0.55
    shine = np.exp(-(((x - side) / 0.13) ** 2)) * (e.v > neck + 0.03) * (e.v < 0.42)
    picture += (0.5 * shine)[..., None]
    opacity = np.where(clear & (np.abs(x) < 0.86), 0.86, 0.98)
    head = _lighter_head(e, picture, u, half, neck, light)
    opacity[head] = 1
    return picture, opacity * (body | head)


def _lighter_head(e: Easel, picture: Array, u: Array, half: float, neck: float, light: Array) -> Array:
    """Paint hood, wheel and button above a lighter's body and return their mask."""
    rng = e.rng
    x = np.clip(u / half, -1, 1)
    hood = (u > -half * 0.97) & (u < half * 0.30) & (e.v > -0.47) & (e.v <= neck)
    collar = (np.abs(u) < half * 0.97) & (e.v > neck - 0.05) & (e.v <= neck)
    steel = e.blank()
    steel[:] = METAL * np.float32(rng.uniform(0.85, 1.1))
    steel = shade(steel, light, x * 0.9, 0 * x, ambient=0.35, gloss=0.8, power=16)
    steel[(((u + half * 0.35) / 0.030) ** 2 + ((e.v + 0.37) / 0.035) ** 2) < 1] *= 0.25
    steel[e.v > neck - 0.014] *= 0.5
    radius = rng.uniform(0.078, 0.092)
    cu, cv = half * 0.42, -0.5 + radius
    far = np.hypot(u - cu, e.v - cv)
    wheel = far < radius
    teeth = np.sin(np.arctan2(e.v - cv, u - cu) * 13)
    disc = np.where(far > radius * 0.62, 0.34 + 0.20 * (teeth > 0), 0.62) * (1 - 0.25 * (far < radius * 0.2))
    button = (u > half * 0.30) & (u < half * 1.12) & (e.v > -0.345) & (e.v < neck - 0.04) & ~wheel
    knob = colour(rng, (0, 0, 8, 8, 1)) * (1.15 - 0.4 * np.clip((e.v + 0.345) / 0.12, 0, 1))[..., None]
    for mask, source in ((hood | collar, steel), (button, knob), (wheel, np.repeat(disc[..., None], 3, 2))):
        picture[mask] = source[mask]
    picture[(np.abs(far - radius) < 0.014) & hood] *= 0.5
    return np.asarray(hood | collar | wheel | button)


def draw_glove(e: Easel) -> Drawn:
    """Draw a glove that lies flat or has curled fingers: cuff, palm, four fingers, thumb; rubber or cloth."""
    rng = e.rng
    flip = 1.0 if rng.random() < 0.5 else -1.0
    slack = rng.uniform(0.01, 0.04)
    u = e.u * flip + slack * np.sin(9 * e.v + rng.uniform(0, 6))
    v = e.v + 0.6 * slack * np.sin(8 * e.u + rng.uniform(0, 6))
    light = e.light * np.array((flip, 1, 1), np.float32)
    cloth = rng.random() < 0.45
    near = np.full(e.u.shape, 9.0, np.float32)
    nu, nv, owner = np.zeros_like(near), np.zeros_like(near), np.zeros(near.shape, np.int64)
    for number, part in enumerate(_glove_parts(rng)):
        d, gu, gv = _limb(u, v, *part)
        closer = d < near
        near, owner = np.where(closer, d, near), np.where(closer, number, owner)
        nu, nv = np.where(closer, gu, nu), np.where(closer, gv, nv)
    inside = (near < 1) & (np.abs(e.v) < 0.5)
    base = colour(rng, (12, 13, 7, 8, 1, 9, 12)) if cloth else colour(rng, _RUBBER)
    picture = e.blank()
    picture[:] = base
    if cloth:
        if rng.random() < 0.6:
            dip = colour(rng, (8, 0, 1, 2, 4, 3))
            paint(picture, (e.v + 0.03 * ripple(e, 9) < rng.uniform(0.02, 0.16)) & (owner < 6), dip)
        picture *= (1 + 0.10 * np.sin(e.u * 120) * np.sin(e.v * 120))[..., None]
    cuff = e.v > 0.5 - rng.uniform(0.10, 0.16)
    if cloth:
        paint(picture, cuff, colour(rng))
        picture[cuff] *= (0.9 + 0.2 * (np.sin(u * 75) > 0))[cuff][:, None]
    creases = ripple(e, rng.uniform(12, 20)) * rng.uniform(0.08, 0.22)
    if rng.random() < 0.45:
        across = e.v + rng.uniform(-0.7, 0.7) * u - rng.uniform(0.0, 0.3)
        creases += 0.5 * np.exp(-((across / 0.05) ** 2)) * np.sign(across)
    nu, nv = np.clip(0.75 * nu + creases, -0.7, 0.7), np.clip(0.75 * nv + creases * 0.7, -0.7, 0.7)
    gloss = 0.05 if cloth else 0.4
    picture = shade(picture, light, nu, nv, ambient=0.42, gloss=gloss, power=18)
    picture *= (1 - 0.45 * np.clip(near, 0, 1) ** 7)[..., None]
    if not cloth:
        picture[(e.v > 0.445) & (e.v < 0.468)] *= 0.68
    return picture, inside.astype(np.float32)


def _limb(
    u: Array, v: Array, a: tuple[float, float], b: tuple[float, float], r: float
) -> tuple[Array, Array, Array]:
    """Return the distance to the segment a-b in units of the radius r, and the normal's parts in u and v."""
    du, dv = b[0] - a[0], b[1] - a[1]
    t = np.clip(((u - a[0]) * du + (v - a[1]) * dv) / max(du * du + dv * dv, 1e-6), 0, 1)
    gu, gv = (u - a[0] - t * du) / r, (v - a[1] - t * dv) / r
    return np.hypot(gu, gv), np.clip(gu, -1, 1), np.clip(gv, -1, 1)


def _glove_parts(rng: np.random.Generator) -> list[tuple[tuple[float, float], tuple[float, float], float]]:
    """Return the segments with radii of a glove's fingers, thumb, palm and cuff."""
    spread, lean = rng.uniform(0.6, 1.5), rng.uniform(-0.12, 0.12)
    thick = rng.uniform(0.060, 0.072)
    curled = ((), (), (), (0,), (0, 1), (2, 3), (0, 1, 2), (0, 1, 2, 3))[int(rng.integers(8))]
    parts = []
    for k, long in enumerate((0.27, 0.34, 0.36, 0.30)):
        x = (k - 1.5) * 0.118
        turn = (k - 1.5) * 0.13 * spread + lean + rng.normal(0, 0.05)
        reach = long * rng.uniform(0.92, 1.06) * (rng.uniform(0.3, 0.65) if k in curled else 1)
        root = (x, 0.0 + 0.02 * abs(k - 1.5))
        tip = (x + math.sin(turn) * reach, max(root[1] - math.cos(turn) * reach, -0.5 + thick))
        parts.append((root, tip, thick * (0.9 if k == 0 else 1.0)))
    turn = rng.uniform(0.5, 1.15)
    thumb = (0.17 + math.sin(turn) * 0.21, 0.22 - math.cos(turn) * 0.25)
    parts.append(((0.12, 0.20), (min(thumb[0], 0.335), thumb[1]), thick * 1.12))
    parts += [((-0.055, 0.10), (-0.02, 0.27), 0.185), ((0.055, 0.10), (0.02, 0.27), 0.185)]
    parts += [
        ((0.0, 0.12), (0.0, 0.24), 0.20),
        ((0.0, 0.3), (rng.normal(0, 0.04), 0.6), rng.uniform(0.15, 0.2)),
    ]
    return parts


def draw_bulb(e: Easel) -> Drawn:
    """Draw a light bulb: pear, globe or candle of clear or frosted glass, perhaps a collar, and a screw base."""
    rng = e.rng
    kind = int(rng.choice(3, p=(0.5, 0.25, 0.25)))
    base_top = (0.21, 0.24, 0.20)[kind] + rng.uniform(-0.02, 0.02)
    wide = (rng.uniform(0.29, 0.335), rng.uniform(0.345, 0.365), rng.uniform(0.185, 0.225))[kind]
    thread = min(rng.uniform(0.125, 0.15), wide * 0.72)
    t = (e.v + 0.5) / (base_top + 0.5)
    if kind == 2:
        half = np.interp(
            t, [0, 0.06, 0.2, 0.45, 0.68, 0.9, 1], [0.0, 0.14, 0.52, 0.88, 1.0, 0.8, thread / wide]
        )
    else:
        middle = wide / (base_top + 0.5)
        ball = np.sqrt(np.maximum(1 - ((t - middle) / middle) ** 2, 0))
        cone = np.interp(
            t, [middle, 0.78, 0.92, 1], [1, (0.78, 0.60)[kind], thread / wide * 1.08, thread / wide]
        )
        half = np.where(t < middle, ball, np.maximum(cone, ball * (t < 0.9)))
    half = np.maximum(half * wide, 1e-3).astype(np.float32)
    x = np.clip(e.u / half, -1, 1)
    glass = (np.abs(e.u) < half) & (e.v > -0.5) & (e.v <= base_top)
    nv = np.clip((t - 0.45) * 1.7, -0.9, 0.75) * np.sqrt(np.maximum(1 - x * x, 0))
    picture, opacity = _bulb_glass(e, x, nv, base_top)
    base = _bulb_base(e, picture, thread, base_top)
    opacity[base] = 1
    return picture, opacity * (glass | base)


def _bulb_glass(e: Easel, x: Array, nv: Array, base_top: float) -> Drawn:
    """Return the picture and opacity of a bulb's glass with filament or collar."""
    rng = e.rng
    picture = e.blank()
    rim = np.sqrt(np.minimum(x * x + nv * nv, 1))
    clear = rng.random() < 0.42
    if clear:
        tint = np.array([(0.72, 0.78, 0.80), (0.80, 0.62, 0.34), (0.62, 0.66, 0.68)])[int(rng.integers(3))]
        picture[:] = tint.astype(np.float32)
        picture *= (1.12 - 0.75 * np.clip(rim, 0, 1) ** 4)[..., None]
        opacity = 0.48 + 0.46 * rim**3
    else:
        picture[:] = colour(rng) if rng.random() < 0.2 else np.array((0.93, 0.91, 0.85), np.float32)
        picture *= np.float32(rng.uniform(0.88, 1.05))
        opacity = np.full_like(x, 0.98)
    picture = shade(picture, e.light, x * 0.95, nv * 0.8, ambient=0.5, gloss=0.75, power=42)
    if clear:
        stem = (np.abs(e.u) < 0.045 + 0.03 * (e.v > 0.12)) & (e.v > 0.02) & (e.v < base_top)
        picture[stem] = picture[stem] * 0.55 + 0.2
        arms = (
            (np.abs(np.abs(e.u) - 0.03 - 0.28 * np.clip(0.05 - e.v, 0, 0.22)) < 0.011)
            & (e.v > -0.17)
            & (e.v < 0.05)
        )
        coil = (np.abs(e.v + 0.17 + 0.02 * np.sin(e.u * 110)) < 0.018) & (np.abs(e.u) < 0.105)
        wire = arms | coil
        picture[wire] = (0.22, 0.15, 0.10)
        opacity[wire | stem] = np.maximum(opacity[wire | stem], 0.85)
    elif rng.random() < 0.4:
        collar = e.v > base_top - rng.uniform(0.12, 0.24)
        shell = e.blank()
        shell[:] = colour(rng, (7, 7, 13, 8)) * np.float32(0.9)
        shell *= (1 - 0.28 * (np.abs(np.sin(np.arcsin(x) * 6)) < 0.45))[..., None]
        shell = shade(shell, e.light, x * 0.95, 0 * x, ambient=0.36, gloss=0.15)
        picture[collar] = shell[collar]
    return picture, opacity


def _bulb_base(e: Easel, picture: Array, thread: float, top: float) -> Array:
    """Paint the screw base into a bulb's picture and return its mask."""
    rng = e.rng
    end = 0.435
    steps = int(rng.integers(3, 5))
    phase = ((e.v - top - 0.06 * e.u) / (end - top) * steps) % 1
    half = thread * (0.93 + 0.07 * np.sin(2 * np.pi * phase))
    x = np.clip(e.u / half, -1, 1)
    screw = (np.abs(e.u) < half) & (e.v > top - 0.005) & (e.v < end)
    taper = thread * np.interp(e.v, [end, 0.5], [0.85, 0.38])
    tip = (np.abs(e.u) < taper) & (e.v >= end) & (e.v < 0.5)
    steel = e.blank()
    brass = np.array((0.80, 0.62, 0.30), np.float32)
    steel[:] = (brass if rng.random() < 0.35 else METAL) * np.float32(rng.uniform(0.85, 1.05))
    steel = shade(steel, e.light, x * 0.95, 0 * x, ambient=0.32, gloss=0.6, power=18)
    steel *= (0.62 + 0.5 * (phase > 0.38))[..., None]
    picture[screw] = steel[screw]
    picture[tip] = np.where((e.v > 0.472)[..., None], METAL * 0.8, np.float32(0.10))[tip]
    return np.asarray(screw | tip)
