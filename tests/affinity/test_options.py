"""Which values the choice of a category takes."""

import pytest

from augsynth.affinity.options import CategoryRules
from augsynth.core.errors import ConfigError


def test_defaults_are_those_of_the_docs() -> None:
    rules = CategoryRules()
    assert (rules.categories, rules.category_choice, rules.tau, rules.gamma) == ((), "affinity", None, 1.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"category_choice": "random"},
        {"tau": 0.0},
        {"tau": -1.0},
        {"tau": 2e6},
        {"gamma": 11.0},
        {"gamma": float("nan")},
        {"persistence": 1.5},
        {"persistence": -0.1},
    ],
)
def test_what_is_out_of_range_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CategoryRules(**wrong)


@pytest.mark.parametrize("right", [{"tau": 1e-6}, {"gamma": -10}, {"gamma": 10.0}, {"persistence": 0}])
def test_the_borders_are_allowed(right: dict[str, float]) -> None:
    assert CategoryRules(**right)
