"""Rare containers: jar and tube."""

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

_FOOD = np.array(
    [
        (0.50, 0.06, 0.10), (0.80, 0.48, 0.08), (0.35, 0.42, 0.14), (0.24, 0.13, 0.07), (0.86, 0.80, 0.64),
        (0.76, 0.24, 0.08), (0.27, 0.12, 0.33), (0.62, 0.70, 0.72), (0.58, 0.45, 0.22),
    ],
    np.float32,
)  # fmt: skip


def ripple(e: Easel, waves: float, num: int = 5) -> Array:
    """Return smooth noise of about unit deviation, `waves` radians per object side."""
    out = np.zeros_like(e.u)
    for _ in range(num):
        a, p = e.rng.uniform(0, 2 * np.pi, 2)
        f = waves * e.rng.uniform(0.6, 1.4)
        out += np.sin(e.u * np.float32(f * math.cos(a)) + e.v * np.float32(f * math.sin(a)) + np.float32(p))
    return np.asarray(out * np.float32(math.sqrt(2 / num)))


def draw_jar(e: Easel) -> Drawn:
    """Draw a jar: screw lid with a ribbed skirt, short neck, wide glass body, content below a gap, label."""
    rng = e.rng
    wide = rng.uniform(0.29, 0.355)
    cap = wide * rng.uniform(0.76, 0.93)
    ell = rng.uniform(0.05, 0.09)
    skirt = rng.uniform(0.10, 0.15)
    lid_top = -0.5 + ell
    lid_end = lid_top + skirt
    neck = lid_end + rng.uniform(0.02, 0.05)
    round_ = rng.uniform(0.06, 0.14)
    floor = 0.5 - ell
    vs = [lid_end, neck, neck + 0.35 * round_, neck + round_, 0.36, floor + ell]
    ws = [cap * 0.86, cap * 0.9, (cap + 2 * wide) / 3, wide, wide, wide * rng.uniform(0.84, 0.98)]
    half = np.interp(e.v, vs, ws).astype(np.float32)
    facets = int(rng.choice([0, 0, 6, 8]))
    x = np.clip(e.u / half, -1, 1)
    arc = ell * np.sqrt(1 - x * x)
    glass = (np.abs(e.u) < half) & (e.v > lid_end) & (e.v < floor + arc)
    picture, opacity = _filled_glass(e, x, arc, (neck, floor))
    if facets:
        turn = np.arcsin(x) * np.float32(facets / np.pi)
        picture *= (0.86 + 0.28 * (np.abs(turn % 1 - 0.5) < 0.33))[..., None]
    label = _jar_label(e, picture, x, e.v - arc, (neck + round_, floor)) & glass
    opacity[label] = 1
    picture = shade(picture, e.light, x * 0.93, 0 * x, ambient=0.46, gloss=0.3, power=20)
    side = 0.62 if e.light[0] > 0 else -0.62
    streak = np.exp(-(((x - side) / 0.09) ** 2)) * (e.v > neck) * (e.v < floor - 0.05)
    picture += (streak * np.where(label, 0.10, 0.62))[..., None]
    top = _jar_lid(e, picture, cap, ell, (lid_top, lid_end))
    opacity[top] = 1
    return picture, opacity * (glass | top)


def _filled_glass(e: Easel, x: Array, arc: Array, span: tuple[float, float]) -> Drawn:
    """Return the picture and opacity of a glass body between two heights with its content."""
    rng = e.rng
    (neck, floor), bent = span, e.v - arc * 0.6
    picture = e.blank()
    picture[:] = np.array((0.70, 0.78, 0.77), np.float32) * np.float32(rng.uniform(0.8, 1.1))
    picture *= (1.1 - 0.5 * np.abs(x) ** 5)[..., None]
    opacity = 0.60 + 0.38 * np.abs(x) ** 4
    if rng.random() < 0.88:
        level = neck + rng.uniform(-0.02, 0.16) if rng.random() < 0.7 else rng.uniform(0.0, 0.22)
        food = _FOOD[int(rng.integers(len(_FOOD)))] * np.float32(rng.uniform(0.75, 1.25))
        content = (bent > level) & (bent < floor - 0.045) & (np.abs(x) < 0.9)
        lumps = 1 + rng.uniform(0.03, 0.22) * ripple(e, rng.uniform(18, 42))
        picture[content] = (food * lumps[..., None])[content]
        surface = (np.abs(bent - level) < 0.014) & (np.abs(x) < 0.9)
        picture[surface] = food * 0.6 + 0.25
        opacity[content] = 0.96
    return picture, opacity


