"""Judge of planned boxes: are they as large, and of the shape, that real objects have where these stand free?

Of the planned boxes of a data set the share that lies outside the central 95 % of the free-standing real objects of
their category, in three ways: outside the central interval of log size (root of the area over that of the image),
outside that of log aspect, and outside the highest-density region of both together (Hyndman, The American
Statistician 1996): where the kernel density is below that of all but 5 % of the real ones, each left out in turn.
About 5 % of the real ones are outside by definition. A planner that always gives the typical box would be outside
never, so the spread (standard deviation) over that of the real ones stands beside it.

Free stands a real object whose box no border touches and of which no other box covers more than 5 %; where the
annotations say which are `free`, these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from augsynth.affinity.model import Affinity
from augsynth.core.boxes import box_areas, intersections
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, FloatArray, Scene
from augsynth.core.seeding import derive_rng
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.placement.scene_model import SceneModel, propose_places

LEAST, MOST = 20, 1500
_OUTSIDE, _MAX_COVERED, _BORDER = 0.05, 0.05, 0.004


def looks(boxes_xyxy: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Return (N, 2) log size, relative to the image, and log aspect of boxes."""
    wh = np.log(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2])
    return np.stack([wh.mean(axis=1) - np.log(size_wh).mean(), wh[:, 0] - wh[:, 1]], axis=1)


def stand_free(scene: Scene, told: Mapping[int, bool]) -> NDArray[np.bool_]:
    """Return (N,) bool of a scene's objects; `told` by annotation id, where the annotations say it."""
    if told:
        return np.array([told[i] for i in scene.annotation_ids.tolist()], np.bool_)
    boxes, far = scene.boxes_xyxy, np.array(scene.size_wh, np.float64)
    covered = intersections(boxes, boxes) / box_areas(boxes)[:, None]
    np.fill_diagonal(covered, 0)
    inside = (boxes[:, :2] > _BORDER * far) & (boxes[:, 2:] < far * (1 - _BORDER))
    return np.asarray(inside.all(axis=1) & (covered.max(axis=1, initial=0) <= _MAX_COVERED) & ~scene.is_crowd)


def free_looks(datasets: tuple[Dataset, ...]) -> dict[int, FloatArray]:
    """Return by category id the (N, 2) looks of the objects that stand free."""
    found: dict[int, list[FloatArray]] = {}
    for dataset in datasets:
        rows = dataset.document["annotations"]
        told = {row["id"]: row["free"] for row in rows if "free" in row}
        for scene in dataset.scenes:
            free, own = stand_free(scene, told), looks(scene.boxes_xyxy, scene.size_wh)
            for category in np.unique(scene.category_ids[free]).tolist():
                found.setdefault(category, []).append(own[free & (scene.category_ids == category)])
    return {category: np.concatenate(parts) for category, parts in found.items()}


@dataclass(frozen=True)
class Centre:
    """The central 95 % of some real objects.

    Attributes:
        intervals: (2, 2) low and high of log size, and of log aspect.
        density: Of both together.
        least: Density below which a box is outside.
    """

    intervals: FloatArray
    density: gaussian_kde
    least: float

    @classmethod
    def of(cls, real: FloatArray) -> Centre:
        """Find the centre of (N, 2) looks."""
        tails = [_OUTSIDE / 2, 1 - _OUTSIDE / 2]
        rng = np.random.default_rng(0)
        chosen = real[rng.permutation(len(real))[:MOST]]
        chosen = chosen + rng.normal(0, 0.005, chosen.shape)  # equal boxes have no density
        density = gaussian_kde(chosen.T)
        own = 1 / (2 * np.pi * np.sqrt(np.linalg.det(density.covariance)))
        others = (density(chosen.T) * len(chosen) - own) / (len(chosen) - 1)
        intervals = np.quantile(real, tails, axis=0).T
        return cls(intervals, density, float(np.quantile(others, _OUTSIDE)))

    def outside(self, planned: FloatArray) -> NDArray[np.bool_]:
        """Return (N, 3) bool: outside in size, in aspect, and in both together."""
        alone = (planned < self.intervals[:, 0] - 1e-9) | (planned > self.intervals[:, 1] + 1e-9)
        return np.column_stack([alone, self.density(planned.T) < self.least])


@dataclass(frozen=True)
class Planned:
    """The planned boxes of one category, judged.

    Attributes:
        category: Its name.
        num_real: Free-standing real objects.
        outside: (N, 3) of `Centre.outside`.
        spread: (2,) standard deviations of log size and log aspect over those of the real ones.
    """

    category: str
    num_real: int
    outside: NDArray[np.bool_]
    spread: FloatArray


def plan(
    train: Dataset,
    judged: tuple[Dataset, ...],
    layout: Layout,
    appearance: Appearance,
    *,
    seed: int,
    num: int,
) -> Iterator[tuple[int, FloatArray]]:
    """Yield category id and (2,) look of the boxes planned in the judged images, about `num` in all."""
    model = SceneModel(Affinity.fit(train), layout)
    scenes = [(dataset, scene) for dataset in judged for scene in dataset.scenes]
    order = derive_rng(seed, "planned boxes").permutation(len(scenes))[:num].tolist()
    each = max(1, round(num / max(len(order), 1)))
    for dataset, scene in (scenes[k] for k in order):
        image = read_image(dataset, scene)
        for place in propose_places(
            scene, model, num=each, seed=seed + scene.image_id, image=image, appearance=appearance
        ):
            yield place.category_id, looks(place.box_xyxy[None], scene.size_wh)[0]


def judge_planned(
    train: Dataset,
    judged: tuple[Dataset, ...],
    *,
    layout: Layout,
    appearance: Appearance,
    seed: int = 42,
    num: int = 400,
) -> list[Planned]:
    """Judge the boxes that models fitted to `train` plan in the judged images.

    Categories of fewer than `LEAST` free-standing real objects, in all of these images, aren't judged.
    """
    names, real = {c.id: c.name for c in train.categories}, free_looks((train, *judged))
    planned: dict[int, list[FloatArray]] = {}
    for category, look in plan(train, judged, layout, appearance, seed=seed, num=num):
        planned.setdefault(category, []).append(look)
    found = []
    for category, parts in sorted(planned.items()):
        own, rows = real.get(category, np.zeros((0, 2))), np.array(parts)
        if len(own) >= LEAST:
            ratio = rows.std(axis=0) / np.maximum(own.std(axis=0), 0.01)
            found.append(Planned(names[category], len(own), Centre.of(own).outside(rows), ratio))
    return found


def show_planned(found: list[Planned]) -> None:
    """Print shares outside by category and in all."""
    print(
        "\n| planned boxes of | planned | real, free | outside in size | in aspect | in both together | spread |"
    )
    print("|---" * 7 + "|")
    for each in found:
        shares = " | ".join(f"{100 * share:.1f} %" for share in each.outside.mean(axis=0))
        spread = "{:.2f}, {:.2f}".format(*each.spread)
        print(f"| {each.category} | {len(each.outside)} | {each.num_real} | {shares} | {spread} |")
    if found:
        rows = np.concatenate([each.outside for each in found])
        spread = np.average([each.spread for each in found], axis=0, weights=[len(e.outside) for e in found])
        shares = " | ".join(f"**{100 * share:.1f} %**" for share in rows.mean(axis=0))
        real = sum(each.num_real for each in found)
        print(f"| all | {len(rows)} | {real} | {shares} | {spread[0]:.2f}, {spread[1]:.2f} |")
