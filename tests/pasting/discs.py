"""Discs of three colours: a small dataset, its affinity file, and banks of its objects with and without outlines."""

import json

import numpy as np
from PIL import Image as PilImage

from augsynth.affinity.model import Affinity, save_affinity_file
from augsynth.bank.reader import Cutout
from augsynth.bank.writer import BankWriter
from augsynth.coco.reader import read_dataset
from augsynth.core.scene import Category
from augsynth.placement.layout import Layout

NAMES = ("ball", "cube", "plate")
COLOURS = ((200, 60, 60), (60, 180, 70), (70, 80, 210))
SIZE_WH = (160, 120)


def disc_polygon(x, y, r):
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + r * np.cos(turn), y + r * np.sin(turn)], axis=1).round(2).ravel().tolist()


def write_data(folder, num=24):
    """Discs of three colours on grey noise; ball and cube go together. COCO ids are neither 0-based nor dense."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(num):
        picture = rng.integers(105, 125, (SIZE_WH[1], SIZE_WH[0], 3)).astype(np.uint8)
        y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]] + 0.5
        for k, kind in enumerate((0, 1) if i % 3 else (2, 2, 0)):
            r = 9 + 2 * kind + rng.uniform(0, 2)
            cx, cy = 30 + 45 * k + rng.uniform(-5, 5), rng.uniform(35, 85)
            picture[np.hypot(x - cx, y - cy) <= r] = COLOURS[kind]
            annotations.append(
                dict(
                    id=len(annotations) + 1, image_id=i, category_id=(3, 7, 12)[kind], iscrowd=0,
                    bbox=[cx - r, cy - r, 2 * r, 2 * r], area=float(np.pi * r * r),
                    segmentation=[disc_polygon(cx, cy, r)],
                )
            )  # fmt: skip
        PilImage.fromarray(picture).save(folder / "images" / f"{i}.png")
        images.append(dict(id=i, file_name=f"{i}.png", width=SIZE_WH[0], height=SIZE_WH[1]))
    categories = [dict(id=i, name=n) for i, n in zip((3, 7, 12), NAMES, strict=True)]
    document = dict(info={}, licenses=[], images=images, annotations=annotations, categories=categories)
    (folder / "train.json").write_text(json.dumps(document))


def disc_cutout(category_id, kind, *, r=10, has_mask=True):
    side = 2 * r + 12
    y, x = np.mgrid[:side, :side] + 0.5
    inside = np.hypot(x - side / 2, y - side / 2) <= r
    image = np.full((side, side, 3), 115, np.uint8)
    image[inside] = COLOURS[kind]
    box = np.array([6, 6, 6 + 2 * r, 6 + 2 * r], np.float64)
    alpha = inside * np.uint8(255)
    if not has_mask:
        alpha = np.zeros((side, side), np.uint8)
        alpha[6 : 6 + 2 * r, 6 : 6 + 2 * r] = 255
    return Cutout(image, alpha, box, category_id, 1.0, SIZE_WH, has_mask)


def write_bank(folder, *, names=NAMES, has_mask=True, num=4):
    """A bank whose ids differ from the dataset's: only names count."""
    with BankWriter(folder, categories=[Category(50 + k, name) for k, name in enumerate(names)]) as writer:
        for k in range(len(names)):
            for n in range(num):
                writer.add(disc_cutout(50 + k, k % 3, r=8 + n, has_mask=has_mask))
    return str(folder)


def write_all(folder):
    write_data(folder)
    dataset = read_dataset(folder / "train.json")
    save_affinity_file(folder / "affinity.json", Affinity.fit(dataset), Layout.fit(dataset).to_dict())
    write_bank(folder / "bank")
    write_bank(folder / "boxes", has_mask=False)
    return folder
