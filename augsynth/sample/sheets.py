"""Folded and soft things: carton, paper, bag."""

from __future__ import annotations

import numpy as np

from augsynth.sample.shapes import Array, Drawn, Easel, colour, paint, shade


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
    """Draw a crumpled sheet: an irregular outline, flat facets with creases, lines of print."""
    rng = e.rng
    count = int(rng.integers(9, 14))
    theta = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * np.pi / count
    square = 0.40 / np.maximum(np.abs(np.cos(theta)), np.abs(np.sin(theta)) * rng.uniform(1.05, 1.3))
    radius = np.clip(square * rng.uniform(0.82, 1.06, count), 0.3, 0.5)
    inside = np.hypot(e.u, e.v) < np.interp(np.arctan2(e.v, e.u), theta, radius, period=2 * np.pi)
    num = int(rng.integers(7, 11))
    first = np.full(e.u.shape, 9.0, np.float32)
    second, owner = first.copy(), np.zeros(e.u.shape, np.int64)
    for i, (x, y) in enumerate(rng.uniform(-0.42, 0.42, (num, 2)).astype(np.float32)):
        far = (e.u - x) ** 2 + (e.v - y) ** 2
        second = np.minimum(second, np.maximum(first, far))
        owner[far < first] = i
        first = np.minimum(first, far)
    gap = np.sqrt(second) - np.sqrt(first)
    normals = rng.normal(0, 0.36, (num, 2)).clip(-0.7, 0.7).astype(np.float32)
    nu, nv = normals[:, 0][owner], normals[:, 1][owner]
    picture = e.blank()
    fade = np.float32(rng.uniform(0.0, 0.6))
    picture[:] = colour(rng) * (1 - fade) + 0.9 * fade if rng.random() < 0.5 else colour(rng, (7, 7, 12))
    kind = rng.random()
    if kind < 0.6:
        wave = e.v * rng.uniform(10, 12) + nu * 0.6
        end = 0.28 - 0.16 * (np.floor(wave) % 3 == 1)
        text = (np.abs(wave % 1 - 0.5) < 0.14) & (e.u > -0.27) & (e.u < end) & (np.abs(e.v) < 0.3)
        picture[text] *= rng.uniform(0.4, 0.6)
    elif kind < 0.8:
        paint(picture, (e.v < -0.12) & (e.v > -0.34) & (np.abs(e.u) < 0.3), colour(rng))
    picture = shade(picture, e.light, nu, nv, ambient=0.45)
    picture *= (1 - 0.22 * (gap < 0.022) + 0.12 * ((gap > 0.022) & (gap < 0.05)))[..., None]
    return picture, inside.astype(np.float32)


def _handle(u: Array, v: Array, x: float, lean: float) -> Array:
    du = (u - x - lean * (-0.2 - v)) / 0.115
    dv = (v + 0.24) / 0.25
    r: Array = np.sqrt(du * du + dv * dv)
    return r


def draw_bag(e: Easel) -> Drawn:
    """Draw a plastic carrier bag: a slack body with folds that run to a knot, and two handles."""
    rng = e.rng
    phase = rng.uniform(0, 2 * np.pi, 4)
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
