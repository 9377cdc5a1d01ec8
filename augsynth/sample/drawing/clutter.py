"""What lies on the ground and belongs to no category: leaves, pebbles, twigs, stains, crumbs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.sample.world import SIZE_WH, perspective

Array = NDArray[np.floating[Any]]

_KINDS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "asphalt": {"leaf": 3, "pebble": 3, "twig": 1, "stain": 2, "crumb": 1},
        "grass": {"leaf": 4, "pebble": 1, "twig": 3},
        "sand": {"pebble": 4, "twig": 2, "leaf": 1, "stain": 1},
        "planks": {"leaf": 3, "stain": 2, "twig": 1, "crumb": 2},
        "tiles": {"leaf": 3, "stain": 2, "pebble": 1, "crumb": 2},
        "belt": {"crumb": 4, "stain": 3, "pebble": 1},
    }
)
_Tones = tuple[tuple[float, float, float], ...]
_LEAF: _Tones = (
    (0.55, 0.38, 0.12),
    (0.62, 0.22, 0.08),
    (0.36, 0.40, 0.14),
    (0.40, 0.26, 0.14),
    (0.70, 0.55, 0.18),
)
_STONE: _Tones = ((0.55, 0.53, 0.50), (0.38, 0.37, 0.37), (0.66, 0.60, 0.52), (0.46, 0.40, 0.35))
_WOOD: _Tones = ((0.34, 0.24, 0.15), (0.48, 0.38, 0.27), (0.26, 0.20, 0.16))


def strew(
    canvas: Array, background: str, forbidden: NDArray[np.bool_], light: Array, rng: np.random.Generator
) -> None:
    """Draw the litter of a ground onto the canvas, in place, only where things may lie.

    Args:
        canvas: (H, W, 3) float32 in [0, 1].
        background: Name of the ground.
        forbidden: (H, W) mask that stays clean.
        light: (3,) unit vector towards the light.
        rng: Drawn from.
    """
    kinds = _KINDS[background]
    p = np.array(list(kinds.values()))
    for kind in rng.choice(list(kinds), size=int(rng.integers(4, 15)), p=p / p.sum()):
        x, y = rng.uniform(12, SIZE_WH[0] - 12), rng.uniform(12, SIZE_WH[1] - 12)
        size = perspective(y) * {"leaf": 6.0, "pebble": 3.2, "twig": 10.0, "stain": 15.0, "crumb": 1.9}[kind]
        size *= float(rng.uniform(0.65, 1.2))
        reach = math.ceil(size) + 3
        x1, y1 = max(int(x) - reach, 0), max(int(y) - reach, 0)
        x2, y2 = min(int(x) + reach, SIZE_WH[0]), min(int(y) + reach, SIZE_WH[1])
        if not forbidden[y1:y2, x1:x2].any():
            _lay(canvas[y1:y2, x1:x2], str(kind), (x - x1, y - y1), size, light, rng)


def _lay(
    part: Array, kind: str, centre: tuple[float, float], size: float, light: Array, rng: np.random.Generator
) -> None:
    """Draw one piece into its part of the canvas, in place."""
    a = rng.uniform(0, 2 * math.pi)
    yy, xx = np.ogrid[0 : part.shape[0], 0 : part.shape[1]]
    dx, dy = (xx + 0.5 - centre[0]).astype(np.float32), (yy + 0.5 - centre[1]).astype(np.float32)
    c, s = np.float32(math.cos(a)), np.float32(math.sin(a))
    u, v = dx * c + dy * s, dy * c - dx * s
    if kind == "stain":
        r = np.hypot(u, v * np.float32(rng.uniform(1.0, 1.6))) / np.float32(size)
        r += 0.12 * np.sin(3 * np.arctan2(v, u) + rng.uniform(0, 6)) + 0.06 * np.sin(7 * np.arctan2(v, u))
        part *= (1 - np.float32(rng.uniform(0.12, 0.32)) * np.clip((1 - r) * 5, 0, 1))[..., None]
        return
    out, tone, rgb = _piece(kind, u, v, np.float32(size), rng)
    lit = (dx * light[0] + dy * light[1]) / np.float32(size)
    shifted = np.roll(out, (1, 1 if light[0] < 0 else -1), (0, 1))
    part *= (1 - 0.45 * np.clip(0.9 - shifted, 0, 1))[..., None]
    alpha = np.clip(0.5 - out, 0, 1)[..., None]
    piece = np.clip(rgb * (tone * (0.95 + 0.28 * lit))[..., None], 0, 1)
    part += (piece - part) * alpha


def _piece(
    kind: str, u: Array, v: Array, size: np.float32, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Return the signed distance in pixels to the outline, the relative brightness, and the colour."""
    tone, among = np.ones_like(u), _LEAF
    if kind == "leaf":
        wide = size * np.float32(rng.uniform(0.32, 0.55))
        v = v - 0.12 * u * u / size
        out = (np.abs(v) - wide * (1 - (u / size) ** 2)) * np.float32(0.8)
        tone = tone - 0.22 * (np.abs(v) < 0.45) + 0.12 * (v > 0)
    elif kind == "twig":
        v = v - 0.14 * size * np.sin(u / size * np.float32(rng.uniform(2, 4)))
        out = np.maximum(np.abs(v) - np.float32(rng.uniform(0.5, 0.95)), np.abs(u) - size)
        among = _WOOD
    else:
        flat = np.float32(rng.uniform(1.0, 1.5))
        out = np.hypot(u, v * flat) - size * (1 + 0.12 * np.sin(3 * np.arctan2(v, u) + rng.uniform(0, 6)))
        among = _STONE if kind == "pebble" else (*_STONE, *_LEAF)
    base = np.array(among[int(rng.integers(len(among)))], np.float32)
    rgb = np.clip(base * np.float32(rng.uniform(0.75, 1.2)) + rng.normal(0, 0.02, 3), 0.03, 0.95)
    return out, tone, rgb.astype(np.float32)
