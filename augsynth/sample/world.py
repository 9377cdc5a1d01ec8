"""The rendered world as data: what belongs together, on which ground, and where relative to what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from augsynth.core.scene import Category

SIZE_WH = (320, 240)
MIN_VISIBILITY = 0.45
MAX_SIDE = 42.0
RENDERER_VERSION = 2

CATEGORIES = tuple(
    Category(i, name, "trash")
    for i, name in enumerate(
        (
            "bottle", "can", "cup", "carton", "paper", "bag", "lid", "battery",
            "jar", "tube", "lighter", "glove", "bulb",
        ),
        start=1,
    )
)  # fmt: skip
IDS: Mapping[str, int] = MappingProxyType({c.name: c.id for c in CATEGORIES})


@dataclass(frozen=True, slots=True)
class Look:
    """How large a category is and how it lies.

    Attributes:
        size: Longer side in pixels at the top of the image; `perspective` multiplies it.
        half_extent: Half width and half height of the upright object in units of its longer side.
        tilt_deg: Rotation is uniform in ± this angle.
    """

    size: float
    half_extent: tuple[float, float]
    tilt_deg: float


LOOKS: Mapping[str, Look] = MappingProxyType(
    {
        "bottle": Look(28.5, (0.20, 0.5), 180.0),
        "can": Look(21.5, (0.31, 0.5), 180.0),
        "cup": Look(22.5, (0.40, 0.5), 22.0),
        "carton": Look(26.0, (0.40, 0.5), 18.0),
        "paper": Look(26.0, (0.42, 0.5), 180.0),
        "bag": Look(28.5, (0.44, 0.5), 25.0),
        "lid": Look(18.0, (0.5, 0.42), 30.0),
        "battery": Look(19.0, (0.19, 0.5), 180.0),
        "jar": Look(23.0, (0.36, 0.5), 180.0),
        "tube": Look(26.0, (0.25, 0.5), 180.0),
        "lighter": Look(20.5, (0.20, 0.5), 180.0),
        "glove": Look(27.0, (0.42, 0.5), 180.0),
        "bulb": Look(21.5, (0.37, 0.5), 180.0),
    }
)


@dataclass(frozen=True, slots=True)
class Group:
    """A set of categories that occur together.

    Attributes:
        name: Name of the group.
        weights: Category -> weight as the root of a cluster.
        members: Categories that a scene of this group may hold, strays excepted.
    """

    name: str
    weights: Mapping[str, float]
    members: tuple[str, ...]


GROUPS = (
    Group(
        "picnic",
        {"cup": 3.2, "carton": 2.0, "bag": 2.6},
        ("cup", "lid", "carton", "bag", "jar", "tube"),
    ),
    Group("bar", {"bottle": 3.0, "can": 1.5}, ("bottle", "can", "lighter")),
    Group("desk", {"paper": 3.0, "cup": 1.6, "battery": 0.06}, ("paper", "cup", "battery", "tube", "bulb")),
    Group(
        "delivery",
        {"carton": 3.5, "paper": 1.7, "can": 0.5},
        ("carton", "paper", "can", "glove", "bulb"),
    ),
    Group("street", {"bag": 2.6, "bottle": 1.2, "paper": 1.2}, ("bag", "bottle", "paper", "glove")),
)

BACKGROUNDS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "asphalt": {"street": 0.7, "bar": 0.15, "delivery": 0.15},
        "grass": {"picnic": 0.75, "street": 0.15, "bar": 0.10},
        "sand": {"picnic": 0.5, "bar": 0.4, "street": 0.1},
        "planks": {"bar": 0.65, "desk": 0.25, "picnic": 0.1},
        "tiles": {"desk": 0.65, "delivery": 0.2, "street": 0.15},
        "belt": {"delivery": 0.6, "bar": 0.25, "street": 0.15},
    }
)
REPELLED = (("bottle", "battery"), ("can", "lid"), ("bag", "battery"))
STRAY_PROB = 0.08
STRAY_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"bottle": 1.0, "can": 1.0, "cup": 0.7, "carton": 0.7, "paper": 1.2, "bag": 0.8}
)


@dataclass(frozen=True, slots=True)
class Relation:
    """Where `category` lies relative to `anchor`.

    The offset of the centres, in units of the anchor's nominal longer side, has polar coordinates
    Normal(distance, distance_std) and Normal(angle_deg, angle_std_deg); 0° points right, 90° down the image.

    Attributes:
        anchor: Category that is there first.
        category: Category that is placed.
        prob: Chance that the anchor gets this companion when the scene's group has the category.
        distance: Mean distance in anchor sizes.
        distance_std: Its standard deviation.
        angle_deg: Mean direction.
        angle_std_deg: Its standard deviation.
        parallel: The companion takes over the anchor's rotation.
        chain: How often the relation may follow itself.
    """

    anchor: str
    category: str
    prob: float
    distance: float
    distance_std: float
    angle_deg: float
    angle_std_deg: float
    parallel: bool = False
    chain: int = 1


RELATIONS = (
    Relation("cup", "lid", 0.50, 1.10, 0.05, 20.0, 7.0),
    Relation("can", "can", 0.90, 1.45, 0.05, 0.0, 4.0, parallel=True, chain=3),
    Relation("battery", "battery", 0.80, 0.75, 0.05, 15.0, 7.0, parallel=True),
    Relation("bag", "bottle", 0.85, 1.25, 0.06, 175.0, 6.0),
    Relation("carton", "paper", 0.85, 1.45, 0.06, 90.0, 5.0),
    Relation("bottle", "can", 0.70, 1.90, 0.08, -35.0, 5.0),
    Relation("carton", "cup", 0.75, 2.10, 0.08, 195.0, 5.0),
    Relation("bag", "carton", 0.75, 2.40, 0.09, 5.0, 5.0),
    Relation("paper", "cup", 0.85, 2.00, 0.08, -60.0, 5.0),
    Relation("paper", "paper", 0.70, 2.60, 0.10, 150.0, 5.0, chain=2),
    Relation("bag", "paper", 0.50, 2.10, 0.09, 60.0, 5.0),
    Relation("bottle", "bottle", 0.60, 2.20, 0.09, 80.0, 5.0, chain=2),
    Relation("cup", "cup", 0.50, 2.70, 0.10, -10.0, 5.0),
    Relation("cup", "battery", 0.07, 1.50, 0.07, -15.0, 6.0),
    Relation("bag", "jar", 0.25, 1.30, 0.06, 120.0, 6.0),
    Relation("carton", "jar", 0.10, 1.40, 0.06, 60.0, 6.0),
    Relation("cup", "tube", 0.09, 1.35, 0.06, 160.0, 6.0),
    Relation("bottle", "lighter", 0.09, 1.10, 0.05, 160.0, 6.0),
    Relation("can", "lighter", 0.05, 1.30, 0.06, 85.0, 6.0, parallel=True),
    Relation("carton", "glove", 0.10, 1.50, 0.06, 200.0, 6.0),
    Relation("paper", "glove", 0.10, 1.45, 0.06, 20.0, 6.0),
    Relation("paper", "bulb", 0.10, 1.30, 0.06, 80.0, 6.0),
    Relation("carton", "bulb", 0.07, 1.35, 0.06, -40.0, 6.0),
)
LONER_REDRAWN_PROB = 0.8
MIN_ROOT_GAP = 2.2
NUM_OBJECTS = (5, 14)


def perspective(y: float) -> float:
    """Return the magnification at height y in pixels: 0.95 at the top of the image, 1.5 at its bottom."""
    return 0.95 + 0.55 * y / SIZE_WH[1]


def ground_truth() -> dict[str, Any]:
    """Return the world's structure as plain data, as it is written beside the dataset."""
    return {
        "generator": "augsynth sample",
        "renderer_version": RENDERER_VERSION,
        "categories": [asdict(c) for c in CATEGORIES],
        "groups": [{"name": g.name, "weights": dict(g.weights), "members": list(g.members)} for g in GROUPS],
        "backgrounds": {k: dict(v) for k, v in BACKGROUNDS.items()},
        "repelled": [list(p) for p in REPELLED],
        "stray_prob": STRAY_PROB,
        "stray_weights": dict(STRAY_WEIGHTS),
        "relations": [asdict(r) for r in RELATIONS],
        "relation_units": "longer side of the anchor; degrees from the x axis towards +y (down)",
        "loner_redrawn_prob": LONER_REDRAWN_PROB,
        "min_root_gap": MIN_ROOT_GAP,
        "min_visibility": MIN_VISIBILITY,
        "perspective": "size(y) = size * (0.95 + 0.55 * y / height)",
        "looks": {k: asdict(v) for k, v in LOOKS.items()},
    }