def _jar_label(e: Easel, picture: Array, x: Array, bent: Array, span: tuple[float, float]) -> Array:
    """Paint a label into a jar's picture and return its mask."""
    rng, (low, high) = e.rng, span
    if rng.random() < 0.18:
        return np.zeros(e.u.shape, bool)
    middle, tall = (low + high) / 2 + rng.uniform(-0.06, 0.02), (high - low) * rng.uniform(0.24, 0.38)
    across, along = x / rng.choice([0.62, 0.75, 1.2]), (bent - middle) / tall
    if rng.random() < 0.35:
        label, frame = across**2 + along**2 < 1, across**2 + along**2 > 0.72
    else:
        label = np.asarray((np.abs(across) < 1) & (np.abs(along) < 1))
        frame = np.abs(along) > 0.78
    base, ink = colour(rng, (7, 7, 12, 3, 0, 1, 2, 8, 11)), colour(rng)
    paint(picture, label, base)
    paint(picture, label & frame, ink)
    paint(picture, label & (np.abs(along + 0.25) < 0.22) & (np.abs(across) < 0.6), base * 0.35)
    spot = (across / 0.45) ** 2 + ((along - 0.4) / 0.35) ** 2 < 1
    paint(picture, label & spot, colour(rng))
    return np.asarray(label)


def _jar_lid(e: Easel, picture: Array, cap: float, ell: float, span: tuple[float, float]) -> Array:
    """Paint the screw lid into a jar's picture and return its mask."""
    rng, (top, end) = e.rng, span
    y = np.clip(e.u / cap, -1, 1)
    bow = ell * np.sqrt(1 - y * y)
    skirt = (np.abs(e.u) < cap) & (e.v >= top) & (e.v < end + bow)
    r = np.sqrt((e.u / cap) ** 2 + ((e.v - top) / ell) ** 2)
    base = METAL if rng.random() < 0.3 else colour(rng, (0, 0, 2, 1, 3, 7, 8, 12, 5))
    side = e.blank()
    side[:] = base
    ribs = int(rng.integers(9, 14))
    side *= (1 + 0.24 * np.sin(np.arcsin(y) * ribs * 2))[..., None]
    side[np.abs(e.v - bow - end + 0.02) < 0.016] *= 0.55
    side = shade(side, e.light, y * 0.95, 0 * y, ambient=0.34, gloss=0.4, power=22)
    face = e.blank()
    face[:] = base * np.float32(1.06)
    if rng.random() < 0.35:
        check = (np.sin(e.u * 46) > 0) ^ (np.sin((e.v - top) * 46 * cap / ell) > 0)
        face[check] = face[check] * 0.35 + 0.6
    face[(r > 0.80) & (r < 0.90)] *= 0.68
    face[r > 0.90] *= 1.2
    face += (0.22 * np.exp(-(((e.u / cap - np.sign(e.light[0]) * 0.4) / 0.22) ** 2)))[..., None]
    mask = skirt | (r < 1)
    picture[skirt] = side[skirt]
    picture[r < 1] = face[r < 1]
    return np.asarray(mask)


