"""Where things lie: draws the objects of one scene from the world's groups and relations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augsynth.sample import world
from augsynth.sample.world import GROUPS, IDS, LOOKS, RELATIONS, Group, Relation

_REPELLED = {frozenset(pair) for pair in world.REPELLED}


@dataclass(frozen=True, slots=True)
class Item:
    """One object before it is drawn.

    Attributes:
        category: Category name.
        centre_xy: Centre in pixels.
        size: Longer side in pixels.
        angle_deg: Rotation in the image plane, clockwise.
        parent: Index of the item that it was placed relative to, or -1.
        relation: Index into `world.RELATIONS`, or -1.
    """

    category: str
    centre_xy: tuple[float, float]
    size: float
    angle_deg: float
    parent: int = -1
    relation: int = -1

    @property
    def half_wh(self) -> tuple[float, float]:
        """Half width and height of the rotated object's box."""
        return half_box(self.category, self.angle_deg, self.size)


def half_box(category: str, angle_deg: float, size: float) -> tuple[float, float]:
    """Return half width and height in pixels of the rotated extent of a category."""
    a, b = LOOKS[category].half_extent
    c, s = abs(math.cos(math.radians(angle_deg))), abs(math.sin(math.radians(angle_deg)))
    return size * (a * c + b * s), size * (a * s + b * c)


class _Floor:
    """The placed items and the free ground, while a scene is being drawn."""

    def __init__(self, forbidden: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.rng = rng
        self.items: list[Item] = []
        self.table = np.zeros((forbidden.shape[0] + 1, forbidden.shape[1] + 1), np.int32)
        self.table[1:, 1:] = forbidden.astype(np.int32).cumsum(0).cumsum(1)

    def is_free(self, item: Item, gap: float) -> bool:
        """Tell whether the item lies on free ground, inside the image and clear of the others."""
        (x, y), (hw, hh) = item.centre_xy, item.half_wh
        w, h = world.SIZE_WH
        x1, y1, x2, y2 = x - hw - 1, y - hh - 1, x + hw + 1, y + hh + 1
        if x1 < 1 or y1 < 1 or x2 > w - 1 or y2 > h - 1:
            return False
        a, b, c, d = int(x1), int(y1), math.ceil(x2), math.ceil(y2)
        if self.table[d, c] - self.table[b, c] - self.table[d, a] + self.table[b, a]:
            return False
        for other in self.items:
            (ox, oy), (ow, oh) = other.centre_xy, other.half_wh
            if math.hypot(x - ox, y - oy) < gap * (item.size + other.size) / 2:
                return False
            iw = min(x2, ox + ow) - max(x1, ox - ow)
            ih = min(y2, oy + oh) - max(y1, oy - oh)
            if iw > 0 and ih > 0 and iw * ih > 0.30 * 4 * min(hw * hh, ow * oh):
                return False
        return True

    def make(self, category: str, x: float, y: float, angle: float | None, **link: int) -> Item:
        """Return an item at a place, its size from perspective."""
        look = LOOKS[category]
        if angle is None:
            angle = float(self.rng.uniform(-look.tilt_deg, look.tilt_deg))
        size = look.size * world.perspective(y) * float(np.clip(self.rng.normal(1.0, 0.04), 0.9, 1.1))
        longest = 2 * max(half_box(category, angle, 1.0))
        return Item(category, (x, y), min(size, world.MAX_SIDE / longest), angle, **link)

    def add_root(self, category: str) -> int:
        """Place a cluster's first object away from the others; return its index or -1."""
        w, h = world.SIZE_WH
        for attempt in range(16):
            x, y = self.rng.uniform(10, w - 10), self.rng.uniform(10, h - 10)
            item = self.make(category, float(x), float(y), None)
            if self.is_free(item, world.MIN_ROOT_GAP if attempt < 12 else 1.5):
                self.items.append(item)
                return len(self.items) - 1
        return -1

    def add_companion(self, index: int, relation: Relation) -> int:
        """Place a companion of item `index`; return its index or -1 where there is no room."""
        anchor = self.items[index]
        for _ in range(4):
            distance = self.rng.normal(relation.distance, relation.distance_std) * anchor.size
            angle = math.radians(self.rng.normal(relation.angle_deg, relation.angle_std_deg))
            x = anchor.centre_xy[0] + distance * math.cos(angle)
            y = anchor.centre_xy[1] + distance * math.sin(angle)
            turn = anchor.angle_deg + float(self.rng.normal(0, 4)) if relation.parallel else None
            item = self.make(relation.category, x, y, turn, parent=index, relation=RELATIONS.index(relation))
            if self.is_free(item, 0.0):
                self.items.append(item)
                return len(self.items) - 1
        return -1


def _draw(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = list(weights)
    p = np.array([weights[n] for n in names])
    return names[int(rng.choice(len(names), p=p / p.sum()))]


def _allowed(category: str, items: list[Item]) -> bool:
    return all(frozenset((category, i.category)) not in _REPELLED for i in items)


def _expand(floor: _Floor, index: int, group: Group, limit: int, used: tuple[int, ...] = ()) -> None:
    """Give item `index` its companions, and these theirs."""
    for number, relation in enumerate(RELATIONS):
        if len(floor.items) >= limit:
            return
        if relation.anchor != floor.items[index].category or relation.category not in group.members:
            continue
        if used.count(number) >= relation.chain or not _allowed(relation.category, floor.items):
            continue
        if floor.rng.random() < relation.prob:
            new = floor.add_companion(index, relation)
            if new >= 0 and len(used) < 3:
                _expand(floor, new, group, limit, (*used, number))


def arrange(
    background: str, forbidden: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[str, tuple[Item, ...]]:
    """Draw a scene's group and its items.

    Args:
        background: Name of the ground, a key of `world.BACKGROUNDS`.
        forbidden: (H, W) mask of where nothing ever lies.
        rng: Drawn from.

    Returns:
        Name of the group, and the items in the order in which they were placed (parents first).
    """
    name = _draw(rng, dict(world.BACKGROUNDS[background]))
    group = next(g for g in GROUPS if g.name == name)
    low, high = world.NUM_OBJECTS
    limit = int(rng.integers(low, high + 1))
    floor = _Floor(forbidden, rng)
    for attempt in range(80):
        if len(floor.items) >= (limit if attempt < 20 else low):
            break
        stray = bool(floor.items) and rng.random() < world.STRAY_PROB
        category = _draw(rng, dict(world.STRAY_WEIGHTS if stray else group.weights))
        if not _allowed(category, floor.items):
            continue
        index = floor.add_root(category)
        if index < 0 or stray:
            continue
        _expand(floor, index, group, limit)
        if len(floor.items) == index + 1 < limit and rng.random() < world.LONER_REDRAWN_PROB:
            del floor.items[index:]
    return name, tuple(floor.items)


def category_id(item: Item) -> int:
    """Return the COCO id of an item's category."""
    return IDS[item.category]
