"""What is known about a run before anything is loaded: that it can't reach its aim, or not for a category."""

from __future__ import annotations

import numpy as np

from augsynth.core.errors import ConfigError
from augsynth.core.scene import Dataset, FloatArray
from augsynth.generation.config import GenerateConfig


def foresee(config: GenerateConfig, dataset: Dataset) -> list[str]:
    """Return what the user should know of sizes and quotas before painting.

    Raises:
        ConfigError: All objects of all wanted categories are smaller than `min_size`, or no quota is above 0.
    """
    asked = config.categories.categories
    wanted = {c.id: c.name for c in dataset.categories_in_use(asked) if not asked or c.name in asked}
    return _about_sizes(config, dataset, wanted) + _about_quotas(config, wanted)


def _about_sizes(config: GenerateConfig, dataset: Dataset, wanted: dict[int, str]) -> list[str]:
    least = config.placement.min_size
    sides = {c: found for c in wanted if len(found := _shorter_sides(dataset, c))}
    small = {c: found for c, found in sides.items() if found.max() < least}
    if small and len(small) == len(sides):
        largest = max(float(found.max()) for found in small.values())
        raise ConfigError(
            f"{dataset.source}: no object is as large as min_size ({least:g} px; the largest has a shorter side of "
            f"{largest:.3g} px); lower --min-size"
        )
    return [
        f"{wanted[c]}: all {len(found)} objects are smaller than min_size ({least:g} px), so that few places or none "
        "will be found; lower --min-size"
        for c, found in small.items()
    ]


def _shorter_sides(dataset: Dataset, category_id: int) -> FloatArray:
    sides = [
        (scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]).min(axis=1)[
            (scene.category_ids == category_id) & ~scene.is_crowd
        ]
        for scene in dataset.scenes
        if len(scene)
    ]
    return np.concatenate(sides) if sides else np.zeros(0)


def _about_quotas(config: GenerateConfig, wanted: dict[int, str]) -> list[str]:
    quotas = config.categories.quotas
    if not all(name in quotas for name in wanted.values()):
        return []
    total = sum(quotas[name] for name in wanted.values())
    if not total:
        raise ConfigError(
            "the quotas of all wanted categories are 0, so that nothing may be painted; raise quotas"
        )
    if total >= config.run.n:
        return []
    return [f"the quotas allow {total} of the {config.run.n} objects wanted; raise quotas, or lower --n"]