def draw_tube(e: Easel) -> Drawn:
    """Draw a squeezed tube: flat crimped end, dented body that tapers to shoulders, ribbed cap; bent or rolled."""
    rng = e.rng
    bend = rng.uniform(-0.42, 0.42)
    roll = rng.uniform(0.10, 0.16) if rng.random() < 0.3 else 0.0
    u = e.u - bend * ((e.v * e.v) - 0.09)
    wide, narrow = rng.uniform(0.19, 0.225), rng.uniform(0.135, 0.165)
    cap, cap_end = narrow * rng.uniform(0.52, 0.9), -0.5 + rng.uniform(0.11, 0.17)
    shoulder = cap_end + rng.uniform(0.03, 0.07)
    crimp = 0.5 - (roll if roll else rng.uniform(0.05, 0.08))
    vs = [-0.5, cap_end - 0.002, cap_end, shoulder, shoulder + 0.12, crimp, 0.5]
    ws = [cap * 0.9, cap, narrow * 0.5, narrow, narrow * 1.02, wide, wide]
    dent = 1 - 0.07 * np.exp(-(((e.v - rng.uniform(-0.1, 0.2)) / 0.09) ** 2)) * (e.v < crimp)
    half = np.interp(e.v, vs, ws).astype(np.float32) * dent
    x = np.clip(u / half, -1, 1)
    inside = (np.abs(u) < half) & (np.abs(e.v) < 0.5)
    metal = rng.random() < 0.3
    base = (
        METAL * np.float32(rng.uniform(0.9, 1.1)) if metal else colour(rng, (7, 7, 7, 0, 1, 2, 6, 3, 10, 13))
    )
    picture = e.blank()
    picture[:] = base
    _tube_print(e, picture, x, (shoulder + 0.03, crimp - 0.02), metal)
    flat = np.clip((e.v - shoulder) / (crimp - shoulder), 0, 1)
    folds = ripple(e, 17 if metal else 10) * (0.30 if metal else 0.14) * (e.v > shoulder)
    nu = np.clip(x * (0.95 - 0.6 * flat) + folds, -0.97, 0.97)
    nv = np.clip(0.10 + 0.7 * folds, -0.2, 0.2)
    gloss = 0.6 if metal else 0.35
    picture = shade(picture, e.light, nu, nv, ambient=0.42, gloss=gloss, power=22)
    picture[(e.v > cap_end) & (e.v < shoulder)] *= 0.72
    end = e.v > crimp
    if roll:
        turn = np.clip((e.v - crimp) / roll * 2 - 1, -0.98, 0.98)
        rolled = e.blank()
        rolled[:] = base
        rolled = shade(rolled, e.light, 0 * x, turn, ambient=0.38, gloss=gloss, power=22)
        picture[end] = rolled[end]
        picture[np.abs(e.v - crimp) < 0.016] *= 0.45
    else:
        picture[end] *= (0.80 + 0.22 * (np.sin(u * 95) > 0))[end][:, None]
        picture[np.abs(e.v - crimp) < 0.012] *= 0.6
    top = e.v < cap_end
    ribbed = e.blank()
    ribbed[:] = colour(rng, (7, 7, 8, 0, 1, 2, 3, 13))
    ribbed *= (1 + 0.22 * np.sin(np.arcsin(x) * 11))[..., None]
    ribbed = shade(ribbed, e.light, x * 0.95, 0 * x, ambient=0.35, gloss=0.3, power=20)
    ribbed[e.v > cap_end - 0.018] *= 0.6
    picture[top] = ribbed[top]
    return picture, inside.astype(np.float32)


def _tube_print(e: Easel, picture: Array, x: Array, span: tuple[float, float], metal: bool) -> None:
    """Paint a tube's print between two heights, in place."""
    rng, (low, high) = e.rng, span
    t = (e.v - low) / (high - low)
    ink, second = colour(rng), colour(rng, (0, 1, 2, 6, 8, 7))
    mode = 0 if metal and rng.random() < 0.7 else int(rng.integers(4))
    if mode == 0:
        paint(picture, (t > 0.2) & (t < rng.uniform(0.6, 0.8)), ink)
        paint(picture, (np.abs(t - 0.16) < 0.04), second)
    elif mode == 1:
        paint(picture, (np.abs(x - 0.5 * np.sin(t * 5)) < 0.30) & (t > 0) & (t < 1), ink)
    elif mode == 2:
        paint(picture, t > rng.uniform(0.55, 0.75), ink)
        paint(picture, (t < 0.05) & (t > -0.02), second)
    else:
        paint(picture, (x > 0.25) & (t > 0) & (t < 1), ink)
    low, shift = rng.uniform(0.1, 0.4), rng.uniform(-0.3, 0.3)
    rows = np.sin(t * rng.uniform(32, 60)) > rng.uniform(-0.5, 0.1)
    letters = (
        (np.abs(x + shift) < rng.uniform(0.2, 0.5)) & (t > low) & (t < low + rng.uniform(0.15, 0.45)) & rows
    )
    picture[letters] = second if picture[letters].mean() > 0.5 else np.float32(0.9)
