"""The options of `AffinityPaste`, checked and looked up when it is made."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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
from augsynth.placement.scene_model import SceneModel, fit_affinity, load_affinity

Classes = Sequence[str] | Mapping[int, str] | None
BACKGROUND = "__background__"  # torchvision's lists of names begin with it


@dataclass(frozen=True, slots=True)
class PasteOptions:
    """How much is pasted, what, and how; every adapter takes them by these names.

    Attributes:
        prob: Chance that an image is pasted into.
        min_objects, max_objects: Number of objects to paste, where there is room.
        tau: Temperature of the choice of category; lower follows the affinity more strictly; None takes its own.
        gamma: Exponent of rarity; above 0 favours rare categories.
        saturation: Number of objects in the training set from which on a category isn't rare, however many others have;
            None compares numbers as they are.
        quotas: Category name -> factor on its chance, 0 leaves it out; 1 where not named.
        blends: Among `hard`, `feather`, `poisson`, or name -> weight. One is drawn for every object, so that an edge
            tells nothing. Cut-outs without an outline are never pasted hard.
        flip_prob: Chance that an object is mirrored left to right.
        turn_prob: Chance that it is turned by one to three quarters of a circle, for pictures taken from above.
        min_score: Least filter score of a bank's cut-out.
        min_visible: An object of which less than this share stays visible loses its label.
        into_empty: Paste into images without objects too, by the categories' frequency.
        rules: Fields of `augsynth.pasting.placer.PasteRules`.

    Raises:
        ConfigError: A value is out of range.
    """

    prob: float = 0.5
    min_objects: int = 1
    max_objects: int = 3
    tau: float | None = None
    gamma: float = 1.0
    saturation: float | None = 100.0
    quotas: Mapping[str, float] | None = None
    blends: Sequence[str] | Mapping[str, float] = ("hard", "feather", "poisson")
    flip_prob: float = 0.5
    turn_prob: float = 0.0
    min_score: float = 0.0
    min_visible: float = 0.3
    into_empty: bool = False
    rules: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("prob", "flip_prob", "turn_prob", "min_visible"):
            value = getattr(self, name)
            check(0 <= value <= 1, name, value, "a number from 0 to 1")
        low, high = self.min_objects, self.max_objects
        check(1 <= low <= high, "min_objects", low, f"from 1 to max_objects={high}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> PasteOptions:
        """Return options by name.

        Raises:
            ConfigError: There is none of a name, or a value is out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            if name not in known:
                raise ConfigError(f"AffinityPaste has no option {name!r}; {advice}")
        return cls(**options)


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


def learn(affinity: str | None, annotations: str | None) -> SceneModel:
    """Return the model of an affinity file, or one fitted to a training set."""
    if (affinity is None) == (annotations is None):
        raise ConfigError(
            "AffinityPaste: give either affinity=, the file of `augsynth build-affinity`, or annotations=, the "
            "COCO file to learn it from"
        )
    return fit_affinity(read_dataset(Path(annotations))) if annotations else load_affinity(str(affinity))


def model_of(affinity: str | Path | SceneModel) -> SceneModel:
    """Return the model of an affinity file, or the model that is given.

    Raises:
        DatasetError: The file can't be read.
    """
    return affinity if isinstance(affinity, SceneModel) else load_affinity(affinity)


def class_names(
    classes: Sequence[str] | None, metainfo: Mapping[str, Any] | None, affinity: Affinity, source: str
) -> tuple[str, ...]:
    """Return the names of labels 0, 1, …, all of them known to the affinity and in its order."""
    if classes is None and metainfo is not None:
        classes = metainfo.get("classes", metainfo.get("CLASSES"))
    if classes is None:
        return tuple(affinity.names)
    names = (classes,) if isinstance(classes, str) else tuple(classes)
    _check_known(names, affinity, source)
    order = [affinity.names.index(name) for name in names]
    if order != sorted(set(order)):
        right = ", ".join(affinity.names[k] for k in sorted(set(order)))
        raise ConfigError(
            f"AffinityPaste: classes stand in another order than in {source}; CocoDataset numbers labels in the "
            f"file's order, so write them as {right}"
        )
    return names


def label_names(classes: Classes, affinity: Affinity, source: str) -> dict[int, str]:
    """Return label -> category name, all of them known to the affinity.

    Args:
        classes: Label -> name, or names of labels 0, 1, …; None where labels are the category ids of the affinity.
        affinity: Knows names and ids.
        source: Names its file in errors.

    Raises:
        ConfigError: There is no class, one is unknown, or one is there twice.
    """
    if classes is None:
        return dict(zip(affinity.category_ids.tolist(), affinity.names, strict=True))
    listed = (classes,) if isinstance(classes, str) else classes
    found = listed if isinstance(listed, Mapping) else dict(enumerate(listed))
    named = {int(label): name for label, name in found.items() if name != BACKGROUND}
    _check_known(list(named.values()), affinity, source)
    twice = [name for name in named.values() if list(named.values()).count(name) > 1]
    check(not twice, "classes", twice[:1], "names that differ")
    return named


def _check_known(names: Sequence[str], affinity: Affinity, source: str) -> None:
    """Raise ConfigError unless there are classes, all of them known to the affinity."""
    unknown = [name for name in names if name not in affinity.names]
    if unknown or not names:
        raise ConfigError(
            f"AffinityPaste: class {unknown[0] if unknown else ''!r} isn't in {source}, which has "
            f"{', '.join(affinity.names[:8])}; build it from the annotations you train on, or mend `classes`"
        )


def category_weights(
    quotas: Mapping[str, float] | None, classes: Sequence[str], ids: IntArray
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
