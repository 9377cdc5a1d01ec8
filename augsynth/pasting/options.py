"""The options of `AffinityPaste`, checked and looked up when a config loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.affinity.model import Affinity
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import ConfigError
from augsynth.core.options import build
from augsynth.core.scene import FloatArray, IntArray
from augsynth.pasting.patch import Blend
from augsynth.pasting.placer import PasteRules
from augsynth.placement.layout import Layout
from augsynth.placement.scene_model import load_affinity


def check(fine: bool, name: str, value: Any, wanted: str) -> None:
    """Raise ConfigError unless an option is fine, saying what it must be."""
    if not fine:
        raise ConfigError(f"AffinityPaste: {name} is {value!r}; it must be {wanted}")


def blend_weights(blends: Sequence[str] | Mapping[str, float]) -> tuple[list[Blend], FloatArray]:
    """Return blend modes and their (K,) chances.

    Raises:
        ConfigError: An unknown mode, or a weight below 0.
    """
    weights = dict(blends) if isinstance(blends, Mapping) else dict.fromkeys(blends, 1.0)
    known = [blend.value for blend in Blend]
    check(bool(weights) and set(weights) <= set(known), "blends", blends, f"some of {', '.join(known)}")
    values = np.array(list(weights.values()), np.float64)
    check(bool((values >= 0).all() and values.sum() > 0), "blends", blends, "weights of 0 or more, not all 0")
    return [Blend(name) for name in weights], values / values.sum()


def read_rules(rules: Mapping[str, Any] | None) -> PasteRules:
    """Return the rules of an option's fields.

    Raises:
        ConfigError: An unknown field or a value outside its range.
    """
    return build(PasteRules, rules or {}, source="AffinityPaste: rules")


def learn(affinity: str | None, annotations: str | None) -> tuple[Affinity, Layout]:
    """Return affinity and layout of a file, or fitted to a training set."""
    if (affinity is None) == (annotations is None):
        raise ConfigError(
            "AffinityPaste: give either affinity=, the file of `augsynth build-affinity`, or annotations=, the "
            "COCO file to learn it from"
        )
    if annotations is not None:
        dataset = read_dataset(Path(annotations))
        return Affinity.fit(dataset), Layout.fit(dataset)
    model = load_affinity(str(affinity))
    return model.affinity, model.layout


def class_names(
    classes: Sequence[str] | None, metainfo: Mapping[str, Any] | None, affinity: Affinity, source: str
) -> tuple[str, ...]:
    """Return the names of labels 0, 1, …, all of them known to the affinity and in its order."""
    if classes is None and metainfo is not None:
        classes = metainfo.get("classes", metainfo.get("CLASSES"))
    if classes is None:
        return tuple(affinity.names)
    names = (classes,) if isinstance(classes, str) else tuple(classes)
    unknown = [name for name in names if name not in affinity.names]
    if unknown or not names:
        raise ConfigError(
            f"AffinityPaste: class {unknown[0] if unknown else ''!r} isn't in {source}, which has "
            f"{', '.join(affinity.names[:8])}; build it from the annotations you train on, or mend `classes`"
        )
    order = [affinity.names.index(name) for name in names]
    if order != sorted(set(order)):
        right = ", ".join(affinity.names[k] for k in sorted(set(order)))
        raise ConfigError(
            f"AffinityPaste: classes stand in another order than in {source}; CocoDataset numbers labels in the "
            f"file's order, so write them as {right}"
        )
    return names


def category_weights(
    quotas: Mapping[str, float] | None, classes: tuple[str, ...], ids: IntArray
) -> dict[int, float]:
    """Return category id -> factor on its chance, 1 where none is given.

    Raises:
        ConfigError: A name is no class or a factor is below 0.
    """
    quotas = dict(quotas or {})
    unknown = sorted(set(quotas) - set(classes))
    check(not unknown, "quotas", unknown, f"for some of {', '.join(classes[:8])}")
    check(all(0 <= v < float("inf") for v in quotas.values()), "quotas", quotas, "numbers of 0 or more")
    return {int(c): float(quotas.get(name, 1.0)) for name, c in zip(classes, ids, strict=True)}
