"""A rendered set of rectangles held like hands of playing cards: most are half hidden, a few lie free.

    python -m benchmarks.judges.fans OUT [--num-images 160] [--seed 0]

Boxes are those of what can be seen, as annotators draw them; `free` says of each object that it lies alone.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from augsynth.coco.json_lines import write_json
from augsynth.core.files import make_folder
from augsynth.core.images import write_image
from augsynth.core.scene import FloatArray, Image
from augsynth.core.seeding import derive_rng

SIZE_WH = (400, 300)
_MIN_SHOWN = 0.06  # share of a rectangle that must be seen to be annotated
_TRIES = 60


@dataclass(frozen=True)
class Kind:
    """A category: its name, its rectangle's sides in pixels, and its colour."""

    name: str
    width: float
    height: float
    colour: tuple[int, int, int]


KINDS = (
    Kind("card", 48, 68, (205, 60, 50)),
    Kind("ticket", 30, 62, (60, 120, 200)),
    Kind("tile", 50, 50, (70, 165, 90)),
)


def write_fans(root: Path, *, num_images: int, seed: int) -> Path:
    """Write the set as `images/` and `instances.json`; return the annotation file.

    Args:
        root: Folder, made if it isn't there.
        num_images: Number of images.
        seed: Same seed, same set.
    """
    make_folder(root / "images")
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for image_id in range(1, num_images + 1):
        picture, objects = draw_scene(derive_rng(seed, "fans", image_id))
        name = f"{image_id:05d}.png"
        write_image(root / "images" / name, picture)
        width, height = SIZE_WH
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for kind, box, free in objects:
            x1, y1, x2, y2 = box
            bbox = [x1, y1, x2 - x1, y2 - y1]
            row = {"category_id": kind + 1, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0}
            rows.append({"id": len(rows) + 1, "image_id": image_id, **row, "free": free})
    categories = [{"id": k + 1, "name": kind.name} for k, kind in enumerate(KINDS)]
    path = root / "instances.json"
    write_json(path, {"images": images, "annotations": rows, "categories": categories})
    return path


def draw_scene(rng: np.random.Generator) -> tuple[Image, list[tuple[int, list[float], bool]]]:
    """Draw one scene: (H, W, 3) uint8, and its kinds, visible boxes xyxy, who lies alone."""
    zoom = float(np.exp(rng.normal(0, 0.15)))
    hands: list[list[tuple[int, FloatArray]]] = []
    for make, most in ((_fan, 2), (_single, 2)):
        for _ in range(int(rng.integers(make is _fan, most + 1))):
            hand = _placed(make(zoom, rng), hands, rng)
            if hand:
                hands.append(hand)
    width, height = SIZE_WH
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = rng.integers(90, 130, 3)
    owner = np.full((height, width), -1, np.int32)
    drawn = [(*each, len(hand) == 1) for hand in hands for each in hand]
    for number, (kind, corners, _) in enumerate(drawn):
        points = np.rint(corners).astype(np.int32)
        tint = np.clip(np.array(KINDS[kind].colour) + rng.integers(-12, 13), 0, 255)
        cv2.fillPoly(picture, [points], tint.tolist())
        cv2.polylines(picture, [points], True, (240, 240, 235), 1)
        cv2.fillPoly(owner, [points], number)
        cv2.polylines(owner, [points], True, number, 1)
    noise = rng.normal(0, 4, picture.shape)
    noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
    boxes = [_seen(owner, number, corners) for number, (_, corners, _) in enumerate(drawn)]
    return noisy, [
        (kind, box, alone) for (kind, _, alone), box in zip(drawn, boxes, strict=True) if box is not None
    ]


def _seen(owner: NDArray[np.int32], number: int, corners: FloatArray) -> list[float] | None:
    """Return the box of what is seen of a drawn rectangle; None where too little is seen."""
    sides = np.linalg.norm(np.diff(corners[:3], axis=0), axis=1)
    shown = owner == number
    if shown.sum() < _MIN_SHOWN * sides.prod():
        return None
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def _placed(
    hand: list[tuple[int, FloatArray]], others: list[list[tuple[int, FloatArray]]], rng: np.random.Generator
) -> list[tuple[int, FloatArray]]:
    """Return the hand moved to where it lies in the image and 4 pixels off the others; empty where it can't."""
    points = np.concatenate([corners for _, corners in hand])
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array(SIZE_WH) - 4 - (high - low)
    if (room <= 2).any():
        return []
    taken = [np.concatenate([corners for _, corners in other]) for other in others]
    for _ in range(_TRIES):
        move = rng.uniform(2, room) - low
        if all(
            ((low + move > other.max(axis=0) + 4) | (high + move < other.min(axis=0) - 4)).any()
            for other in taken
        ):
            return [(kind, corners + move) for kind, corners in hand]
    return []


def _single(zoom: float, rng: np.random.Generator) -> list[tuple[int, FloatArray]]:
    kind = int(rng.integers(len(KINDS)))
    turn = rng.normal(0, 4) + 90 * (rng.random() < 0.3)
    return [(kind, _corners(KINDS[kind], zoom, turn))]


def _fan(zoom: float, rng: np.random.Generator) -> list[tuple[int, FloatArray]]:
    """Return four to eight rectangles, each on those before it: turned about a common point, or in a row."""
    count = int(rng.integers(4, 9))
    kinds = rng.integers(len(KINDS), size=count) if rng.random() < 0.5 else [rng.integers(len(KINDS))] * count
    in_row = rng.random() < 0.4
    step = rng.uniform(9, 14) if in_row else rng.uniform(8, 13)
    hand = []
    for k, kind in enumerate(kinds):
        turn = 0.0 if in_row else (k - (count - 1) / 2) * step
        corners = _corners(KINDS[int(kind)], zoom, 0.0)
        corners = (
            corners + np.array([k * step * zoom, 0.0]) if in_row else _turned(corners - [0, 45 * zoom], turn)
        )
        hand.append((int(kind), corners))
    whole = rng.normal(0, 5) + 90 * (rng.random() < 0.3)
    return [(kind, _turned(corners, whole)) for kind, corners in hand]


def _corners(kind: Kind, zoom: float, turn_deg: float) -> FloatArray:
    """Return the (4, 2) corners of a rectangle about the origin."""
    half = np.array([kind.width, kind.height]) * zoom / 2
    return _turned(np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half, turn_deg)


def _turned(points: FloatArray, turn_deg: float) -> FloatArray:
    cosine, sine = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    return np.asarray(points @ np.array([[cosine, sine], [-sine, cosine]]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-images", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(write_fans(options.out, num_images=options.num_images, seed=options.seed))


if __name__ == "__main__":
    main()
