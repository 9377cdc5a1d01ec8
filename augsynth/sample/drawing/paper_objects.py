"""Folded and soft things: carton, paper, bag."""

from __future__ import annotations

import numpy as np

from augsynth.sample.drawing.common_objects import Array, Drawn, Easel, colour, paint, shade


def draw_carton(e: Easel) -> Drawn:
    """Draw a carton: front, side and a gabled or flat top, with a print on the front."""
    rng = e.rng
    flip = -1.0 if rng.random() < 0.5 else 1.0
    u = e.u * flip
    light = e.light * np.array((flip, 1, 1), np.float32)
    left, edge, right = -0.36, rng.uniform(0.05, 0.16), 0.36
    lift = rng.uniform(0.05, 0.09)
    gable = rng.random() < 0.65
    top = rng.uniform(-0.24, -0.18) if gable else rng.uniform(-0.33, -0.24)
    rise = np.where(u > edge, (u - edge) / (right - edge) * lift, (edge - u) / (edge - left) * lift * 0.4)
    level = e.v + rise
    span = (u > left) & (u < right)
    wall = span & (level > top) & (level < 0.5)
    front = wall & (u <= edge)
    side = wall & (u > edge)
    base, ink, trim = colour(rng), colour(rng), colour(rng, (7, 12, 3, 7))
    picture = e.blank()
    picture[:] = base
    t = (level - top) / (0.5 - top)
    if rng.random() < 0.5:
        paint(picture, (t > 0.55) & (t < 0.85), ink)
    else:
        paint(picture, t > rng.uniform(0.5, 0.7), ink)
    mid = (left + edge) / 2
    paint(picture, front & (((u - mid) / 0.13) ** 2 + ((t - 0.32) / 0.16) ** 2 < 1), trim)
    lines = side & (np.abs(((t * 9) % 1) - 0.5) < 0.2) & (t > 0.15) & (t < 0.5) & (u < right - 0.05)
    picture[lines] = picture[lines] * 0.6
    front_lit = 0.62 + 0.45 * max(0.0, float(0.75 * light[2] + 0.35 * light[1] - 0.3 * light[0]))
    side_lit = 0.34 + 0.5 * max(0.0, float(0.35 * light[2] + 0.7 * light[0]))
    picture *= np.where(side, side_lit, front_lit)[..., None]
    if gable:
        peak = top - rng.uniform(0.13, 0.17)
        k = (top - level) / (top - peak)
        slope = (u > left + 0.07 * k) & (u < edge + 0.07 * k) & (k > 0) & (k <= 1)
        tri = (u > edge + 0.07 * k) & (u < right - (right - edge) * 0.45 * k) & (k > 0) & (k <= 1)
        fin_v = (level < peak + 0.01) & (level > peak - 0.075)
        fin = fin_v & (u > left + 0.07) & (u < edge + 0.12)
        picture[slope] = trim * (front_lit + 0.16)
        picture[tri] = base * side_lit * 0.75
        picture[fin] = trim * front_lit * 0.9
        picture[fin & (np.abs(level - peak + 0.035) < 0.012)] *= 0.65
        wall = wall | slope | tri | fin
    else:
        k = (top - level) / rng.uniform(0.12, 0.16)
        shift = 0.14 * k
        lid = (k > 0) & (k <= 1) & (u > left + shift) & (u < right - 0.08 + shift * 0.6)
        picture[lid] = base * (front_lit + 0.22)
        picture[lid & (np.abs(k - 0.5) < 0.10)] = trim * 0.85
        wall = wall | lid
    return picture, wall.astype(np.float32)


def draw_paper(e: Easel) -> Drawn:
    """Draw a crumpled sheet: a ragged outline, creased facets, lines of print and a dog-ear."""
    rng = e.rng
    half_u, half_v = rng.uniform(0.36, 0.41), 0.47
    p = rng.uniform(0, 2 * np.pi, 4).tolist()
    bend_u = 0.022 * np.sin(9 * e.v + p[0]) + 0.012 * np.sin(23 * e.v + p[1])
    bend_v = 0.022 * np.sin(10 * e.u + p[2]) + 0.012 * np.sin(25 * e.u + p[3])
    u, v = e.u + bend_u, e.v + bend_v
    fold = rng.uniform(0.16, 0.30)
    side = -1.0 if rng.random() < 0.5 else 1.0
    corner = (half_u - side * u) + (half_v + v) - fold
    inside = (np.abs(u) < half_u) & (np.abs(v) < half_v) & (corner > 0)
    picture = e.blank()
    fade = np.float32(rng.uniform(0.35, 0.9))
    base = colour(rng) * (1 - fade) + np.float32(0.92) * fade
    picture[:] = base
    ink = np.float32(rng.uniform(0.25, 0.5))
    wave = v * rng.uniform(10, 12)
    wide = half_u * (0.72 - 0.4 * (np.floor(wave) % 3 == 1))
    text = (np.abs(wave % 1 - 0.5) < 0.16) & (u > -half_u * 0.72) & (u < wide)
    if rng.random() < 0.5:
        block = (v < -0.08) & (v > -0.33) & (np.abs(u) < half_u * 0.72)
        paint(picture, block, colour(rng))
        text &= v > 0.0
    picture[text & (np.abs(v) < 0.38)] *= ink
    nu, nv, gap = _crumple(e)
    picture = shade(picture, e.light, nu, nv, ambient=0.5)
    picture *= (1 - 0.20 * (gap < 0.02) + 0.12 * ((gap > 0.02) & (gap < 0.045)))[..., None]
    ear = inside & (side * u > half_u - fold) & (v < -half_v + fold)
    picture[ear] = base * 0.72
    picture[ear & (corner < 0.03)] = base * 0.95
    return picture, inside.astype(np.float32)


