"""Seeds as data: a stable integer from the run's seed and what it is for."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *parts: int | str) -> int:
    """Return a 63-bit seed that depends on the seed and every part, and on nothing else.

    Stable across processes, platforms and versions (BLAKE2b of the parts' text).
    """
    text = "\x1f".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derive_rng(seed: int, *parts: int | str) -> np.random.Generator:
    """Return a numpy generator seeded by `derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *parts))
