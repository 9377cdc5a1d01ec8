"""How the category of a new object is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from augsynth.core.options import check_options, option


@dataclass(frozen=True, slots=True)
class CategoryRules:
    """Which categories are added, and how often.

    Raises:
        ConfigError: A value is out of range.
    """

    categories: tuple[str, ...] = option((), "Category to add; may be repeated.", unset="all")
    quotas: Mapping[str, int] = option({}, "Most accepted objects of a category, by name.", flag=False)
    category_choice: Literal["affinity", "uniform"] = option(
        "affinity", "Choose by affinity to what is present, or each wanted category alike."
    )
    affinity: str | None = option(
        None, "Affinity file of `augsynth build-affinity`.", unset="learnt from the annotations"
    )
    measure: str | None = option(None, "Affinity measure where no file is given.", unset="the best one")
    tau: float | None = option(
        None,
        "Temperature of the choice: lower follows the affinity more strictly.",
        above=0,
        high=1e6,
        unset="the affinity's own",
    )
    gamma: float = option(1.5, "Exponent that favours rare categories.", low=-10, high=10)
    focus: str | None = option(
        None,
        "AP by category (folder of `train-detector`, JSON file, or MMDetection's scalars.json): what is found badly "
        "is added more often.",
        unset="all alike",
    )
    persistence: float = option(
        1.0,
        "How far categories that are rejected more often are tried more often: at 1 the accepted objects follow "
        "affinity and rarity, at up to eight times the attempts.",
        low=0,
        high=1,
    )

    def __post_init__(self) -> None:
        check_options(self)