def _crumple(e: Easel) -> tuple[Array, Array, Array]:
    """Return the normals of a sheet's facets, and the distance to the nearest crease."""
    rng = e.rng
    num = int(rng.integers(6, 10))
    first = np.full(e.u.shape, 9.0, np.float32)
    second, owner = first.copy(), np.zeros(e.u.shape, np.int64)
    for i, (x, y) in enumerate(rng.uniform(-0.48, 0.48, (num, 2)).astype(np.float32)):
        far = (e.u - x) ** 2 + (e.v - y) ** 2
        second = np.minimum(second, np.maximum(first, far))
        owner[far < first] = i
        first = np.minimum(first, far)
    normals = rng.normal(0, rng.uniform(0.12, 0.30), (num, 2)).clip(-0.6, 0.6).astype(np.float32)
    return normals[:, 0][owner], normals[:, 1][owner], np.sqrt(second) - np.sqrt(first)


def _handle(u: Array, v: Array, x: float, lean: float) -> Array:
    du = (u - x - lean * (-0.2 - v)) / 0.115
    dv = (v + 0.24) / 0.25
    r: Array = np.sqrt(du * du + dv * dv)
    return r


def draw_bag(e: Easel) -> Drawn:
    """Draw a plastic carrier bag: a slack body with folds that run to a knot, and two handles."""
    rng = e.rng
    phase = rng.uniform(0, 2 * np.pi, 4).tolist()
    angle = np.arctan2(e.v - 0.14, e.u)
    wobble = 1 + 0.05 * np.sin(3 * angle + phase[0]) + 0.035 * np.sin(7 * angle + phase[1])
    r = (np.abs(e.u / 0.40) ** 2.6 + np.abs((e.v - 0.14) / 0.345) ** 2.6) ** (1 / 2.6) / wobble
    body = r < 1
    left = _handle(e.u, e.v, -0.20, rng.uniform(-0.1, 0.45))
    right = _handle(e.u, e.v, 0.20, rng.uniform(-0.45, 0.1))
    handles = ((left < 1) & (left > 0.5)) | ((right < 1) & (right > 0.5))
    inside = (body | (handles & (e.v < 0.05))) & (e.v > -0.5) & (e.v < 0.5)
    fan = np.arctan2(e.u, e.v + 0.42)
    depth = np.clip(np.hypot(e.u, e.v + 0.3), 0, 1)
    folds = (
        np.sin(fan * rng.uniform(13, 18) + phase[2] + 3 * depth)
        + 0.7 * np.sin(fan * rng.uniform(24, 32) - 6 * depth + phase[3])
    ) * 0.36
    round_u = np.clip(e.u / 0.5, -0.6, 0.6)
    nu = np.clip(round_u + folds, -0.9, 0.9) * 0.75
    nv = np.clip((e.v - 0.1) / 0.7, -0.4, 0.5) * 0.7 + 0.12 * folds
    picture = e.blank()
    base = colour(rng, (7, 7, 8, 1, 2, 10, 13, 3, 0, 11))
    picture[:] = base
    if rng.random() < 0.55:
        mark = (np.abs(e.u + 0.02 * folds) < 0.19) & (np.abs(e.v - 0.16) < 0.09)
        paint(picture, mark, colour(rng))
    picture = shade(picture, e.light, nu, nv, ambient=0.42, gloss=0.38, power=26)
    picture *= (1 - 0.25 * np.clip(r, 0, 1) ** 6 * body)[..., None]
    opacity = np.where(body, rng.uniform(0.86, 0.97), 0.9)
    return picture, (opacity * inside).astype(np.float32)
